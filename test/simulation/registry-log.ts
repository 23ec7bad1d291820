import type { EmbeddedStore } from "../../src/registry/embedded-store.ts";
import type { Change, KeyValue, Transaction, WatchBatch } from "../../src/registry/store.ts";
import type { Clock } from "../../src/runtime/clock.ts";

/** Who sent a transaction. */
export type Sender =
  | { readonly type: "operator" }
  | { readonly type: "daemon"; readonly machine: number; readonly nonce: string };

export interface Sent {
  readonly sender: Sender;
  readonly transaction: Transaction;
}

/** One revision of the registry. */
export interface Entry {
  readonly atMs: number;
  readonly revision: number;
  readonly changes: readonly Change[];
  /** Undefined: a lease ended or was given back. */
  readonly sent: Sent | undefined;
}

/** What the registry held at one moment. */
export interface RegistryState {
  get(key: string): KeyValue | undefined;
}

/**
 * Everything that happened to the registry, revision by revision, with who did it and the state just before. Catches up when `flush` is
 * called: until then `state` is as of the flush before.
 */
export class RegistryLog {
  readonly #store: EmbeddedStore;
  readonly #clock: Clock;
  readonly #onEntry: (entry: Entry, before: RegistryState, after: RegistryState) => void;
  readonly #state = new Map<string, KeyValue>();
  readonly #pending: { readonly atMs: number; readonly batch: WatchBatch }[] = [];
  readonly #sent = new Map<number, Sent>();
  /** Values a key had, newest last, with when they went. */
  readonly #past = new Map<
    string,
    { readonly untilMs: number; readonly value: string | undefined }[]
  >();
  readonly #deletedMs = new Map<string, number>();
  #watching = new AbortController();
  #lastSwapMs = Number.NEGATIVE_INFINITY;

  constructor(options: {
    store: EmbeddedStore;
    clock: Clock;
    onEntry: (entry: Entry, before: RegistryState, after: RegistryState) => void;
  }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#onEntry = options.onEntry;
    this.#begin();
  }

  get state(): ReadonlyMap<string, KeyValue> {
    return this.#state;
  }

  /** When the registry was last wiped or restored. */
  get lastSwapMs(): number {
    return this.#lastSwapMs;
  }

  noteSent(revision: number, sent: Sent): void {
    // A transaction that changes nothing is answered with the revision of somebody else's.
    if (!this.#sent.has(revision)) this.#sent.set(revision, sent);
  }

  /** What the key was at any time since `sinceMs`, as of the last flush; absence is not told. */
  valuesSince(key: string, sinceMs: number): readonly string[] {
    const past = (this.#past.get(key) ?? []).filter(({ untilMs }) => untilMs >= sinceMs);
    const now = this.#state.get(key);
    return [...past.map(({ value }) => value), now?.value].filter((value) => value !== undefined);
  }

  /** When the key was last deleted, as of the last flush. */
  deletedMs(key: string): number {
    return this.#deletedMs.get(key) ?? Number.NEGATIVE_INFINITY;
  }

  wasAbsentSince(key: string, sinceMs: number): boolean {
    if (!this.#state.has(key)) return true;
    return (this.#past.get(key) ?? []).some(
      ({ untilMs, value }) => untilMs >= sinceMs && value === undefined,
    );
  }

  /** Another state has been put in place under the clients. */
  swapped(): void {
    this.flush();
    this.#watching.abort();
    this.#pending.length = 0;
    this.#sent.clear();
    const nowMs = this.#clock.monotonicMs();
    this.#lastSwapMs = nowMs;
    for (const [key, { value }] of this.#state) this.#remember(key, nowMs, value);
    this.#begin();
  }

  flush(): void {
    for (const { atMs, batch } of this.#pending) {
      if (batch.type === "reset") continue;
      const { revision, changes } = batch;
      const entry = { atMs, revision, changes, sent: this.#sent.get(revision) };
      this.#sent.delete(revision);
      const before = new Overlay(this.#state);
      for (const change of changes) this.#apply(change, atMs, before);
      this.#onEntry(entry, before, this.#state);
    }
    this.#pending.length = 0;
  }

  close(): void {
    this.#watching.abort();
  }

  #begin(): void {
    const { items, revision } = this.#store.snapshot();
    this.#state.clear();
    for (const item of items) this.#state.set(item.key, item);
    this.#watching = new AbortController();
    void this.#follow(revision, this.#watching.signal);
  }

  async #follow(revision: number, signal: AbortSignal): Promise<void> {
    const request = { range: { prefix: "" }, fromRevision: revision + 1, signal };
    for await (const batch of this.#store.watch(request)) {
      this.#pending.push({ atMs: this.#clock.monotonicMs(), batch });
    }
  }

  #apply(change: Change, atMs: number, before: Overlay): void {
    const key = change.type === "put" ? change.item.key : change.key;
    const old = this.#state.get(key);
    before.was(key, old);
    this.#remember(key, atMs, old?.value);
    if (change.type === "put") this.#state.set(key, change.item);
    else {
      this.#state.delete(key);
      this.#deletedMs.set(key, atMs);
    }
  }

  #remember(key: string, untilMs: number, value: string | undefined): void {
    const past = this.#past.get(key) ?? [];
    past.push({ untilMs, value });
    if (past.length > PAST_MAX) past.shift();
    this.#past.set(key, past);
  }
}

/** So many earlier values of a key are remembered. */
const PAST_MAX = 12;

/** The state before some keys changed, without a copy. */
class Overlay implements RegistryState {
  readonly #now: RegistryState;
  readonly #was = new Map<string, KeyValue | undefined>();

  constructor(now: RegistryState) {
    this.#now = now;
  }

  was(key: string, item: KeyValue | undefined): void {
    this.#was.set(key, item);
  }

  get(key: string): KeyValue | undefined {
    return this.#was.has(key) ? this.#was.get(key) : this.#now.get(key);
  }
}
