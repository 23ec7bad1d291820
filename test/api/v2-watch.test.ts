import assert from "node:assert/strict";
import { test } from "node:test";
import type { WatchLine } from "../../src/api/protocol.ts";
import { deleteKey, putRecord } from "../support/virtual-world.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  type ApiWorld,
  HERE,
  type OpenStream,
  openApiWorld,
  openWatch,
  placeUnit,
  putMachine,
  reportState,
} from "./api-world.ts";

const CONTENT = "[Unit]\nDescription=Sleeps\n[Service]\nExecStart=/bin/sleep 1\n";

async function submit(world: ApiWorld, ...names: readonly string[]): Promise<void> {
  await world.registry.apply(
    names.map((name) => ({ type: "submit", name, content: CONTENT, desired: "launched" })),
  );
}

/** Reads up to the first line that fits. */
async function until(
  stream: OpenStream,
  fits: (line: WatchLine) => boolean,
): Promise<readonly WatchLine[]> {
  const lines: WatchLine[] = [];
  for (;;) {
    const line = await stream.next();
    assert(line !== undefined, "the watch ended");
    lines.push(line);
    if (fits(line)) return lines;
  }
}

const isSynced = (line: WatchLine) => line.type === "synced";

test("a watch begins with every unit asked for, then tells of changes", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  await submit(world, "a.service", "b.service");
  const stream = await openWatch(world, ["a.service", "missing.service"]);
  t.after(() => stream.close());
  const first = await until(stream, isSynced);
  assert.deepEqual(
    first.map((line) => line.type),
    ["unit", "gone", "synced"],
  );
  const synced = first.at(-1);
  assert.equal(synced?.type === "synced" && synced.notices[0]?.code, "no-engine");

  await submit(world, "b.service", "missing.service");
  const [made] = await until(stream, (line) => line.type === "unit");
  assert.equal(made?.type === "unit" && made.unit.name, "missing.service");
  assert.equal(made?.type === "unit" && made.unit.description, "Sleeps");

  await placeUnit(world, "a.service", HERE);
  await reportState(world, "a.service", HERE);
  const lines = await until(
    stream,
    (line) => line.type === "unit" && line.unit.states[0]?.active === "active",
  );
  const last = lines.at(-1);
  assert.equal(last?.type === "unit" && last.unit.current, "launched");

  await deleteKey(world.store, world.keys.machine(HERE));
  const [away] = await until(stream, (line) => line.type === "unit");
  assert.deepEqual(away?.type === "unit" && away.unit.assigned, [
    { machineId: HERE, target: "launched", present: false },
  ]);

  await world.registry.apply([{ type: "destroy", name: "a.service" }]);
  assert.deepEqual((await until(stream, (line) => line.type === "gone")).at(-1), {
    type: "gone",
    name: "a.service",
  });
});

test("what a watch shows is what a read shows, whatever was written meanwhile", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  const names = Array.from({ length: 40 }, (_, index) => `u${index}.service`);
  await submit(world, ...names);
  const stream = await openWatch(world, names);
  t.after(() => stream.close());
  const writing = Promise.all(
    names.map(async (name, index) => {
      await placeUnit(world, name, HERE);
      for (let sub = 0; sub < 5; sub += 1) {
        await reportState(world, name, HERE, { sub: `${index}-${sub}` });
      }
    }),
  );
  const shown = new Map<string, unknown>();
  const done = () =>
    names.every((name, index) => JSON.stringify(shown.get(name))?.includes(`"${index}-4"`));
  while (!done()) {
    const line = await stream.next();
    assert(line !== undefined);
    if (line.type === "unit") shown.set(line.unit.name, line.unit);
  }
  await writing;
  const { units } = await world.registry.read.units(names);
  for (const unit of units) assert.deepEqual(shown.get(unit.name), unit);
});

test("watching costs one watch for all, no reads per change, and nothing when nobody watches", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  await submit(world, "a.service");
  assert.equal(world.store.watches, 0);
  const streams = await Promise.all([1, 2, 3].map(() => openWatch(world, ["a.service"])));
  for (const stream of streams) await until(stream, isSynced);
  assert.equal(world.store.watches, 1);
  const reads = world.store.reads;
  for (let sub = 0; sub < 20; sub += 1) {
    await reportState(world, "a.service", HERE, { sub: `sub-${sub}` });
  }
  for (const stream of streams) {
    await until(stream, (line) => line.type === "unit" && line.unit.states[0]?.sub === "sub-19");
  }
  assert.equal(world.store.reads, reads);
  for (const stream of streams) stream.close();
  await waitFor({
    what: "the watch has ended",
    deadlineMs: 10_000,
    everyMs: 5,
    look: () => [world.registry.watch.listenerCount, world.store.watches],
    until: ([listeners, watches]) => listeners === 0 && watches === 0,
  });
});

test("a watch tells when the engine comes and goes and when the registry is away", async (t) => {
  const world = await openApiWorld(t);
  const stream = await openWatch(world, []);
  t.after(() => stream.close());
  await until(stream, isSynced);
  const codes = async () => {
    const line = (await until(stream, (one) => one.type === "notices")).at(-1);
    return line?.type === "notices" ? line.notices.map(({ code }) => code) : [];
  };
  await putRecord(world.store, world.keys.leader, { machine: HERE, nonce: "n", format: 1 });
  assert.deepEqual(await codes(), []);
  world.store.away = true;
  await world.clock.advance(2_000);
  assert.deepEqual(await codes(), ["registry-away"]);
  world.store.away = false;
  await world.clock.advance(2_000);
  assert.deepEqual(await codes(), []);
  await deleteKey(world.store, world.keys.leader);
  assert.deepEqual(await codes(), ["no-engine"]);
});

test("a client that does not read is told everything once it does, and delays nobody", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  const names = Array.from({ length: 300 }, (_, index) => `u${index}.service`);
  await submit(world, ...names);
  const slow = await openWatch(world, names);
  t.after(() => slow.close());
  slow.response.pause();
  const quick = await openWatch(world, ["u0.service"]);
  t.after(() => quick.close());
  await until(quick, isSynced);
  const sub = "x".repeat(2_000);
  for (let round = 0; round < 10; round += 1) {
    await Promise.all(
      names.map((name) => reportState(world, name, HERE, { sub: `${sub}${round}` })),
    );
  }
  const isLast = (line: WatchLine) =>
    line.type === "unit" && line.unit.states[0]?.sub === `${sub}9`;
  await until(quick, isLast);
  const late = new Set<string>();
  while (late.size < names.length) {
    const line = await slow.next();
    assert(line !== undefined);
    if (isLast(line) && line.type === "unit") late.add(line.unit.name);
  }
});
