import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { MachineChanges } from "../../src/registry/machine-changes.ts";
import type { Store } from "../../src/registry/store.ts";
import { settle, VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { EngineFixture, keys } from "./engine-fixture.ts";

let f: EngineFixture;

beforeEach(async () => {
  f = new EngineFixture();
  await f.open();
});

afterEach(async () => {
  await f.close();
  assert.deepEqual(f.errors, [], "an audit found nothing, no record was unreadable");
});

describe("runEngine()", () => {
  test("places units with fenced transactions and assigns them", async () => {
    f.engine("m1");
    await f.machines("m1", "m2");
    for (let n = 0; n < 300; n += 1) await f.unit(`u${n}.service`);
    await f.clock.advance(1_000);
    assert.equal((await f.keysBelow(keys.all("placements"))).length, 300);
    assert.equal((await f.keysBelow(keys.assignmentsOf("m1"))).length, 150);
    assert.equal((await f.keysBelow(keys.assignmentsOf("m2"))).length, 150);
    assert.deepEqual(await f.keysBelow(keys.all("blocked")), []);
    assert.deepEqual(await f.read(keys.clusterFormat), { minimum: 1 });
  });

  test("says within 100 ms why a unit is not placed", async () => {
    f.engine("m1");
    await f.machine("m1");
    await f.clock.advance(1_000);
    await f.unit("a.service", "MachineMetadata=disk=ssd");
    await f.clock.advance(100);
    const blocked = await f.read(keys.blocked("a.service"));
    assert.deepEqual(blocked?.["reasons"], [
      {
        reason: { type: "metadata-differs", requirement: "disk=ssd" },
        machines: 1,
        examples: ["m1"],
      },
    ]);
  });

  test("rewrites a blocked reason on change of kind, at most every five seconds", async () => {
    f.engine("m1");
    await f.machine("m1");
    await f.unit("a.service", "MachineMetadata=disk=ssd");
    await f.clock.advance(100);
    const kinds = async () => {
      const record = JSON.stringify(await f.read(keys.blocked("a.service")));
      return [...record.matchAll(/"type":"([a-z-]+)"/g)].map(([, type]) => type);
    };
    const operator = { metadata: { disk: "ssd" }, cordoned: true, draining: false };
    await f.put(keys.operator("m1"), operator);
    await f.clock.advance(4_000);
    assert.deepEqual(await kinds(), ["metadata-differs"]);
    await f.clock.advance(2_000);
    assert.deepEqual(await kinds(), ["cordoned"]);
    await f.put(keys.operator("m1"), { ...operator, cordoned: false });
    await f.clock.advance(10);
    assert.equal(await f.placedOn("a.service"), "m1");
    assert.equal(await f.read(keys.blocked("a.service")), undefined);
  });

  test("moves units off a machine that is lost, and not back", async () => {
    f.engine("m1");
    await f.machines("m1", "m2");
    await f.unit("a.service");
    await f.unit("b.service");
    await f.clock.advance(100);
    assert.equal(await f.placedOn("b.service"), "m2");
    await f.die("m2");
    await f.clock.advance(100);
    assert.equal(await f.placedOn("b.service"), "m1");
    assert.deepEqual(await f.keysBelow(keys.assignmentsOf("m2")), []);
    await f.machine("m2");
    await f.clock.advance(10_000);
    assert.equal(await f.placedOn("b.service"), "m1");
  });

  test("gives nobody up before the boot grace while its machine is alone", async () => {
    const first = f.engine("m1");
    await f.machines("m1", "m2");
    await f.unit("a.service");
    await f.unit("b.service");
    await f.clock.advance(100);
    await first.stop();
    await f.die("m2");
    f.engine("m1");
    await f.clock.advance(30_000);
    assert.equal(await f.placedOn("b.service"), "m2");
    const blocked = await f.read(keys.blocked("b.service"));
    assert.match(JSON.stringify(blocked), /"loss-held".*"boot-grace"/);
    await f.clock.advance(31_000);
    assert.equal(await f.placedOn("b.service"), "m1");
    assert.equal(await f.read(keys.blocked("b.service")), undefined);
  });

  describe("after all machines were off", () => {
    /** Three machines, up for long; all go off, and these are on again when an engine takes the lead on the first. */
    async function switchOn(...ids: readonly [string, ...string[]]): Promise<void> {
      const first = f.engine("m1");
      await f.machines("m1", "m2", "m3");
      for (let n = 1; n <= 3; n += 1) await f.unit(`u${n}.service`);
      await f.clock.advance(100_000);
      assert.equal(await f.placedOn("u3.service"), "m3");
      await first.stop();
      for (const id of ["m1", "m2", "m3"]) await f.die(id);
      await f.machines(...ids);
      f.engine(ids[0]);
    }

    test("waits for one that boots more slowly than the others", async () => {
      await switchOn("m1", "m2");
      await f.clock.advance(50_000);
      assert.equal(await f.placedOn("u3.service"), "m3");
      const blocked = await f.read(keys.blocked("u3.service"));
      assert.match(JSON.stringify(blocked), /"loss-held".*"boot-grace"/);
      await f.machine("m3");
      await f.clock.advance(100_000);
      assert.equal(await f.placedOn("u3.service"), "m3");
      await f.die("m3");
      await f.clock.advance(1_000);
      assert.notEqual(await f.placedOn("u3.service"), "m3");
    });

    test("gives up who has not come within the boot grace", async () => {
      await switchOn("m1", "m2");
      await f.clock.advance(61_000);
      assert.notEqual(await f.placedOn("u3.service"), "m3");
    });

    test("gives up at once who has been back", async () => {
      await switchOn("m1", "m2", "m3");
      await f.clock.advance(1_000);
      await f.die("m3");
      await f.clock.advance(1_000);
      assert.notEqual(await f.placedOn("u3.service"), "m3");
    });
  });

  test("in a cluster that has just been set up, gives up at once who was given units", async () => {
    const first = f.engine("m3");
    await f.machines("m1", "m2", "m3");
    for (let n = 1; n <= 3; n += 1) await f.unit(`u${n}.service`);
    await f.clock.advance(1_000);
    await first.stop();
    await f.die("m1");
    f.engine("m3");
    await f.clock.advance(1_000);
    assert.notEqual(await f.placedOn("u1.service"), "m1");
  });

  test("on a machine that has just booted alone, gives up who is lost after one ttl", async () => {
    const first = f.engine("m2");
    await f.machines("m1", "m2", "m3");
    for (let n = 1; n <= 3; n += 1) await f.unit(`u${n}.service`);
    await f.clock.advance(100_000);
    await f.die("m1");
    await f.machine("m1");
    f.engine("m1");
    await first.stop();
    await f.die("m3");
    await f.clock.advance(5_000);
    assert.equal(await f.placedOn("u3.service"), "m3");
    await f.clock.advance(5_000);
    assert.notEqual(await f.placedOn("u3.service"), "m3");
  });

  test("gives nobody up when its own machine has just been without the registry", async () => {
    const first = f.engine("m1");
    await f.machines("m1", "m2", "m3");
    for (let n = 1; n <= 3; n += 1) await f.unit(`u${n}.service`);
    await f.clock.advance(100);
    f.engine("m2", { registryLostMs: () => 100 });
    await first.stop();
    await f.die("m3");
    await f.clock.advance(30_000);
    assert.equal(await f.placedOn("u3.service"), "m3");
    await f.clock.advance(31_000);
    assert.notEqual(await f.placedOn("u3.service"), "m3");
  });

  test("goes on holding a machine of a mass loss when another of them returns", async () => {
    f.engine("m1");
    await f.machines("m1", "m2", "m3");
    for (let n = 1; n <= 3; n += 1) await f.unit(`u${n}.service`);
    await f.clock.advance(100);
    for (const id of ["m2", "m3"]) await f.die(id);
    await f.clock.advance(5_000);
    await f.machine("m2");
    await f.clock.advance(40_000);
    assert.equal(await f.placedOn("u3.service"), "m3");
    await f.clock.advance(30_000);
    assert.notEqual(await f.placedOn("u3.service"), "m3");
  });

  test("holds a mass loss until operators confirm it", async () => {
    f.engine("m1");
    await f.machines("m1", "m2", "m3", "m4", "m5");
    for (let n = 1; n <= 5; n += 1) await f.unit(`u${n}.service`);
    await f.clock.advance(100);
    for (const id of ["m3", "m4", "m5"]) await f.die(id);
    await f.clock.advance(600_000);
    assert.equal(await f.placedOn("u4.service"), "m4");
    assert.match(JSON.stringify(await f.read(keys.blocked("u4.service"))), /"mass-loss"/);
    const changes = new MachineChanges({ store: f.store, keys });
    assert.deepEqual(await changes.changeOperator("m1", { evacuate: true }), { type: "present" });
    assert.equal((await changes.changeOperator("m4", { evacuate: true })).type, "changed");
    await f.clock.advance(100);
    assert.notEqual(await f.placedOn("u4.service"), "m4");
    assert.equal(await f.placedOn("u5.service"), "m5");
  });

  test("takes a confirmed loss for that absence only", async () => {
    f.engine("m1");
    await f.machines("m1", "m2", "m3", "m4", "m5");
    await f.unit("v.service", "MachineMetadata=disk=ssd");
    const changes = new MachineChanges({ store: f.store, keys });
    const metadata = { disk: "ssd" };
    await changes.changeOperator("m4", { metadata });
    await changes.changeOperator("m1", { metadata, cordoned: true });
    await f.clock.advance(100);
    assert.equal(await f.placedOn("v.service"), "m4");
    const lose = async () => {
      for (const id of ["m3", "m4", "m5"]) await f.die(id);
      await f.clock.advance(100_000);
    };
    await lose();
    await changes.changeOperator("m4", { evacuate: true });
    await f.machines("m3", "m4", "m5");
    await f.clock.advance(100_000);
    assert.equal(await f.placedOn("v.service"), "m4");
    await changes.changeOperator("m1", { cordoned: false });
    await lose();
    assert.equal(await f.placedOn("v.service"), "m4", "held again: nobody has confirmed this one");
    await changes.changeOperator("m4", { evacuate: true });
    await f.clock.advance(100);
    assert.equal(await f.placedOn("v.service"), "m1");
  });

  test("collects a manifest that nobody has used for a while", async () => {
    f.engine("m1");
    await f.machine("m1");
    await f.unit("a.service");
    await f.clock.advance(200_000);
    assert.equal((await f.keysBelow(keys.all("files"))).length, 1);
    await f.delete(keys.unit("a.service"));
    await f.clock.advance(200_000);
    assert.deepEqual(await f.keysBelow(keys.all("files")), []);
  });

  test("leaves alone what it cannot read", async () => {
    f.engine("m1");
    await f.machine("m1");
    await f.unit("a.service");
    await f.clock.advance(100);
    await f.put(keys.unit("a.service"), { desired: "of a later version" });
    await f.clock.advance(10_000);
    assert.equal(await f.placedOn("a.service"), "m1");
    assert.equal(f.errors.length, 1);
    assert.match(f.errors[0] ?? "", /^record-unreadable .*a\.service/);
    f.errors.length = 0;
  });
});

describe("the lead", () => {
  test("is taken over at once from an engine that is stopped", async () => {
    const first = f.engine("m1");
    await f.clock.advance(100);
    f.engine("m2");
    await f.clock.advance(100);
    assert.equal(await f.leader(), "m1");
    await first.stop();
    await f.clock.advance(10);
    assert.equal(await f.leader(), "m2");
  });

  test("is taken over within the ttl from an engine that dies, and the plan goes on", async () => {
    const pausedClock = new VirtualClock();
    f.engine("m1", { clock: pausedClock });
    await settle();
    await f.machines("m1", "m2");
    await f.clock.advance(0);
    assert.equal(await f.leader(), "m1");
    f.engine("m2");
    // Time stands still for the first engine: to the others it is dead.
    await f.clock.advance(5_100);
    assert.equal(await f.leader(), "m2");
    await f.unit("a.service");
    await f.clock.advance(1_000);
    assert.equal(await f.placedOn("a.service"), "m1");
  });

  test("once lost, permits no write any more (I2)", async () => {
    const pausedClock = new VirtualClock();
    const held = holdWrites(f.store);
    f.engine("m1", { clock: pausedClock, store: held.store });
    await settle();
    await f.machines("m1", "m2");
    await settle();
    assert.equal(await f.leader(), "m1");
    await f.unit("g.service", "Global=true");
    await f.clock.advance(100);
    const assigned = ["m1/g.service", "m2/g.service"];
    assert.deepEqual(await f.keysBelow(keys.all("assignments")), assigned);
    held.hold();
    await f.delete(keys.unit("g.service"));
    await f.clock.advance(0);
    assert.equal(held.count(), 1, "the first engine is about to take it away");
    f.engine("m2");
    await f.clock.advance(6_000);
    assert.equal(await f.leader(), "m2");
    assert.deepEqual(await f.keysBelow(keys.all("assignments")), []);
    await f.unit("g.service", "Global=true");
    await f.clock.advance(100);
    const before = await f.store.read({ range: { prefix: keys.all("assignments") } });
    assert.deepEqual(
      before.items.map(({ key }) => key.slice(keys.all("assignments").length)),
      assigned,
    );
    held.release();
    await f.clock.advance(100);
    // Nothing but the fence speaks against what the first engine sent so late. Revisions tell: the second would put right what it did.
    const after = await f.store.read({ range: { prefix: keys.all("assignments") } });
    assert.deepEqual(after.items, before.items);
  });

  test("is not taken by an engine that is older than a machine", async () => {
    await f.machine("m9", { format: 2 });
    f.engine("m1");
    await f.clock.advance(20_000);
    assert.equal(await f.leader(), undefined);
    await f.die("m9");
    await f.clock.advance(10_000);
    assert.equal(await f.leader(), "m1");
    await f.machine("m9", { format: 2 });
    await f.clock.advance(10_000);
    assert.equal(await f.leader(), undefined);
    f.engine("m9", { format: 2 });
    await f.clock.advance(1_000);
    assert.equal(await f.leader(), "m9");
  });

  test("is not taken in another cluster, and given up when the cluster is another (I5)", async () => {
    f.engine("m1", { clusterId: "another" });
    await f.clock.advance(20_000);
    assert.equal(await f.leader(), undefined);
    f.engine("m2");
    await f.clock.advance(1_000);
    assert.equal(await f.leader(), "m2");
    await f.put(keys.clusterId, { id: "third" });
    await f.clock.advance(20_000);
    assert.equal(await f.leader(), undefined);
  });
});

/** The store, with writes that name an assignment held back on demand: sent, but not arrived. */
function holdWrites(store: Store) {
  let isHolding = false;
  const waiting: (() => void)[] = [];
  const held: Store = new Proxy(store, {
    get(target, name) {
      if (name === "transact") {
        return async (...args: Parameters<Store["transact"]>) => {
          const concerns = args[0].operations.some(({ key }) => key.includes("/assignments/"));
          if (isHolding && concerns) await new Promise<void>((resolve) => waiting.push(resolve));
          return await target.transact(args[0]);
        };
      }
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return {
    store: held,
    hold: () => {
      isHolding = true;
    },
    count: () => waiting.length,
    release: () => {
      isHolding = false;
      for (const resolve of waiting.splice(0)) resolve();
    },
  };
}
