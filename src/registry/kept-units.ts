import type { UnitView } from "../cluster/views.ts";
import type { CancelTimer, Clock } from "../runtime/clock.ts";
import type { ClusterWatch } from "./cluster-watch.ts";
import type { Keys } from "./keys.ts";
import type { CallOptions, Revision, Store } from "./store.ts";
import type { UnitListener } from "./unit-listener.ts";
import type { UnitsRead, ViewReader } from "./view-reader.ts";

/** For so long after a list they are kept for the next one. */
const KEPT_MS = 300_000;
/** More are read anew by each list: kept, each takes some 5 KB of a daemon that may seldom be asked. */
const KEPT_UNITS_MAX = 5_000;
/** A change of another program's keys makes a newer revision too, of which the watch never tells. */
const LAG_MS = 50;

export interface UnitsListed extends UnitsRead {
  /** Whether an engine holds the lease. */
  readonly leader: boolean;
}

/**
 * All units, kept current by the shared watch between the requests that list them. A list shows all that was written before it was asked
 * for, by whomever: one small read tells the newest revision, and the watch has to have come to that. Where it does not within `LAG_MS`,
 * everything is read.
 */
export class KeptUnits {
  readonly #store: Store;
  readonly #keys: Keys;
  readonly #clock: Clock;
  readonly #reader: ViewReader;
  readonly #watch: ClusterWatch;
  #opening: Promise<Kept> | undefined;
  #cancelRelease: CancelTimer = () => undefined;

  constructor(options: {
    readonly store: Store;
    readonly keys: Keys;
    readonly clock: Clock;
    readonly reader: ViewReader;
    readonly watch: ClusterWatch;
  }) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#clock = options.clock;
    this.#reader = options.reader;
    this.#watch = options.watch;
  }

  async list(call: CallOptions = {}): Promise<UnitsListed> {
    const known = this.#watch.revision ?? 0;
    const read = this.#store.readKeys({ keys: [this.#keys.leader] }, call);
    const [{ header, items }, kept] = await Promise.all([read, this.#open()]);
    const leader = items.length > 0;
    // A store that is older than what it has shown was put back to an earlier state.
    const isCurrent = header.revision >= known && (await this.#reaches(header.revision, call));
    const units = isCurrent ? kept.take() : undefined;
    const { revision } = this.#watch;
    if (units === undefined || revision === undefined || kept.isClosed) {
      return { ...(await this.#reader.units(undefined, call)), leader };
    }
    if (units.length > KEPT_UNITS_MAX) this.release();
    return { revision, units, leader };
  }

  /** Forgets them; the next list reads them again. */
  release(): void {
    this.#cancelRelease();
    const opening = this.#opening;
    this.#opening = undefined;
    opening?.then(
      (kept) => kept.close(),
      () => undefined,
    );
  }

  /** For all who ask meanwhile, so it does not end with one of them. */
  #open(): Promise<Kept> {
    this.#cancelRelease();
    this.#cancelRelease = this.#clock.setTimer(KEPT_MS, () => this.release());
    if (this.#opening !== undefined) return this.#opening;
    const opening = this.#watch.open("kept").then((listener) => new Kept(listener));
    this.#opening = opening;
    opening.catch(() => {
      if (this.#opening === opening) this.release();
    });
    return opening;
  }

  async #reaches(revision: Revision, { signal }: CallOptions): Promise<boolean> {
    const late = new AbortController();
    const cancel = this.#clock.setTimer(LAG_MS, () => late.abort());
    const reached = await this.#watch.reaches(revision, late.signal);
    cancel();
    signal?.throwIfAborted();
    // What could not be read is read with the rest when they are kept anew.
    if (this.#watch.revision === undefined) this.release();
    return reached;
  }
}

class Kept {
  isClosed = false;
  readonly #listener: UnitListener;
  readonly #views = new Map<string, UnitView>();
  /** In order of name; undefined when it has to be made anew. */
  #sorted: readonly UnitView[] | undefined;

  constructor(listener: UnitListener) {
    this.#listener = listener;
  }

  /** Undefined when a manifest could not be read. */
  take(): readonly UnitView[] | undefined {
    const update = this.#listener.poll();
    if (update !== undefined) this.#sorted = undefined;
    for (const unit of update?.units ?? []) this.#views.set(unit.name, unit);
    for (const name of update?.gone ?? []) this.#views.delete(name);
    this.#sorted ??= [...this.#views.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return this.#sorted.every(({ hash }) => hash !== "") ? this.#sorted : undefined;
  }

  close(): void {
    this.isClosed = true;
    this.#listener.close();
  }
}
