import type { Lease } from "./store.ts";

/** Something to do to the state of an embedded store, in its turn. */
export interface Job {
  /** Does it in memory and gives back how to tell the caller once it is durable. Throws before it has changed anything. */
  readonly run: (batch: Batch) => () => void;
  readonly fail: (error: unknown) => void;
}

/** What the jobs of one turn did besides writing keys. */
export interface Batch {
  readonly leasesGranted: Lease[];
  readonly leasesEnded: string[];
  /** To be called in reverse order. */
  readonly undo: (() => void)[];
}

/** Jobs that wait for the end of the turn. It empties every turn, so callers bound it by what they have under way. */
export class EmbeddedJobs {
  readonly #jobs = new Set<Job>();
  readonly #schedule: () => void;

  /** `schedule` is called when there is something to take. */
  constructor(schedule: () => void) {
    this.#schedule = schedule;
  }

  add(job: Job): void {
    this.#jobs.add(job);
    if (this.#jobs.size === 1) this.#schedule();
  }

  /** Settles when the job has been run and is durable, or at once when the signal aborts before its turn comes. */
  call<T>(signal: AbortSignal | undefined, run: (batch: Batch) => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => {
        this.#jobs.delete(job);
        reject(signal?.reason);
      };
      const job: Job = {
        run: (batch) => {
          const result = run(batch);
          return () => {
            signal?.removeEventListener("abort", onAbort);
            resolve(result);
          };
        },
        fail: (error) => {
          signal?.removeEventListener("abort", onAbort);
          reject(error);
        },
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.add(job);
    });
  }

  /** Every waiting job in order of arrival; none waits afterwards. */
  takeAll(): readonly Job[] {
    const jobs = [...this.#jobs];
    this.#jobs.clear();
    return jobs;
  }
}
