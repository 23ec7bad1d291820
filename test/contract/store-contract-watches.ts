import assert from "node:assert/strict";
import type { Change, Operation, Range, Store, WatchBatch } from "../../src/registry/store.ts";
import {
  type Check,
  newestRevision,
  put,
  remove,
  type StoreContractOptions,
} from "./store-contract-fixture.ts";

type ChangesBatch = Extract<WatchBatch, { readonly type: "changes" }>;

export function checkWatches(check: Check, supports: StoreContractOptions["supports"]): void {
  checkDelivery(check);
  checkRanges(check);
  checkEnds(check);
  if (supports.connection) checkCuts(check);
}

function checkDelivery(check: Check): void {
  check("gives past changes from its revision on, then new ones", async ({ store, prefix }) => {
    const key = `${prefix}k`;
    await put(store, key, "before");
    const created = (await put(store, `${prefix}a`, "1")).header.revision;
    const changed = (await put(store, `${prefix}a`, "2")).header.revision;
    const deleted = (await remove(store, `${prefix}a`)).header.revision;
    const watch = open(store, { prefix }, created);
    const past = [await watch.next(), await watch.next(), await watch.next()];
    const item = { key: `${prefix}a`, createRevision: created };
    assert.deepEqual(past, [
      changes(created, { type: "put", item: { ...item, value: "1", modRevision: created } }),
      changes(changed, { type: "put", item: { ...item, value: "2", modRevision: changed } }),
      changes(deleted, { type: "delete", key: `${prefix}a`, modRevision: deleted }),
    ]);
    const waiting = watch.next();
    const again = (await put(store, `${prefix}a`, "3")).header.revision;
    const recreated = { ...item, createRevision: again, modRevision: again, value: "3" };
    assert.deepEqual(await waiting, changes(again, { type: "put", item: recreated }));
    await watch.end();
  });

  check("does not split the changes of one revision", async ({ store, prefix }) => {
    const from = (await newestRevision(store, prefix)) + 1;
    const keys = Array.from({ length: 100 }, (_, index) => `${prefix}w/${index}`);
    const value = "x".repeat(10_000);
    const puts = keys.map((key): Operation => ({ type: "put", key, value }));
    const outside: Operation = { type: "put", key: `${prefix}outside`, value };
    await store.transact({ comparisons: [], operations: [...puts, outside] });
    const deletes = keys.map((key): Operation => ({ type: "delete", key }));
    await store.transact({ comparisons: [], operations: deletes });
    const watch = open(store, { prefix: `${prefix}w/` }, from);
    const batches = [await watch.next(), await watch.next()];
    assert.deepEqual(
      batches.map((batch) => batch.revision),
      [from, from + 1],
    );
    for (const batch of batches) {
      assert.deepEqual(batch.changes.map(keyOf).sort(), [...keys].sort());
    }
    assert.ok(batches[1]?.changes.every((change) => change.type === "delete"));
    await watch.end();
  });

  check("gives every change exactly once to each of several watches", async (fixture) => {
    const { store, other, prefix } = fixture;
    const from = (await newestRevision(store, prefix)) + 1;
    const watches = [open(store, { prefix }, from), open(store, { prefix }, from)];
    const collected = watches.map((watch) => collectUntil(watch, "end"));
    for (let index = 0; index < 300; index += 1) {
      await put(index % 2 === 0 ? store : other, `${prefix}${index % 7}`, String(index));
    }
    await put(store, `${prefix}end`, "end");
    for (const batches of await Promise.all(collected)) assertNumbered(batches, 300, from);
    for (const watch of watches) await watch.end();
  });

  check("says nothing of transactions that changed nothing", async ({ store, prefix }) => {
    const from = (await newestRevision(store, prefix)) + 1;
    await remove(store, `${prefix}none`);
    const comparisons = [{ type: "value-is", key: `${prefix}none`, value: "x" }] as const;
    const operations = [{ type: "put", key: `${prefix}a`, value: "x" }] as const;
    await store.transact({ comparisons, operations });
    await put(store, `${prefix}0`, "0");
    await put(store, `${prefix}end`, "end");
    const watch = open(store, { prefix }, from);
    assertNumbered(await collectUntil(watch, "end"), 1, from);
    await watch.end();
  });
}

function checkRanges(check: Check): void {
  check("covers its key or prefix and nothing beside it", async ({ store, prefix }) => {
    const from = (await newestRevision(store, prefix)) + 1;
    const names = ["a", "a/", "a/b", "a0", "ab", "ÿ", "ÿ/1", "Ā", "\u{10ffff}", "\u{10ffff}/1"];
    for (const name of names) await put(store, prefix + name, name);
    const rows: readonly (readonly [Range, readonly string[]])[] = [
      [{ key: `${prefix}a` }, ["a"]],
      [{ key: `${prefix}a/` }, ["a/"]],
      [{ prefix: `${prefix}a` }, ["a", "a/", "a/b", "a0", "ab"]],
      [{ prefix: `${prefix}a/` }, ["a/", "a/b"]],
      [{ prefix: `${prefix}ÿ` }, ["ÿ", "ÿ/1"]],
      [{ prefix: `${prefix}\u{10ffff}` }, ["\u{10ffff}", "\u{10ffff}/1"]],
    ];
    for (const [range, expected] of rows) {
      const end = "key" in range ? range.key : `${range.prefix}end`;
      const watch = open(store, range, from);
      await put(store, end, "end");
      const seen = await collectUntil(watch, "end");
      assert.deepEqual(
        seen.flatMap((batch) => batch.changes.map((change) => keyOf(change).slice(prefix.length))),
        expected,
        JSON.stringify(range),
      );
      await remove(store, end);
      await watch.end();
    }
  });

  check("gives a change once to each of several watches of nested ranges", async (fixture) => {
    const { store, prefix } = fixture;
    const from = (await newestRevision(store, prefix)) + 1;
    const ranges: readonly Range[] = [
      { prefix },
      { prefix: `${prefix}a` },
      { prefix: `${prefix}a/b` },
      { prefix: `${prefix}a/b/c/d` },
      { key: `${prefix}a/b` },
    ];
    const watches = ranges.map((range) => open(store, range, from));
    const collected = watches.map((watch) => collectUntil(watch, "end"));
    for (const name of ["a", "a/b", "a/b/c"]) await put(store, prefix + name, "");
    await put(store, `${prefix}a/b`, "end");
    await put(store, `${prefix}a/b/c/d`, "end");
    const names = (await Promise.all(collected)).map((batches) =>
      batches.flatMap((batch) => batch.changes.map((change) => keyOf(change).slice(prefix.length))),
    );
    const all = ["a", "a/b", "a/b/c"];
    assert.deepEqual(names, [all, all, all.slice(1), [], ["a/b"]]);
    for (const watch of watches) await watch.end();
  });
}

function checkEnds(check: Check): void {
  check("ends with reset when its revision is compacted", async (fixture) => {
    const { store, prefix } = fixture;
    const first = (await put(store, `${prefix}a`, "1")).header.revision;
    await put(store, `${prefix}a`, "2");
    const newest = (await put(store, `${prefix}a`, "3")).header.revision;
    await fixture.compact(newest);
    const batches: WatchBatch[] = [];
    for await (const batch of store.watch({ range: { prefix }, fromRevision: first })) {
      batches.push(batch);
    }
    assert.deepEqual(batches, [{ type: "reset", why: "compacted" }]);
    const watch = open(store, { prefix }, newest + 1);
    const next = (await put(store, `${prefix}a`, "4")).header.revision;
    assert.equal((await watch.next()).revision, next);
    await watch.end();
  });

  check("is not disturbed by a compaction of what it has given out", async (fixture) => {
    const { store, prefix } = fixture;
    const from = (await newestRevision(store, prefix)) + 1;
    const watch = open(store, { prefix }, from);
    await put(store, `${prefix}a`, "1");
    assert.equal((await watch.next()).revision, from);
    await fixture.compact(from);
    await put(store, `${prefix}a`, "2");
    assert.equal((await watch.next()).revision, from + 1);
    await watch.end();
  });

  check(
    "returns when its signal aborts: before, while waiting, with changes due",
    async (fixture) => {
      const { store, prefix } = fixture;
      const fromRevision = (await newestRevision(store, prefix)) + 1;
      const range = { prefix };
      const before = store.watch({ range, fromRevision, signal: AbortSignal.abort() });
      for await (const batch of before) assert.fail(`an aborted watch gave ${batch.type}`);

      const waiting = new AbortController();
      const idle = store.watch({ range, fromRevision, signal: waiting.signal });
      const next = idle[Symbol.asyncIterator]().next();
      waiting.abort(new Error("enough"));
      assert.equal((await next).done, true);

      await put(store, `${prefix}a`, "1");
      await put(store, `${prefix}a`, "2");
      const busy = new AbortController();
      let seen = 0;
      for await (const _ of store.watch({ range, fromRevision, signal: busy.signal })) {
        seen += 1;
        busy.abort();
      }
      assert.equal(seen, 1);
    },
  );

  check("can be left in the middle and opened again", async ({ store, prefix }) => {
    const from = (await newestRevision(store, prefix)) + 1;
    for (let index = 0; index < 10; index += 1) await put(store, `${prefix}k`, String(index));
    let resumeFrom = from;
    for (let index = 0; index < 10; index += 1) {
      for await (const batch of store.watch({ range: { prefix }, fromRevision: resumeFrom })) {
        assert.ok(batch.type === "changes");
        assert.equal(batch.revision, from + index);
        resumeFrom = batch.revision + 1;
        break;
      }
    }
  });
}

function checkCuts(check: Check): void {
  check("gives every change exactly once over a cut connection", async (fixture) => {
    const { store, other, prefix, connection } = fixture;
    assert.ok(connection);
    const from = (await newestRevision(store, prefix)) + 1;
    const watch = open(store, { prefix }, from);
    const write = async (first: number, last: number) => {
      for (let index = first; index < last; index += 1) {
        await put(other, `${prefix}${index % 7}`, String(index));
      }
    };
    await write(0, 20);
    assert.equal((await watch.next()).revision, from);
    await connection.cut();
    await write(20, 120);
    await connection.mend();
    await write(120, 150);
    await connection.cut();
    await connection.mend();
    await write(150, 200);
    await put(other, `${prefix}end`, "end");
    const rest = await collectUntil(watch, "end");
    assertNumbered(rest, 199, from + 1, 1);
    await watch.end();
  });

  check("ends with reset when what it missed over a cut is compacted", async (fixture) => {
    const { store, other, prefix, connection } = fixture;
    assert.ok(connection);
    const from = (await newestRevision(store, prefix)) + 1;
    const controller = new AbortController();
    const request = { range: { prefix }, fromRevision: from, signal: controller.signal };
    const iterator = store.watch(request)[Symbol.asyncIterator]();
    await put(other, `${prefix}a`, "1");
    assert.equal((await iterator.next()).value?.type, "changes");
    await connection.cut();
    for (let index = 0; index < 5; index += 1) await put(other, `${prefix}a`, String(index));
    await fixture.compact(await newestRevision(other, prefix));
    await connection.mend();
    assert.deepEqual((await iterator.next()).value, { type: "reset", why: "compacted" });
    assert.equal((await iterator.next()).done, true);
    controller.abort();
  });
}

interface OpenWatch {
  /** The next batch, which must be one of changes; in key order, since the port leaves the order within a batch open. */
  next(): Promise<ChangesBatch>;
  end(): Promise<void>;
}

function open(store: Store, range: Range, fromRevision: number): OpenWatch {
  const controller = new AbortController();
  const { signal } = controller;
  const iterator = store.watch({ range, fromRevision, signal })[Symbol.asyncIterator]();
  return {
    async next() {
      const result = await iterator.next();
      assert.ok(result.done !== true, "the watch ended by itself");
      assert.ok(result.value.type === "changes", JSON.stringify(result.value));
      return result.value;
    },
    async end() {
      controller.abort();
      assert.equal((await iterator.next()).done, true);
    },
  };
}

/** Batches up to the one that puts the value `end`, which is left out. */
async function collectUntil(watch: OpenWatch, end: string): Promise<readonly ChangesBatch[]> {
  const batches: ChangesBatch[] = [];
  for (;;) {
    const batch = await watch.next();
    const last = batch.changes[0];
    if (last?.type === "put" && last.item.value === end) return batches;
    batches.push(batch);
  }
}

/** One change per batch, values numbered from `firstValue`, revisions without a gap. */
function assertNumbered(
  batches: readonly ChangesBatch[],
  count: number,
  firstRevision: number,
  firstValue = 0,
): void {
  const numbers = Array.from({ length: count }, (_, index) => index);
  assert.deepEqual(
    batches.map((batch) => batch.revision),
    numbers.map((number) => firstRevision + number),
  );
  assert.deepEqual(
    batches.map((batch) =>
      batch.changes.map((change) => change.type === "put" && change.item.value),
    ),
    numbers.map((number) => [String(firstValue + number)]),
  );
}

function changes(revision: number, ...list: readonly Change[]): WatchBatch {
  return { type: "changes", revision, changes: list };
}

function keyOf(change: Change): string {
  return change.type === "put" ? change.item.key : change.key;
}
