import assert from "node:assert/strict";
import type { Comparison, Operation } from "../../src/registry/store.ts";
import { type Check, get, newestRevision, put, remove } from "./store-contract-fixture.ts";

const MIB = 2 ** 20;

export function checkTransactions(check: Check): void {
  checkRevisions(check);
  checkComparisons(check);
  checkAtomicity(check);
  checkLimits(check);
}

function checkRevisions(check: Check): void {
  check("counts one revision per transaction that changes something", async ({ store, prefix }) => {
    const first = (await put(store, `${prefix}a`, "1")).header.revision;
    const second = (await put(store, `${prefix}a`, "1")).header.revision;
    assert.equal(second, first + 1, "an equal value is a change too");
    const operations: Operation[] = [
      { type: "put", key: `${prefix}b`, value: "" },
      { type: "delete", key: `${prefix}a` },
    ];
    const third = await store.transact({ comparisons: [], operations });
    assert.deepEqual([third.applied, third.header.revision], [true, first + 2]);
    const absent = await remove(store, `${prefix}none`);
    assert.deepEqual([absent.applied, absent.header.revision], [true, first + 2]);
    const empty = await store.transact({ comparisons: [], operations: [] });
    assert.deepEqual([empty.applied, empty.header.revision], [true, first + 2]);
    assert.equal(await newestRevision(store, prefix), first + 2);
  });

  check(
    "tells when a key was created and changed, over its deletion",
    async ({ store, prefix }) => {
      const key = `${prefix}k`;
      const created = (await put(store, key, "1")).header.revision;
      const changed = (await put(store, key, "2")).header.revision;
      assert.deepEqual(await get(store, key), {
        key,
        value: "2",
        createRevision: created,
        modRevision: changed,
      });
      await remove(store, key);
      const again = (await put(store, key, "2")).header.revision;
      assert.deepEqual(await get(store, key), {
        key,
        value: "2",
        createRevision: again,
        modRevision: again,
      });
    },
  );
}

function checkComparisons(check: Check): void {
  check("compares revisions and values, of absent keys too", async ({ store, prefix }) => {
    const key = `${prefix}k`;
    const absent = `${prefix}absent`;
    const created = (await put(store, key, "1")).header.revision;
    const changed = (await put(store, key, "2")).header.revision;
    const rows: readonly (readonly [boolean, Comparison])[] = [
      [true, { type: "created-at", key, revision: created }],
      [false, { type: "created-at", key, revision: changed }],
      [false, { type: "created-at", key, revision: 0 }],
      [true, { type: "modified-at", key, revision: changed }],
      [false, { type: "modified-at", key, revision: created }],
      [false, { type: "modified-at", key, revision: 0 }],
      [true, { type: "value-is", key, value: "2" }],
      [false, { type: "value-is", key, value: "1" }],
      [false, { type: "value-is", key, value: "" }],
      [true, { type: "created-at", key: absent, revision: 0 }],
      [false, { type: "created-at", key: absent, revision: created }],
      [true, { type: "modified-at", key: absent, revision: 0 }],
      [false, { type: "modified-at", key: absent, revision: changed }],
      [false, { type: "value-is", key: absent, value: "" }],
      [false, { type: "value-is", key: absent, value: "2" }],
    ];
    for (const [holds, comparison] of rows) {
      const result = await store.transact({ comparisons: [comparison], operations: [] });
      assert.equal(result.applied, holds, JSON.stringify(comparison));
    }
    await remove(store, key);
    const comparisons = [{ type: "modified-at", key, revision: 0 }] as const;
    assert.equal((await store.transact({ comparisons, operations: [] })).applied, true);
  });

  check("lets exactly one of several concurrent compare-and-swaps win", async (fixture) => {
    const { store, other, prefix } = fixture;
    const key = `${prefix}k`;
    const claim = async (index: number, revision: number) => {
      const client = index % 2 === 0 ? store : other;
      return await client.transact({
        comparisons: [{ type: "modified-at", key, revision }],
        operations: [{ type: "put", key, value: `claim ${index}` }],
      });
    };
    let revision = 0;
    for (let round = 0; round < 5; round += 1) {
      const base = revision;
      const results = await Promise.all(
        [0, 1, 2, 3, 4, 5, 6, 7].map((index) => claim(index, base)),
      );
      const winners = results.flatMap((result, index) => (result.applied ? [index] : []));
      assert.equal(winners.length, 1);
      const found = await get(store, key);
      assert.equal(found?.value, `claim ${winners[0]}`);
      revision = found?.modRevision ?? 0;
      assert.equal(results[winners[0] ?? -1]?.header.revision, revision);
    }
  });
}

function checkAtomicity(check: Check): void {
  check("changes nothing when one comparison of several fails", async ({ store, prefix }) => {
    await put(store, `${prefix}a`, "1");
    const revision = await newestRevision(store, prefix);
    const result = await store.transact({
      comparisons: [
        { type: "value-is", key: `${prefix}a`, value: "1" },
        { type: "created-at", key: `${prefix}a`, revision: 0 },
      ],
      operations: [
        { type: "put", key: `${prefix}b`, value: "2" },
        { type: "delete", key: `${prefix}a` },
      ],
    });
    assert.deepEqual([result.applied, result.header.revision], [false, revision]);
    assert.equal((await get(store, `${prefix}a`))?.value, "1");
    assert.equal(await get(store, `${prefix}b`), undefined);
    assert.equal(await newestRevision(store, prefix), revision);
  });

  check("applies all operations at one revision", async ({ store, prefix }) => {
    await put(store, `${prefix}a`, "1");
    const result = await store.transact({
      comparisons: [{ type: "value-is", key: `${prefix}a`, value: "1" }],
      operations: [
        { type: "put", key: `${prefix}b`, value: "2" },
        { type: "put", key: `${prefix}c`, value: "3" },
        { type: "delete", key: `${prefix}a` },
      ],
    });
    const { revision } = result.header;
    const items = (await store.read({ range: { prefix } })).items;
    assert.deepEqual(
      items.map((item) => [item.key, item.createRevision, item.modRevision]),
      [
        [`${prefix}b`, revision, revision],
        [`${prefix}c`, revision, revision],
      ],
    );
    const before = await store.read({ range: { prefix }, revision: revision - 1 });
    assert.deepEqual(
      before.items.map((item) => item.key),
      [`${prefix}a`],
    );
  });
}

function checkLimits(check: Check): void {
  check("takes 128 comparisons and operations and refuses more", async ({ store, prefix }) => {
    const keys = Array.from({ length: 129 }, (_, index) => `${prefix}${index}`);
    const comparisons = keys.map((key) => ({ type: "created-at", key, revision: 0 }) as const);
    const operations = keys.map((key) => ({ type: "put", key, value: key }) as const);
    const tooLarge = { code: "store-too-large" };
    await assert.rejects(store.transact({ comparisons: [], operations }), tooLarge);
    await assert.rejects(store.transact({ comparisons, operations: [] }), tooLarge);
    assert.deepEqual((await store.read({ range: { prefix } })).items, []);
    const full = { comparisons: comparisons.slice(1), operations: operations.slice(1) };
    assert.equal((await store.transact(full)).applied, true);
    assert.equal((await store.read({ range: { prefix } })).items.length, 128);
  });

  check("refuses a value over 1.5 MiB, counted in bytes", async ({ store, prefix }) => {
    const tooLarge = { code: "store-too-large" };
    await assert.rejects(put(store, `${prefix}a`, "x".repeat(1.5 * MIB + 1)), tooLarge);
    await assert.rejects(put(store, `${prefix}a`, "é".repeat(0.75 * MIB + 1)), tooLarge);
    assert.equal(await get(store, `${prefix}a`), undefined);
    await put(store, `${prefix}a`, "fits");
  });

  check("refuses values that only together are over 1.5 MiB", async ({ store, prefix }) => {
    const value = "x".repeat(MIB);
    const operations = ["a", "b"].map(
      (name) => ({ type: "put", key: prefix + name, value }) as const,
    );
    await assert.rejects(store.transact({ comparisons: [], operations }), {
      code: "store-too-large",
    });
    assert.deepEqual((await store.read({ range: { prefix } })).items, []);
  });

  check("takes the same key twice among the operations for a bug", async ({ store, prefix }) => {
    const operations: Operation[] = [
      { type: "put", key: `${prefix}a`, value: "1" },
      { type: "delete", key: `${prefix}a` },
    ];
    const transaction = { comparisons: [], operations };
    await assert.rejects(async () => await store.transact(transaction), { name: "AssertionError" });
    assert.equal(await get(store, `${prefix}a`), undefined);
  });
}
