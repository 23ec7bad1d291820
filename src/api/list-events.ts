import { EVERY_SERVICE } from "../registry/service-watch.ts";
import type { Revision } from "../registry/store.ts";
import { Waker } from "../runtime/waker.ts";
import type { Endpoint } from "../services/endpoint.ts";
import type { ApiContext } from "./context.ts";
import {
  byKey,
  difference,
  type EventSource,
  firstStep,
  type Snapshot,
  type Step,
} from "./event-source.ts";
import type { ApiRequest } from "./http.ts";

interface ListParts {
  readonly read: (revision: Revision | undefined) => Promise<Snapshot>;
  /** The whole list, each time something may have changed in it. */
  readonly next: (signal: AbortSignal) => Promise<Snapshot>;
  readonly state: EventSource["state"];
  readonly close: () => void;
}

/** Few things that change rarely: each step is what the newest list has other than the one before. */
class ListEvents implements EventSource {
  readonly #parts: ListParts;
  #shown: Snapshot = { revision: 0, views: new Map() };

  constructor(parts: ListParts) {
    this.#parts = parts;
  }

  async first(after: Revision | undefined): Promise<Step> {
    const read = async (revision: Revision | undefined) => {
      const snapshot = await this.#parts.read(revision);
      if (revision === undefined) this.#shown = snapshot;
      return snapshot;
    };
    return await firstStep(read, after);
  }

  async next(signal: AbortSignal): Promise<Step> {
    const now = await this.#parts.next(signal);
    const before = this.#shown;
    if (now.revision > before.revision) this.#shown = now;
    const { revision, views } = this.#shown;
    return { type: "change", revision, ...difference(before.views, views) };
  }

  state() {
    return this.#parts.state();
  }

  close(): void {
    this.#parts.close();
  }
}

/** The newest read of machines, by what it was for: clients that are told of the same change share it. */
type MachineReads = Map<Revision, Promise<Snapshot>>;
const READ_MS = 2_500;

export function machineEventsOpener({ registry }: ApiContext) {
  const reads: MachineReads = new Map();
  const read = async (revision: Revision | undefined): Promise<Snapshot> => {
    const found = await registry.read.machines({ deadlineMs: READ_MS, revision });
    return { revision: found.revision, views: byKey(found.machines, ({ id }) => id) };
  };
  const readAfter = async (changed: Revision): Promise<Snapshot> => {
    const [newest = -1] = reads.keys();
    const found = newest >= changed ? reads.get(newest) : undefined;
    if (found !== undefined) return await found;
    const fresh = read(undefined);
    reads.clear();
    reads.set(changed, fresh);
    fresh.catch(() => reads.delete(changed));
    return await fresh;
  };
  return async ({ call, signal }: ApiRequest): Promise<EventSource> => {
    const listener = await registry.watch.open("machines", call);
    try {
      let update = await listener.next(signal);
      return new ListEvents({
        read,
        next: async (ended) => {
          update = await listener.next(ended);
          return await readAfter(update.machinesRevision);
        },
        state: () => update,
        close: () => listener.close(),
      });
    } catch (error) {
      listener.close();
      throw error;
    }
  };
}

/** Endpoints of all services, by service and instance. */
export async function openServiceEvents(
  { registry }: ApiContext,
  { call }: ApiRequest,
): Promise<EventSource> {
  const snapshot = (endpoints: readonly Endpoint[], revision: Revision): Snapshot => ({
    revision,
    views: byKey(endpoints, ({ service, instance }) => `${service}/${instance}`),
  });
  let newest: Snapshot | undefined;
  const arrival = new Waker();
  const close = registry.services.watch.open(EVERY_SERVICE, (endpoints, revision) => {
    newest = snapshot(endpoints, revision);
    arrival.wake();
  });
  return new ListEvents({
    read: async (revision) => {
      const limited = { signal: call.signal, deadlineMs: READ_MS, revision };
      const found = await registry.services.endpointsAt(undefined, limited);
      return snapshot(found.endpoints, found.revision);
    },
    next: async (signal) => {
      while (newest === undefined) {
        await arrival.woken(signal);
        signal.throwIfAborted();
      }
      const now = newest;
      newest = undefined;
      return now;
    },
    // What is known of the registry here is in the daemon's own notices.
    state: () => ({ leader: true, reachable: true }),
    close,
  });
}
