import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DEFAULT_DEPLOYMENT } from "../../src/units/deployment.ts";
import { NO_REQUIREMENTS, type Requirements } from "../../src/units/requirements.ts";
import { parseUnitFile, scanUnitFile } from "../../src/units/unit-file.ts";
import { problemText } from "../../src/units/unit-problem.ts";
import { parseRequirements, type ReadOptions, VALUES_MAX } from "../../src/units/x-fleet.ts";
import { parseBoolean } from "../../src/units/x-fleet-values.ts";

const UNIT = "foo@bar.service";

const METADATA_FORMS =
  'it has to be key=value, key!=value, key in (a, b) or key not in (a, b) (several on a line: "a=b" "c=d")';

function read(lines: string, unit = UNIT, options?: ReadOptions) {
  return parseRequirements(unit, [parseUnitFile(`[X-Fleet]\n${lines}`, unit)], options);
}

function required(lines: string, unit = UNIT): Requirements {
  const { requirements, problems } = read(lines, unit);
  assert.deepEqual(problems.map(problemText), []);
  return requirements;
}

/** `line: message` */
function problems(lines: string, unit = UNIT): readonly string[] {
  return read(lines, unit).problems.map(({ line, message }) => `${line}: ${message}`);
}

const ACCEPTED: readonly (readonly [lines: string, requirements: Partial<Requirements>])[] = [
  ["", {}],
  // Peers
  ['MachineOf="lol.service"', { machineOf: ["lol.service"] }],
  ['MachineOf="foo.service" "bar.service"', { machineOf: ["foo.service", "bar.service"] }],
  ["MachineOf=%p.socket", { machineOf: ["foo.socket"] }],
  ["MachineOf=ping@%i.service", { machineOf: ["ping@bar.service"] }],
  [
    "MachineOf=a.service\nX-ConditionMachineOf=b.service\nMachineOf=a.service",
    { machineOf: ["a.service", "b.service"] },
  ],
  // Conflicts
  ["Conflicts=*bar*", { conflicts: ["*bar*"] }],
  ["Conflicts=*bar* *foo*", { conflicts: ["*bar*", "*foo*"] }],
  ["Conflicts=*bar*\nConflicts=*foo*", { conflicts: ["*bar*", "*foo*"] }],
  ['Conflicts="a b" "c"', { conflicts: ["a", "b", "c"] }],
  ["X-Conflicts=a\nConflicts=b", { conflicts: ["a", "b"] }],
  ["Conflicts=%p@*.service", { conflicts: ["foo@*.service"] }],
  ["Conflicts=a \\\n  b \\\n# comment\n  c", { conflicts: ["a", "b", "c"] }],
  // Failures, changes of global units
  ["OnFailure=stay", {}],
  ["OnFailure=move", { moveOnFailure: { limit: 3, intervalMs: 600_000 } }],
  [
    "OnFailure=move\nMoveLimit=1\nMoveIntervalSec=1h 30min",
    { moveOnFailure: { limit: 1, intervalMs: 5_400_000 } },
  ],
  ["Global=yes\nMaxUnavailable=5", { global: true, maxUnavailable: 5 }],
  ["Fencing=none", {}],
  [
    "Fencing=strict\n[Service]\nTimeoutStopSec=500ms\nExecStop=/bin/a\nExecStopPost=/bin/b",
    { fencing: { stopMs: 2_000 } },
  ],
  // Replaces
  ["Replaces=*bar*", { replaces: ["*bar*"] }],
  // MachineID
  ["MachineID=123", { machineId: "123" }],
  ['MachineID="123"', { machineId: "123" }],
  ["MachineID=%i", { machineId: "bar" }],
  ["X-ConditionMachineID=123", { machineId: "123" }],
  ["X-ConditionMachineID=456\nMachineID=123", { machineId: "123" }],
  ["MachineID=123\nX-ConditionMachineID=456", { machineId: "123" }],
  ["X-ConditionMachineBootID=123\nX-ConditionMachineID=456", { machineId: "456" }],
  ["X-ConditionMachineBootID=123\nMachineID=456", { machineId: "456" }],
  // MachineMetadata: same key or, different keys and
  [
    "MachineMetadata=foo=bar",
    { metadata: [{ key: "foo", operator: "in" as const, values: ["bar"] }] },
  ],
  [
    "MachineMetadata=foo=a b",
    { metadata: [{ key: "foo", operator: "in" as const, values: ["a b"] }] },
  ],
  [
    'MachineMetadata="foo=bar" "foo=baz"',
    { metadata: [{ key: "foo", operator: "in" as const, values: ["bar", "baz"] }] },
  ],
  [
    "MachineMetadata=foo=bar\nMachineMetadata=foo=baz\nMachineMetadata=foo=asdf",
    { metadata: [{ key: "foo", operator: "in" as const, values: ["bar", "baz", "asdf"] }] },
  ],
  [
    'MachineMetadata="foo=bar" "duck=quack"',
    {
      metadata: [
        { key: "foo", operator: "in" as const, values: ["bar"] },
        { key: "duck", operator: "in" as const, values: ["quack"] },
      ],
    },
  ],
  [
    'MachineMetadata="a b=c d"',
    { metadata: [{ key: "a b", operator: "in" as const, values: ["c d"] }] },
  ],
  [
    "X-ConditionMachineMetadata=foo=bar",
    { metadata: [{ key: "foo", operator: "in" as const, values: ["bar"] }] },
  ],
  [
    "MachineMetadata=foo=bar\nX-ConditionMachineMetadata=foo=asdf",
    { metadata: [{ key: "foo", operator: "in" as const, values: ["bar", "asdf"] }] },
  ],
  [
    'MachineMetadata="region=us-east-1" "diskType=SSD"\nMachineMetadata=region=us-west-1',
    {
      metadata: [
        { key: "region", operator: "in" as const, values: ["us-east-1", "us-west-1"] },
        { key: "diskType", operator: "in" as const, values: ["SSD"] },
      ],
    },
  ],
  [
    "MachineMetadata=hostname=%i",
    { metadata: [{ key: "hostname", operator: "in" as const, values: ["bar"] }] },
  ],
  [
    "MachineMetadata=hostname=%H",
    { metadata: [{ key: "hostname", operator: "in" as const, values: ["%H"] }] },
  ],
  [
    'MachineMetadata="disk!=hdd" "disk!=tape" "region in (eu, us-east)" "rack not in (r1,r 2)"\nMachineMetadata=region=asia',
    {
      metadata: [
        { key: "disk", operator: "not-in" as const, values: ["hdd", "tape"] },
        { key: "region", operator: "in" as const, values: ["eu", "us-east", "asia"] },
        { key: "rack", operator: "not-in" as const, values: ["r1", "r 2"] },
      ],
    },
  ],
  [
    "MachineMetadata=not in (a)",
    { metadata: [{ key: "not", operator: "in" as const, values: ["a"] }] },
  ],
  [
    "MachineMetadata=in not\tin(a)",
    { metadata: [{ key: "in", operator: "not-in" as const, values: ["a"] }] },
  ],
  [
    "MachineMetadata=a%%b!=%H",
    { metadata: [{ key: "a%b", operator: "not-in" as const, values: ["%H"] }] },
  ],
  // PreferMachineMetadata: one by one, the first counts most
  [
    'PreferMachineMetadata="disk=ssd" "disk=nvme"\nPreferMachineMetadata=owner=%i',
    {
      preferredMetadata: [
        { key: "disk", operator: "in" as const, values: ["ssd"] },
        { key: "disk", operator: "in" as const, values: ["nvme"] },
        { key: "owner", operator: "in" as const, values: ["bar"] },
      ],
    },
  ],
  // Machines that are out of the question; what the machine fills in
  ["NotMachineID=1 2\nNotMachineID=%i", { notMachineIds: ["1", "2", "bar"] }],
  [
    "NotMachineID=%m\nConflicts=web-%H@*.service 100%%\n",
    { notMachineIds: ["%m"], conflicts: ["web-%H@*.service", "100%%"] },
  ],
  ["Replaces=old-%H.service", { replaces: ["old-%H.service"] }],
  ["MachineID=%m", { machineId: "%m" }],
  ["MachineOf=b.service\nMachineOf=\nMachineOf=a.service", { machineOf: ["a.service"] }],
  // Spread, limits and weight; the last counts
  ["SpreadBy=rack", { spreadBy: "rack" }],
  ["SpreadBy=100%%", { spreadBy: "100%" }],
  ["MaxPerMachine=3\nMaxPerMachine=2", { maxPerMachine: 2 }],
  ["Weight=5\nWeight=\nWeight=10000", { weight: 10_000 }],
  ["Weight=5\nWeight=", {}],
  // Global
  ...["true", "True", "Yes", "On", "1", "t", "y", "TRUE"].map(
    (yes) => [`Global=${yes}`, { global: true }] as const,
  ),
  ...["false", "no", "0", "off", "f", "N"].map((no) => [`Global=${no}`, {}] as const),
  ["Global=true\nGlobal=false", {}],
  ["Global=false\nGlobal=true", { global: true }],
  // Together
  [
    "Conflicts=foo.service\nMachineOf=bar.service",
    { conflicts: ["foo.service"], machineOf: ["bar.service"] },
  ],
  ["Conflicts=b*e\nMachineOf=foo.service", { conflicts: ["b*e"], machineOf: ["foo.service"] }],
  [
    "Replaces=foo.service\nMachineOf=bar.service",
    { replaces: ["foo.service"], machineOf: ["bar.service"] },
  ],
  ["Global=true\nConflicts=a", { global: true, conflicts: ["a"] }],
  ["Global=yes\nNotMachineID=a\nWeight=2", { global: true, notMachineIds: ["a"], weight: 2 }],
  [
    "MachineOf=a-m1.service\nConflicts=a-%H.service",
    { machineOf: ["a-m1.service"], conflicts: ["a-%H.service"] },
  ],
  ["Global=false\nMachineOf=a.service", { machineOf: ["a.service"] }],
  [
    "MachineID=1\nMachineMetadata=a=b",
    { machineId: "1", metadata: [{ key: "a", operator: "in" as const, values: ["b"] }] },
  ],
  [
    "Global=true\nMachineMetadata=a=b",
    { global: true, metadata: [{ key: "a", operator: "in" as const, values: ["b"] }] },
  ],
  ["MachineID=1\nGlobal=false", { machineId: "1" }],
];

for (const [lines, requirements] of ACCEPTED) {
  test(`parseRequirements() reads ${JSON.stringify(lines)}`, () => {
    assert.deepEqual(required(lines), { ...NO_REQUIREMENTS, ...requirements });
  });
}

test("parseRequirements() reads nothing outside of [X-Fleet]", () => {
  const text = "[Service]\nGlobal=true\n[Unit]\nConflicts=a\n[X-Other]\nMachineOf=b\n";
  assert.deepEqual(parseRequirements("a.service", [parseUnitFile(text, "a.service")]), {
    deployment: DEFAULT_DEPLOYMENT,
    requirements: NO_REQUIREMENTS,
    problems: [],
    warnings: [],
  });
});

/** Options that fleet did not have. */
const REFUSED_NEW = [
  ["OnFailure=restart", "OnFailure=restart: it has to be stay or move"],
  ["MoveLimit=2", "MoveLimit= is of no use without OnFailure=move"],
  [
    "MoveIntervalSec=soon\nOnFailure=move",
    "MoveIntervalSec=soon: it has to be a time span, as in 600 or 10min",
  ],
  ["OnFailure=move\nGlobal=yes", "Global cannot be used with OnFailure=move"],
  [
    "Fencing=strict",
    "Fencing=strict: it needs a TimeoutStopSec= that fits into half of the machines' agent_ttl",
  ],
  [
    "Fencing=strict\n[Service]\nTimeoutStopSec=1\nKillMode=process",
    "Fencing=strict: KillMode=process leaves processes behind",
  ],
  [
    "Fencing=strict\n[Service]\nTimeoutStopSec=1\nSendSIGKILL=no",
    "Fencing=strict: SendSIGKILL=no lets processes live on",
  ],
  ["Weight=0", "Weight=0: it has to be a whole number from 1 to 10000"],
  ["Weight=1.5", "Weight=1.5: it has to be a whole number from 1 to 10000"],
  ["MaxPerMachine=-1", "MaxPerMachine=-1: it has to be a whole number from 1 to 10000"],
  ["MaxPerMachine=10001", "MaxPerMachine=10001: it has to be a whole number from 1 to 10000"],
  ["SpreadBy=rack=1", "SpreadBy=rack=1: it takes one metadata key, without a value"],
  ["SpreadBy=", "SpreadBy= has no value, and none before it to reset"],
  ['NotMachineID=""', "NotMachineID=: the machine id is empty"],
  ["PreferMachineMetadata=ssd", `PreferMachineMetadata=ssd: ${METADATA_FORMS}`],
  ["PreferMachineMetadata=a != b", 'PreferMachineMetadata=a != b: blanks around "=" or the value'],
  ["MachineMetadata=a in (b", `MachineMetadata=a in (b: ${METADATA_FORMS}`],
  ["MachineMetadata=a in (b=c)", `MachineMetadata=a in (b=c): ${METADATA_FORMS}`],
  ["MachineMetadata=(a)=b", `MachineMetadata=(a)=b: ${METADATA_FORMS}`],
  ["MachineMetadata=%H=b", "MachineMetadata=%H=b: %H can only be in the value, not in the key"],
  [
    "MachineOf=db@%H.service",
    "MachineOf=db@%H.service: %H is known only once the machine is chosen, and this helps to choose it",
  ],
  [
    "Weight=%m",
    "Weight=%m: %m is known only once the machine is chosen, and this helps to choose it",
  ],
] as const;

for (const [lines, message] of REFUSED_NEW) {
  test(`parseRequirements() refuses ${lines}`, () => {
    assert.deepEqual(problems(lines), [`2: ${message}`]);
  });
}

test("parseRequirements() says where on the line an option begins", () => {
  const { problems: found } = read("Global=no\n \tWeight=x\n  Global \\\n =x\n");
  assert.deepEqual(
    found.map(({ line, column }) => [line, column]),
    [
      [3, 3],
      [4, 3],
    ],
  );
});

test("parseRequirements() wants a template's instance for what counts instances", () => {
  for (const lines of ["SpreadBy=rack", "MaxPerMachine=1"]) {
    const option = lines.slice(0, lines.indexOf("="));
    assert.deepEqual(problems(lines, "web.service"), [
      `2: ${option}= counts the instances of a template, and web.service is none (it would be like name@instance.service)`,
    ]);
    assert.deepEqual(problems(lines, "web@.service"), []);
    assert.deepEqual(problems(`${lines}\nGlobal=yes`), [`2: Global cannot be used with ${option}`]);
  }
});

const OLD_FILE =
  'X-Global=true\nMachineMetadata=foo\nMachineMetadata="a=b" "c"\nMachineOf=web\nPreferMachineMetadata=x\nMachineMetadata=d = e\n';

test("parseRequirements() passes over, when lenient, what fleet dropped, and says so", () => {
  const strict = read(OLD_FILE);
  const lenient = read(OLD_FILE, UNIT, { lenient: true });
  assert.deepEqual(strict.warnings, []);
  assert.deepEqual(lenient.warnings.map(problemText), [
    `${UNIT}:2:1: unrecognized requirement in [X-Fleet] section: "X-Global"; did you mean Global?`,
    `${UNIT}:3:1: MachineMetadata=foo: ${METADATA_FORMS}`,
    `${UNIT}:4:1: MachineMetadata=c: ${METADATA_FORMS}`,
  ]);
  // fleet kept this one, with a key that no machine has.
  assert.deepEqual(lenient.problems.map(problemText), [
    `${UNIT}:5:1: MachineOf=web: unit name must contain "."`,
    `${UNIT}:6:1: PreferMachineMetadata=x: ${METADATA_FORMS}`,
    `${UNIT}:7:1: MachineMetadata=d = e: blanks around "=" or the value`,
  ]);
  assert.equal(strict.problems.length, 6);
  assert.deepEqual(lenient.requirements, {
    ...NO_REQUIREMENTS,
    metadata: [{ key: "a", operator: "in", values: ["b"] }],
  });
});

test("parseRequirements() gives the same for a good section, lenient or not", () => {
  for (const [lines] of ACCEPTED) {
    assert.deepEqual(read(lines, UNIT, { lenient: true }), read(lines));
  }
});

test("parseRequirements() knows what was probably meant", () => {
  const meant = {
    Confilcts: "Conflicts",
    machineof: "MachineOf",
    MachineMetaData: "MachineMetadata",
    PreferMachineMetdata: "PreferMachineMetadata",
    MaxPerMachines: "MaxPerMachine",
    Wieght: "Weight",
    SpreadByy: "SpreadBy",
    "X-ConditionConflicts": "Conflicts",
    Peers: undefined,
    Wait: undefined,
    X: undefined,
  };
  for (const [name, option] of Object.entries(meant)) {
    const hint = option === undefined ? "" : `; did you mean ${option}?`;
    assert.deepEqual(problems(`${name}=1`), [
      `2: unrecognized requirement in [X-Fleet] section: "${name}"${hint}`,
    ]);
  }
});

const COMBINATIONS = [
  ["MachineID=x\nNotMachineID=y", ["3: MachineID cannot be used with NotMachineID"]],
  [
    "MachineID=x\nPreferMachineMetadata=a=b",
    ["3: MachineID cannot be used with PreferMachineMetadata"],
  ],
  ["MachineID=x\nSpreadBy=a", ["3: MachineID cannot be used with SpreadBy"]],
  [
    "Global=yes\nPreferMachineMetadata=a=b",
    ["3: Global cannot be used with PreferMachineMetadata"],
  ],
  ["MachineID=x\nMachineOf=a.service", ["3: MachineID cannot be used with Peers"]],
  ["MachineID=x\nConflicts=a", ["3: MachineID cannot be used with Conflicts"]],
  ["MachineID=x\nGlobal=true", ["3: MachineID cannot be used with Global"]],
  ["Global=true\nMachineID=x", ["2: MachineID cannot be used with Global"]],
  ["MachineID=x\nReplaces=a", ["3: MachineID cannot be used with Replaces"]],
  ["Global=true\nMachineOf=a.service", ["3: Global cannot be used with Peers"]],
  ["Global=true\nReplaces=a", ["3: Global cannot be used with Replaces"]],
  ["Replaces=foo.service\nConflicts=bar.service", ["2: Conflicts cannot be used with Replaces"]],
  ["X-Conflicts=bar\nReplaces=bar", ["3: Conflicts cannot be used with Replaces"]],
  [
    "X-ConditionMachineID=x\nX-ConditionMachineOf=a.service",
    ["3: MachineID cannot be used with Peers"],
  ],
  [
    "Conflicts=foo.service\nMachineOf=foo.service",
    ['2: unresolvable requirements: peer "foo.service" matches conflict "foo.service"'],
  ],
  [
    "Conflicts=foo.service\nConflicts=bar.service\nMachineOf=bar.service",
    ['3: unresolvable requirements: peer "bar.service" matches conflict "bar.service"'],
  ],
  [
    "Conflicts=b*e\nMachineOf=baz.service",
    ['2: unresolvable requirements: peer "baz.service" matches conflict "b*e"'],
  ],
  [
    "Replaces=foo\nReplaces=bar.*\nMachineOf=bar.service",
    ['3: unresolvable requirements: peer "bar.service" matches replace "bar.*"'],
  ],
  [
    "Conflicts=%p@*.service\nMachineOf=foo@1.service",
    ['2: unresolvable requirements: peer "foo@1.service" matches conflict "foo@*.service"'],
  ],
  [
    "Global=true\nMachineID=x\nReplaces=a",
    [
      "2: MachineID cannot be used with Global",
      "4: MachineID cannot be used with Replaces",
      "4: Global cannot be used with Replaces",
    ],
  ],
] as const;

for (const [lines, messages] of COMBINATIONS) {
  test(`parseRequirements() refuses ${JSON.stringify(lines)}`, () => {
    assert.deepEqual(problems(lines), messages);
  });
}

/** Where fleet was silent or did something else, and why that is not kept. */
const STRICTER_THAN_FLEET: readonly (readonly [why: string, lines: string, message: string])[] = [
  ...(
    [
      ["X-ConditionConflicts", "Conflicts"],
      ["Machineof", "MachineOf"],
      ["X-Global", "Global"],
      ["global", "Global"],
      ["X-ConditionMachineId", "MachineID"],
      ["MachineId", "MachineID"],
      ["X-MachineMetadata", "MachineMetadata"],
    ] as const
  ).map(
    ([key, meant]) =>
      [
        `unknown option ${key}: it had no effect, seen only in the client's log`,
        `${key}=a`,
        `unrecognized requirement in [X-Fleet] section: "${key}"; did you mean ${meant}?`,
      ] as const,
  ),
  ...["X-Peers", "X-ConditionMetadata", "Colour"].map(
    (key) =>
      [
        `unknown option ${key}`,
        `${key}=a`,
        `unrecognized requirement in [X-Fleet] section: "${key}"`,
      ] as const,
  ),
  ...["foo", "foo=", "=asdf", "foo=asdf=WHAT", "a=b c=d", "foo in ()", "foo in (a,,b)"].map(
    (value) =>
      [
        `metadata ${value}: it was dropped, so the unit could run anywhere`,
        `MachineMetadata=${value}`,
        `MachineMetadata=${value}: ${METADATA_FORMS}`,
      ] as const,
  ),
  [
    "blanks around =: they became part of the key, which then never matched",
    "MachineMetadata=a = b",
    'MachineMetadata=a = b: blanks around "=" or the value',
  ],
  [
    "an odd number of quotes: gave an empty value",
    'Conflicts="bar" "',
    'Conflicts=: quotes have to enclose each value of the line, as in "a=b" "c=d"',
  ],
  [
    "a quote inside: became part of the value",
    'MachineMetadata=foo="bar baz"',
    'MachineMetadata=: quotes have to enclose each value of the line, as in "a=b" "c=d"',
  ],
  [
    "a backslash before a quote: was kept, and the quote lost",
    'Conflicts="foo\\"bar"',
    'Conflicts=: quotes have to enclose each value of the line, as in "a=b" "c=d"',
  ],
  ["an empty quoted value", 'MachineMetadata=""', `MachineMetadata=: ${METADATA_FORMS}`],
  [
    "an empty MachineID: made the unit unschedulable for ever",
    "MachineID=",
    "MachineID= has no value, and none before it to reset",
  ],
  [
    "an empty MachineOf: waited for a unit without name",
    "MachineOf=",
    "MachineOf= has no value, and none before it to reset",
  ],
  [
    "an empty Conflicts: a value got lost",
    "Conflicts=",
    "Conflicts= has no value, and none before it to reset",
  ],
  [
    "an empty Global: counted as no",
    "Global=",
    "Global= has no value, and none before it to reset",
  ],
  ["Global=what: counted as no", "Global=what", "Global=what: it has to be yes or no"],
  ["Global=12: counted as no", "Global=12", "Global=12: it has to be yes or no"],
  [
    "two machines: the second was ignored",
    'MachineID="123" "456"',
    "MachineID=456: the unit is pinned to 123 already",
  ],
  [
    "two machines, old spelling",
    'X-ConditionMachineID="123" "456"',
    "X-ConditionMachineID=456: the unit is pinned to 123 already",
  ],
  [
    "two machines without quotes",
    "MachineID=123 456",
    "MachineID=123 456: it takes one machine id",
  ],
  [
    "X-ConditionMachineBootID alone: was compared with machine ids",
    "X-ConditionMachineBootID=123",
    "X-ConditionMachineBootID: fleet compared it with machine ids, so nothing ever matched; use MachineID",
  ],
  [
    "a bad pattern: never matched, so conflicting units met",
    "Conflicts=foo[",
    "Conflicts=foo[: bad pattern",
  ],
  ["a bad pattern in Replaces", "Replaces=a[]", "Replaces=a[]: bad pattern"],
  [
    "a peer without type: waited for ever",
    "MachineOf=bar",
    'MachineOf=bar: unit name must contain "."',
  ],
  [
    "a template as peer: waited for ever",
    "MachineOf=bar@.service",
    "MachineOf=bar@.service: a template never runs, name an instance of it",
  ],
  [
    "the unit itself as peer: waited for ever",
    "MachineOf=%n",
    "MachineOf=%n: a unit cannot ask for its own machine",
  ],
];

for (const [why, lines, message] of STRICTER_THAN_FLEET) {
  test(`parseRequirements() refuses, other than fleet, ${why}`, () => {
    assert.deepEqual(problems(lines), [`2: ${message}`]);
  });
}

/** Where fleet read something else, and both can be taken as meant. */
const READ_OTHERWISE: readonly (readonly [
  why: string,
  lines: string,
  requirements: Partial<Requirements>,
])[] = [
  [
    "several peers on a line: fleet took them for one name",
    "MachineOf=a.service b.service",
    { machineOf: ["a.service", "b.service"] },
  ],
  ["several names in Replaces, likewise", "Replaces=a b", { replaces: ["a", "b"] }],
  [
    "several blanks between quoted values: fleet made an empty value of them",
    'MachineMetadata="a=b"  "c=d"',
    {
      metadata: [
        { key: "a", operator: "in" as const, values: ["b"] },
        { key: "c", operator: "in" as const, values: ["d"] },
      ],
    },
  ],
  [
    "a tab between quoted values: fleet took it for part of the value",
    'MachineMetadata="a=b"\t"a=d"',
    { metadata: [{ key: "a", operator: "in" as const, values: ["b", "d"] }] },
  ],
  [
    "%%: one percent sign, as in systemd",
    "MachineMetadata=a=%%i",
    { metadata: [{ key: "a", operator: "in" as const, values: ["%%i"] }] },
  ],
  [
    "key!=value: fleet took the exclamation mark for a part of the key",
    "MachineMetadata=foo!=bar",
    { metadata: [{ key: "foo", operator: "not-in" as const, values: ["bar"] }] },
  ],
];

for (const [why, lines, requirements] of READ_OTHERWISE) {
  test(`parseRequirements() reads, other than fleet, ${why}`, () => {
    assert.deepEqual(required(lines), { ...NO_REQUIREMENTS, ...requirements });
  });
}

test("parseRequirements() notices a misspelt section, which systemd would ignore as it does [X-Fleet]", () => {
  for (const section of ["x-fleet", "X-FLEET", "XFleet", "X_Fleet", " X-Fleet "]) {
    const { problems: found } = parseRequirements("a.service", [
      parseUnitFile(`[${section}]\nGlobal=true\n`, "a.service"),
    ]);
    assert.deepEqual(found.map(problemText), [
      `a.service:2:1: section [${section}] has to be spelled [X-Fleet]`,
    ]);
  }
});

test("parseRequirements() reads a template as an instance, so that its mistakes show", () => {
  assert.deepEqual(problems("MachineID=%i\n", "pin@.service"), []);
  assert.deepEqual(problems("MachineOf=ping@%i.service\n", "pong@.service"), []);
  assert.deepEqual(problems("MachineOf=pong@%i.service\n", "pong@.service"), [
    "2: MachineOf=pong@%i.service: a unit cannot ask for its own machine",
  ]);
  assert.equal(required("Global=true", "g@.service").global, true);
});

test("parseRequirements() refuses a value that the name leaves empty", () => {
  assert.deepEqual(problems("MachineID=%i", "foo.service"), [
    "2: MachineID=%i: the machine id is empty",
  ]);
  assert.deepEqual(problems("MachineMetadata=a=%i", "foo.service"), [
    `2: MachineMetadata=a=%i: ${METADATA_FORMS}`,
  ]);
});

test("parseRequirements() adds drop-ins behind the unit file and lets them reset", () => {
  const main = parseUnitFile(
    "[X-Fleet]\nMachineID=1\nMachineMetadata=a=b\nGlobal=no\n",
    "a.service",
  );
  const dropIn = parseUnitFile(
    "[X-Fleet]\nMachineID=\nMachineID=2\nMachineMetadata=a=c\n",
    "a.service.d/x.conf",
  );
  assert.deepEqual(parseRequirements("a.service", [main, dropIn]).requirements, {
    ...NO_REQUIREMENTS,
    machineId: "2",
    metadata: [{ key: "a", operator: "in" as const, values: ["b", "c"] }],
  });
  const wrong = parseUnitFile("[X-Fleet]\n\nConflicts=b\n", "a.service.d/y.conf");
  assert.deepEqual(parseRequirements("a.service", [main, wrong]).problems.map(problemText), [
    "a.service.d/y.conf:3:1: MachineID cannot be used with Conflicts",
  ]);
});

test("parseRequirements() has limits on how much it takes", () => {
  const names = (count: number) =>
    Array.from({ length: count }, (_, i) => `u${i}.service`).join(" ");
  assert.equal(required(`MachineOf=${names(VALUES_MAX)}`).machineOf.length, VALUES_MAX);
  assert.deepEqual(problems(`MachineOf=${names(VALUES_MAX + 1)}`), [
    "2: MachineOf=: more than 500 values",
  ]);
  assert.deepEqual(problems(`Conflicts=${"%n".repeat(400)}`), [
    `2: Conflicts=${"%n".repeat(28)}%...: longer than 1024 characters`,
  ]);
});

test("parseRequirements() never throws and gives each problem a line", () => {
  const value = fc
    .array(
      fc.constantFrom("a.service", "=", "%i", "%I", "%%", "%", '"', " ", "[", "*", "\\", "b"),
      {
        maxLength: 8,
      },
    )
    .map((parts) => parts.join(""));
  const name = fc.constantFrom(
    "MachineID",
    "MachineOf",
    "MachineMetadata",
    "Conflicts",
    "Replaces",
    "Global",
    "X",
  );
  const unit = fc.constantFrom(
    "a.service",
    "foo@bar.service",
    "foo@.service",
    "x@\\xzz.service",
    "",
    "a",
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 6 }), unit, (lines, unitName) => {
      const text = `[X-Fleet]\n${lines.map(([n, v]) => `${n}=${v}\n`).join("")}`;
      const { unitFile } = scanUnitFile(text, "a.service");
      const { requirements, problems: found } = parseRequirements(unitName, [unitFile]);
      for (const { line } of found) assert(line !== undefined && line >= 2);
      for (const { values } of requirements.metadata) assert(values.length > 0);
    }),
    { numRuns: 2000, seed: 1 },
  );
});

test("parseBoolean() takes what systemd takes", () => {
  for (const yes of ["1", "yes", "Y", "true", "T", "on"]) assert.equal(parseBoolean(yes), true);
  for (const no of ["0", "no", "n", "False", "f", "OFF"]) assert.equal(parseBoolean(no), false);
  for (const other of ["", "2", "tru", "ja", " yes"]) assert.equal(parseBoolean(other), undefined);
});
