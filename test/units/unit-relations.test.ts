import assert from "node:assert/strict";
import { test } from "node:test";
import { unitRelations } from "../../src/units/unit-relations.ts";

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
