import { type BackoffLimits, backoffMs } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import { type Backend, chooseBackend } from "./backend.ts";
import { type BackendStats, connectBoundsMs, type LinkTuning } from "./proxy.ts";

/** A backend with what is known of it here. Whoever carries its bytes adds to the counters of bytes and errors. */
export interface Slot {
  backend: Backend;
  /** In the set; others stay only while they have connections. */
  isCurrent: boolean;
  /** Connections open or being opened. */
  open: number;
  total: number;
  bytesToBackend: number;
  bytesToClient: number;
  errors: number;
  connectFailures: number;
  /** Connects that failed in a row. */
  failures: number;
  /** In a row, without a success between. */
  ejections: number;
  ejectedUntilMs: number;
  /** It was suspect and has failed: used no more until it is seen in another presence. */
  isDropped: boolean;
  /** By bucket of `connectBoundsMs`, each connect once. */
  readonly connectCounts: number[];
  connectCount: number;
  connectSumMs: number;
}

const NONE: ReadonlySet<string> = new Set();
const NO_COUNTS: ReadonlyMap<string, number> = new Map();

/** The backends of one link: which gets the next connection, which are ejected, and their numbers. */
export class BackendTable {
  readonly #clock: Clock;
  readonly #tuning: () => LinkTuning;
  /** In the order of the set; then those that left it. */
  #slots = new Map<string, Slot>();
  #current: readonly Slot[] = [];
  #backends: readonly Backend[] = [];
  #credits: ReadonlyMap<string, number> = new Map();

  constructor(clock: Clock, tuning: () => LinkTuning) {
    this.#clock = clock;
    this.#tuning = tuning;
  }

  set(backends: readonly Backend[]): void {
    const before = this.#slots;
    this.#slots = new Map();
    for (const backend of backends) {
      const slot = before.get(backend.id) ?? newSlot(backend);
      before.delete(backend.id);
      renew(slot, backend);
      this.#slots.set(backend.id, slot);
    }
    this.#current = [...this.#slots.values()];
    this.#backends = this.#current.map((slot) => slot.backend);
    this.#credits = new Map([...this.#credits].filter(([id]) => this.#slots.has(id)));
    for (const [id, slot] of before) {
      slot.isCurrent = false;
      if (slot.open > 0) this.#slots.set(id, slot);
    }
  }

  /** The slot of the next connection, counted as open from now on; none but `tried` left: undefined. Give it back by `release`. */
  acquire(tried: ReadonlySet<string>): Slot | undefined {
    const { balance, preferSameMachine, backendConnectionsMax } = this.#tuning();
    const nowMs = this.#clock.monotonicMs();
    const ids = (isSo: (slot: Slot) => boolean) =>
      this.#current.filter(isSo).map((slot) => slot.backend.id);
    const ejected = ids((slot) => slot.ejectedUntilMs > nowMs);
    const excluded = ids((slot) => slot.isDropped || slot.open >= backendConnectionsMax);
    const isCounted = balance === "least-connections";
    const choice = chooseBackend({
      ...{ balance, preferSameMachine, backends: this.#backends, credits: this.#credits },
      // Sets and maps are made only where they say something: this runs for every connection.
      ejected: ejected.length === 0 ? NONE : new Set(ejected),
      excluded: excluded.length === 0 ? tried : new Set([...tried, ...excluded]),
      connections: isCounted
        ? new Map(this.#current.map(({ backend, open }) => [backend.id, open]))
        : NO_COUNTS,
    });
    if (choice === undefined) return undefined;
    this.#credits = choice.credits;
    const slot = this.#slots.get(choice.backend.id);
    if (slot !== undefined) slot.open += 1;
    return slot;
  }

  /** Whether sessions that use it may go on. */
  isGood(slot: Slot): boolean {
    return slot.isCurrent && !slot.isDropped && slot.backend.health !== "failing";
  }

  connected(slot: Slot, tookMs: number): void {
    slot.total += 1;
    slot.connectCount += 1;
    slot.connectSumMs += tookMs;
    const bucket = connectBoundsMs.findIndex((boundMs) => tookMs <= boundMs);
    if (bucket >= 0) slot.connectCounts[bucket] = (slot.connectCounts[bucket] ?? 0) + 1;
    forgive(slot);
  }

  /** Gives the milliseconds it is ejected for now, if this failure was one too many and it is not ejected already. */
  connectFailed(slot: Slot): number | undefined {
    const tuning = this.#tuning();
    slot.connectFailures += 1;
    slot.failures += 1;
    slot.isDropped ||= slot.backend.presence === "suspect";
    if (slot.failures < tuning.ejectAfter) return undefined;
    const nowMs = this.#clock.monotonicMs();
    // Tried for want of others, or since before.
    if (slot.ejectedUntilMs > nowMs) return undefined;
    const limits: BackoffLimits = { firstMs: tuning.ejectFirstMs, maxMs: tuning.ejectMaxMs };
    slot.ejections += 1;
    const forMs = backoffMs(slot.ejections, limits);
    slot.ejectedUntilMs = nowMs + forMs;
    return forMs;
  }

  release(slot: Slot): void {
    slot.open -= 1;
    if (slot.open === 0 && !slot.isCurrent) this.#slots.delete(slot.backend.id);
  }

  stats(): readonly BackendStats[] {
    const nowMs = this.#clock.monotonicMs();
    return [...this.#slots.values()].map((slot) => ({
      id: slot.backend.id,
      open: slot.open,
      total: slot.total,
      connectFailures: slot.connectFailures,
      errors: slot.errors,
      bytesToBackend: slot.bytesToBackend,
      bytesToClient: slot.bytesToClient,
      ejectedMs: Math.max(0, slot.ejectedUntilMs - nowMs),
      connect: {
        counts: cumulative(slot.connectCounts),
        count: slot.connectCount,
        sumMs: slot.connectSumMs,
      },
    }));
  }
}

function newSlot(backend: Backend): Slot {
  return {
    ...{ backend, isCurrent: true, isDropped: false },
    ...{ open: 0, total: 0, bytesToBackend: 0, bytesToClient: 0, errors: 0 },
    ...{ connectFailures: 0, failures: 0, ejections: 0, ejectedUntilMs: 0 },
    connectCounts: connectBoundsMs.map(() => 0),
    ...{ connectCount: 0, connectSumMs: 0 },
  };
}

function renew(slot: Slot, backend: Backend): void {
  const old = slot.backend;
  slot.backend = backend;
  slot.isCurrent = true;
  if (backend.presence !== "suspect") slot.isDropped = false;
  // What failed was another address, or its sidekick knows better by now.
  const isMoved = old.host !== backend.host || old.port !== backend.port;
  if (isMoved || (old.health === "failing" && backend.health === "passing")) forgive(slot);
}

function forgive(slot: Slot): void {
  slot.failures = 0;
  slot.ejections = 0;
  slot.ejectedUntilMs = 0;
}

function cumulative(counts: readonly number[]): readonly number[] {
  let sum = 0;
  return counts.map((count) => {
    sum += count;
    return sum;
  });
}
