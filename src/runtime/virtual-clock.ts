import assert from "node:assert/strict";
import type { CancelTimer, Clock } from "./clock.ts";

interface PendingTimer {
  readonly dueMs: number;
  readonly sequence: number;
  readonly callback: () => void;
}

/** A clock that stands still until it is moved. Timers due at the same instant fire in the order they were set. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #wallOffsetMs: number;
  #sequence = 0;
  readonly #timers = new Map<number, PendingTimer>();

  constructor(wallStartMs = Date.UTC(2026, 0, 1)) {
    this.#wallOffsetMs = wallStartMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  /** Steps the wall clock, as an operator or NTP would. Timers and monotonic time do not notice. */
  stepWall(deltaMs: number): void {
    this.#wallOffsetMs += deltaMs;
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    assert.ok(!Number.isNaN(delayMs), "a timer's delay is a number");
    const sequence = this.#sequence++;
    this.#timers.set(sequence, { dueMs: this.#nowMs + Math.max(0, delayMs), sequence, callback });
    return () => {
      this.#timers.delete(sequence);
    };
  }

  /** When the next timer is due (monotonic milliseconds), or undefined when none is set. */
  nextDueMs(): number | undefined {
    return this.#next()?.dueMs;
  }

  /**
   * Moves time forward by `deltaMs`, firing timers in order. After each one the whole microtask queue
   * drains (a macrotask passes), so that what a timer caused happens before the next one fires.
   */
  async advance(deltaMs: number): Promise<void> {
    const endMs = this.#nowMs + deltaMs;
    await settle();
    for (;;) {
      const next = this.#next();
      if (next === undefined || next.dueMs > endMs) break;
      this.#timers.delete(next.sequence);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.callback();
      await settle();
    }
    // What a timer started may have moved time further already.
    this.#nowMs = Math.max(this.#nowMs, endMs);
  }

  #next(): PendingTimer | undefined {
    let first: PendingTimer | undefined;
    for (const timer of this.#timers.values()) {
      if (
        first === undefined ||
        timer.dueMs < first.dueMs ||
        (timer.dueMs === first.dueMs && timer.sequence < first.sequence)
      ) {
        first = timer;
      }
    }
    return first;
  }
}

/** Lets every promise that can settle without time passing do so. */
export async function settle(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
