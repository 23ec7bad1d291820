import assert from "node:assert/strict";
import { openEtcdStore } from "../../src/registry/etcd-store.ts";
import type { Change, Operation, Store, WatchBatch } from "../../src/registry/store.ts";
import { sleep } from "../../src/runtime/clock.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import type { Cleanup } from "../support/cleanup.ts";

/** What the tests of the etcd adapter share. */
export async function openStore(t: Cleanup, ...servers: readonly string[]): Promise<Store> {
  const store = await openEtcdStore({ servers, clock: systemClock });
  t.after(() => store.close());
  return store;
}

export async function put(store: Store, key: string, value: string): Promise<number> {
  const operations = [{ type: "put", key, value }] as const;
  return (await store.transact({ comparisons: [], operations })).header.revision;
}

/** `count` puts of distinct keys as one revision. */
export async function putMany(
  store: Store,
  { prefix, count, value }: { prefix: string; count: number; value: string },
): Promise<number> {
  const operations = Array.from(
    { length: count },
    (_, index): Operation => ({ type: "put", key: `${prefix}${index}`, value }),
  );
  return (await store.transact({ comparisons: [], operations })).header.revision;
}

export async function newestRevision(store: Store): Promise<number> {
  return (await store.read({ range: { key: "/" } })).header.revision;
}

export interface OpenWatch {
  next(): Promise<WatchBatch>;
  /** Batches up to and including the one that changes `key`. */
  until(key: string): Promise<readonly ChangesBatch[]>;
}

export type ChangesBatch = WatchBatch & { readonly type: "changes" };

export function watch(
  t: Cleanup,
  store: Store,
  request: { readonly prefix: string; readonly from: number },
): OpenWatch {
  const controller = new AbortController();
  t.after(() => controller.abort());
  const { signal } = controller;
  const range = { prefix: request.prefix };
  const iterator = store
    .watch({ range, fromRevision: request.from, signal })
    [Symbol.asyncIterator]();
  const next = async () => {
    const result = await iterator.next();
    assert.ok(result.done !== true, "the watch ended by itself");
    return result.value;
  };
  return {
    next,
    async until(key) {
      const batches: ChangesBatch[] = [];
      for (;;) {
        const batch = await next();
        assert.ok(batch.type === "changes", JSON.stringify(batch));
        batches.push(batch);
        if (batch.changes.some((change) => keyOf(change) === key)) return batches;
      }
    },
  };
}

export function keyOf(change: Change): string {
  return change.type === "put" ? change.item.key : change.key;
}

/** Calls until one succeeds; for calls that may be repeated. */
export async function eventually<T>(call: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (attempt >= 300) throw error;
      await sleep(systemClock, 50);
    }
  }
}
