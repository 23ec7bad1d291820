import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  expandMachineSpecifiers,
  expandNameSpecifiers,
  firstMachineSpecifier,
  hasMachineSpecifiers,
  plainText,
} from "../../src/units/specifiers.ts";

const TABLE = [
  ["foo@bar.service", "%n %N %p %i", "foo@bar.service foo@bar foo bar"],
  ["test.service", "%n %N %p %i", "test.service test test "],
  ["ssh@2.service", "%n %N %p %i", "ssh@2.service ssh@2 ssh 2"],
  ["foo@bar.waldo", "%n %N %p %i", "foo@bar.waldo foo@bar foo bar"],
  ["foo@bar.service", "a%ib%pc", "abarbfooc"],
  ["foo@%p.service", "x%iy", "x%%py"],
  ["foo.service", "%p.socket", "foo.socket"],
  ["foo@bar.service", "%H %m %b %", "%H %m %b %"],
  ["foo@bar.service", "%%i %%H 100%%", "%%i %%H 100%%"],
  ["foo@bar.service", "plain", "plain"],
  ["a-b-c@x\\x2dy-z.service", "%i %I %p %P %j %J", "x\\x2dy-z x-y/z a-b-c a/b/c c c"],
  ["a-b\\x2fc.service", "%j %J", "b\\x2fc b/c"],
  ["a@50\\x25H.service", "%i %I", "50\\x25H 50%%H"],
] as const;

for (const [unit, text, expanded] of TABLE) {
  test(`expandNameSpecifiers() makes ${text} of ${unit} into ${expanded}`, () => {
    assert.equal(expandNameSpecifiers(text, unit), expanded);
  });
}

test("expandNameSpecifiers() replaces %I and %j too, which fleet left as they were", () => {
  assert.equal(expandNameSpecifiers("%I %j", "foo@bar.service"), "bar foo");
});

test("expandNameSpecifiers() gives nothing if an escape cannot be undone", () => {
  assert.equal(expandNameSpecifiers("%I", "a@\\xzz.service"), undefined);
  assert.equal(expandNameSpecifiers("%i", "a@\\xzz.service"), "\\xzz");
});

const MACHINE = { machineId: "0123456789abcdef0123456789abcdef", hostname: "m1" };

test("expandMachineSpecifiers() fills in the machine and makes one percent sign of two", () => {
  const table = {
    "db-%H": "db-m1",
    "%m": MACHINE.machineId,
    "%%H is %H": "%H is m1",
    "%%%H": "%m1",
    "100% %b": "100% %b",
    "a%%": "a%",
  };
  for (const [text, expanded] of Object.entries(table)) {
    assert.equal(expandMachineSpecifiers(text, MACHINE), expanded, text);
    assert.equal(hasMachineSpecifiers(text), text !== expanded, text);
  }
  assert.equal(firstMachineSpecifier("%%H %m %H"), "%m");
  assert.equal(firstMachineSpecifier("%%H %%%%m"), undefined);
});

test("a machine text that need not be expanded stays as it is on any machine", () => {
  const piece = fc.constantFrom("%", "%%", "H", "m", "i", "%H", "%n", "a");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const text = expandNameSpecifiers(pieces.join(""), "a@\\x25H.service") ?? "";
      const expanded = expandMachineSpecifiers(text, MACHINE);
      if (!hasMachineSpecifiers(text)) assert.equal(expanded, text);
      else if (firstMachineSpecifier(text) === undefined) assert.equal(plainText(text), expanded);
    }),
    { numRuns: 2000, seed: 1 },
  );
});
