import assert from "node:assert/strict";
import { test } from "node:test";
import { chaos } from "../chaos/chaos.ts";

/** Safety and that all ends well; how fast is for `npm run chaos` to judge. */
test("two minutes of faults and commands at random harm nothing, and all is as it was asked to be after each", {
  timeout: 900_000,
}, async () => {
  const lines: string[] = [];
  const { violations, summary } = await chaos({
    seed: 4,
    minutes: 2,
    convergeMs: 240_000,
    keepIn: undefined,
    say: (line) => lines.push(line),
  });
  console.log(summary.join("\n"));
  assert.deepEqual(violations, [], lines.join("\n"));
});
