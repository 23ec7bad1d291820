import type { Clock } from "../runtime/clock.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { compareEndpoints, compareText, type Endpoint, type Link } from "../services/endpoint.ts";
import type { Keys } from "./keys.ts";
import { encodeEndpoint, readEndpoint, readLink } from "./service-records.ts";
import { ServiceWatch } from "./service-watch.ts";
import { type CallOptions, type KeyValue, type Revision, readAll, type Store } from "./store.ts";
import type { ReadOptions } from "./view-reader.ts";

const ATTEMPTS_MAX = 5;

/** What became of a change by hand. `owned`: a sidekick registers it, on that machine. */
export type HandOutcome =
  | { readonly type: "done" | "not-found" }
  | { readonly type: "owned"; readonly machine: string };

/** Services as operators see them, and endpoints that they register for what runs outside the cluster. */
export class Services {
  readonly #store: Store;
  readonly #keys: Keys;
  readonly #logger: Logger;
  readonly watch: ServiceWatch;

  constructor(options: { store: Store; keys: Keys; clock: Clock; logger: Logger }) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#logger = options.logger;
    this.watch = new ServiceWatch(options);
    this.watch.start(undefined);
  }

  /** Endpoints of one service, or of all, in order of service and instance. */
  async endpoints(service: string | undefined, call: CallOptions): Promise<readonly Endpoint[]> {
    return (await this.endpointsAt(service, call)).endpoints;
  }

  /** With the revision they were read at. */
  async endpointsAt(
    service: string | undefined,
    options: ReadOptions,
  ): Promise<{ readonly revision: Revision; readonly endpoints: readonly Endpoint[] }> {
    const keys = this.#keys;
    const prefix = service === undefined ? keys.all("services") : keys.servicesOf(service);
    const { items, header } = await readAll(this.#store, { prefix }, options);
    const endpoints = this.#readable(items, (item) => readEndpoint(keys, item));
    return { revision: header.revision, endpoints: endpoints.sort(compareEndpoints) };
  }

  /** In order of consumer, then machine. */
  async links(call: CallOptions): Promise<readonly Link[]> {
    const { items } = await readAll(this.#store, { prefix: this.#keys.all("links") }, call);
    return this.#readable(items, (item) => readLink(this.#keys, item)).sort(
      (a, b) => compareText(a.consumer, b.consumer) || compareText(a.machine, b.machine),
    );
  }

  /** On no lease: it stays until it is deregistered by hand, so it must not name a machine. */
  async register(
    endpoint: Omit<Endpoint, "machine">,
    call: CallOptions,
  ): Promise<Exclude<HandOutcome, { type: "not-found" }>> {
    const outcome = await this.#change(endpoint, encodeEndpoint(endpoint), call);
    return outcome.type === "owned" ? outcome : { type: "done" };
  }

  async deregister(
    named: Pick<Endpoint, "service" | "instance">,
    call: CallOptions,
  ): Promise<HandOutcome> {
    return await this.#change(named, undefined, call);
  }

  async #change(
    { service, instance }: Pick<Endpoint, "service" | "instance">,
    value: string | undefined,
    call: CallOptions,
  ): Promise<HandOutcome> {
    const key = this.#keys.service(service, instance);
    for (let attempt = 1; ; attempt += 1) {
      const [item] = (await this.#store.read({ range: { key } }, call)).items;
      // An unreadable record is an operator's to remove, unless it hangs on a machine's lease.
      const found = item && this.#readable([item], (one) => readEndpoint(this.#keys, one))[0];
      if (found?.machine !== undefined) return { type: "owned", machine: found.machine };
      if (item?.leaseId !== undefined) return { type: "owned", machine: "unknown" };
      if (item === undefined && value === undefined) return { type: "not-found" };
      const { applied } = await this.#store.transact(
        {
          comparisons: [{ type: "modified-at", key, revision: item?.modRevision ?? 0 }],
          operations: [value === undefined ? { type: "delete", key } : { type: "put", key, value }],
        },
        call,
      );
      if (applied) return { type: "done" };
      if (attempt >= ATTEMPTS_MAX) {
        const message = `cannot change ${service}/${instance}: others changed it meanwhile, try again`;
        throw new FleetError("conflict", message, { retriable: true });
      }
    }
  }

  #readable<T>(items: readonly KeyValue[], read: (item: KeyValue) => T | undefined): T[] {
    return items.flatMap((item) => {
      try {
        return read(item) ?? [];
      } catch (error) {
        if (!isFleetError(error)) throw error;
        this.#logger.warn("record-unreadable", { error: errorMessage(error) });
        return [];
      }
    });
  }
}
