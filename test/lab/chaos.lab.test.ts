import assert from "node:assert/strict";
import { test } from "node:test";
import { chaos } from "../chaos/chaos.ts";

// Two minutes of `npm run chaos`: no harm is done, and after each fault all is well again in the end. How soon is for that command to judge.
test("60 units on five machines come through two minutes of faults and commands unharmed", {
  timeout: 900_000,
}, async () => {
  const { violations, summary } = await chaos({
    seed: 1,
    minutes: 2,
    convergeMs: 180_000,
    say: console.log,
  });
  console.log(summary.join("\n"));
  assert.deepEqual(violations, []);
});
