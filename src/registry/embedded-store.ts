import assert from "node:assert/strict";
import type { CancelTimer, Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import type { Random } from "../runtime/random.ts";
import { type EmbeddedFile, openEmbeddedFile } from "./embedded-file.ts";
import { type Batch, EmbeddedJobs, type Job } from "./embedded-jobs.ts";
import { EmbeddedLeases } from "./embedded-leases.ts";
import { type HistoryLimits, keyOf, MvccMap } from "./embedded-mvcc.ts";
import { EMPTY_REVISION, type EmbeddedSnapshot } from "./embedded-snapshot.ts";
import { assertCount, assertValidTransaction } from "./embedded-validation.ts";
import { covers, EmbeddedWatches } from "./embedded-watches.ts";
import type {
  CallOptions,
  Lease,
  ReadAllResult,
  ReadKeysRequest,
  ReadRequest,
  ReadResult,
  ResetReason,
  Revision,
  Store,
  StoreHeader,
  Transaction,
  TransactionResult,
  WatchBatch,
  WatchRequest,
} from "./store.ts";

export interface EmbeddedStoreOptions {
  /** Where the registry is kept; its directory exists. Without a file it lives in memory only. */
  readonly file?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /** How many revisions can be read and watched back. Default 10,000. */
  readonly historyMax?: number | undefined;
  /** How many batches a watch may fall behind. Default 10,000. */
  readonly watchBatchesMax?: number | undefined;
}

const HISTORY_REVISIONS_MAX = 10_000;
const HISTORY_UNITS_MAX = 64 * 2 ** 20;
const WATCH_BATCHES_MAX = 10_000;
/** How soon an expiry that could not be written is tried again. */
const EXPIRY_RETRY_MS = 1_000;
/** A timer that is later than this was held up by the store itself standing still (suspended, stopped, starved). */
const STANDSTILL_MS = 1_000;

/**
 * Opens a store in a file or in memory. Every lease found gets a full ttl: nobody could keep it alive meanwhile.
 * `store-in-use`: another process has the file open. `store-corrupt`: it is damaged. `store-unavailable`: it can't be opened.
 */
export function openEmbeddedStore(options: EmbeddedStoreOptions): EmbeddedStore {
  const newStoreId = () => options.random.id();
  if (options.file === undefined) {
    return new EmbeddedStore(options, emptyState(newStoreId()), undefined);
  }
  const { file, state } = openEmbeddedFile(options.file, newStoreId);
  return new EmbeddedStore(options, state, file);
}

/**
 * The store of a single machine, and of the simulation. All state is in memory, the file holds its newest revision.
 *
 * Writes wait for the end of the turn they arrive in, are applied one after the other, committed to the file together, and only
 * then seen by anyone; when the commit fails they are taken back. So nobody ever sees what a power failure could undo.
 * Everything else is answered from memory: no call needs time to pass, so deadlines have nothing to end.
 */
export class EmbeddedStore implements Store {
  readonly description: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #limits: HistoryLimits;
  readonly #file: EmbeddedFile | undefined;
  readonly #watches: EmbeddedWatches;
  readonly #jobs = new EmbeddedJobs(() => this.#scheduleJobs());
  #storeId: string;
  #map: MvccMap;
  #leases = new EmbeddedLeases();
  #timer: { readonly dueMs: number; readonly cancel: CancelTimer } | undefined;
  #closed = false;

  /** Use `openEmbeddedStore`. */
  constructor(
    options: EmbeddedStoreOptions,
    state: EmbeddedSnapshot,
    file: EmbeddedFile | undefined,
  ) {
    this.description = `embedded registry ${options.file ?? "in memory"}`;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#limits = {
      revisionsMax: options.historyMax ?? HISTORY_REVISIONS_MAX,
      unitsMax: HISTORY_UNITS_MAX,
    };
    this.#watches = new EmbeddedWatches(options.watchBatchesMax ?? WATCH_BATCHES_MAX);
    this.#file = file;
    this.#storeId = state.storeId;
    this.#map = new MvccMap(state);
    this.#startLeases(state.leases);
  }

  async readKeys(request: ReadKeysRequest, options: CallOptions = {}): Promise<ReadAllResult> {
    this.#assertCallable(options);
    await undefined;
    this.#assertCallable(options);
    const { revision } = request;
    assertCount(request.keys.length, "keys");
    const items = request.keys.flatMap((key) => this.#map.read({ range: { key }, revision }).items);
    return { header: this.#header(), items };
  }

  async read(request: ReadRequest, options: CallOptions = {}): Promise<ReadResult> {
    this.#assertCallable(options);
    // A call never ends in the turn it begins in, so that it can be aborted as in any other store.
    await undefined;
    this.#assertCallable(options);
    return { header: this.#header(), ...this.#map.read(request) };
  }

  async transact(transaction: Transaction, options: CallOptions = {}): Promise<TransactionResult> {
    this.#assertCallable(options);
    assertValidTransaction(transaction);
    return await this.#jobs.call(options.signal, () => this.#apply(transaction));
  }

  async *watch(request: WatchRequest): AsyncGenerator<WatchBatch, void, void> {
    const { range, fromRevision, signal } = request;
    const isAborted = () => signal?.aborted === true;
    if (isAborted()) return;
    this.#assertCallable({});
    const watcher = this.#watches.add(range, this.#backlog(request));
    if (fromRevision > this.#map.revision + 1) watcher.reset("rewound");
    else if (fromRevision <= this.#map.compacted) watcher.reset("compacted");
    const onAbort = () => watcher.wake();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      while (!isAborted()) {
        this.#assertCallable({});
        const batch = watcher.take();
        if (batch === undefined) await watcher.changed();
        else yield batch;
        if (batch?.type === "reset") return;
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#watches.remove(watcher);
    }
  }

  async grantLease(ttlMs: number, options: CallOptions = {}): Promise<Lease> {
    this.#assertCallable(options);
    assert.ok(Number.isFinite(ttlMs) && ttlMs > 0, "a lease has a ttl");
    return await this.#jobs.call(options.signal, (batch) => {
      const lease = { leaseId: this.#random.id(), ttlMs };
      this.#leases.start(lease, this.#clock.monotonicMs());
      batch.leasesGranted.push(lease);
      batch.undo.push(() => this.#leases.end(lease.leaseId));
      return lease;
    });
  }

  async keepLeaseAlive(leaseId: string, options: CallOptions = {}): Promise<Lease | undefined> {
    this.#assertCallable(options);
    return await this.#jobs.call(options.signal, () =>
      this.#leases.renew(leaseId, this.#clock.monotonicMs()),
    );
  }

  async revokeLease(leaseId: string, options: CallOptions = {}): Promise<void> {
    this.#assertCallable(options);
    await this.#jobs.call(options.signal, (batch) => this.#endLease(leaseId, batch));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    for (const job of this.#jobs.takeAll()) job.fail(closedError());
    this.#watches.wakeAll();
    this.#file?.close();
  }

  /** Forgets what was before `revision`, which stays readable. */
  compact(revision: Revision): void {
    this.#map.compact(revision);
  }

  snapshot(): EmbeddedSnapshot {
    return {
      storeId: this.#storeId,
      revision: this.#map.revision,
      items: this.#map.items(),
      leases: this.#leases.list(),
    };
  }

  /**
   * Puts an earlier state in place under running clients, as restoring a backup of the server does: watches end with a reset, leases
   * of the snapshot get a full ttl, younger ones are gone. Memory only.
   */
  restore(snapshot: EmbeddedSnapshot): void {
    assert.ok(this.#file === undefined, "a store in a file is restored by replacing the file");
    const why: ResetReason = snapshot.storeId === this.#storeId ? "rewound" : "replaced";
    this.#storeId = snapshot.storeId;
    this.#map = new MvccMap(snapshot);
    this.#leases = new EmbeddedLeases();
    this.#startLeases(snapshot.leases);
    this.#watches.resetAll(why);
  }

  /** Starts anew, empty and with a new store id, under running clients. Memory only. */
  wipe(): void {
    this.restore(emptyState(this.#random.id()));
  }

  #header(): StoreHeader {
    return { revision: this.#map.revision, storeId: this.#storeId };
  }

  #assertCallable(options: CallOptions): void {
    options.signal?.throwIfAborted();
    if (this.#closed) throw closedError();
  }

  /**
   * A commit is an fsync: worth collecting what all sockets brought in this turn. Memory needs no macrotask, and the simulation's
   * time may move on after one.
   */
  #scheduleJobs(): void {
    if (this.#file === undefined) queueMicrotask(() => this.#runJobs());
    else setImmediate(() => this.#runJobs());
  }

  #runJobs(): void {
    const jobs = this.#jobs.takeAll();
    if (jobs.length === 0 || this.#closed) return;
    const before = this.#map.revision;
    const batch: Batch = { leasesGranted: [], leasesEnded: [], undo: [] };
    const done: { readonly job: Job; readonly succeed: () => void }[] = [];
    for (const job of jobs) {
      try {
        done.push({ job, succeed: job.run(batch) });
      } catch (error) {
        job.fail(error);
      }
    }
    try {
      this.#commit(before, batch);
    } catch (error) {
      this.#map.rollBack(before);
      for (const undo of batch.undo.reverse()) undo();
      for (const { job } of done) job.fail(error);
      return;
    }
    for (let revision = before + 1; revision <= this.#map.revision; revision += 1) {
      this.#watches.publish(revision, this.#map.changesAt(revision));
    }
    this.#map.trim(this.#limits);
    for (const { succeed } of done) succeed();
    if (batch.leasesGranted.length > 0) this.#armTimer();
  }

  #commit(before: Revision, batch: Batch): void {
    const { leasesGranted, leasesEnded } = batch;
    const { revision } = this.#map;
    if (this.#file === undefined) return;
    if (revision === before && leasesGranted.length + leasesEnded.length === 0) return;
    const changes = [];
    for (let at = before + 1; at <= revision; at += 1) changes.push(...this.#map.changesAt(at));
    this.#file.commit({ revision, changes, leasesGranted, leasesEnded });
  }

  #apply(transaction: Transaction): TransactionResult {
    const { comparisons, operations } = transaction;
    const applied = comparisons.every((comparison) => this.#map.holds(comparison));
    if (applied) {
      for (const operation of operations) {
        if (operation.type === "put") this.#assertLease(operation.leaseId);
      }
      this.#map.write(operations);
    }
    return { header: this.#header(), applied };
  }

  #assertLease(leaseId: string | undefined): void {
    if (leaseId === undefined || this.#leases.get(leaseId) !== undefined) return;
    throw new FleetError("store-denied", `lease ${leaseId} is gone: take a new one`);
  }

  #backlog(request: WatchRequest): readonly WatchBatch[] {
    const batches: WatchBatch[] = [];
    const first = Math.max(request.fromRevision, this.#map.compacted + 1);
    for (let revision = first; revision <= this.#map.revision; revision += 1) {
      const changes = this.#map
        .changesAt(revision)
        .filter((change) => covers(request.range, keyOf(change)));
      if (changes.length > 0) batches.push({ type: "changes", revision, changes });
    }
    return batches;
  }

  #startLeases(leases: readonly Lease[]): void {
    const nowMs = this.#clock.monotonicMs();
    for (const lease of leases) this.#leases.start(lease, nowMs);
    this.#armTimer();
  }

  #endLease(leaseId: string, batch: Batch): void {
    if (this.#leases.get(leaseId) === undefined) return;
    const keys = this.#map.keysOfLease(leaseId);
    this.#map.write(keys.map((key) => ({ type: "delete", key })));
    batch.leasesEnded.push(leaseId);
    batch.undo.push(this.#leases.end(leaseId));
  }

  /**
   * One timer for all leases. Keep-alives only move expiries later, so it is left where it is then and finds nothing to do when
   * it fires: cheaper than moving it each time.
   */
  #armTimer(retryMs = 0): void {
    const nextMs = this.#leases.nextExpiryMs();
    if (nextMs === undefined || this.#closed) return;
    const nowMs = this.#clock.monotonicMs();
    const dueMs = Math.max(nextMs, nowMs + retryMs);
    if (this.#timer !== undefined && this.#timer.dueMs <= dueMs) return;
    this.#timer?.cancel();
    const cancel = this.#clock.setTimer(dueMs - nowMs, () => this.#onTimer(dueMs));
    this.#timer = { dueMs, cancel };
  }

  #onTimer(dueMs: number): void {
    this.#timer = undefined;
    const nowMs = this.#clock.monotonicMs();
    // Keep-alives may lie unread in our sockets: who was silent was the store.
    if (nowMs - dueMs > STANDSTILL_MS) this.#leases.renewAll(nowMs);
    this.#jobs.add({
      run: (batch) => {
        const expired = this.#leases.expired(this.#clock.monotonicMs());
        for (const leaseId of expired) this.#endLease(leaseId, batch);
        return () => this.#armTimer();
      },
      // The lease and its keys are still there. Nobody waits for the answer, so the error has no one to go to.
      fail: () => this.#armTimer(EXPIRY_RETRY_MS),
    });
  }
}

function emptyState(storeId: string): EmbeddedSnapshot {
  return { storeId, revision: EMPTY_REVISION, items: [], leases: [] };
}

function closedError(): FleetError {
  return new FleetError("store-closed", "the registry is closed");
}
