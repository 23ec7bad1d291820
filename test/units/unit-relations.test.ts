import assert from "node:assert/strict";
import { test } from "node:test";
import { unitPartners, unitRelations } from "../../src/units/unit-relations.ts";

test("unitRelations() reads what systemd and the engine read, drop-ins and specifiers included", () => {
  const content = [
    "[Unit]\nAfter=a.service  b@%i.service\nRequires=a.service\nWants=gone.service",
    "Before=late.service\nBindsTo=dev.service\nPartOf=whole.service",
    "[X-Fleet]\nMachineOf=%p-data.service\n",
  ].join("\n");
  const dropIns = [{ name: "10.conf", content: "[Unit]\nWants=\nWants=here.service\n" }];
  const said = unitRelations("web@1.service", { content, dropIns });
  assert.deepEqual(
    said.map(({ relation, unit }) => `${relation} ${unit}`),
    [
      "binds-to dev.service",
      "requires a.service",
      "wants here.service",
      "part-of whole.service",
      "after a.service",
      "after b@1.service",
      "before late.service",
      "with web-data.service",
    ],
  );
});

test("unitRelations() finds nothing in a file that says nothing, and goes on where a line is broken", () => {
  assert.deepEqual(unitRelations("a.service", { content: "", dropIns: [] }), []);
  const content = "[Unit]\nnonsense\nAfter=b.service\n";
  assert.deepEqual(unitRelations("a.service", { content, dropIns: [] }), [
    { relation: "after", unit: "b.service" },
  ]);
});

const PARTNERS: readonly [unit: string, content: string, expected: readonly string[]][] = [
  ["a.service", "[Service]\nExecStart=/bin/true\n", ["a.socket"]],
  ["a.socket", "[Socket]\nListenStream=1\n", ["a.service"]],
  ["a.timer", "[Timer]\nUnit=b.service\n", ["a.service", "b.service"]],
  ["a.path", "[Path]\nPathExists=/x\nUnit=b@1.service\n", ["a.service", "b@1.service"]],
  ["a.socket", "[Socket]\nService=b.service\n", ["a.service", "b.service"]],
  ["a.service", "[Service]\nSockets=b.socket c.socket\n", ["a.socket", "b.socket", "c.socket"]],
  ["w@2.service", "[Unit]\nBindsTo = %p-db@%i.service\n", ["w@2.socket", "w-db@2.service"]],
  ["a.target", "[Unit]\nWants=a.target b.target\nBefore=c.target\n", ["b.target"]],
  ["a.mount", "[Unit]\nAfter=b.mount\nPartOf=c.target\n", ["c.target", "b.mount"]],
];

test("unitPartners() gives what systemd looks at when it starts the unit", () => {
  for (const [unit, content, expected] of PARTNERS) {
    assert.deepEqual(unitPartners(unit, { content, dropIns: [] }), expected, `${unit}: ${content}`);
    const dropIns = [{ name: "10.conf", content }];
    assert.deepEqual(unitPartners(unit, { content: "", dropIns }), expected, `drop-in of ${unit}`);
  }
});
