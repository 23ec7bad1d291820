import assert from "node:assert/strict";
import type { KeyValue, Revision, Store, TransactionResult } from "../../src/registry/store.ts";

/** What an adapter's test file provides (store-contract.ts shows how), and what the suite's parts share. */
export interface StoreFixture {
  /** The store under test. The suite may close it. */
  readonly store: Store;
  /** A second client of the same data that `connection.cut` does not touch. May be `store` itself where there is no connection. */
  readonly other: Store;
  /** Every key of the suite begins with it; ends with `/`. */
  readonly prefix: string;
  /** Ttl the suite asks leases for. Real time: long enough that a pause of half of it is not an expiry. */
  readonly leaseTtlMs: number;
  /** Lets time pass: moves the virtual clock, or waits. */
  elapse(durationMs: number): Promise<void>;
  /** Forgets the history before `revision`, which stays readable itself. */
  compact(revision: Revision): Promise<void>;
  /** Present exactly when `supports.connection`. */
  readonly connection?: {
    /** Breaks the connection of `store` and lets no new one through, without a word to the client. Resolves when that is so. */
    cut(): Promise<void>;
    /** Lets connections through again. */
    mend(): Promise<void>;
  };
  /** Closes both stores and frees everything. */
  close(): Promise<void>;
}

export interface StoreContractOptions {
  open(): Promise<StoreFixture>;
  /** What adapters may lack. The absence is checked, not skipped. */
  readonly supports: {
    /** The store is reached over a connection that can break. Without one, no call may ever wait. */
    readonly connection: boolean;
  };
}

/** Declares one test of the suite: a fresh fixture, closed whatever happens. */
export type Check = (name: string, body: (fixture: StoreFixture) => Promise<void>) => void;

export async function put(
  store: Store,
  key: string,
  value: string,
  leaseId?: string,
): Promise<TransactionResult> {
  const operation = { type: "put", key, value, leaseId } as const;
  return await store.transact({ comparisons: [], operations: [operation] });
}

export async function remove(store: Store, key: string): Promise<TransactionResult> {
  return await store.transact({ comparisons: [], operations: [{ type: "delete", key }] });
}

export async function get(store: Store, key: string): Promise<KeyValue | undefined> {
  const result = await store.read({ range: { key } });
  assert.ok(result.items.length <= 1);
  return result.items[0];
}

export async function newestRevision(store: Store, prefix: string): Promise<Revision> {
  return (await store.read({ range: { prefix }, limit: 1 })).header.revision;
}

export function keysOf(items: readonly KeyValue[]): readonly string[] {
  return items.map((item) => item.key);
}
