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
  const place = (machine: string, identity: number) =>
    putRecord(store, keys.placement(UNIT), { machine, identity });
  return { ...world, handback, changed, submit, stateOn, place };
}

describe("Handback", () => {
  test("lets a unit go that nobody wants any more", async () => {
    const { handback, submit } = await openHandback();
    assert.equal(await handback.mayStop(UNIT, 1, NEVER), true);
    await submit("inactive");
    assert.equal(await handback.mayStop(UNIT, undefined, NEVER), true);
  });

  test("lets a unit go that was destroyed and submitted again", async () => {
    const { handback, submit, place } = await openHandback();
    const identity = await submit("launched");
    await place("there", identity);
    assert.equal(await handback.mayStop(UNIT, identity - 1, NEVER), true);
  });

  test("keeps a unit until its new holder reports it active, and is told when", async () => {
    const { handback, submit, place, stateOn, changed } = await openHandback();
    const identity = await submit("launched");
    await place("there", identity);
    assert.equal(await handback.mayStop(UNIT, identity, NEVER), false);
    await stateOn("there", { identity, active: "activating" });
    await settled();
    assert.deepEqual(changed, [UNIT]);
    assert.equal(await handback.mayStop(UNIT, identity, NEVER), false);
    await stateOn("there", { identity });
    assert.equal(await handback.mayStop(UNIT, identity, NEVER), true);
    handback.settleAll();
  });

  test("does not take the new holder's word for another identity", async () => {
    const { handback, submit, place, stateOn } = await openHandback();
    const identity = await submit("launched");
    await place("there", identity);
    await stateOn("there", { identity: identity - 1 });
    assert.equal(await handback.mayStop(UNIT, identity, NEVER), false);
    handback.settleAll();
  });

  test("lets a unit go once the time for it is over", async () => {
    const { handback, submit, place, clock } = await openHandback();
    const identity = await submit("launched");
    await place("there", identity);
    assert.equal(await handback.mayStop(UNIT, identity, NEVER), false);
    assert.equal(handback.nextMs(), HANDBACK_MS);
    await clock.advance(HANDBACK_MS);
    assert.equal(await handback.mayStop(UNIT, identity, NEVER), true);
  });

  test("of an unplaced unit, waits for the engine unless it has asked this machine to make way", async () => {
    const { handback, submit, store, keys, changed } = await openHandback();
    const identity = await submit("launched");
    assert.equal(await handback.mayStop(UNIT, identity, NEVER), false);
    const stopping = (machineId: string) => ({
      identity,
      sinceMs: 0,
      reasons: [{ reason: { type: "stopping", machineId }, machines: 0, examples: [] }],
    });
    await putRecord(store, keys.blocked(UNIT), stopping("there"));
    assert.equal(await handback.mayStop(UNIT, identity, NEVER), false);
    await putRecord(store, keys.blocked(UNIT), stopping("here"));
    await settled();
    assert(changed.length > 0);
    assert.equal(await handback.mayStop(UNIT, identity, NEVER), true);
    await deleteKey(store, keys.blocked(UNIT));
  });
});
