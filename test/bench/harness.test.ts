import assert from "node:assert/strict";
import { test } from "node:test";
import { summarize, table } from "../../bench/harness.ts";

const sample = (name: string, value: number) => ({ name, unit: "s", value });

test("summarize() gives median, least and greatest of each name, in the order of first appearance", () => {
  const results = summarize([
    sample("b", 3),
    sample("a", 10),
    sample("b", 1),
    sample("b", 2.00049),
    sample("a", 20),
  ]);
  assert.deepEqual(results, [
    { name: "b", unit: "s", median: 2, min: 1, max: 3, n: 3 },
    { name: "a", unit: "s", median: 15, min: 10, max: 20, n: 2 },
  ]);
});

test("table() shows what to compare with beside each figure", () => {
  const lines = table(summarize([sample("a", 1.5)]), { a: "target: 2 s" }).split("\n");
  assert.match(lines[0] ?? "", /^NAME +MEDIAN .*COMPARE WITH$/);
  assert.match(lines[1] ?? "", /^a +1\.5 +1\.5 +1\.5 +1 +s +target: 2 s$/);
});
