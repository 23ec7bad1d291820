import type { Clock } from "./clock.ts";

/** Which passes of loops are under way, and since when: one that never ends would go unnoticed otherwise. */
export class Liveness {
  readonly #clock: Clock;
  readonly #beganMs = new Map<symbol, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Gives back what to call at the end. */
  begin(): () => void {
    const pass = Symbol("pass");
    this.#beganMs.set(pass, this.#clock.monotonicMs());
    return () => this.#beganMs.delete(pass);
  }

  /** How long the longest pass has been under way. */
  longestMs(): number {
    const firstMs = Math.min(...this.#beganMs.values());
    return Number.isFinite(firstMs) ? this.#clock.monotonicMs() - firstMs : 0;
  }
}
