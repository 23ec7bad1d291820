import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Handback } from "../../src/agent/handback.ts";
import { deleteKey, openVirtualWorld, putRecord, settled } from "../support/virtual-world.ts";

const UNIT = "web.service";
const HANDBACK_MS = 60_000;
const NEVER = new AbortController().signal;

async function openHandback() {
  const world = openVirtualWorld();
  const { store, keys, clock } = world;
  const changed: string[] = [];
  const handback = new Handback({
    store,
    keys,
    clock,
    machineId: "here",
    handbackMs: HANDBACK_MS,
    onChange: (unit) => changed.push(unit),
  });
  const submit = (desired: string) =>
    putRecord(store, keys.unit(UNIT), { desired, manifest: "m", restarts: 0, global: false });
  const stateOn = (machine: string, state: object) =>
    putRecord(store, keys.state(machine, UNIT), {
      manifest: "m",
      hash: "h",
      current: "launched",
      load: "loaded",
      active: "active",
      sub: "running",
      result: "",
      mainPid: 1,
      sinceMs: 0,
      ...state,
    });
  const place = (machine: string, identity: number, more: object = {}) =>
    putRecord(store, keys.placement(UNIT), { machine, identity, ...more });
  const mayStop = (identity: number | undefined, seenAssigned = true) =>
    handback.mayStop({ unit: UNIT, identity, seenAssigned }, NEVER);
  return { ...world, mayStop, handback, changed, submit, stateOn, place };
}

describe("Handback", () => {
  test("lets a unit go that nobody wants any more", async () => {
    const { mayStop, submit } = await openHandback();
    assert.equal(await mayStop(1), true);
    await submit("inactive");
    assert.equal(await mayStop(undefined), true);
  });

  test("lets a unit go that was destroyed and submitted again", async () => {
    const { mayStop, submit, place } = await openHandback();
    const identity = await submit("launched");
    await place("there", identity);
    assert.equal(await mayStop(identity - 1), true);
  });

  test("lets a unit go that moves, for the other machine waits", async () => {
    const { mayStop, submit, place } = await openHandback();
    const identity = await submit("launched");
    await place("there", identity, { moving: { from: "elsewhere", wasWell: true } });
    assert.equal(await mayStop(identity, false), false);
    await place("there", identity, { moving: { from: "here", wasWell: true } });
    assert.equal(await mayStop(identity, false), true);
  });

  test("keeps a unit until its new holder reports it active, and is told when", async () => {
    const { mayStop, handback, submit, place, stateOn, changed } = await openHandback();
    const identity = await submit("launched");
    await place("there", identity);
    assert.equal(await mayStop(identity), false);
    await stateOn("there", { identity, active: "activating" });
    await settled();
    assert.deepEqual(changed, [UNIT]);
    assert.equal(await mayStop(identity), false);
    await stateOn("there", { identity });
    assert.equal(await mayStop(identity), true);
    handback.settleAll();
  });

  test("does not take the new holder's word for another identity", async () => {
    const { mayStop, handback, submit, place, stateOn } = await openHandback();
    const identity = await submit("launched");
    await place("there", identity);
    await stateOn("there", { identity: identity - 1 });
    assert.equal(await mayStop(identity), false);
    handback.settleAll();
  });

  test("lets a unit go once the time for it is over", async () => {
    const { mayStop, handback, submit, place, clock } = await openHandback();
    const identity = await submit("launched");
    await place("there", identity);
    assert.equal(await mayStop(identity), false);
    assert.equal(handback.nextMs(), HANDBACK_MS);
    await clock.advance(HANDBACK_MS);
    assert.equal(await mayStop(identity), true);
  });

  test("lets an unplaced unit go whose assignment it saw withdrawn", async () => {
    const { mayStop, submit } = await openHandback();
    assert.equal(await mayStop(await submit("launched"), true), true);
  });

  test("of a global unit, waits for the engine unless it saw the assignment withdrawn", async () => {
    const { mayStop, handback, store, keys } = await openHandback();
    const record = { desired: "launched", manifest: "m", restarts: 0, global: true };
    const identity = await putRecord(store, keys.unit(UNIT), record);
    assert.equal(await mayStop(identity, false), false);
    assert.equal(await mayStop(identity, true), true);
    handback.settleAll();
  });

  test("of an unplaced unit, waits for the engine unless it has asked this machine to make way", async () => {
    const { mayStop, submit, store, keys, changed } = await openHandback();
    const identity = await submit("launched");
    assert.equal(await mayStop(identity, false), false);
    const stopping = (machineId: string) => ({
      identity,
      sinceMs: 0,
      reasons: [{ reason: { type: "stopping", machineId }, machines: 0, examples: [] }],
    });
    await putRecord(store, keys.blocked(UNIT), stopping("there"));
    assert.equal(await mayStop(identity, false), false);
    await putRecord(store, keys.blocked(UNIT), stopping("here"));
    await settled();
    assert(changed.length > 0);
    assert.equal(await mayStop(identity, false), true);
    await deleteKey(store, keys.blocked(UNIT));
  });
});
