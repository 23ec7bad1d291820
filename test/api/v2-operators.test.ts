import assert from "node:assert/strict";
import { test } from "node:test";
import type { MachinesBody } from "../../src/api/protocol.ts";
import { putRecord, readRecord } from "../support/virtual-world.ts";
import { type ApiWorld, HERE, openApiWorld, putMachine } from "./api-world.ts";

const KNOWN = { firstSeenMs: 0, lastBootMs: 0, bootId: "b", address: "10.0.0.1" };

async function openWorld(t: Parameters<typeof openApiWorld>[0]): Promise<ApiWorld> {
  const world = await openApiWorld(t);
  await putMachine(world, HERE, { metadata: { disk: "hdd", zone: "a" } });
  for (const id of [HERE, "away"]) await putRecord(world.store, world.keys.roster(id), KNOWN);
  return world;
}

async function set(world: ApiWorld, id: string, body: unknown) {
  const { status, text } = await world.call("POST", `/fleet/v2/machines/${id}/operator`, { body });
  return { status, body: JSON.parse(text) };
}

async function shown(world: ApiWorld, id: string) {
  const body: MachinesBody = JSON.parse((await world.call("GET", "/fleet/v2/machines")).text);
  return body.machines.find((machine) => machine.id === id);
}

test("what operators set is kept field by field, and shown", async (t) => {
  const world = await openWorld(t);
  await putRecord(world.store, world.keys.operator(HERE), {
    ...{ metadata: { rack: "1" }, cordoned: false, draining: false, ofALaterVersion: 1 },
  });
  assert.deepEqual(await set(world, HERE, { cordoned: true }), {
    status: 200,
    body: { cordoned: true, draining: false, metadata: { rack: "1" } },
  });
  await set(world, HERE, { metadata: { disk: "ssd", zone: null } });
  const machine = await shown(world, HERE);
  assert.deepEqual(machine?.metadata, { disk: "ssd", rack: "1" });
  assert.equal(machine?.cordoned, true);
  await set(world, HERE, { reset: ["disk", "zone"], cordoned: false });
  assert.deepEqual((await shown(world, HERE))?.metadata, { disk: "hdd", rack: "1", zone: "a" });
  const record = await readRecord(world.store, world.keys.operator(HERE));
  assert.equal(record?.["ofALaterVersion"], 1);
});

test("changes made at the same time are all kept", async (t) => {
  const world = await openWorld(t);
  const changes = [{ cordoned: true }, { metadata: { a: "1" } }, { metadata: { b: "2" } }];
  const answers = await Promise.all(changes.map((change) => set(world, HERE, change)));
  assert.deepEqual(
    answers.map(({ status }) => status),
    [200, 200, 200],
  );
  const last = await set(world, HERE, {});
  assert.deepEqual(last.body, { cordoned: true, draining: false, metadata: { a: "1", b: "2" } });
});

test("a loss is confirmed of a machine that is away only", async (t) => {
  const world = await openWorld(t);
  assert.equal((await set(world, HERE, { evacuate: true })).status, 409);
  assert.equal((await set(world, "away", { evacuate: true })).status, 200);
  assert.equal((await set(world, "nobody", { evacuate: true })).status, 404);
  assert.equal((await set(world, "nobody", { cordoned: true })).status, 404);
});

const WRONG: readonly unknown[] = [
  { cordoned: "yes" },
  { evacuate: false },
  { metadata: { "a b": "1" } },
  { metadata: { a: "" } },
  { reset: ["="] },
  { unknown: 1 },
  [],
];

for (const body of WRONG) {
  test(`refuses ${JSON.stringify(body)}`, async (t) => {
    assert.equal((await set(await openWorld(t), HERE, body)).status, 400);
  });
}
