import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type EmbeddedStore, openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { type Operation, readAll, type Store } from "../../src/registry/store.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { keysOf, put } from "../contract/store-contract-fixture.ts";

const KEYS = 2_500;

async function openFilled(): Promise<EmbeddedStore> {
  const store = openEmbeddedStore({ clock: new VirtualClock(), random: new SeededRandom(1) });
  for (let first = 0; first < KEYS; first += 100) {
    const operations = Array.from({ length: 100 }, (_, index): Operation => {
      return { type: "put", key: nameOf(first + index), value: "before" };
    });
    await store.transact({ comparisons: [], operations });
  }
  await put(store, "other", "");
  return store;
}

function nameOf(number: number): string {
  return `k/${String(number).padStart(5, "0")}`;
}

/** The store, with something done before each page is read. */
function withEachPage(store: EmbeddedStore, before: () => Promise<void>): Store {
  return {
    description: store.description,
    async read(request, options) {
      await before();
      return await store.read(request, options);
    },
    readKeys: (request, options) => store.readKeys(request, options),
    transact: (transaction, options) => store.transact(transaction, options),
    watch: (request) => store.watch(request),
    grantLease: (ttlMs, options) => store.grantLease(ttlMs, options),
    keepLeaseAlive: (leaseId, options) => store.keepLeaseAlive(leaseId, options),
    revokeLease: (leaseId, options) => store.revokeLease(leaseId, options),
    close: () => store.close(),
  };
}

describe("readAll()", () => {
  it("reads every page of the range, each key once", async () => {
    const store = await openFilled();
    let pages = 0;
    const counted = withEachPage(store, async () => {
      pages += 1;
    });
    const { items } = await readAll(counted, { prefix: "k/" });
    assert.deepEqual(
      keysOf(items),
      Array.from({ length: KEYS }, (_, index) => nameOf(index)),
    );
    assert.equal(pages, 3);
    const bare = await readAll(store, { prefix: "k/" }, { keysOnly: true });
    assert.deepEqual(keysOf(bare.items), keysOf(items));
    assert.ok(bare.items.every((item) => item.value === ""));
    assert.deepEqual(keysOf((await readAll(store, { key: "other" })).items), ["other"]);
  });

  it("reads the state of one revision while writes go on, and says which", async () => {
    const store = await openFilled();
    const before = await readAll(store, { prefix: "k/" });
    const { revision } = before.header;
    const busy = () =>
      withEachPage(store, async () => {
        await put(store, nameOf(1_700), "meanwhile");
        await put(store, `${nameOf(2_100)}/new`, "meanwhile");
      });
    assert.deepEqual(await readAll(busy(), { prefix: "k/" }, { revision }), before);
    const newest = await readAll(busy(), { prefix: "k/" });
    assert.equal(newest.header.revision, revision + 8, "the state when its first page was read");
    const pinned = { revision: newest.header.revision };
    assert.deepEqual(await readAll(store, { prefix: "k/" }, pinned), newest);
  });

  it("fails when the store is compacted, rewound or replaced between pages", async () => {
    const codes: (string | undefined)[] = [];
    for (const disturb of [compact, rewind, replace]) {
      const store = await openFilled();
      const snapshot = store.snapshot();
      await put(store, "k/newest", "");
      let pages = 0;
      const disturbed = withEachPage(store, async () => {
        pages += 1;
        if (pages === 2) await disturb(store, snapshot);
      });
      await assert.rejects(readAll(disturbed, { prefix: "k/" }), (error: { code?: string }) => {
        codes.push(error.code);
        return true;
      });
    }
    assert.deepEqual(codes, ["store-compacted", "store-future-revision", "store-future-revision"]);
  });

  it("passes the signal on to every page", async () => {
    const store = await openFilled();
    const controller = new AbortController();
    let pages = 0;
    const aborting = withEachPage(store, async () => {
      pages += 1;
      if (pages === 2) controller.abort(new Error("enough"));
    });
    const { signal } = controller;
    await assert.rejects(readAll(aborting, { prefix: "k/" }, { signal }), { message: "enough" });
    assert.equal(pages, 2);
  });
});

type Snapshot = ReturnType<EmbeddedStore["snapshot"]>;

async function compact(store: EmbeddedStore): Promise<void> {
  const { header } = await put(store, "other", "");
  store.compact(header.revision);
}

async function rewind(store: EmbeddedStore, snapshot: Snapshot): Promise<void> {
  store.restore(snapshot);
}

async function replace(store: EmbeddedStore, snapshot: Snapshot): Promise<void> {
  store.restore({ ...snapshot, storeId: "another", revision: snapshot.revision + 1 });
}
