import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DEFAULT_DEPLOYMENT } from "../../src/units/deployment.ts";
import {
  DROP_INS_MAX,
  type DropIn,
  effectiveHash,
  hasInstallSection,
  MANIFEST_BYTES_MAX,
  type Manifest,
  manifestHash,
  manifestRequirements,
  validateManifest,
} from "../../src/units/manifest.ts";
import { NO_REQUIREMENTS } from "../../src/units/requirements.ts";
import { problemText } from "../../src/units/unit-problem.ts";
import { codePoint } from "../support/code-point.ts";

const SERVICE = "[Unit]\nDescription=Web\n[Service]\nExecStart=/bin/sleep 1\n";

function manifest(content: string, dropIns: Readonly<Record<string, string>> = {}): Manifest {
  return {
    content,
    dropIns: Object.entries(dropIns).map(([name, text]): DropIn => ({ name, content: text })),
  };
}

function errorsOf(
  content: string,
  dropIns: Readonly<Record<string, string>> = {},
  unit = "web.service",
) {
  return validateManifest(unit, manifest(content, dropIns)).errors.map(problemText);
}

test("validateManifest() gives everything about a good unit", () => {
  const report = validateManifest(
    "web.service",
    manifest(`${SERVICE}[X-Fleet]\nConflicts=web*\n`, {
      "10-a.conf": "# nothing\n",
      "20-b.conf": "[X-Fleet]\nMachineMetadata=disk=ssd\n",
    }),
  );
  assert.deepEqual(report, {
    errors: [],
    warnings: [],
    requirements: {
      ...NO_REQUIREMENTS,
      conflicts: ["web*"],
      metadata: [{ key: "disk", operator: "in", values: ["ssd"] }],
    },
    deployment: DEFAULT_DEPLOYMENT,
    hash: "aadadae1f99c15a14d81c9bbd007158eef4f5f84",
    description: "Web",
  });
});

test("validateManifest() leaves the description empty where there is none", () => {
  assert.equal(validateManifest("a.service", manifest("[Service]\nType=simple\n")).description, "");
});

const REFUSED: readonly (readonly [
  what: string,
  unit: string,
  content: string,
  dropIns: Readonly<Record<string, string>>,
  error: string,
])[] = [
  ["a bad name", "web", SERVICE, {}, 'web: unit name must contain "."'],
  [
    "a type that no file makes",
    "a.scope",
    SERVICE,
    {},
    'a.scope: invalid unit type: ".scope": scopes are made by running programs, not from unit files',
  ],
  [
    "a reserved name",
    "dbus.service",
    SERVICE,
    {},
    "dbus.service: the name is reserved: the message bus, without which systemd cannot be asked for anything",
  ],
  [
    "an empty file, which would mask the unit",
    "a.service",
    "",
    {},
    "a.service: the unit file is empty",
  ],
  ["a blank file", "a.service", " \n", {}, "a.service: the unit file is empty"],
  [
    "a mistake in the file",
    "a.service",
    "[Service]\nExecStart\n",
    {},
    'a.service:2:1: missing "=" in "ExecStart"',
  ],
  [
    "a mistake in a drop-in",
    "a.service",
    SERVICE,
    { "b.conf": "\nA=1\n" },
    'a.service.d/b.conf:2:1: "A=1" is outside of any section',
  ],
  [
    "a mistake in [X-Fleet]",
    "a.service",
    `${SERVICE}[X-Fleet]\nGlobal=maybe\n`,
    {},
    "a.service:6:1: Global=maybe: it has to be yes or no",
  ],
  ...[
    "b",
    "b.conf/",
    "../b.conf",
    "a/b.conf",
    ".conf",
    ".b.conf",
    "b\n.conf",
    "b.conf ",
    " b.conf",
  ].map(
    (name) =>
      [
        `a drop-in called ${JSON.stringify(name)}`,
        "a.service",
        SERVICE,
        { [name]: "" },
        `a.service: drop-in ${JSON.stringify(name)}: the name has to be like 10-name.conf, without "/"`,
      ] as const,
  ),
];

test("validateManifest() refuses a drop-in that would take the place of the agent's own", () => {
  assert.deepEqual(errorsOf(SERVICE, { "50-fleet-ts.conf": "" }), [
    'web.service: drop-in "50-fleet-ts.conf": names like 50-fleet-ts.conf belong to fleet-ts',
  ]);
});

test("validateManifest() warns of what a lenient manifest passes over, and of nothing else", () => {
  const old = manifest(`${SERVICE}[X-Fleet]\nX-Peers=a\nMachineMetadata=b\n`);
  const warned = ({ warnings }: ReturnType<typeof validateManifest>) => warnings.map(problemText);
  assert.equal(validateManifest("a.service", old).errors.length, 2);
  const report = validateManifest("a.service", { ...old, lenient: true });
  assert.deepEqual(report.errors, []);
  assert.deepEqual(report.requirements, NO_REQUIREMENTS);
  assert.match(warned(report)[0] ?? "", /^a\.service:6:1: unrecognized requirement/);
  assert.match(warned(report)[1] ?? "", /^a\.service:7:1: MachineMetadata=b: /);
  assert.deepEqual(warned(validateManifest("a.service", { ...old, lenient: false })), []);
  assert.equal(manifestHash(old), manifestHash({ ...old, lenient: true }));
});

for (const [what, unit, content, dropIns, error] of REFUSED) {
  test(`validateManifest() refuses ${what}`, () => {
    assert.deepEqual(errorsOf(content, dropIns, unit), [error]);
  });
}

test("validateManifest() refuses two drop-ins of one name", () => {
  const dropIn = { name: "a.conf", content: "" };
  const report = validateManifest("a.service", { content: SERVICE, dropIns: [dropIn, dropIn] });
  assert.deepEqual(report.errors.map(problemText), ['a.service: drop-in "a.conf" is there twice']);
});

test("validateManifest() refuses more than it can store, without reading it", () => {
  const filler = `# ${"x".repeat(98)}\n`.repeat(MANIFEST_BYTES_MAX / 100);
  assert.deepEqual(errorsOf(filler), [
    `web.service: unit file and drop-ins have ${JSON.stringify(manifest(filler)).length} bytes, more than 1048576`,
  ]);
  assert.equal(errorsOf(SERVICE, { "a.conf": filler }).length, 1);
  const many = Object.fromEntries(
    Array.from({ length: DROP_INS_MAX + 1 }, (_, index) => [`${index}.conf`, ""]),
  );
  assert.deepEqual(errorsOf(SERVICE, many), [
    "web.service: the unit has 101 drop-ins, more than 100",
  ]);
});

test("validateManifest() never throws", () => {
  const text = fc.oneof(fc.string({ unit: codePoint }), fc.constant(SERVICE));
  fc.assert(
    fc.property(text, text, fc.array(fc.tuple(text, text)), (name, content, dropIns) => {
      const report = validateManifest(name, {
        content,
        dropIns: dropIns.map(([dropIn, own]) => ({ name: dropIn, content: own })),
      });
      assert(Array.isArray(report.errors));
    }),
  );
});

test("manifestRequirements() reports what cannot be read", () => {
  const good = manifestRequirements("a.service", manifest("[X-Fleet]\nGlobal=yes\n"));
  assert.deepEqual(good, {
    deployment: DEFAULT_DEPLOYMENT,
    requirements: { ...NO_REQUIREMENTS, global: true },
    problems: [],
    warnings: [],
  });
  const bad = manifestRequirements("a.service", manifest("[X-Fleet]\nGlobal\n"));
  assert.deepEqual(bad.problems.map(problemText), ['a.service:2:1: missing "=" in "Global"']);
});

const SAME_EFFECT: Readonly<Record<string, Manifest>> = {
  "a comment": manifest(`# c\n${SERVICE}; c\n`),
  "blank lines and blanks": manifest(SERVICE.replaceAll("=", " = ").replaceAll("\n", "\n\n")),
  "other line ends": manifest(SERVICE.replaceAll("\n", "\r\n")),
  "a byte order mark": manifest(`\ufeff${SERVICE}`),
  "[X-Fleet]": manifest(`${SERVICE}[X-Fleet]\nConflicts=a\n`),
  "another section for other programs": manifest(`[X-Other]\na=b\n${SERVICE}`),
  "a line folded at its blank": manifest(SERVICE.replace("=/bin/sleep", "=\\\n/bin/sleep")),
  "an empty section": manifest(`${SERVICE}[Install]\n`),
};

for (const [what, changed] of Object.entries(SAME_EFFECT)) {
  test(`effectiveHash() does not change with ${what}, manifestHash() does`, () => {
    assert.equal(effectiveHash(changed), effectiveHash(manifest(SERVICE)));
    assert.notEqual(manifestHash(changed), manifestHash(manifest(SERVICE)));
  });
}

test("effectiveHash() differs wherever systemd could see a difference", () => {
  const variants = [
    manifest(SERVICE),
    manifest(""),
    manifest("#"),
    manifest(SERVICE.replace("sleep 1", "sleep  1")),
    manifest(SERVICE.replace("Description=Web", "Description=web")),
    manifest(`${SERVICE}ExecStart=/bin/sleep 1\n`),
    manifest(`${SERVICE}ExecStart=\n`),
    manifest(`${SERVICE}ExecStart=a\nExecStart=b\n`),
    manifest(`${SERVICE}ExecStart=b\nExecStart=a\n`),
    manifest(`${SERVICE}[Install]\nWantedBy=a.target\n`),
    manifest(SERVICE, { "a.conf": "" }),
    manifest(SERVICE, { "b.conf": "" }),
    manifest(SERVICE, { "a.conf": "[Service]\nType=exec\n" }),
    manifest(SERVICE, { "a.conf": "[Service]\nType=exec\n", "b.conf": "" }),
    manifest(SERVICE, { "a.conf": "", "b.conf": "[Service]\nType=exec\n" }),
    manifest(`${SERVICE}Type=exec\n`),
    manifest(`${SERVICE}garbage\n`),
    manifest(`${SERVICE}garbage \n`),
  ];
  const hashes = variants.map(effectiveHash);
  assert.equal(new Set(hashes).size, variants.length);
});

test("effectiveHash() takes drop-ins in the order in which systemd applies them", () => {
  const one = manifest(SERVICE, { "a.conf": "[S]\nx=1\n", "b.conf": "[S]\nx=2\n" });
  const other = manifest(SERVICE, { "b.conf": "[S]\nx=2\n", "a.conf": "[S]\nx=1\n" });
  assert.equal(effectiveHash(one), effectiveHash(other));
});

test("effectiveHash() is the same exactly when the options outside of X- sections are", () => {
  const line = fc.constantFrom(
    "A=1\n",
    "B=2\n",
    "A=\n",
    "# c\n",
    "\n",
    "[S]\n",
    "[T]\n",
    "[X-Fleet]\n",
    "C=\\\n 3\n",
  );
  const text = fc.array(line, { maxLength: 6 }).map((lines) => `[S]\n${lines.join("")}`);
  const seen = (content: string) => {
    let section = "";
    const options: string[] = [];
    for (const one of content.replaceAll("\\\n", " ").split("\n")) {
      if (one.startsWith("[")) section = one;
      else if (one.includes("=") && !section.startsWith("[X-"))
        options.push(section + one.replace("=  ", "="));
    }
    return options.join("\n");
  };
  fc.assert(
    fc.property(text, text, (a, b) => {
      assert.equal(effectiveHash(manifest(a)) === effectiveHash(manifest(b)), seen(a) === seen(b));
    }),
    { numRuns: 2000, seed: 1 },
  );
});

const INSTALL = [
  ["no section", SERVICE, {}, false],
  ["an empty section", `${SERVICE}[Install]\n`, {}, false],
  ["WantedBy", `${SERVICE}[Install]\nWantedBy=a.target\n`, {}, true],
  ["RequiredBy", `${SERVICE}[Install]\nRequiredBy=a.target\n`, {}, true],
  ["Also", `${SERVICE}[Install]\nAlso=a.socket\n`, {}, true],
  ["Alias", `${SERVICE}[Install]\nAlias=b.service\n`, {}, true],
  ["only what enabling does not use", `${SERVICE}[Install]\nDefaultInstance=1\n`, {}, false],
  ["WantedBy elsewhere", `${SERVICE}[Unit]\nWantedBy=a.target\n`, {}, false],
  ["WantedBy in a drop-in", SERVICE, { "a.conf": "[Install]\nWantedBy=a.target\n" }, true],
  [
    "a drop-in that takes it back",
    `${SERVICE}[Install]\nWantedBy=a.target\n`,
    { "a.conf": "[Install]\nWantedBy=\n" },
    false,
  ],
] as const;

for (const [what, content, dropIns, installs] of INSTALL) {
  test(`hasInstallSection() says ${installs} for ${what}`, () => {
    assert.equal(hasInstallSection(manifest(content, dropIns)), installs);
  });
}

test("manifestHash() keeps contents and drop-ins apart", () => {
  const variants = [
    manifest("ab"),
    manifest("a", { b: "" }),
    manifest("a", { "": "b" }),
    manifest("", { a: "b" }),
    manifest("", { ab: "" }),
  ];
  assert.equal(new Set(variants.map(manifestHash)).size, variants.length);
});
