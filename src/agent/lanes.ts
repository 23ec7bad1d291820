import { type BackoffLimits, backoffMs } from "../runtime/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import { type FleetError, isFleetError } from "../runtime/errors.ts";

export interface TaskFailure {
  readonly task: string;
  readonly code: string;
  readonly message: string;
  readonly attempts: number;
  readonly retryAtMs: number;
}

export interface LanesOptions {
  readonly clock: Clock;
  /** How many starts may be in their first second at once. A start that takes longer gives its place away: slow units hold up nobody. */
  readonly parallelism: number;
  readonly backoff: BackoffLimits;
  /** A unit's task has ended: look at the unit again. */
  readonly onEnd: (unit: string) => void;
}

const SLOT_MS = 1_000;

/** Runs one task per unit at a time, units side by side. A failing task holds up only its own unit. */
export class Lanes {
  readonly #options: LanesOptions;
  readonly #busy = new Set<string>();
  readonly #failures = new Map<string, TaskFailure>();
  #crash: ((error: unknown) => void) | undefined;
  #free: number;
  readonly #queue: (() => void)[] = [];

  constructor(options: LanesOptions) {
    this.#options = options;
    this.#free = options.parallelism;
  }

  isBusy(unit: string): boolean {
    return this.#busy.has(unit);
  }

  get busyCount(): number {
    return this.#busy.size;
  }

  failure(unit: string): TaskFailure | undefined {
    return this.#failures.get(unit);
  }

  /** Monotonic milliseconds before which nothing is to be tried for the unit; 0 when it may be tried. */
  retryAtMs(unit: string): number {
    return this.#failures.get(unit)?.retryAtMs ?? 0;
  }

  /** Forgets earlier failures: what is wanted of the unit has changed. */
  forgive(unit: string): void {
    this.#failures.delete(unit);
  }

  fail(unit: string, task: string, error: FleetError): void {
    const { clock, backoff } = this.#options;
    const attempts = (this.#failures.get(unit)?.attempts ?? 0) + 1;
    const retryAtMs = clock.monotonicMs() + backoffMs(attempts, backoff);
    this.#failures.set(unit, {
      task,
      code: error.code,
      message: error.message,
      attempts,
      retryAtMs,
    });
  }

  /** Errors that are no operating failures end up here: the program is wrong and has to end. */
  onCrash(handler: (error: unknown) => void): void {
    this.#crash = handler;
  }

  /** Starts `work` in the unit's lane; `slot` counts it against the parallelism. Failures are kept for `failure`. */
  run(options: {
    unit: string;
    task: string;
    slot: boolean;
    signal: AbortSignal;
    /** May give its place away before it ends. */
    work: (giveSlot: () => void) => Promise<void>;
  }): void {
    const { unit, task, signal } = options;
    this.#busy.add(unit);
    const runToEnd = async () => {
      let giveSlot = () => {};
      try {
        if (options.slot) giveSlot = await this.#takeSlot();
        if (!signal.aborted) await options.work(giveSlot);
        this.#failures.delete(unit);
      } catch (error) {
        if (signal.aborted) return;
        if (!isFleetError(error)) {
          this.#crash?.(error);
          return;
        }
        this.fail(unit, task, error);
      } finally {
        giveSlot();
        this.#busy.delete(unit);
        this.#options.onEnd(unit);
      }
    };
    void runToEnd();
  }

  /** Waits for a place. It is given back by the function returned, or by itself after a second. */
  async #takeSlot(): Promise<() => void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#queue.push(resolve));
    let held = true;
    const give = () => {
      if (!held) return;
      held = false;
      const next = this.#queue.shift();
      if (next === undefined) this.#free += 1;
      else next();
    };
    const cancel = this.#options.clock.setTimer(SLOT_MS, give);
    return () => {
      cancel();
      give();
    };
  }
}
