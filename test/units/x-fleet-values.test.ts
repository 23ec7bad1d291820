import assert from "node:assert/strict";
import { test } from "node:test";
import { splitValue } from "../../src/units/x-fleet-values.ts";

/** fleet's own table of how a line is taken apart. */
const AS_FLEET = [
  ['"bar" "ping" "pong"', ["bar", "ping", "pong"]],
  ['"bar"', ["bar"]],
  ["", [""]],
  ['""', [""]],
  ['"a b=c d"', ["a b=c d"]],
  ["a=b c=d", ["a=b c=d"]],
] as const;

for (const [value, parts] of AS_FLEET) {
  test(`splitValue() takes ${JSON.stringify(value)} apart as fleet does`, () => {
    assert.deepEqual(splitValue(value, "items"), parts);
  });
}

const OTHER_THAN_FLEET = [
  ["an open quote: fleet kept it in the value", '"bar', undefined],
  ["a closing quote: likewise", 'bar"', undefined],
  ["a quote in the middle: likewise", 'foo\\"bar', undefined],
  ["a quote alone: fleet made an empty value of it", '"bar" "', undefined],
  ["a backslash before a quote: fleet dropped the quote", '"foo\\"bar"', undefined],
  ["two blanks: fleet made an empty value of them", '"a=b"  "c=d"', ["a=b", "c=d"]],
  ["a tab: fleet took it for part of the value", '"a=b"\t"c=d"', ["a=b", "c=d"]],
] as const;

for (const [why, value, parts] of OTHER_THAN_FLEET) {
  test(`splitValue() reads, other than fleet, ${why}`, () => {
    assert.deepEqual(splitValue(value, "items"), parts);
  });
}

test("splitValue() takes names between blanks, in quotes or not, and a line as it is", () => {
  assert.deepEqual(splitValue("a b\tc", "words"), ["a", "b", "c"]);
  assert.deepEqual(splitValue('"a b" "c"', "words"), ["a", "b", "c"]);
  assert.deepEqual(splitValue('a "b" c', "line"), ['a "b" c']);
});
