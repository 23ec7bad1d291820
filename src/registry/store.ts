import { FleetError } from "../runtime/errors.ts";

/**
 * Store port: a small key-value store in the shape of etcd v3. Adapters: `etcd-store.ts`,
 * `embedded-store.ts`. One contract suite (test/contract/store-contract.ts) holds for both.
 *
 * Common to every call:
 * - Linearizable: a read sees every write acknowledged before it was sent.
 * - `options.signal` ends the call at once with the signal's reason; `options.deadlineMs` (default
 *   3,000) ends it with `store-deadline`. A write that ends so, or with `store-unavailable`, may or may not have been
 *   applied: callers look before they act again. No call is ever repeated behind the caller's back.
 * - Errors are `FleetError`s: `store-unavailable` and `store-deadline` (retriable), `store-compacted`,
 *   `store-future-revision`, `store-too-large` (keys and values over 1.5 MiB in one transaction, or too many operations), `store-denied`,
 *   `store-corrupt`, `store-closed`.
 */
export interface Store {
  /** What the store is, for messages: `etcd at http://10.0.0.1:2379`, `embedded registry /var/lib/fleet-ts/registry.db`. */
  readonly description: string;

  /**
   * One page of the keys in `range`, in byte order. Without `revision` it reads the newest state and
   * `header.revision` says which that was; passing it on with `after` = last key reads the next page of the very same state.
   */
  read(request: ReadRequest, options?: CallOptions): Promise<ReadResult>;

  /**
   * Single keys as of one revision, in one call: a fraction of what as many reads cost. Absent keys are left out; the order is that of
   * `keys`, of which there are at most 128. `header.revision` is the newest, as for `read`.
   */
  readKeys(request: ReadKeysRequest, options?: CallOptions): Promise<ReadAllResult>;

  /**
   * Atomically: if every comparison holds, applies `operations` as one revision; otherwise changes nothing.
   * At most 128 comparisons and 128 operations, each key at most once among the operations. Deleting an absent
   * key is allowed and is no event. `header.revision` is the revision written (applied) or the newest (not applied).
   */
  transact(transaction: Transaction, options?: CallOptions): Promise<TransactionResult>;

  /**
   * Every change of the keys in `range` from revision `fromRevision` on (inclusive), each exactly once, in order; the changes of one
   * revision come in one batch. Survives cut connections by itself: it resumes after the last batch it gave out, for as long as it
   * takes. Ends with one `reset` batch when that is impossible: re-read, then watch from that revision + 1.
   * Ends without one only by `signal` (the iterator then returns) or by `close` of the store (`store-closed`).
   * Batches not yet taken wait in a bounded buffer; a consumer that falls behind further gets `reset` with `overflow`.
   */
  watch(request: WatchRequest): AsyncIterable<WatchBatch>;

  /** A new lease that the store ends `ttlMs` after the last keep-alive it acknowledged; keys put with it go with it, as one revision each or together. */
  grantLease(ttlMs: number, options?: CallOptions): Promise<Lease>;

  /**
   * Gives the lease a full ttl again. `undefined`: the lease is gone and its keys with it.
   * Who holds a lease judges it by its own clock from the moment the last acknowledged call was *sent*, never by this answer alone.
   */
  keepLeaseAlive(leaseId: string, options?: CallOptions): Promise<Lease | undefined>;

  /** Ends a lease and deletes its keys. Ending one that is gone is no error. */
  revokeLease(leaseId: string, options?: CallOptions): Promise<void>;

  /** Ends every watch and call with `store-closed`. Leases stay: they end by themselves. */
  close(): Promise<void>;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly deadlineMs?: number | undefined;
}

/** A key, or every key that begins with a prefix (plain text: `a/` covers `a/b` and not `ab`). */
export type Range = { readonly key: string } | { readonly prefix: string };

/** A revision counts the transactions that changed something. Safe integers: 2^53 outlasts any cluster. */
export type Revision = number;

export interface KeyValue {
  readonly key: string;
  /** Text; up to 1 MiB of UTF-8 is guaranteed to fit. */
  readonly value: string;
  /** Revision at which the key was created since it was last absent. */
  readonly createRevision: Revision;
  /** Revision of its last change. */
  readonly modRevision: Revision;
  readonly leaseId?: string;
}

export interface StoreHeader {
  /** The newest revision when the call was answered. */
  readonly revision: Revision;
  /**
   * Which store answered: differs after the store was replaced by another or emptied by starting anew (etcd: cluster id;
   * embedded: a random id written at creation).
   */
  readonly storeId: string;
}

export interface ReadRequest {
  readonly range: Range;
  /** Read the state as of this revision. `store-compacted` / `store-future-revision` when it can't be had. */
  readonly revision?: Revision | undefined;
  /** Only keys after this one. */
  readonly after?: string | undefined;
  /** At most this many keys; default and maximum 1,000. */
  readonly limit?: number | undefined;
  /** Leave `value` empty. */
  readonly keysOnly?: boolean | undefined;
}

export interface ReadKeysRequest {
  readonly keys: readonly string[];
  readonly revision?: Revision | undefined;
}

export interface ReadResult {
  readonly header: StoreHeader;
  readonly items: readonly KeyValue[];
  /** Whether keys of the range remain after the last of `items`. */
  readonly more: boolean;
}

export type Comparison =
  /** `revision` 0: the key is absent. */
  | { readonly type: "created-at"; readonly key: string; readonly revision: Revision }
  /** `revision` 0: the key is absent. */
  | { readonly type: "modified-at"; readonly key: string; readonly revision: Revision }
  | { readonly type: "value-is"; readonly key: string; readonly value: string };

export type Operation =
  /** `leaseId` that is gone: the whole transaction fails with `store-denied`. Without `leaseId` the key hangs on none (any more). */
  | {
      readonly type: "put";
      readonly key: string;
      readonly value: string;
      readonly leaseId?: string | undefined;
    }
  | { readonly type: "delete"; readonly key: string };

export interface Transaction {
  readonly comparisons: readonly Comparison[];
  readonly operations: readonly Operation[];
}

export interface TransactionResult {
  readonly header: StoreHeader;
  /** False: a comparison did not hold, nothing changed. */
  readonly applied: boolean;
}

export interface WatchRequest {
  readonly range: Range;
  readonly fromRevision: Revision;
  readonly signal?: AbortSignal | undefined;
}

export type WatchBatch =
  | { readonly type: "changes"; readonly revision: Revision; readonly changes: readonly Change[] }
  | { readonly type: "reset"; readonly why: ResetReason };

/**
 * `compacted`: changes since `fromRevision` are no longer kept. `replaced`: another store answers (other store id).
 * `rewound`: the store's revision is below what it has already shown: restored from an older state. `overflow`: the consumer was too slow.
 */
export type ResetReason = "compacted" | "replaced" | "rewound" | "overflow";

export type Change =
  | { readonly type: "put"; readonly item: KeyValue }
  | { readonly type: "delete"; readonly key: string; readonly modRevision: Revision };

export interface Lease {
  readonly leaseId: string;
  /** What the store granted; may be more than was asked for (etcd counts in whole seconds). */
  readonly ttlMs: number;
}

export const STORE_DEADLINE_MS = 3_000;
export const TRANSACTION_OPERATIONS_MAX = 128;
export const READ_KEYS_MAX = 128;
export const READ_PAGE_MAX = 1_000;

export interface ReadAllResult {
  readonly header: StoreHeader;
  readonly items: readonly KeyValue[];
}

/**
 * Every key of the range as of one revision, page by page. `header.revision` is the revision read.
 * Fails, like any read of a revision that is not there, when the store is compacted or replaced between two pages.
 */
export async function readAll(
  store: Store,
  range: Range,
  options: CallOptions & {
    readonly revision?: Revision | undefined;
    readonly keysOnly?: boolean | undefined;
  } = {},
): Promise<ReadAllResult> {
  const { revision, keysOnly, ...callOptions } = options;
  const first = await store.read({ range, revision, keysOnly }, callOptions);
  const pinned = revision ?? first.header.revision;
  const items = [...first.items];
  let more = first.more;
  while (more) {
    const page = await store.read(
      { range, revision: pinned, after: items.at(-1)?.key, keysOnly },
      callOptions,
    );
    if (page.header.storeId !== first.header.storeId) {
      throw new FleetError("store-future-revision", "the store was replaced while it was read");
    }
    items.push(...page.items);
    more = page.more;
  }
  return { header: { revision: pinned, storeId: first.header.storeId }, items };
}
