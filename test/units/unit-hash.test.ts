import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type FleetOption,
  printFleetOptions,
  readFleetOptions,
} from "../../src/units/fleet-format.ts";
import { scanUnitFile } from "../../src/units/unit-file.ts";
import { contentFromOptions, fleetOptions, unitHash } from "../../src/units/unit-hash.ts";

function hashOf(text: string): string {
  return unitHash(scanUnitFile(text, "a.service").unitFile);
}

/** Input, normalised text (undefined: the same), hash: measured on fleet itself. */
const MEASURED = [
  ["", "", "da39a3ee5e6b4b0d3255bfef95601890afd80709"],
  ["[Service]\nExecStart=/bin/sleep 100\n", undefined, "1c6fb6f3684bafb0c173d8b8b957ceff031180c1"],
  [
    "[Service]\nExecStart=/bin/sleep 100",
    "[Service]\nExecStart=/bin/sleep 100\n",
    "1c6fb6f3684bafb0c173d8b8b957ceff031180c1",
  ],
  [
    "\n\n[Service]\n\n  ExecStart = /bin/sleep 100  \n\n",
    "[Service]\nExecStart=/bin/sleep 100\n",
    "1c6fb6f3684bafb0c173d8b8b957ceff031180c1",
  ],
  [
    "ExecStart=foo\n[Service]\nA=1\n",
    "[Service]\nA=1\n",
    "96f6033bbf4a44ade2ccd7188b933499bdcd8f62",
  ],
  ["[Service]", "", "da39a3ee5e6b4b0d3255bfef95601890afd80709"],
  ["[ Service ]\nA=1\n", undefined, "729562b0027780b0931ce36fdeac0f08242bafb2"],
  [
    "[Service]\r\nA=1\r\nB=2\r\n",
    "[Service]\nA=1\nB=2\n",
    "97662a9b7b3b9cc7bfdaafb319432b97c23a34f0",
  ],
  ["[Service]\nA=1 \\\n  2\nB=3\n", undefined, "badc85168b8c7c3236e932c1cf561609c2b69b82"],
  ["[Service]\nA=1 \\\n", "[Service]\nA=1 \\\n\n", "1123e81bf3cb68b8bf15abeede606ee7c23748a8"],
  ["[Service]\nA=1 \\", "[Service]\nA=1 \\\n", "eaab1ca68e97fb1a5d39eeab3ddeea7f42a4e685"],
  ["[Service]\nA=1\\\n\nB=2\n", undefined, "eaaa1bd379ca1c7c2f46df8e47be62f58f3777ff"],
  ["[Service]\n# c \\\nA=1\nB=2\n", "[Service]\nB=2\n", "1c7c5a51d4663f54a33dc9dc5aa910cbe7e113e2"],
  ["[Service]\nA=1 # not comment\n", undefined, "a222ca4f712267bea7203cfab6981401151f2147"],
  ["[Service]\nA=\nA=1\nA=\n", undefined, "f1a77a656de0714440bee25e345f793f3c2ea791"],
  ["[Service]\n=1\n", undefined, "4a1d9c41ab872ab6fd0f9dcc60f704d93972379e"],
  ["[Service]\nA=b=c=d\n", undefined, "f32392da69c84ba040f82a39efe1b4bf268a9da3"],
  [
    "[A]\nx=1\n[B]\ny=2\n[A]\nz=3\n",
    "[A]\nx=1\nz=3\n\n[B]\ny=2\n",
    "b0ec5394d87ef22dd43bb992cc6676e4063f7351",
  ],
  ["[A]\n[B]\ny=1\n", "[B]\ny=1\n", "36f264cbf08ea8fa8d4bce1c363c950a534d7a89"],
  [
    "[X-Fleet]\nGlobal=true\n[Service]\nA=1\n",
    "[X-Fleet]\nGlobal=true\n\n[Service]\nA=1\n",
    "7939b9c8612dd4afe8c1fb97f1e9714b29cdf1bb",
  ],
  ['[Service]\nA="x" "y"\n', undefined, "ca52914e4527d56721d3fc974be109d44ad35535"],
  ["[Service]\nÄ=ö\n", undefined, "e728e596af35584d303fccf55eeffa77ddfbba27"],
  ["[Ser#vice]\nA=1\n", undefined, "4bf52d7c1db5c2ca843daf7e11d10eaecb1b0303"],
  ["[]\nA=1\n", undefined, "1ea29d09aec524a722f2ce730e8395a1e6a94a8e"],
  [
    "[Service]\nA=1\n[Install]\nWantedBy=multi-user.target\n",
    "[Service]\nA=1\n\n[Install]\nWantedBy=multi-user.target\n",
    "f98d403df3839c019b2284b1dd2bc27b482ee94c",
  ],
  ["[Unit]\nDescription=some description\n", undefined, "a0f275d46bc6ee0eca06be7c339913c07d99c0c7"],
  [
    "[Service]\nExecStart=/usr/bin/sleep 10\n",
    undefined,
    "5bf16b98c62f35fcdc723d32989cdeba7a2dd2a8",
  ],
  [
    "[Service]\nExecStart=/usr/bin/sleep infinity",
    "[Service]\nExecStart=/usr/bin/sleep infinity\n",
    "40ea6646945809f4b420a50475ee68503088f127",
  ],
  [
    "[Service]\nExecStart=/usr/bin/sleep 2000",
    "[Service]\nExecStart=/usr/bin/sleep 2000\n",
    "5ba5292ab6a82b623ee6086dc90b3354ba004832",
  ],
] as const;

for (const [text, normalised, hash] of MEASURED) {
  test(`unitHash() agrees with fleet's for ${JSON.stringify(text)}`, () => {
    const options = readFleetOptions(text);
    assert.equal(printFleetOptions(options ?? []), normalised ?? text);
    assert.equal(hashOf(text), hash);
  });
}

test("unitHash() agrees with fleet's for units of its own tests", () => {
  const service =
    '[Service]\nExecStart=/bin/bash -c "while true; do echo Hello, World!; sleep 1; done"\n';
  const described = `[Unit]\nDescription=Test Unit\n\n${service}`;
  assert.equal(hashOf(service), "3750b3e9f3962a56c7582929426e9abb012754cf");
  assert.equal(hashOf(described), "15cd32527ea5ea328a5ee42282d8e7b4b352231b");
  for (const [option, hash] of [
    ["Replaces=replace.0.service", "670ce59044b98cfdcdaf274c53e58f4d3a54194a"],
    ["Conflicts=conflict.*.service", "52e8acb19db0f3f776c7b8c6bf2209fa41ce46ac"],
    ["Conflicts=hello.service", "2b31213e9377e6a890f6aa7eee4ffcb90da991c0"],
    ["MachineOf=replace.1.service", "d58aad09d4277a75e0ffc499e2cd778a9424ecfa"],
    [
      "Conflicts=conflict.2.service conflict.1.service conflict.0.service",
      "2948dcda26b62cb1982d7e7ab517c9b50bbbb31c",
    ],
    [
      "Conflicts=conflict.2.service\nConflicts=conflict.1.service\nConflicts=conflict.0.service",
      "4e464be166dd2b8c0a2c4d83ace3f2b6d352f150",
    ],
  ] as const) {
    assert.equal(hashOf(`${described}[X-Fleet]\n${option}`), hash, option);
  }
  const pinned = `${service}\n[X-Fleet]\nMachineID=%i\n`;
  assert.equal(hashOf(pinned), "b849fbe0b371b4e30c75304b2a7d49dac14b26da");
  const other = service.replace("Hello", "Goodbye");
  assert.equal(hashOf(other), "934a211c736300654fa1bad4cb4b771b79c2f219");
  const template = service.replace("World!", "World %i!");
  assert.equal(hashOf(template), "79699e32624ad46c366ef37de89006ae9da617cd");
  const metadata = `${template}[X-Fleet]\nMachineMetadata=hostname=%i\n`;
  assert.equal(hashOf(metadata), "738f45ef60fdc1de5cefc2bba44eff0a1c168f04");
});

const CONTINUED =
  '[Service]\nExecStart=echo \\\n  "pi\\\n  ng"\nExecStop=\\\necho "po\\\nng"\n# c\n' +
  "ExecStopPre=echo\\\n#pang\nExecStopPost=echo\\\n#peng\\\npung\n";

test("readFleetOptions() keeps backslashes and line ends, and takes comments between for data", () => {
  assert.deepEqual(
    readFleetOptions(CONTINUED)?.map(({ value }) => value),
    ['echo \\\n  "pi\\\n  ng"', '\\\necho "po\\\nng"', "echo\\\n#pang", "echo\\\n#peng\\\npung"],
  );
});

for (const text of [
  "\n[Unit]\n\n[Service]\n<<<<<<<<<<<<<<<<\n",
  "\n[Unit]\nnonsense upon stilts\n",
  "[Service] junk\nA=1\n",
  "[Service]A=1\n",
  "[Service\nA=1\n",
  "[Service]\nA=1 \\ \n2\nB=3\n",
  "[Service]\nA\n",
  "[Service]\nA",
]) {
  test(`readFleetOptions() refuses ${JSON.stringify(text)}, as fleet does`, () => {
    assert.equal(readFleetOptions(text), undefined);
  });
}

test("readFleetOptions() takes lines of more than 2048 bytes, which fleet did not", () => {
  const value = "x".repeat(5000);
  assert.deepEqual(readFleetOptions(`[S]\nA=${value}\n`), [{ section: "S", name: "A", value }]);
});

test("fleetOptions() shows what systemd reads where fleet could not read the file", () => {
  const text = "[S]\nA=1 \\\n# comment\n  2\n";
  assert.equal(readFleetOptions(text), undefined);
  const { unitFile } = scanUnitFile(text, "a.service");
  assert.deepEqual(fleetOptions(unitFile), [{ section: "S", name: "A", value: "1    2" }]);
  assert.match(unitHash(unitFile), /^[0-9a-f]{40}$/);
});

const fleetText = fc
  .array(
    fc.constantFrom(
      "[A]",
      "[B]\n",
      "x=1\n",
      "y = 2 \\\n",
      " z=\\",
      "# c",
      ";",
      "\\",
      "\n",
      "\r\n",
      " ",
      "\u00a0",
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(""));

test("normalising what is normalised changes nothing, but for a backslash at the very end", () => {
  fc.assert(
    fc.property(fleetText, (text) => {
      const options = readFleetOptions(text);
      fc.pre(options !== undefined && !options.some(({ value }) => value.endsWith("\\")));
      const normalised = printFleetOptions(options ?? []);
      assert.equal(printFleetOptions(readFleetOptions(normalised) ?? []), normalised);
    }),
    { numRuns: 3000, seed: 1 },
  );
});

const option = (section: string, name: string, value: string): FleetOption => ({
  section,
  name,
  value,
});

test("contentFromOptions() writes fleet's normalised text", () => {
  const options = [option("A", "x", "1"), option("B", "y", "2"), option("A", "z", "")];
  assert.deepEqual(contentFromOptions(options), {
    type: "content",
    content: "[A]\nx=1\nz=\n\n[B]\ny=2\n",
  });
});

test("contentFromOptions() takes continued values as fleet's client sends them", () => {
  const sent = readFleetOptions("[S]\nA=echo \\\n  a \\\n# --b \\\n  c\nB=1 \\\n\nC=2\n") ?? [];
  const result = contentFromOptions(sent);
  assert(result.type === "content");
  assert.deepEqual(readFleetOptions(result.content), sent);
  const { unitFile, problems } = scanUnitFile(result.content, "a.service");
  assert.deepEqual(problems, []);
  assert.deepEqual(
    unitFile.options.map(({ name, value }) => [name, value]),
    [
      ["A", "echo    a    c"],
      ["B", "1"],
      ["C", "2"],
    ],
  );
});

const REFUSED = [
  ["a value with a section of its own", option("S", "A", "1\n[Service]\nExecStart=x"), /line end/],
  [
    "the same with carriage returns, which end lines too",
    option("S", "A", "1\r[T]\rB=x"),
    /carriage/,
  ],
  ["an escaped backslash before the line end", option("S", "A", "1\\\\\nB=2"), /line end/],
  ["a value that would swallow the next line", option("S", "A", "1 \\"), /backslash/],
  ["two backslashes at the end, which would for fleet", option("S", "A", "1 \\\\"), /backslash/],
  ["a comment at the end, likewise", option("S", "A", "1 \\\n # c"), /comment/],
  ["a zero byte", option("S", "A", "1\0"), /zero byte/],
  ["a name with a line", option("S", "A=1\nB", "1"), /name/],
  ["a name with an equals sign", option("S", "A=1", "1"), /name/],
  ["a name that is a comment", option("S", "#A", "1"), /name/],
  ["a name that is a header", option("S", "[T]", "1"), /name/],
  ["a name between blanks", option("S", " A", "1"), /name/],
  ["no name", option("S", "", "1"), /name/],
  ["a section that closes itself", option("S]\nA=1\n[T", "A", "1"), /section/],
  ["no section", option("", "A", "1"), /section/],
  ["nothing at all", option("", "", ""), /section/],
] as const;

for (const [what, bad, message] of REFUSED) {
  test(`contentFromOptions() refuses ${what}`, () => {
    const result = contentFromOptions([option("S", "Good", "1"), bad]);
    assert(result.type === "refused");
    assert.match(result.message, message);
  });
}

test("contentFromOptions() never lets options become other options, for fleet or for systemd", () => {
  const piece = fc.array(
    fc.constantFrom(
      "a",
      "B",
      " ",
      "\n",
      "\r",
      "\\",
      "\\\n",
      "#",
      ";",
      "[S]",
      "[",
      "]",
      "=",
      "\u0085",
    ),
    { maxLength: 6 },
  );
  const name = fc.oneof(
    fc.constantFrom("x", "y"),
    piece.map((parts) => parts.join("")),
  );
  const options = fc.array(
    fc.record({ section: name, name, value: piece.map((parts) => parts.join("")) }),
    { maxLength: 4 },
  );
  fc.assert(
    fc.property(options, (given) => {
      const result = contentFromOptions(given);
      if (result.type === "refused") return;
      const key = ({ section, name: optionName }: FleetOption) =>
        JSON.stringify([section, optionName]);
      const bySection = [...new Set(given.map(({ section }) => section))];
      const expected = bySection
        .flatMap((s) => given.filter(({ section }) => section === s))
        .map(key);
      assert.deepEqual(readFleetOptions(result.content)?.map(key), expected);
      const scanned = scanUnitFile(result.content, "a.service");
      assert.deepEqual(scanned.problems, []);
      assert.deepEqual(scanned.unitFile.options.map(key), expected);
    }),
    { numRuns: 20_000, seed: 1 },
  );
});
