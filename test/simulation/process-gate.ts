/** When to kill a process: right before or right after the effect with this number, counted from 1. */
export interface KillPoint {
  readonly effect: number;
  readonly moment: "before" | "after";
}

export interface GateOptions {
  /** Ends the process at once (kill -9). Called by the gate when its kill point is reached. */
  readonly kill: () => void;
  readonly nowMs: () => number;
  /** It asks and asks, and time stands still meanwhile. */
  readonly onBusy: (stack: string) => void;
}

/** So many calls within one instant are a loop that waits for nothing. */
const CALLS_MAX = 3_000;

/**
 * What stands between a process and everything outside it. A dead process has no further effect and hears nothing; a frozen one neither, until it
 * thaws. Effects (writes to the store, calls of systemd that change something, records on the host) are counted, so that a process can be killed
 * between any two of them.
 */
export class ProcessGate {
  readonly #options: GateOptions;
  #state: "alive" | "frozen" | "dead" = "alive";
  #thawed: PromiseWithResolvers<void> | undefined;
  #effects = 0;
  #killPoint: KillPoint | undefined;
  #instantMs = 0;
  #callsThen = 0;

  constructor(options: GateOptions) {
    this.#options = options;
  }

  get isDead(): boolean {
    return this.#state === "dead";
  }

  get effects(): number {
    return this.#effects;
  }

  /** `effect` counts from now. */
  killAt(point: KillPoint): void {
    this.#killPoint = { ...point, effect: this.#effects + point.effect };
  }

  /** Takes the kill point back. */
  spare(): void {
    this.#killPoint = undefined;
  }

  die(): void {
    this.#state = "dead";
  }

  freeze(): void {
    if (this.#state !== "alive") return;
    this.#state = "frozen";
    this.#thawed = Promise.withResolvers();
  }

  thaw(): void {
    if (this.#state !== "frozen") return;
    this.#state = "alive";
    this.#thawed?.resolve();
  }

  /** Resolves when the process may go on: at once, when it thaws, or never. */
  async passage(): Promise<void> {
    if (this.#state === "alive") return;
    if (this.#state === "frozen") await this.#thawed?.promise;
    if (this.#state === "dead") await never();
    else await this.passage();
  }

  /** Does something outside that only asks. */
  async ask<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isBusy()) await never();
    if (this.#state !== "alive") await this.passage();
    return await this.#answer(work());
  }

  /** Does something outside that changes something. `underway`: its effect is there as soon as it was asked for, long before it is answered. */
  async effect<T>(work: () => Promise<T>, options: { underway?: boolean } = {}): Promise<T> {
    if (this.#isBusy()) await never();
    if (this.#state !== "alive") await this.passage();
    this.#effects += 1;
    const point = this.#killPoint;
    if (point?.effect !== this.#effects) return await this.#answer(work());
    this.#killPoint = undefined;
    if (point.moment === "after") {
      const working = work();
      working.catch(() => undefined);
      if (options.underway === true) for (let turn = 0; turn < 8; turn += 1) await undefined;
      else await working.catch(() => undefined);
    }
    this.#options.kill();
    return await never();
  }

  #isBusy(): boolean {
    const nowMs = this.#options.nowMs();
    this.#callsThen = nowMs === this.#instantMs ? this.#callsThen + 1 : 0;
    this.#instantMs = nowMs;
    if (this.#callsThen === CALLS_MAX) this.#options.onBusy(new Error("busy").stack ?? "");
    return this.#callsThen >= CALLS_MAX;
  }

  async #answer<T>(answer: Promise<T>): Promise<T> {
    try {
      const value = await answer;
      if (this.#state !== "alive") await this.passage();
      return value;
    } catch (error) {
      if (this.#state !== "alive") await this.passage();
      throw error;
    }
  }
}

/** Of a process that nothing befalls. */
export function freeGate(): ProcessGate {
  const nothing = () => undefined;
  return new ProcessGate({ kill: nothing, nowMs: () => Number.NaN, onBusy: nothing });
}

/** A dead process waits for nothing and nobody: what it would go on with is never run. */
export async function never(): Promise<never> {
  return await new Promise<never>(() => undefined);
}
