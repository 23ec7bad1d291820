import type { CallOptions, Revision } from "../registry/store.ts";
import type { UnitListener, WatchUpdate } from "../registry/unit-listener.ts";
import type { ApiContext } from "./context.ts";
import {
  byKey,
  difference,
  type EventSource,
  firstStep,
  known,
  type Snapshot,
  type Step,
} from "./event-source.ts";
import type { ApiRequest } from "./http.ts";

/** Units, with the states that machines report of them. `names` undefined: all. */
export async function openUnitEvents(
  { registry }: ApiContext,
  { call, signal }: ApiRequest,
  names: readonly string[] | undefined,
): Promise<EventSource> {
  const listener = await registry.watch.open(names ?? "all", call);
  const read = async (some: readonly string[] | undefined, revision: Revision | undefined) => {
    const limited: CallOptions = { signal, deadlineMs: call.deadlineMs };
    const found = await registry.read.units(some ?? names, { ...limited, revision });
    return { revision: found.revision, views: byKey(found.units, ({ name }) => name) };
  };
  try {
    return new UnitEvents({ listener, read, update: await listener.next(signal) });
  } catch (error) {
    listener.close();
    throw error;
  }
}

type ReadUnits = (
  names: readonly string[] | undefined,
  revision: Revision | undefined,
) => Promise<Snapshot>;

class UnitEvents implements EventSource {
  readonly #listener: UnitListener;
  readonly #read: ReadUnits;
  #update: WatchUpdate;
  #shown: Revision = 0;
  /** Until the watch is past the first step, it may tell of changes that are in that already. */
  #isPast = false;

  /** `update`: the first, which says where the watch stands; what is in it is read anew, all as of one revision. */
  constructor(parts: { listener: UnitListener; read: ReadUnits; update: WatchUpdate }) {
    this.#listener = parts.listener;
    this.#read = parts.read;
    this.#update = parts.update;
  }

  async first(after: Revision | undefined): Promise<Step> {
    const step = await firstStep((revision) => this.#read(undefined, revision), after);
    this.#shown = step.revision;
    return step;
  }

  async next(signal: AbortSignal): Promise<Step> {
    const readingsBefore = this.#update.readings;
    const now = await this.#whole(signal);
    const { revision } = now;
    if (revision <= this.#shown) {
      return { type: "change", revision: this.#shown, views: new Map(), gone: [] };
    }
    const repeats = !this.#isPast || this.#update.readings !== readingsBefore;
    this.#isPast = true;
    const step = repeats ? await this.#unsaid(now) : now;
    this.#shown = step.revision;
    return step;
  }

  state(): WatchUpdate {
    return this.#update;
  }

  close(): void {
    this.#listener.close();
  }

  /** Updates until all that belongs to a revision is there. */
  async #whole(signal: AbortSignal): Promise<Step> {
    const views = new Map<string, object>();
    const gone = new Set<string>();
    for (;;) {
      const update = await this.#listener.next(signal);
      this.#update = update;
      for (const unit of update.units) {
        views.set(unit.name, unit);
        gone.delete(unit.name);
      }
      for (const name of update.gone) {
        views.delete(name);
        gone.add(name);
      }
      const { revision } = update;
      if (revision !== undefined) return { type: "change", revision, views, gone: [...gone] };
    }
  }

  /** Of a step, what the client has not been shown. */
  async #unsaid({ revision, views, gone }: Step): Promise<Step> {
    const names = [...views.keys(), ...gone];
    if (names.length === 0) return { type: "change", revision, views, gone };
    const then = await known(this.#read(names, this.#shown));
    if (then !== undefined) return { type: "change", revision, ...difference(then.views, views) };
    // The watch is not past what is read now.
    this.#isPast = false;
    const now = await this.#read(undefined, undefined);
    return { type: "snapshot", why: "too-old", ...now, gone: [] };
  }
}
