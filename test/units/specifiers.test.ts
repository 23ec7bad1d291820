import assert from "node:assert/strict";
import { test } from "node:test";
import { expandSpecifiers } from "../../src/units/specifiers.ts";

const TABLE = [
  ["foo@bar.service", "%n %N %p %i", "foo@bar.service foo@bar foo bar"],
  ["test.service", "%n %N %p %i", "test.service test test "],
  ["ssh@2.service", "%n %N %p %i", "ssh@2.service ssh@2 ssh 2"],
  ["foo@bar.waldo", "%n %N %p %i", "foo@bar.waldo foo@bar foo bar"],
  ["foo@bar.service", "a%ib%pc", "abarbfooc"],
  ["foo@%p.service", "x%iy", "x%py"],
  ["foo.service", "%p.socket", "foo.socket"],
  ["foo@bar.service", "%H %m %b %", "%H %m %b %"],
  ["foo@bar.service", "plain", "plain"],
  ["a-b-c@x\\x2dy-z.service", "%i %I %p %P %j %J", "x\\x2dy-z x-y/z a-b-c a/b/c c c"],
  ["a-b\\x2fc.service", "%j %J", "b\\x2fc b/c"],
] as const;

for (const [unit, value, expanded] of TABLE) {
  test(`expandSpecifiers() makes ${value} of ${unit} into ${expanded}`, () => {
    assert.equal(expandSpecifiers(value, unit), expanded);
  });
}

test("expandSpecifiers() takes %% for a percent sign, as systemd does and fleet did not", () => {
  assert.equal(expandSpecifiers("%%i", "foo@bar.service"), "%i");
  assert.equal(expandSpecifiers("100%%", "foo@bar.service"), "100%");
});

test("expandSpecifiers() replaces %I and %j too, which fleet left as they were", () => {
  assert.equal(expandSpecifiers("%I %j", "foo@bar.service"), "bar foo");
});

test("expandSpecifiers() gives nothing if an escape cannot be undone", () => {
  assert.equal(expandSpecifiers("%I", "a@\\xzz.service"), undefined);
  assert.equal(expandSpecifiers("%i", "a@\\xzz.service"), "\\xzz");
});
