import type { CancelTimer, Clock } from "../runtime/clock.ts";

/** How long a line that came waits for older ones of other machines. */
const HOLD_MS = 25;
/** Beyond, lines are given out without waiting. */
const HELD_MAX = 5_000;

/** Merges streams that are each in order; holds one item of each. One that fails is told once and left out. */
export async function* mergeOrdered<T>(
  streams: readonly AsyncGenerator<T>[],
  options: {
    readonly order: (item: T) => number;
    readonly onError: (index: number, error: unknown) => void;
  },
): AsyncGenerator<{ readonly index: number; readonly item: T }> {
  const next = async (index: number) => {
    try {
      const result = await streams[index]?.next();
      return result === undefined || result.done === true
        ? undefined
        : { index, item: result.value };
    } catch (error) {
      options.onError(index, error);
      return undefined;
    }
  };
  try {
    // All begin at once.
    const heads = await Promise.all(streams.map((_, index) => next(index)));
    for (;;) {
      let first: { readonly index: number; readonly item: T } | undefined;
      for (const head of heads) {
        if (head === undefined) continue;
        if (first === undefined || options.order(head.item) < options.order(first.item))
          first = head;
      }
      if (first === undefined) return;
      yield first;
      heads[first.index] = await next(first.index);
    }
  } finally {
    await Promise.all(streams.map((stream) => stream.return(undefined)));
  }
}

/** Puts in order what comes from several live streams about the same time. */
export class LiveMerge<T> {
  readonly #clock: Clock;
  readonly #order: (item: T) => number;
  readonly #give: (item: T) => void;
  #held: T[] = [];
  #cancel: CancelTimer | undefined;

  constructor(options: {
    readonly clock: Clock;
    readonly order: (item: T) => number;
    readonly give: (item: T) => void;
  }) {
    this.#clock = options.clock;
    this.#order = options.order;
    this.#give = options.give;
  }

  /** `alone`: no other stream can have an older one. */
  push(item: T, alone: boolean): void {
    this.#held.push(item);
    if (alone || this.#held.length >= HELD_MAX) this.flush();
    else this.#cancel ??= this.#clock.setTimer(HOLD_MS, () => this.flush());
  }

  flush(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const held = this.#held;
    this.#held = [];
    // Stable: what comes from one stream at one time keeps its order.
    for (const item of held.sort((a, b) => this.#order(a) - this.#order(b))) this.#give(item);
  }
}
