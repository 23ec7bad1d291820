import type { Clock } from "../runtime/clock.ts";

/** Without a terminal, so that logs of scripts stay readable. */
const QUIET_MS = 5_000;

/**
 * What a command waits for: on a terminal one line that is rewritten, elsewhere a line when it has changed, at most every five seconds and
 * not at all for short waits.
 */
export class WaitingLine {
  readonly #clock: Clock;
  readonly #write: (text: string) => void;
  readonly #width: number | undefined;
  readonly #startedMs: number;
  #shown = false;
  #said = "";
  #saidMs: number;

  /** `width`: columns of the terminal, undefined where there is none. */
  constructor(options: {
    readonly clock: Clock;
    readonly write: (text: string) => void;
    readonly width: number | undefined;
  }) {
    this.#clock = options.clock;
    this.#write = options.write;
    this.#width = options.width;
    this.#startedMs = options.clock.monotonicMs();
    this.#saidMs = this.#startedMs;
  }

  show(text: string): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#width !== undefined) {
      const seconds = Math.floor((nowMs - this.#startedMs) / 1000);
      this.#write(`\r\u001b[K${`${text} (${seconds} s)`.slice(0, this.#width - 1)}`);
      this.#shown = true;
    } else if (text !== this.#said && nowMs - this.#saidMs >= QUIET_MS) {
      this.#write(`${text}\n`);
      this.#said = text;
      this.#saidMs = nowMs;
    }
  }

  /** Before anything else is written. */
  clear(): void {
    if (this.#shown) this.#write("\r\u001b[K");
    this.#shown = false;
  }
}
