import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Registry } from "../../src/registry/registry.ts";
import type { Store, WatchBatch, WatchRequest } from "../../src/registry/store.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { placeUnit, putMachine, reportState } from "../api/api-world.ts";
import { SwitchedStore } from "../api/switched-store.ts";
import {
  deleteKey,
  openVirtualWorld,
  putRecord,
  settled,
  type VirtualWorld,
} from "../support/virtual-world.ts";

const CONTENT = "[Service]\nExecStart=/bin/sleep 1\n";

/** Whose watches can be made to lag. */
class LaggingStore extends SwitchedStore {
  #gate = Promise.withResolvers<void>();

  constructor(inner: Store) {
    super(inner);
    this.flow();
  }

  hold(): void {
    this.#gate = Promise.withResolvers();
  }

  flow(): void {
    this.#gate.resolve();
  }

  override async *watch(request: WatchRequest): AsyncIterable<WatchBatch> {
    for await (const batch of super.watch(request)) {
      await this.#gate.promise;
      yield batch;
    }
  }
}

/** Two daemons of one cluster. */
function openCluster() {
  const world = openVirtualWorld();
  const store = new LaggingStore(world.store);
  const here = openRegistry(world, store);
  return { ...world, emptied: world.store, store, here, there: openRegistry(world, world.store) };
}

function openRegistry({ keys, clock, random }: VirtualWorld, store: Store): Registry {
  return new Registry({ store, keys, clock, random, logger: silentLogger });
}

async function submit(registry: Registry, ...names: readonly string[]): Promise<void> {
  await registry.apply(
    names.map((name) => ({ type: "submit", name, content: CONTENT, replace: true }) as const),
  );
}

async function names(registry: Registry): Promise<readonly string[]> {
  return (await registry.kept.list()).units.map(({ name }) => name);
}

test("a list shows what was written before it, here or on another machine", async () => {
  const { here, there } = openCluster();
  assert.deepEqual(await names(here), []);
  await submit(here, "b.service");
  assert.deepEqual(await names(here), ["b.service"]);
  await submit(there, "a.service");
  assert.deepEqual(await names(here), ["a.service", "b.service"]);
  await there.apply([{ type: "destroy", name: "b.service" }]);
  assert.deepEqual(await names(here), ["a.service"]);
});

test("the second list is one read, whatever has changed", async () => {
  const { store, here, there } = openCluster();
  await submit(there, "a.service");
  await names(here);
  const before = store.reads;
  await names(here);
  assert.equal(store.reads - before, 1);
  // Its manifest is known, and its record comes with the watch.
  await there.apply([{ type: "desire", name: "a.service", desired: "launched" }]);
  const { units } = await here.kept.list();
  assert.equal(units[0]?.desired, "launched");
  assert.equal(store.reads - before, 2);
});

test("any list is what reading everything gives", async () => {
  const some = fc.constantFrom("a.service", "b.service", "c.service");
  const machine = fc.constantFrom("m1", "m2");
  const change = fc.oneof(
    fc.tuple(fc.constant("submit" as const), some, fc.constant("")),
    fc.tuple(fc.constant("destroy" as const), some, fc.constant("")),
    fc.tuple(fc.constantFrom("place" as const, "report" as const), some, machine),
    fc.tuple(fc.constantFrom("come" as const, "go" as const), fc.constant(""), machine),
    fc.tuple(fc.constantFrom("list" as const, "wipe" as const), fc.constant(""), fc.constant("")),
    // Until the watch has come back.
    fc.tuple(fc.constant("wait" as const), fc.constant(""), fc.constant("")),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 25 }), async (changes) => {
      const world = openCluster();
      const { store, keys, here, there, clock } = world;
      const registry = there;
      const act = async (what: (typeof changes)[number][0], unit: string, id: string) => {
        if (what === "submit") await submit(there, unit);
        if (what === "wipe") world.emptied.wipe();
        if (what === "wait") await clock.advance(3_000);
        if (what === "destroy") await there.apply([{ type: "destroy", name: unit }]);
        if (what === "come") await putMachine({ store, keys }, id);
        if (what === "go") await deleteKey(store, keys.machine(id));
        const exists = (await there.read.units([unit])).units.length > 0;
        if (what === "place" && exists) await placeUnit({ store, keys, registry }, unit, id);
        if (what === "report" && exists) await reportState({ store, keys }, unit, id);
        if (what !== "list") return;
        const listing = here.kept.list();
        await settled();
        // For a watch that has not heard of the wipe.
        await clock.advance(60);
        const { units } = await listing;
        assert.deepEqual(units, (await there.read.units()).units);
      };
      for (const [what, unit, id] of changes) await act(what, unit, id);
      await act("list", "", "");
      here.kept.release();
    }),
    { numRuns: 60 },
  );
});

test("lists after the registry was emptied show what is there since, under old names too", async () => {
  const { clock, emptied, here, there } = openCluster();
  for (let time = 0; time < 10; time += 1) await submit(there, "a.service", "b.service");
  await names(here);
  emptied.wipe();
  await clock.advance(3_000);
  assert.deepEqual(await names(here), []);
  await submit(there, "a.service");
  const { units } = await here.kept.list();
  assert.deepEqual(units, (await there.read.units()).units);
  assert.equal(units.length, 1);
});

test("a list waits for a watch that lags", async () => {
  const { store, here, there } = openCluster();
  await names(here);
  store.hold();
  await submit(there, "a.service");
  let listed: readonly string[] | undefined;
  void names(here).then((found) => {
    listed = found;
  });
  await settled();
  assert.equal(listed, undefined);
  store.flow();
  await settled();
  assert.deepEqual(listed, ["a.service"]);
});

test("a watch that lags too long, or will never tell, is not waited for", async () => {
  const { clock, store, keys, here, there } = openCluster();
  await names(here);
  store.hold();
  await submit(there, "a.service");
  const listing = names(here);
  await clock.advance(60);
  assert.deepEqual(await listing, ["a.service"]);
  store.flow();
  await settled();
  // A key of somebody else's: the revision is newer, and nothing of fleet-ts has changed.
  await putRecord(store, `/other${keys.prefix}`, {});
  const another = names(here);
  await clock.advance(60);
  assert.deepEqual(await another, ["a.service"]);
});

test("a unit that could not be read when it came is in the next list", async () => {
  const { clock, store, here, there } = openCluster();
  await names(here);
  store.away = true;
  await submit(there, "a.service");
  await settled();
  await assert.rejects(names(here), { code: "store-unavailable" });
  store.away = false;
  const listing = names(here);
  await clock.advance(60);
  assert.deepEqual(await listing, ["a.service"]);
  assert.deepEqual(await names(here), ["a.service"]);
});

test("units are kept for five minutes after a list, without asking the store anything", async () => {
  const { clock, store, here, there } = openCluster();
  await submit(there, "a.service");
  await names(here);
  const before = store.reads;
  await clock.advance(290_000);
  assert.equal(store.reads, before);
  await names(here);
  await clock.advance(290_000);
  assert.equal(here.watch.listenerCount, 1);
  await clock.advance(20_000);
  assert.equal(here.watch.listenerCount, 0);
  await settled();
  assert.equal(store.watches, 0);
  assert.deepEqual(await names(here), ["a.service"]);
});

test("a registry that is away is an error each time, and forgotten when it is back", async () => {
  const { clock, store, here, there } = openCluster();
  await submit(there, "a.service");
  store.away = true;
  for (let time = 1; time <= 2; time += 1) {
    await assert.rejects(names(here), { code: "store-unavailable" });
  }
  store.away = false;
  const listing = names(here);
  await clock.advance(5_000);
  assert.deepEqual(await listing, ["a.service"]);
});
