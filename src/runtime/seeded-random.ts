import type { Random } from "./random.ts";

/** The same seed gives the same sequence (mulberry32: 32 bits of state, ample for simulations). */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  id(): string {
    let text = "";
    while (text.length < 32) {
      text += Math.floor(this.fraction() * 2 ** 32)
        .toString(16)
        .padStart(8, "0");
    }
    return text;
  }
}
