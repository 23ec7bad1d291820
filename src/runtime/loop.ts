import { type BackoffLimits, backoffMs } from "./backoff.ts";
import type { CancelTimer, Clock } from "./clock.ts";
import { errorMessage } from "./errors.ts";
import type { Liveness } from "./liveness.ts";
import type { Logger } from "./logger.ts";
import type { Random } from "./random.ts";

export interface LoopOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly backoff: BackoffLimits;
  /** Told of every pass. */
  readonly liveness?: Liveness | undefined;
  /**
   * One pass: looks at the whole of what it is responsible for and does what is due.
   * Gives back how many milliseconds from now it wants to run again without being woken, or undefined.
   */
  readonly pass: (signal: AbortSignal) => Promise<number | undefined>;
}

/**
 * Level-triggered loop: events only wake it, one pass runs at a time, wake-ups during a pass lead to exactly one more.
 * A pass that throws is retried with backoff; assertion failures and the like are not caught here, they end `run`.
 */
export class Loop {
  readonly #options: LoopOptions;
  #woken = true;
  #notify: (() => void) | undefined;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  wake(): void {
    this.#woken = true;
    this.#notify?.();
  }

  /** Runs passes until `signal` aborts; resolves then, after the pass in progress has ended. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    const stop = () => this.#notify?.();
    signal.addEventListener("abort", stop, { once: true });
    try {
      while (!signal.aborted) {
        this.#woken = false;
        let againMs: number | undefined;
        const end = this.#options.liveness?.begin();
        try {
          againMs = await this.#options.pass(signal).finally(end);
          failures = 0;
        } catch (error) {
          if (isBug(error)) throw error;
          if (signal.aborted) break;
          failures += 1;
          againMs = backoffMs(failures, this.#options.backoff, this.#options.random.fraction());
          this.#options.logger.warn("pass-failed", {
            loop: this.#options.name,
            error: errorMessage(error),
            retryMs: Math.round(againMs),
          });
          await this.#wait(againMs, signal, false);
          continue;
        }
        await this.#wait(againMs, signal, true);
      }
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  async #wait(delayMs: number | undefined, signal: AbortSignal, wakeable: boolean): Promise<void> {
    if (signal.aborted || (wakeable && this.#woken)) return;
    let cancel: CancelTimer | undefined;
    await new Promise<void>((resolve) => {
      this.#notify = () => {
        if (wakeable || signal.aborted) resolve();
      };
      if (delayMs !== undefined) cancel = this.#options.clock.setTimer(delayMs, resolve);
    });
    this.#notify = undefined;
    cancel?.();
  }
}

function isBug(error: unknown): boolean {
  return (
    error instanceof TypeError ||
    error instanceof RangeError ||
    error instanceof ReferenceError ||
    (error instanceof Error && error.name === "AssertionError")
  );
}
