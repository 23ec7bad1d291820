import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { RebalanceBody } from "../../src/api/protocol.ts";
import { deleteKey, putRecord, readRecord } from "../support/virtual-world.ts";
import { type ApiWorld, HERE, openApiWorld, putMachine } from "./api-world.ts";

const UNIT = "web.service";
const THERE = "there";

async function ask(world: ApiWorld, from = HERE) {
  const body = { unit: UNIT, from, to: THERE };
  const { status, text } = await world.call("POST", "/fleet/v2/moves", { body });
  return status === 200 ? JSON.parse(text).outcome : status;
}

/** In place of the engine. */
async function untilAsked(world: ApiWorld): Promise<unknown> {
  for (;;) {
    const record = await readRecord(world.store, world.keys.move(UNIT));
    if (record !== undefined) return record;
    await nextTurn();
  }
}

test("a move is asked for once, on a lease, and the answer says what the engine made of it", async (t) => {
  const world = await openApiWorld(t);
  const { store, keys, clock } = world;
  assert.equal(await ask(world), "overtaken", "it is placed nowhere");
  await putRecord(store, keys.placement(UNIT), { machine: HERE, identity: 7 });
  assert.equal(await ask(world, THERE), "overtaken", "it is somewhere else");

  const refused = ask(world);
  assert.deepEqual(await untilAsked(world), { from: HERE, to: THERE, identity: 7 });
  assert.equal(await ask(world), "overtaken", "somebody has asked already");
  await deleteKey(store, keys.move(UNIT));
  assert.equal(await refused, "refused");

  const unheard = ask(world);
  await untilAsked(world);
  await clock.advance(9_000);
  assert.equal(await unheard, "unheard");
  assert.equal(await readRecord(store, keys.move(UNIT)), undefined, "it cannot happen later");

  const moving = ask(world);
  await untilAsked(world);
  await putRecord(store, keys.placement(UNIT), { machine: THERE, identity: 7 });
  await deleteKey(store, keys.move(UNIT));
  assert.equal(await moving, "moving");
});

test("a move that nobody waits for ends by itself", async (t) => {
  const world = await openApiWorld(t);
  const { store, keys, clock } = world;
  await putRecord(store, keys.placement(UNIT), { machine: HERE, identity: 7 });
  const gone = new AbortController();
  const asking = world.registry.move(
    { unit: UNIT, from: HERE, to: THERE },
    { signal: gone.signal },
  );
  await untilAsked(world);
  gone.abort(new Error("the client went away"));
  await assert.rejects(asking, /went away/);
  await clock.advance(10_001);
  assert.equal(await readRecord(store, keys.move(UNIT)), undefined);
});

test("a rebalance is planned from what is there, and moves nothing", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  await putMachine(world, THERE);
  const get = async (query = "") => await world.call("GET", `/fleet/v2/rebalance${query}`);
  const body: RebalanceBody = JSON.parse((await get()).text);
  assert.deepEqual(body.moves, []);
  assert.deepEqual(
    body.loads.map(({ machineId }) => machineId),
    [HERE, THERE],
  );
  assert.equal((await get("?max-moves=many")).status, 400);
});
