import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, it } from "node:test";
import { type EmbeddedStore, openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import type { Range, WatchBatch } from "../../src/registry/store.ts";
import type { CancelTimer, Clock } from "../../src/runtime/clock.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { settle, VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { get, keysOf, put } from "../contract/store-contract-fixture.ts";

interface World {
  readonly clock: VirtualClock;
  readonly store: EmbeddedStore;
}

function openInMemory(limits: { historyMax?: number; watchBatchesMax?: number } = {}): World {
  const clock = new VirtualClock();
  return { clock, store: openEmbeddedStore({ clock, random: new SeededRandom(1), ...limits }) };
}

describe("embedded store in memory", () => {
  it("is done within one turn, however many calls follow one another", async () => {
    const { store } = openInMemory();
    let done = 0;
    void (async () => {
      for (; done < 100; done += 1) {
        await put(store, "k", String(done));
        assert.equal((await get(store, "k"))?.value, String(done));
      }
    })();
    await settle();
    assert.equal(done, 100);
  });

  it("repeats itself with the same seed", async () => {
    const run = async () => {
      const { store } = openInMemory();
      const lease = await store.grantLease(1_000);
      const { header } = await put(store, "k", "v", lease.leaseId);
      return { lease, header };
    };
    assert.deepEqual(await run(), await run());
  });

  it("drops a write that is aborted before its turn comes", async () => {
    const { store } = openInMemory();
    const controller = new AbortController();
    const operations = [{ type: "put", key: "aborted", value: "" }] as const;
    const aborted = store.transact({ comparisons: [], operations }, { signal: controller.signal });
    const kept = put(store, "kept", "");
    controller.abort(new Error("enough"));
    await assert.rejects(aborted, { message: "enough" });
    await kept;
    assert.deepEqual(keysOf((await store.read({ range: { prefix: "" } })).items), ["kept"]);
  });

  it("keeps as much history as it is told to", async () => {
    const { store } = openInMemory({ historyMax: 10 });
    let revision = 0;
    for (let index = 0; index < 30; index += 1) {
      revision = (await put(store, "k", String(index))).header.revision;
    }
    const oldest = await store.read({ range: { key: "k" }, revision: revision - 10 });
    assert.equal(oldest.items[0]?.value, "19");
    const older = store.read({ range: { key: "k" }, revision: revision - 11 });
    await assert.rejects(older, { code: "store-compacted" });
    const watched = await firstOf(store, { key: "k" }, revision - 9);
    assert.equal(watched?.type === "changes" && watched.revision, revision - 9);
    const reset = { type: "reset", why: "compacted" };
    assert.deepEqual(await firstOf(store, { key: "k" }, revision - 10), reset);
  });
});

describe("embedded store's watches", () => {
  it("reset a watcher that falls behind further than the limit, and no other", async () => {
    const { store } = openInMemory({ watchBatchesMax: 5 });
    const slow = follow(store, { prefix: "a/" }, 2);
    const other = follow(store, { prefix: "b/" }, 2);
    const firsts = [slow.next(), other.next()];
    await put(store, "a/k", "0");
    await put(store, "b/k", "0");
    for (const first of await Promise.all(firsts)) assert.equal(first.value?.type, "changes");
    for (let index = 1; index <= 5; index += 1) await put(store, "a/k", String(index));
    assert.equal((await slow.next()).value?.type, "changes", "five batches are not too many");
    for (let index = 6; index <= 7; index += 1) await put(store, "a/k", String(index));
    assert.deepEqual((await slow.next()).value, { type: "reset", why: "overflow" });
    assert.equal((await slow.next()).done, true);
    await put(store, "b/k", "1");
    assert.equal((await other.next()).value?.type, "changes");
  });

  it("do not count the past a watch starts with as falling behind", async () => {
    const { store } = openInMemory({ watchBatchesMax: 5 });
    for (let index = 0; index < 50; index += 1) await put(store, "k", String(index));
    const watch = follow(store, { key: "k" }, 2);
    assert.equal((await watch.next()).value?.type, "changes");
    for (let index = 0; index < 5; index += 1) await put(store, "k", String(index));
    for (let index = 0; index < 54; index += 1) {
      assert.equal((await watch.next()).value?.type, "changes");
    }
  });

  it("end with reset when the store is wiped, rewound or replaced under them", async () => {
    const { store } = openInMemory();
    await put(store, "k", "1");
    const snapshot = store.snapshot();
    await put(store, "k", "2");
    const { header } = await store.read({ range: { key: "k" } });

    const rewound = follow(store, { key: "k" }, header.revision + 1).next();
    await settle();
    store.restore(snapshot);
    assert.deepEqual((await rewound).value, { type: "reset", why: "rewound" });
    assert.equal((await get(store, "k"))?.value, "1");
    const tooNew = await firstOf(store, { key: "k" }, header.revision + 1);
    assert.deepEqual(tooNew, { type: "reset", why: "rewound" });

    const wiped = follow(store, { key: "k" }, snapshot.revision + 1).next();
    await settle();
    store.wipe();
    assert.deepEqual((await wiped).value, { type: "reset", why: "replaced" });
    const empty = await store.read({ range: { prefix: "" } });
    assert.deepEqual(empty.items, []);
    assert.notEqual(empty.header.storeId, header.storeId);

    const replaced = follow(store, { key: "k" }, empty.header.revision + 1).next();
    await settle();
    store.restore({ ...snapshot, storeId: "another" });
    assert.deepEqual((await replaced).value, { type: "reset", why: "replaced" });
  });

  it("leave nothing behind when they end", async () => {
    const { store } = openInMemory();
    const controller = new AbortController();
    await put(store, "k", "");
    for (let index = 0; index < 20; index += 1) {
      const request = { range: { prefix: "k" }, fromRevision: 2, signal: controller.signal };
      for await (const _ of store.watch(request)) break;
    }
    assert.deepEqual(getEventListeners(controller.signal, "abort"), []);
    assert.equal((await firstOf(store, { key: "k" }, 2))?.type, "changes");
  });
});

describe("embedded store's leases", () => {
  it("end at their ttl to the millisecond, their keys in one revision", async () => {
    const { clock, store } = openInMemory();
    const { leaseId } = await store.grantLease(5_000);
    const before = (await put(store, "b", "", leaseId)).header.revision;
    await put(store, "a", "", leaseId);
    await clock.advance(4_999);
    assert.ok(await get(store, "a"));
    await clock.advance(1);
    assert.deepEqual((await store.read({ range: { prefix: "" } })).items, []);
    assert.deepEqual(await firstOf(store, { prefix: "" }, before + 2), {
      type: "changes",
      revision: before + 2,
      changes: [
        { type: "delete", key: "a", modRevision: before + 2 },
        { type: "delete", key: "b", modRevision: before + 2 },
      ],
    });
    assert.equal(clock.nextDueMs(), undefined, "no timer without leases");
  });

  it("share one timer, which keep-alives do not move", async () => {
    const clock = new CountingClock();
    const store = openEmbeddedStore({ clock, random: new SeededRandom(1) });
    const leases: string[] = [];
    for (let index = 0; index < 50; index += 1) {
      const lease = await store.grantLease(10_000 + index);
      await put(store, lease.leaseId, "", lease.leaseId);
      leases.push(lease.leaseId);
    }
    assert.equal(clock.timersSet, 1);
    for (let round = 0; round < 9; round += 1) {
      await clock.advance(3_000);
      for (const leaseId of leases) assert.ok(await store.keepLeaseAlive(leaseId));
    }
    assert.ok(clock.timersSet <= 5, `${clock.timersSet} timers in 27 seconds`);
    await clock.advance(9_999);
    assert.equal((await store.read({ range: { prefix: "" } })).items.length, 50);
    await clock.advance(51);
    assert.equal((await store.read({ range: { prefix: "" } })).items.length, 0);
  });

  it("end in the order of their expiry, a shorter one granted later first", async () => {
    const { clock, store } = openInMemory();
    const long = await store.grantLease(10_000);
    const short = await store.grantLease(1_000);
    await put(store, "long", "", long.leaseId);
    await put(store, "short", "", short.leaseId);
    await clock.advance(1_000);
    assert.deepEqual(keysOf((await store.read({ range: { prefix: "" } })).items), ["long"]);
    const almost = await store.grantLease(9_001);
    await put(store, "almost", "", almost.leaseId);
    await clock.advance(9_000);
    assert.deepEqual(keysOf((await store.read({ range: { prefix: "" } })).items), ["almost"]);
    await clock.advance(1);
    assert.deepEqual((await store.read({ range: { prefix: "" } })).items, []);
  });

  it("get a full ttl when the store itself stood still", async () => {
    const clock = new SuspendingClock();
    const store = openEmbeddedStore({ clock, random: new SeededRandom(1) });
    const { leaseId } = await store.grantLease(5_000);
    await clock.advance(3_000);
    clock.suspendedMs = 60_000;
    await clock.advance(2_000);
    assert.ok(await store.keepLeaseAlive(leaseId), "the keep-alives could not be read");
    await clock.advance(5_000);
    assert.equal(await store.keepLeaseAlive(leaseId), undefined);
  });

  it("of a restored state get a full ttl, younger ones are gone", async () => {
    const { clock, store } = openInMemory();
    const old = await store.grantLease(5_000);
    await put(store, "old", "", old.leaseId);
    const snapshot = store.snapshot();
    const young = await store.grantLease(5_000);
    await put(store, "young", "", young.leaseId);
    await clock.advance(4_000);
    store.restore(snapshot);
    await clock.advance(4_999);
    assert.equal((await get(store, "old"))?.leaseId, old.leaseId);
    assert.equal(await get(store, "young"), undefined);
    assert.equal(await store.keepLeaseAlive(young.leaseId), undefined);
    await clock.advance(1);
    assert.equal(await get(store, "old"), undefined);
  });
});

class CountingClock extends VirtualClock {
  timersSet = 0;

  override setTimer(delayMs: number, callback: () => void): CancelTimer {
    this.timersSet += 1;
    return super.setTimer(delayMs, callback);
  }
}

/** A machine that was suspended for `suspendedMs`: timers fire when it wakes up. */
class SuspendingClock extends VirtualClock implements Clock {
  suspendedMs = 0;

  override monotonicMs(): number {
    return super.monotonicMs() + this.suspendedMs;
  }
}

function follow(store: EmbeddedStore, range: Range, fromRevision: number) {
  return store.watch({ range, fromRevision })[Symbol.asyncIterator]();
}

async function firstOf(
  store: EmbeddedStore,
  range: Range,
  fromRevision: number,
): Promise<WatchBatch | undefined> {
  for await (const batch of store.watch({ range, fromRevision })) return batch;
  return undefined;
}
