import { stat, utimes } from "node:fs/promises";
import { type CancelTimer, type Clock, repeat } from "../runtime/clock.ts";

const NUDGE_MS = 20;

/**
 * journald tells those who follow it of new lines only every 250 ms (it gathers what it would have to say by inotify). The lines are in its file at once,
 * though: any event of the file makes journalctl look. So while somebody follows, the file's times are set to what they are.
 */
export class JournalNudge {
  readonly #clock: Clock;
  readonly #files: readonly string[];
  #followers = 0;
  #cancel: CancelTimer | undefined;

  constructor(clock: Clock, files: readonly string[]) {
    this.#clock = clock;
    this.#files = files;
  }

  /** Until the function it gives back is called. */
  begin(): () => void {
    this.#followers += 1;
    this.#cancel ??= repeat(this.#clock, NUDGE_MS, () => {
      for (const file of this.#files) void touch(file);
    });
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      this.#followers -= 1;
      if (this.#followers > 0) return;
      this.#cancel?.();
      this.#cancel = undefined;
    };
  }
}

/** Where it may not, or there is no such file, lines come as late as journald has it. */
async function touch(file: string): Promise<void> {
  try {
    const { atime, mtime } = await stat(file);
    await utimes(file, atime, mtime);
  } catch {
    // As said above.
  }
}
