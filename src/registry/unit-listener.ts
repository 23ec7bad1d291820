import type { UnitView } from "../cluster/views.ts";
import { Waker } from "../runtime/waker.ts";
import type { Revision } from "./store.ts";

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
  /** This and the updates before have every change up to here and, of units that were read before it, none after. Undefined: the rest comes at once. */
  readonly revision: Revision | undefined;
  /** How often everything was read anew: all units are told then, changed or not. */
  readonly readings: number;
  /** When last something changed that views of machines are made of. */
  readonly machinesRevision: Revision;
}

export interface UnitListener {
  /** Resolves as soon as something changed since the last one; everything that changed meanwhile comes together. */
  next(signal: AbortSignal): Promise<WatchUpdate>;
  /** The same without waiting: undefined when nothing changed. */
  poll(): WatchUpdate | undefined;
  close(): void;
}

export interface Told {
  leader: boolean | undefined;
  reachable: boolean | undefined;
  /** Ids, joined. */
  present: string | undefined;
  machinesRevision: Revision | undefined;
  isPartial: boolean;
}

/** Names of units, all units, or the machines alone. `kept`: all units, for lists to come, which look by themselves whether the registry answers. */
export type Listening = ReadonlySet<string> | "all" | "kept" | "machines";

export interface ListenerSource {
  take(dirty: ReadonlySet<string>, told: Told, what: Listening): WatchUpdate | undefined;
  close(): void;
}

export class Listener implements UnitListener {
  /** Undefined: all there are. */
  readonly names: ReadonlySet<string> | undefined;
  readonly #watch: ListenerSource;
  #dirty = new Set<string>();
  readonly what: Listening;
  readonly #told: Told = {
    ...{ leader: undefined, reachable: undefined, present: undefined },
    ...{ machinesRevision: undefined, isPartial: false },
  };
  #woken = false;
  readonly #waker = new Waker();

  constructor(what: Listening, watch: ListenerSource) {
    this.names = namesOf(what);
    this.what = what;
    this.#watch = watch;
  }

  touch(names: Iterable<string>): void {
    for (const name of names) if (this.names?.has(name) ?? true) this.#dirty.add(name);
    if (this.#dirty.size > 0) this.wake();
  }

  wake(): void {
    this.#woken = true;
    this.#waker.wake();
  }

  async next(signal: AbortSignal): Promise<WatchUpdate> {
    for (;;) {
      signal.throwIfAborted();
      const update = this.poll();
      if (update !== undefined) return update;
      await this.#waker.woken(signal);
    }
  }

  poll(): WatchUpdate | undefined {
    if (!this.#woken) return undefined;
    this.#woken = false;
    const dirty = this.#dirty;
    this.#dirty = new Set();
    return this.#watch.take(dirty, this.#told, this.what);
  }

  close(): void {
    this.#watch.close();
    this.#waker.wake();
  }
}

function namesOf(what: Listening): ReadonlySet<string> | undefined {
  if (what === "machines") return new Set();
  return typeof what === "string" ? undefined : what;
}
