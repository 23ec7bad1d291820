import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend } from "../../src/ambassador/backend.ts";
import { BackendTable } from "../../src/ambassador/backend-table.ts";
import { defaultTuning } from "../../src/ambassador/proxy.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";

const DEAD: Backend = {
  ...{ id: "db/1", host: "10.0.0.1", port: 5432, weight: 1, priority: 0, sameMachine: false },
  health: "unknown",
  presence: "present",
};

test("what fails on while it is ejected is not ejected again: told once, and for no longer", async () => {
  const clock = new VirtualClock();
  const table = new BackendTable(clock, () => ({ ...defaultTuning, ejectFirstMs: 1_000 }));
  table.set([DEAD]);
  const slot = table.acquire(new Set());
  assert.ok(slot);
  const fail = (times: number) => Array.from({ length: times }, () => table.connectFailed(slot));
  assert.deepEqual(fail(4), [undefined, 1_000, undefined, undefined]);
  await clock.advance(400);
  assert.deepEqual(fail(2), [undefined, undefined]);
  assert.equal(table.stats()[0]?.ejectedMs, 600);
  await clock.advance(600);
  assert.deepEqual(fail(2), [2_000, undefined]);
});
