import type { UnitView } from "../cluster/views.ts";
import { type CancelTimer, type Clock, sleep } from "../runtime/clock.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { SyncCluster, UnitNews } from "./sync-cluster.ts";

/** Keeps the newest views of units by watching them, and calls back whoever waits for something to be so. */
export class UnitFollower {
  readonly #cluster: SyncCluster;
  readonly #signal: AbortSignal;
  readonly #views = new Map<string, UnitView>();
  readonly #closed = new AbortController();

  constructor(cluster: SyncCluster, signal: AbortSignal) {
    this.#cluster = cluster;
    this.#signal = AbortSignal.any([signal, this.#closed.signal]);
  }

  view(name: string): UnitView | undefined {
    return this.#views.get(name);
  }

  close(): void {
    this.#closed.abort();
  }

  /** Watches the units until `look` says so or the limit is over. Throws when the cluster cannot be watched. */
  async until(options: {
    readonly names: readonly string[];
    readonly clock: Clock;
    readonly limitMs: number;
    /** Ends it as `look` does. */
    readonly ended?: AbortSignal;
    /** `news`: what was heard last. */
    readonly look: (views: ReadonlyMap<string, UnitView>, news: UnitNews) => boolean;
  }): Promise<void> {
    const { names, clock, limitMs, ended = NEVER, look } = options;
    const end = new AbortController();
    const signal = AbortSignal.any([this.#signal, end.signal, ended]);
    const cancel: CancelTimer = clock.setTimer(limitMs, () => end.abort());
    try {
      while (!signal.aborted) {
        try {
          for await (const news of this.#cluster.watch(names, signal)) {
            const { name, view } = news;
            if (view === undefined) this.#views.delete(name);
            else this.#views.set(name, view);
            if (look(this.#views, news)) return;
          }
        } catch (error) {
          if (signal.aborted) break;
          if (!isFleetError(error) || !error.retriable) throw error;
        }
        // The connection ended: a new one begins with the units as they are.
        await sleep(clock, PAUSE_MS, signal).catch(() => {});
      }
    } finally {
      cancel();
      end.abort();
    }
    this.#signal.throwIfAborted();
  }
}

const PAUSE_MS = 500;
const NEVER = new AbortController().signal;
