import type { CancelTimer, Clock } from "../../src/runtime/clock.ts";

/**
 * The clock of one machine. A frozen machine (a paused virtual machine, a laptop's lid) runs none of its timers, while monotonic time goes on for
 * everybody else; what fell due meanwhile is run at once when it thaws. Wall time has an offset of its own.
 */
export class MachineClock implements Clock {
  readonly #base: Clock;
  #wallOffsetMs = 0;
  #frozen = false;
  /** Timers that fell due while frozen, in order. */
  readonly #due = new Set<() => void>();
  readonly #rearm = new WeakMap<() => void, () => void>();

  constructor(base: Clock) {
    this.#base = base;
  }

  get isFrozen(): boolean {
    return this.#frozen;
  }

  monotonicMs(): number {
    return this.#base.monotonicMs();
  }

  wallMs(): number {
    return this.#base.wallMs() + this.#wallOffsetMs;
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    let cancel: CancelTimer = () => undefined;
    const fire = () => {
      if (this.#frozen) this.#due.add(fire);
      else callback();
    };
    const arm = (ms: number) => {
      cancel = this.#base.setTimer(ms, fire);
    };
    arm(delayMs);
    this.#rearm.set(fire, () => arm(0));
    return () => {
      cancel();
      this.#due.delete(fire);
    };
  }

  stepWall(deltaMs: number): void {
    this.#wallOffsetMs += deltaMs;
  }

  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    const due = [...this.#due];
    this.#due.clear();
    for (const fire of due) this.#rearm.get(fire)?.();
  }
}

/** The clock of one process: when that is killed, its timers are gone; while it stands still, they wait. */
export class ProcessClock implements Clock {
  readonly #machine: MachineClock;
  readonly #cancels = new Set<CancelTimer>();
  #dead = false;

  constructor(machine: Clock) {
    this.#machine = new MachineClock(machine);
  }

  freeze(): void {
    this.#machine.freeze();
  }

  thaw(): void {
    this.#machine.thaw();
  }

  monotonicMs(): number {
    return this.#machine.monotonicMs();
  }

  wallMs(): number {
    return this.#machine.wallMs();
  }

  setTimer(delayMs: number, callback: () => void): CancelTimer {
    if (this.#dead) return () => undefined;
    const cancel = this.#machine.setTimer(delayMs, () => {
      this.#cancels.delete(takeBack);
      callback();
    });
    const takeBack = () => {
      this.#cancels.delete(takeBack);
      cancel();
    };
    this.#cancels.add(takeBack);
    return takeBack;
  }

  kill(): void {
    this.#dead = true;
    for (const cancel of [...this.#cancels]) cancel();
  }
}
