import type { Keys } from "../registry/keys.ts";
import { encodeRecord, type StateRecord } from "../registry/records.ts";
import type { Comparison, KeyValue, Operation, Store } from "../registry/store.ts";
import type { Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import type { HeldPresence } from "./presence.ts";

export interface StatePublisherOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly machineId: string;
  /** What is true of the unit now; undefined when the machine neither holds nor claims it. */
  readonly stateOf: (unit: string) => StateRecord | undefined;
  /** Whether that is but a step on the way to what is wanted of the unit, so that more follows as a rule at once. */
  readonly isPassing?: (unit: string, state: StateRecord) => boolean;
}

/** Writes per unit: so many at once, then one a second. A unit that restarts in a loop costs one write a second. */
const BURST = 4;
const REFILL_MS = 1_000;
/** Writes that have to wait fall due together, so that many restless units share transactions. */
const TICK_MS = 250;
const BATCH = 100;
/**
 * Changes that come within this time of the last write go out together. It doubles while there is always something to write, so a hundred starts
 * make a few transactions and a single change is told at once.
 */
const GATHER_FIRST_MS = 10;
const GATHER_MAX_MS = 80;
/** Steps on the way are told when the unit has not come further within this time: most starts and stops are over by then, and make one write. */
const PASSING_MS = 500;
/** And when it still is as inactive as everybody knows, waiting for its turn, within this. */
const WAITING_MS = 2_000;
const INACTIVE = "inactive";
/** Of a unit that systemd starts again and again, the moment at which it last did may be that old. */
const RESTARTED_MS = 60_000;
const AUTO_RESTART = "auto-restart";

export interface Claim {
  readonly unit: string;
  readonly assignmentRevision: number;
  readonly state: StateRecord;
}

/** What the registry is to have of a unit; undefined: it is to have no state. */
type StateText = readonly [unit: string, text: string | undefined];

interface Dirt {
  readonly sinceMs: number;
  /** Not written before then unless it is marked again: thousands of units may wait, and each look at one costs. */
  waitsUntilMs: number;
}

interface Budget {
  tokens: number;
  refilledMs: number;
}

/**
 * Keeps `states/<this machine>/` equal to what is true. Every transaction compares the machine's own record, so a daemon that was
 * displaced, or whose lease ended, writes nothing more.
 */
export class StatePublisher {
  readonly #options: StatePublisherOptions;
  /** Text last written, by unit. */
  readonly #published = new Map<string, string>();
  /** Units that are being claimed: nothing else is written of them meanwhile, or the later of the two might arrive first. */
  readonly #claiming = new Set<string>();
  /** What flush() writes just now. */
  #writing: { readonly units: ReadonlySet<string>; readonly over: Promise<unknown> } | undefined;
  /** Units whose last write had no answer: the registry has what it had before, or what was written. */
  readonly #unsure = new Set<string>();
  readonly #dirty = new Map<string, Dirt>();
  readonly #budgets = new Map<string, Budget>();
  #presence: HeldPresence | undefined;
  #wroteMs = Number.NEGATIVE_INFINITY;
  #gatherMs = GATHER_FIRST_MS;

  constructor(options: StatePublisherOptions) {
    this.#options = options;
  }

  /** The machine is present: `items` is what the registry has below its prefix. Everything is compared anew. */
  begin(presence: HeldPresence, items: readonly KeyValue[], held: readonly string[]): void {
    const prefix = this.#options.keys.statesOf(this.#options.machineId);
    this.#presence = presence;
    this.#published.clear();
    this.#unsure.clear();
    for (const { key, value, leaseId } of items) {
      // What hangs on an earlier lease goes with that, so it has to be written anew.
      const isKept = leaseId === presence.lease.leaseId;
      this.#published.set(key.slice(prefix.length), isKept ? value : "");
    }
    for (const unit of [...this.#published.keys(), ...held]) this.mark(unit);
  }

  end(): void {
    this.#presence = undefined;
    this.#published.clear();
  }

  mark(unit: string): void {
    const dirt = this.#dirty.get(unit);
    if (dirt !== undefined) dirt.waitsUntilMs = 0;
    else this.#dirty.set(unit, { sinceMs: this.#options.clock.monotonicMs(), waitsUntilMs: 0 });
  }

  /** The registry surely has a state of it. */
  isPublished(unit: string): boolean {
    return this.#published.has(unit) && !this.#unsure.has(unit);
  }

  get publishedCount(): number {
    return this.#published.size;
  }

  /**
   * Makes the machine occupy units before it touches them: the state goes up only if the assignment is still the one seen, so the engine
   * can never withdraw and place elsewhere what this machine is about to start (I8). Tells of each unit claimed, also when it then throws.
   */
  async claim(
    units: readonly Claim[],
    onClaimed: (claim: Claim) => void,
    signal: AbortSignal,
  ): Promise<void> {
    for (const { unit } of units) this.#claiming.add(unit);
    if (units.some(({ unit }) => this.#writing?.units.has(unit) === true)) {
      await this.#writing?.over;
    }
    const claimed = async (batch: readonly Claim[]) => {
      const isClaimed = await this.#claimBatch(batch, signal);
      if (isClaimed) for (const one of batch) onClaimed(one);
      return isClaimed;
    };
    try {
      for (let first = 0; first < units.length; first += BATCH) {
        const batch = units.slice(first, first + BATCH);
        if (await claimed(batch)) continue;
        // One assignment of the batch has changed; its watch event is on the way. The others need not wait for it.
        for (const one of batch) await claimed([one]);
      }
    } finally {
      for (const { unit } of units) this.#claiming.delete(unit);
    }
  }

  async #claimBatch(batch: readonly Claim[], signal: AbortSignal): Promise<boolean> {
    const { keys, machineId } = this.#options;
    const comparisons = batch.map(
      ({ unit, assignmentRevision }): Comparison => ({
        type: "modified-at",
        key: keys.assignment(machineId, unit),
        revision: assignmentRevision,
      }),
    );
    const texts = batch.map(({ unit, state }): StateText => [unit, encodeRecord(state)]);
    return this.#transact(texts, comparisons, signal);
  }

  /** Writes what has changed and is due. Gives back in how many milliseconds the next write is due. */
  async flush(signal: AbortSignal): Promise<number | undefined> {
    const nowMs = this.#options.clock.monotonicMs();
    const gatherMs = this.#wroteMs + this.#gatherMs - nowMs;
    if (this.#dirty.size > 0 && gatherMs > 0) return gatherMs;
    const due: string[] = [];
    let nextMs: number | undefined;
    for (const [unit, dirt] of this.#dirty) {
      if (this.#claiming.has(unit)) continue;
      if (dirt.waitsUntilMs <= nowMs) {
        if (this.#textOf(unit) === this.#knownText(unit)) {
          this.#dirty.delete(unit);
          continue;
        }
        dirt.waitsUntilMs = nowMs + (this.#holdsForMs(unit, nowMs) || this.#spend(unit, nowMs));
      }
      const waitMs = dirt.waitsUntilMs - nowMs;
      if (waitMs === 0) due.push(unit);
      else nextMs = Math.min(nextMs ?? waitMs, waitMs);
    }
    due.sort();
    if (due.length > 0) {
      const isBusy = nowMs - this.#wroteMs < 2 * this.#gatherMs;
      this.#gatherMs = isBusy ? Math.min(GATHER_MAX_MS, 2 * this.#gatherMs) : GATHER_FIRST_MS;
      this.#wroteMs = nowMs;
    }
    for (let first = 0; first < due.length; first += BATCH)
      await this.#write(due.slice(first, first + BATCH), signal);
    return nextMs;
  }

  async #write(units: readonly string[], signal: AbortSignal): Promise<void> {
    const texts = units
      .filter((unit) => !this.#claiming.has(unit))
      .map((unit): StateText => [unit, this.#textOf(unit)]);
    if (texts.length === 0) return;
    const written = this.#transact(texts, [], signal);
    const over = written.catch(() => undefined);
    this.#writing = { units: new Set(texts.map(([unit]) => unit)), over };
    await over;
    this.#writing = undefined;
    if (!(await written)) {
      throw new FleetError(
        "conflict",
        "the machine's record has changed: another daemon has taken over, or it was deleted",
      );
    }
    for (const [unit] of texts) {
      if (!this.#published.has(unit)) this.#budgets.delete(unit);
      if (this.#textOf(unit) === this.#knownText(unit)) this.#dirty.delete(unit);
    }
  }

  /** False: nothing was written, as something compared is not so. */
  async #transact(
    texts: readonly StateText[],
    comparisons: readonly Comparison[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const { store, keys, machineId } = this.#options;
    const presence = this.#presence;
    if (presence === undefined)
      throw new FleetError("store-unavailable", "the machine is not present", { retriable: true });
    const own: Comparison = {
      type: "modified-at",
      key: keys.machine(machineId),
      revision: presence.revision,
    };
    const operations = texts.map(
      ([unit, text]): Operation =>
        text === undefined
          ? { type: "delete", key: keys.state(machineId, unit) }
          : this.#put(unit, text),
    );
    const { applied } = await store
      .transact({ comparisons: [own, ...comparisons], operations }, { signal })
      .catch((error: unknown) => {
        for (const [unit] of texts) this.#unsure.add(unit);
        throw error;
      });
    if (!applied) return false;
    for (const [unit, text] of texts) {
      this.#unsure.delete(unit);
      if (text === undefined) this.#published.delete(unit);
      else this.#published.set(unit, text);
    }
    return true;
  }

  #put(unit: string, value: string): Operation {
    const { keys, machineId } = this.#options;
    return {
      type: "put",
      key: keys.state(machineId, unit),
      value,
      leaseId: this.#presence?.lease.leaseId,
    };
  }

  #textOf(unit: string): string | undefined {
    const state = this.#options.stateOf(unit);
    return state && encodeRecord(state);
  }

  /** What the registry surely has of the unit; empty: nobody can tell. */
  #knownText(unit: string): string | undefined {
    return this.#unsure.has(unit) ? "" : this.#published.get(unit);
  }

  /** How long what is true can wait to be told. What nobody was told of yet is told at once: the unit occupies the machine (I8). */
  #holdsForMs(unit: string, nowMs: number): number {
    const published = this.#knownText(unit) ?? "";
    const state = this.#options.stateOf(unit);
    if (published === "" || state === undefined) return 0;
    return Math.max(
      0,
      (this.#dirty.get(unit)?.sinceMs ?? nowMs) + this.#holdMs(unit, state, published) - nowMs,
    );
  }

  #holdMs(unit: string, state: StateRecord, published: string): number {
    if (this.#options.isPassing?.(unit, state) === true) {
      const isWaiting = state.active === INACTIVE && published.includes(`"active":"${INACTIVE}"`);
      return isWaiting ? WAITING_MS : PASSING_MS;
    }
    const isSame =
      state.sub === AUTO_RESTART && withoutSince(encodeRecord(state)) === withoutSince(published);
    return isSame ? RESTARTED_MS : 0;
  }

  /** 0: a write is allowed now and counted. Otherwise milliseconds until it is. */
  #spend(unit: string, nowMs: number): number {
    const budget = this.#budgets.get(unit) ?? { tokens: BURST, refilledMs: nowMs };
    const refill = Math.floor((nowMs - budget.refilledMs) / REFILL_MS);
    budget.tokens = Math.min(BURST, budget.tokens + refill);
    budget.refilledMs += refill * REFILL_MS;
    this.#budgets.set(unit, budget);
    if (budget.tokens > 0) {
      budget.tokens -= 1;
      return 0;
    }
    const dueMs = Math.ceil((budget.refilledMs + REFILL_MS) / TICK_MS) * TICK_MS;
    return Math.max(1, dueMs - nowMs);
  }
}

function withoutSince(text: string): string {
  return text.replace(/"sinceMs":\d+/, "");
}
