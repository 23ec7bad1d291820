import type { Clock } from "../runtime/clock.ts";

/** `lost`: the end may have gone unheard, so the unit's state has to be looked at. */
export type JobEnd =
  | { readonly type: "removed"; readonly result: string }
  | { readonly type: "lost" };

/** A JobRemoved can go missing only with the connection; looking again now and then costs nothing and ends any other mistake. */
const LOOK_AGAIN_MS = 30_000;

/** Waits for jobs of systemd by their number. */
export class Jobs {
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Set<(end: JobEnd) => void>>();
  /** Ends heard while a call that makes a job was under way: the job may be over before the call's answer is here. */
  readonly #early = new Map<number, string>();
  #beginning = 0;
  #losses = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many jobs there are whose end matters to anyone. */
  get waitingCount(): number {
    return this.#beginning + this.#waiting.size;
  }

  removed(job: number, result: string): void {
    if (this.#beginning > 0) this.#early.set(job, result);
    for (const end of [...(this.#waiting.get(job) ?? [])]) end({ type: "removed", result });
  }

  /** The connection is gone. */
  lose(): void {
    this.#losses += 1;
    for (const ends of [...this.#waiting.values()]) {
      for (const end of [...ends]) end({ type: "lost" });
    }
  }

  /** Waits for the end of the job that `begin` makes or finds; without one (undefined), answers `lost`. */
  async end(begin: () => Promise<number | undefined>, signal?: AbortSignal): Promise<JobEnd> {
    let job: number | undefined;
    let early: string | undefined;
    const losses = this.#losses;
    this.#beginning += 1;
    try {
      job = await begin();
      if (job !== undefined) early = this.#early.get(job);
    } finally {
      this.#beginning -= 1;
      if (this.#beginning === 0) this.#early.clear();
    }
    if (job === undefined) return { type: "lost" };
    if (early !== undefined) return { type: "removed", result: early };
    // The call's answer came over another connection than the one that was lost meanwhile.
    if (this.#losses !== losses) return { type: "lost" };
    return await this.#wait(job, signal);
  }

  async #wait(job: number, signal: AbortSignal | undefined): Promise<JobEnd> {
    signal?.throwIfAborted();
    const ends = this.#waiting.get(job) ?? new Set();
    this.#waiting.set(job, ends);
    return await new Promise<JobEnd>((resolve, reject) => {
      const settle = () => {
        cancel();
        signal?.removeEventListener("abort", onAbort);
        ends.delete(end);
        if (ends.size === 0) this.#waiting.delete(job);
      };
      const end = (how: JobEnd) => {
        settle();
        resolve(how);
      };
      const onAbort = () => {
        settle();
        reject(signal?.reason);
      };
      const cancel = this.#clock.setTimer(LOOK_AGAIN_MS, () => end({ type: "lost" }));
      signal?.addEventListener("abort", onAbort, { once: true });
      ends.add(end);
    });
  }
}
