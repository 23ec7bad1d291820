import type { CancelTimer, Clock } from "../runtime/clock.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { SystemdEvent, UnitStatus } from "./systemd.ts";

/** Long enough for the handful of signals one change is made of, and short enough for "at once". */
const GATHER_MS = 10;
/** How soon a unit is read again; doubles while it keeps changing, so that units restarting in a loop cost next to nothing. */
const PACE_FIRST_MS = 50;
const PACE_MAX_MS = 5_000;
/** Units at a slow pace are read at the same moments: one call, and one write of their states, for all of them. */
const SLOW_PACE_MS = 1_000;
/** Whoever has asked for a job hears its end, and reads the unit then: until this has passed nobody else needs to. */
const JOB_MS = 300;
/** A restless unit that has come to rest is read then, whatever its pace. */
const REST_MS = 1_500;
/** After so long a rest it is like one that never was restless. */
const CALM_MS = 3_000;

interface Pace {
  readonly readMs: number;
  readonly intervalMs: number;
}

interface Subscriber {
  /** The newest status of each unit that is not taken yet: as large as the number of units, however slow the reader. */
  readonly statuses: Map<string, UnitStatus>;
  readonly others: Set<"resync" | "system-stopping">;
  wake: () => void;
}

export interface SystemdEventsOptions {
  readonly clock: Clock;
  readonly read: ReadStatuses;
}

/** `onAsk` is called when systemd is about to be asked: what was heard before needs no other look. */
export type ReadStatuses = (
  units: readonly string[],
  onAsk: () => void,
) => Promise<readonly UnitStatus[]>;

/** Turns "something about this unit has changed" into statuses, each read once per burst. */
export class SystemdEvents {
  readonly #options: SystemdEventsOptions;
  readonly #subscribers = new Set<Subscriber>();
  readonly #dirty = new Set<string>();
  readonly #paces = new Map<string, Pace>();
  /** When a unit was last said to have changed. */
  readonly #heardMs = new Map<string, number>();
  readonly #told = new Map<string, string>();
  #timer: { readonly dueMs: number; readonly cancel: CancelTimer } | undefined;
  #reading = false;

  constructor(options: SystemdEventsOptions) {
    this.#options = options;
  }

  get hasSubscribers(): boolean {
    return this.#subscribers.size > 0;
  }

  changed(unit: string): void {
    const nowMs = this.#options.clock.monotonicMs();
    const isCalm = nowMs - (this.#heardMs.get(unit) ?? 0) > CALM_MS;
    this.#heardMs.set(unit, nowMs);
    if (this.#dirty.has(unit)) return;
    if (isCalm) this.#paces.delete(unit);
    this.#dirty.add(unit);
    this.#schedule([unit]);
  }

  /** A job is about to change the unit. */
  expect(unit: string): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#heardMs.set(unit, nowMs);
    this.#paces.set(unit, { readMs: nowMs, intervalMs: JOB_MS });
  }

  /** Somebody reads statuses for themselves: what they find is told as well, and need not be read again. */
  async readFor(
    units: readonly string[],
    read: (onAsk: () => void) => Promise<readonly UnitStatus[]>,
  ): Promise<readonly UnitStatus[]> {
    const changed = new Set<string>();
    const cover = () => {
      for (const unit of units) if (this.#dirty.delete(unit)) changed.add(unit);
    };
    cover();
    try {
      const statuses = await read(cover);
      for (const status of statuses) if (changed.has(status.unit)) this.#tellStatus(status);
      return statuses;
    } catch (error) {
      for (const unit of changed) this.changed(unit);
      throw error;
    }
  }

  /** The unit is no longer ours. */
  forget(unit: string): void {
    this.#dirty.delete(unit);
    this.#paces.delete(unit);
    this.#heardMs.delete(unit);
    this.#told.delete(unit);
  }

  tell(event: "resync" | "system-stopping"): void {
    if (event === "resync") this.#told.clear();
    for (const subscriber of this.#subscribers) {
      subscriber.others.add(event);
      subscriber.wake();
    }
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#dirty.clear();
  }

  /** Subscribed from the call on, not from the first step of the iteration. */
  subscribe(signal: AbortSignal): AsyncIterable<SystemdEvent> {
    const subscriber: Subscriber = { statuses: new Map(), others: new Set(), wake: () => {} };
    const leave = () => {
      this.#subscribers.delete(subscriber);
      subscriber.wake();
    };
    if (!signal.aborted) {
      this.#subscribers.add(subscriber);
      signal.addEventListener("abort", leave, { once: true });
    }
    return follow(subscriber, signal, () => {
      signal.removeEventListener("abort", leave);
      leave();
    });
  }

  /** Sees to it that these are read when they are due; what was dirty before has its timer. */
  #schedule(units: Iterable<string>): void {
    if (this.#reading || this.#dirty.size === 0) return;
    const nowMs = this.#options.clock.monotonicMs();
    let dueMs = Number.POSITIVE_INFINITY;
    for (const unit of units) dueMs = Math.min(dueMs, this.#dueMs(unit, nowMs));
    if (this.#timer !== undefined) {
      if (this.#timer.dueMs <= dueMs) return;
      this.#timer.cancel();
    }
    const cancel = this.#options.clock.setTimer(dueMs - nowMs, () => {
      this.#timer = undefined;
      void this.#read();
    });
    this.#timer = { dueMs, cancel };
  }

  #dueMs(unit: string, nowMs: number): number {
    const pace = this.#paces.get(unit);
    if (pace === undefined) return nowMs + GATHER_MS;
    const restMs = (this.#heardMs.get(unit) ?? nowMs) + REST_MS;
    return Math.max(nowMs + GATHER_MS, Math.min(paceDueMs(pace), restMs));
  }

  /** Never rejects for an operating failure: after one, the connection's return makes a resync. */
  async #read(): Promise<void> {
    const nowMs = this.#options.clock.monotonicMs();
    const due = [...this.#dirty].filter((unit) => this.#dueMs(unit, nowMs) <= nowMs + GATHER_MS);
    this.#reading = true;
    for (const unit of due) {
      this.#dirty.delete(unit);
      this.#paces.set(unit, nextPace(this.#paces.get(unit), nowMs));
    }
    try {
      const onAsk = () => {
        for (const unit of due) this.#dirty.delete(unit);
      };
      for (const status of await this.#options.read(due, onAsk)) this.#tellStatus(status);
    } catch (error) {
      if (!isFleetError(error)) throw error;
      if (error.code === "systemd-deadline") for (const unit of due) this.#dirty.add(unit);
    } finally {
      this.#reading = false;
    }
    this.#schedule(this.#dirty);
  }

  #tellStatus(status: UnitStatus): void {
    const text = JSON.stringify(status);
    if (this.#told.get(status.unit) === text) return;
    this.#told.set(status.unit, text);
    for (const subscriber of this.#subscribers) {
      subscriber.statuses.set(status.unit, status);
      subscriber.wake();
    }
  }
}

function paceDueMs({ readMs, intervalMs }: Pace): number {
  if (intervalMs < SLOW_PACE_MS) return readMs + intervalMs;
  // The read before may have been a little late.
  const fromMs = readMs + intervalMs - SLOW_PACE_MS / 2;
  return Math.ceil(fromMs / PACE_MAX_MS) * PACE_MAX_MS;
}

function nextPace(pace: Pace | undefined, nowMs: number): Pace {
  const intervalMs = pace === undefined ? PACE_FIRST_MS : 2 * pace.intervalMs;
  return { readMs: nowMs, intervalMs: Math.min(PACE_MAX_MS, intervalMs) };
}

async function* follow(
  subscriber: Subscriber,
  signal: AbortSignal,
  leave: () => void,
): AsyncGenerator<SystemdEvent> {
  try {
    while (!signal.aborted) {
      const [other] = subscriber.others;
      const [unit, status] = subscriber.statuses.entries().next().value ?? [];
      if (other !== undefined) {
        subscriber.others.delete(other);
        yield { type: other };
      } else if (unit !== undefined && status !== undefined) {
        subscriber.statuses.delete(unit);
        yield { type: "status", status };
      } else {
        await new Promise<void>((resolve) => {
          subscriber.wake = resolve;
        });
        subscriber.wake = () => {};
      }
    }
  } finally {
    leave();
  }
}
