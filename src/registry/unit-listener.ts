import type { UnitView } from "../cluster/views.ts";

/** What a listener has not been told yet. */
export interface WatchUpdate {
  readonly units: readonly UnitView[];
  /** Names asked for that do not exist (any more). */
  readonly gone: readonly string[];
  /** Ids of the machines that are present, when that has changed; only for who listens to all. */
  readonly present?: readonly string[];
  /** Whether `leader` or `reachable` are other than in the update before. */
  readonly clusterChanged: boolean;
  /** Whether an engine holds the lease. */
  readonly leader: boolean;
  /** Whether the registry answers. */
  readonly reachable: boolean;
}

export interface UnitListener {
  /** Resolves as soon as something changed since the last one; everything that changed meanwhile comes together. */
  next(signal: AbortSignal): Promise<WatchUpdate>;
  close(): void;
}

export interface Told {
  leader: boolean | undefined;
  reachable: boolean | undefined;
  /** Ids, joined. */
  present: string | undefined;
}

export interface ListenerSource {
  take(dirty: ReadonlySet<string>, told: Told, all: boolean): WatchUpdate | undefined;
  close(): void;
}

export class Listener implements UnitListener {
  /** Undefined: all there are. */
  readonly names: ReadonlySet<string> | undefined;
  readonly #watch: ListenerSource;
  #dirty = new Set<string>();
  readonly #told: Told = { leader: undefined, reachable: undefined, present: undefined };
  #woken = false;
  #notify: (() => void) | undefined;

  constructor(names: ReadonlySet<string> | undefined, watch: ListenerSource) {
    this.names = names;
    this.#watch = watch;
  }

  touch(names: Iterable<string>): void {
    for (const name of names) if (this.names?.has(name) ?? true) this.#dirty.add(name);
    if (this.#dirty.size > 0) this.wake();
  }

  wake(): void {
    this.#woken = true;
    this.#notify?.();
  }

  async next(signal: AbortSignal): Promise<WatchUpdate> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#woken) {
        this.#woken = false;
        const dirty = this.#dirty;
        this.#dirty = new Set();
        const update = this.#watch.take(dirty, this.#told, this.names === undefined);
        if (update !== undefined) return update;
      }
      await new Promise<void>((resolve) => {
        this.#notify = resolve;
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      this.#notify = undefined;
    }
  }

  close(): void {
    this.#watch.close();
    this.#notify?.();
  }
}
