import assert from "node:assert/strict";
import { test } from "node:test";
import { updateWay } from "../../src/units/update-way.ts";

const RELOADS = "[Service]\nExecReload=/bin/kill -HUP $MAINPID\n";

for (const { content, way } of [
  { content: "[Service]\nExecStart=/bin/true\n", way: "restart" },
  { content: "[X-Fleet]\nOnUpdate=replace\n", way: "restart" },
  { content: "[X-Fleet]\nOnUpdate=none\n", way: "none" },
  { content: `${RELOADS}[X-Fleet]\nOnUpdate=reload\n`, way: "reload" },
  { content: "[Service]\nType=notify-reload\n[X-Fleet]\nOnUpdate=reload\n", way: "reload" },
  { content: "[X-Fleet]\nOnUpdate=reload\n", way: "cannot-reload" },
  { content: `${RELOADS}ExecReload=\n[X-Fleet]\nOnUpdate=reload\n`, way: "cannot-reload" },
  { content: "[Service]\nEnvironment=OnUpdate=none\n", way: "restart" },
]) {
  test(`${JSON.stringify(content)}: ${way}`, () => {
    assert.equal(updateWay({ content, dropIns: [] }), way);
  });
}

test("a drop-in has the last word", () => {
  const dropIns = [{ name: "a.conf", content: "[X-Fleet]\nOnUpdate=none\n" }];
  assert.equal(updateWay({ content: "[X-Fleet]\nOnUpdate=restart\n", dropIns }), "none");
});
