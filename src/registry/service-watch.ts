import type { Clock } from "../runtime/clock.ts";
import { sleep } from "../runtime/clock.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { compareEndpoints, type Endpoint } from "../services/endpoint.ts";
import { follow } from "./follow.ts";
import type { Keys } from "./keys.ts";
import { clusterIdRecord, decodeRecord } from "./records.ts";
import { readEndpoint } from "./service-records.ts";
import type { KeyValue, Store, StoreHeader } from "./store.ts";

/** Which registry counts: the one of the cluster that the machine is attached to. */
export interface ExpectedCluster {
  readonly clusterId: string;
  readonly storeId: string;
}

/** `endpoints`: all there are as of `revision`, in order, of the service asked for. */
export type ServiceListener = (endpoints: readonly Endpoint[], revision: number) => void;

interface Followed {
  readonly listeners: Set<ServiceListener>;
  readonly endpoints: Map<string, Endpoint>;
  /** Whether `endpoints` has been true once. */
  known: boolean;
  revision: number;
  abort: (() => void) | undefined;
}

const RESTART_MS = 1_000;
/** Instead of a service's name: every service. */
export const EVERY_SERVICE = "*";

/**
 * Follows services for any number of listeners, with one watch of the registry per service and none where nobody listens. What was seen last stays while
 * the registry is away, or another one answers in its place: nobody is told that services are gone by a registry that is not the machine's own (I5).
 */
export class ServiceWatch {
  readonly #options: {
    readonly store: Store;
    readonly keys: Keys;
    readonly clock: Clock;
    readonly logger: Logger;
  };
  readonly #followed = new Map<string, Followed>();
  #cluster: { readonly expected: ExpectedCluster | undefined } | undefined;

  constructor(options: { store: Store; keys: Keys; clock: Clock; logger: Logger }) {
    this.#options = options;
  }

  get serviceCount(): number {
    return this.#followed.size;
  }

  /** `expected` undefined: any registry will do. */
  start(expected: ExpectedCluster | undefined): void {
    const now = this.#cluster?.expected;
    const same = now?.clusterId === expected?.clusterId && now?.storeId === expected?.storeId;
    if (this.#cluster !== undefined && same) return;
    this.stop();
    this.#cluster = { expected };
    for (const [service, followed] of this.#followed) this.#begin(service, followed);
  }

  /** Nobody is told anything until `start`. */
  stop(): void {
    this.#cluster = undefined;
    for (const followed of this.#followed.values()) {
      followed.abort?.();
      followed.abort = undefined;
      // What comes after a rejoin may well be older.
      followed.revision = 0;
    }
  }

  /** Tells what is known at once, and every change. Gives back what ends it. */
  open(service: string, listener: ServiceListener): () => void {
    let followed = this.#followed.get(service);
    if (followed === undefined) {
      const listeners = new Set<ServiceListener>();
      followed = { listeners, endpoints: new Map(), known: false, revision: 0, abort: undefined };
      this.#followed.set(service, followed);
      this.#begin(service, followed);
    }
    const { listeners } = followed;
    listeners.add(listener);
    if (followed.known) listener(sorted(followed), followed.revision);
    return () => {
      if (!listeners.delete(listener) || listeners.size > 0) return;
      this.#followed.get(service)?.abort?.();
      this.#followed.delete(service);
    };
  }

  #begin(service: string, followed: Followed): void {
    if (this.#cluster === undefined) return;
    const { expected } = this.#cluster;
    const controller = new AbortController();
    followed.abort = () => controller.abort();
    void this.#follow({ service, followed, expected, signal: controller.signal });
  }

  async #follow(work: {
    readonly service: string;
    readonly followed: Followed;
    readonly expected: ExpectedCluster | undefined;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { service, followed, expected, signal } = work;
    const { keys, clock, logger } = this.#options;
    const prefix = service === EVERY_SERVICE ? keys.all("services") : keys.servicesOf(service);
    while (!signal.aborted) {
      try {
        await follow({
          ...this.#options,
          range: { prefix },
          signal,
          onSnapshot: async (items, header) => {
            await this.#demand(expected, header, signal);
            this.#demandNewer(followed, header);
            const read = items.flatMap((item) => this.#read(item, followed) ?? []);
            followed.endpoints.clear();
            for (const endpoint of read) followed.endpoints.set(idOf(endpoint), endpoint);
            this.#tell(followed, header.revision, signal);
          },
          onChanges: (changes, revision) => {
            for (const change of changes) {
              if (change.type === "delete") {
                const parsed = keys.parse(change.key);
                if (parsed?.kind === "services") followed.endpoints.delete(idOf(parsed));
                continue;
              }
              const endpoint = this.#read(change.item, followed);
              if (endpoint !== undefined) followed.endpoints.set(idOf(endpoint), endpoint);
            }
            this.#tell(followed, revision, signal);
          },
        });
      } catch (error) {
        if (!isFleetError(error)) throw error;
        if (signal.aborted || error.code === "store-closed") return;
        logger.warn("services-not-followed", { service, error: errorMessage(error) });
        await sleep(clock, RESTART_MS, signal).catch(() => undefined);
      }
    }
  }

  #tell(followed: Followed, revision: number, signal: AbortSignal): void {
    if (signal.aborted) return;
    followed.known = true;
    followed.revision = revision;
    const endpoints = sorted(followed);
    for (const listener of [...followed.listeners]) listener(endpoints, revision);
  }

  /** Of a record that cannot be read, what was known of it before. */
  #read(item: KeyValue, followed: Followed): Endpoint | undefined {
    try {
      return readEndpoint(this.#options.keys, item);
    } catch (error) {
      if (!isFleetError(error)) throw error;
      this.#options.logger.warn("record-unreadable", { error: errorMessage(error) });
      const parsed = this.#options.keys.parse(item.key);
      return parsed?.kind === "services" ? followed.endpoints.get(idOf(parsed)) : undefined;
    }
  }

  async #demand(
    expected: ExpectedCluster | undefined,
    header: StoreHeader,
    signal: AbortSignal,
  ): Promise<void> {
    if (expected === undefined) return;
    const { store, keys } = this.#options;
    const range = { key: keys.clusterId };
    const { items } = await store.read({ range, revision: header.revision }, { signal });
    const id = items[0] && decodeRecord(clusterIdRecord, keys.clusterId, items[0].value).id;
    if (header.storeId === expected.storeId && id === expected.clusterId) return;
    throw notThisCluster();
  }

  #demandNewer(followed: Followed, header: StoreHeader): void {
    if (header.revision < followed.revision) throw notThisCluster();
  }
}

function notThisCluster(): FleetError {
  const message = "the registry that answers is not, or no longer, this machine's";
  return new FleetError("conflict", message, { retriable: true });
}

function idOf({
  service,
  instance,
}: {
  readonly service: string;
  readonly instance: string;
}): string {
  return `${service}/${instance}`;
}

function sorted({ endpoints }: Followed): readonly Endpoint[] {
  return [...endpoints.values()].sort(compareEndpoints);
}
