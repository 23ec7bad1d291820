import assert from "node:assert/strict";
import { test } from "node:test";
import { Registry } from "../../src/registry/registry.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { placeUnit, putMachine, reportState } from "../api/api-world.ts";
import { SwitchedStore } from "../api/switched-store.ts";
import { deleteKey, openVirtualWorld, putRecord } from "../support/virtual-world.ts";

const CONTENT = "[Service]\nExecStart=/bin/sleep 1\n";

function openRegistry() {
  const { clock, random, store: inner, keys } = openVirtualWorld();
  const store = new SwitchedStore(inner);
  const registry = new Registry({ store, keys, clock, random, logger: silentLogger });
  return { store, keys, registry, clock };
}

async function fill(world: ReturnType<typeof openRegistry>, count: number): Promise<string[]> {
  const names = Array.from({ length: count }, (_, n) => `u${String(n).padStart(4, "0")}.service`);
  const content = `${CONTENT}[X-Fleet]\nGlobal=true\n`;
  await world.registry.apply([
    ...names.map(
      (name) => ({ type: "submit", name, content: CONTENT, desired: "launched" }) as const,
    ),
    { type: "submit", name: "global.service", content },
  ]);
  for (const machine of ["m1", "m2"]) await putMachine(world, machine);
  await putRecord(world.store, world.keys.roster("m3"), {
    firstSeenMs: 0,
    lastBootMs: 0,
    bootId: "b",
    address: "",
  });
  for (const machine of ["m1", "m2", "m3"]) await placeUnit(world, "global.service", machine);
  await deleteKey(world.store, world.keys.placement("global.service"));
  for (const [index, name] of names.entries()) {
    if (index % 3 === 0) continue;
    await placeUnit(world, name, `m${index % 3}`);
    await reportState(world, name, `m${index % 3}`);
  }
  return names;
}

test("reading some units by name gives what reading all gives", async () => {
  const world = openRegistry();
  const names = await fill(world, 40);
  const { units: all } = await world.registry.read.units();
  assert.equal(all.length, 41);
  for (const name of [...names, "global.service"]) {
    const { units } = await world.registry.read.units([name]);
    assert.deepEqual(units, [all.find((unit) => unit.name === name)], name);
  }
  const { units } = await world.registry.read.units(["missing.service", ...names.toReversed()]);
  assert.deepEqual(
    units,
    all.filter(({ name }) => name !== "global.service"),
  );
  const global = all.find(({ name }) => name === "global.service");
  assert.deepEqual(
    global?.assigned.map(({ machineId, present }) => [machineId, present]),
    [
      ["m1", true],
      ["m2", true],
      ["m3", false],
    ],
  );
});

test("reading one unit does not read the others", async () => {
  const world = openRegistry();
  await fill(world, 30);
  await world.registry.read.units(["u0001.service"]);
  const before = world.store.reads;
  await world.registry.read.units(["u0001.service"]);
  // machines/; then unit, placement, blocked and a state per present machine together; then its assignment.
  assert.equal(world.store.reads - before, 3);
});

test("reads as of an old revision show the old state", async () => {
  const world = openRegistry();
  const names = await fill(world, 3);
  const { revision, units } = await world.registry.read.units(names);
  await world.registry.apply(names.map((name) => ({ type: "destroy", name }) as const));
  assert.deepEqual(await world.registry.read.units(names, { revision }), { revision, units });
  assert.deepEqual((await world.registry.read.units(names)).units, []);
});

test("a watch that falls out of history reads anew and misses nothing", async () => {
  const { clock, random, keys } = openVirtualWorld();
  const { openEmbeddedStore } = await import("../../src/registry/embedded-store.ts");
  const store = openEmbeddedStore({ clock, random, watchBatchesMax: 5 });
  const registry = new Registry({ store, keys, clock, random, logger: silentLogger });
  const world = { store, keys, registry };
  await putMachine(world, "m1");
  await registry.apply([{ type: "submit", name: "a.service", content: CONTENT }]);
  const listener = await registry.watch.open(["a.service"]);
  const never = new AbortController().signal;
  assert.equal((await listener.next(never)).units.length, 1);
  // More at once than the watch may hold back.
  await Promise.all(
    Array.from({ length: 50 }, (_, sub) =>
      reportState(world, "a.service", "m1", { sub: `${sub}` }),
    ),
  );
  let seen: string | undefined;
  while (seen !== "49") {
    const next = listener.next(never);
    await clock.advance(3_000);
    seen = (await next).units[0]?.states[0]?.sub;
  }
  listener.close();
  assert.equal(registry.watch.listenerCount, 0);
  await store.close();
});
