import assert from "node:assert/strict";
import { test } from "node:test";
import { Liveness } from "../../src/runtime/liveness.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";

test("the longest pass under way counts, and none when all have ended", async () => {
  const clock = new VirtualClock();
  const liveness = new Liveness(clock);
  assert.equal(liveness.longestMs(), 0);
  const endFirst = liveness.begin();
  await clock.advance(1_000);
  const endSecond = liveness.begin();
  await clock.advance(500);
  assert.equal(liveness.longestMs(), 1_500);
  endFirst();
  assert.equal(liveness.longestMs(), 500);
  endSecond();
  assert.equal(liveness.longestMs(), 0);
});
