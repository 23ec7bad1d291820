import type { Clock } from "../runtime/clock.ts";
import { errorMessage, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Endpoint } from "../services/endpoint.ts";
import type { LinkSpec } from "./arguments.ts";
import { isUsable } from "./backend.ts";
import { backendsOf, forgetSuspects, type KnownEndpoint, learn } from "./known-endpoints.ts";
import type {
  BoundAddress,
  DataPlane,
  LinkStats,
  LinkTuning,
  Endpoint as LocalEndpoint,
  ProxyLink,
} from "./proxy.ts";

export interface LinkedServiceOptions {
  readonly spec: LinkSpec;
  readonly proxy: DataPlane;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly tuning: Partial<LinkTuning>;
  /** The socket of that name that systemd has handed over. */
  readonly handedOver: (name: string) => LocalEndpoint;
  readonly known: readonly KnownEndpoint[];
  readonly onChange: () => void;
  /** It cannot listen where it is to. */
  readonly onFailure: (error: unknown) => void;
}

const RETRY_MS = 2_000;
/** How often connects to suspects are looked at. */
const SUSPECT_LOOK_MS = 500;

/** One link: follows what is told of its service and hands it to the data plane. */
export class LinkedService {
  readonly spec: LinkSpec;
  readonly #options: LinkedServiceOptions;
  #known: readonly KnownEndpoint[];
  #machine: string | undefined;
  #isTold = false;
  #tuning: Partial<LinkTuning>;
  #link: ProxyLink | undefined;
  /** One change at a time reaches the data plane. */
  #work: Promise<void> = Promise.resolve();
  #closed = false;
  /** Failed connects of each suspect when it became one. */
  readonly #failures = new Map<string, number>();
  #cancelLook: (() => void) | undefined;
  problem = "";

  constructor(options: LinkedServiceOptions) {
    this.#options = options;
    this.spec = options.spec;
    this.#known = options.known;
    this.#tuning = options.tuning;
    this.#apply();
  }

  get known(): readonly KnownEndpoint[] {
    return this.#known;
  }

  get address(): BoundAddress | undefined {
    return this.#link?.addresses[0];
  }

  get usableCount(): number {
    return backendsOf(this.#known, undefined).filter(isUsable).length;
  }

  /** Usable ones that are no suspects. */
  get presentCount(): number {
    const backends = backendsOf(this.#known, undefined).filter(isUsable);
    return backends.filter(({ presence }) => presence === "present").length;
  }

  /** The daemon has said what there is; before, there is only what was saved. */
  get isTold(): boolean {
    return this.#isTold;
  }

  /** All endpoints of the service; those of another protocol are not for this link. */
  tell(endpoints: readonly Endpoint[], machine: string | undefined): void {
    const { local } = this.spec;
    const fits = (one: Endpoint) =>
      local.type === "fd" || (one.protocol === "udp") === (local.type === "udp");
    this.#machine = machine;
    this.#isTold = true;
    this.#known = learn(this.#known, endpoints.filter(fits), this.#options.clock.monotonicMs());
    this.#apply();
  }

  setTuning(tuning: Partial<LinkTuning>): void {
    this.#tuning = tuning;
    this.#do(async () => await this.#link?.setTuning(tuning));
  }

  async stats(): Promise<LinkStats | undefined> {
    return await this.#link?.stats();
  }

  async close(options: { readonly drainMs: number; readonly signal?: AbortSignal }): Promise<void> {
    this.#closed = true;
    this.#cancelLook?.();
    await this.#work;
    await this.#link?.close(options);
  }

  #apply(): void {
    this.#lookAtSuspects();
    this.#do(async () => {
      if (this.#link === undefined) await this.#open();
      await this.#link?.setBackends(backendsOf(this.#known, this.#machine));
      await this.#noteFailures();
    });
  }

  #do(work: () => Promise<void>): void {
    this.#work = this.#work
      .then(async () => {
        if (!this.#closed) await work();
      })
      .catch((error: unknown) => this.#options.onFailure(error));
    void this.#work.then(() => this.#options.onChange());
  }

  async #open(): Promise<void> {
    const { proxy, spec, logger, clock } = this.#options;
    const endpoint = this.#localEndpoint();
    if (endpoint === undefined) return;
    try {
      const name = spec.name.replaceAll(/[^A-Za-z0-9._-]+/g, "_");
      const tuning = this.#tuning;
      this.#link = await proxy.open({ name, endpoints: [endpoint], tuning });
      this.problem = "";
    } catch (error) {
      if (!isFleetError(error)) throw error;
      this.problem = errorMessage(error);
      logger.error("link-failed", { link: spec.name, error: this.problem });
      clock.setTimer(RETRY_MS, () => this.#apply());
      this.#options.onFailure(error);
    }
  }

  #localEndpoint(): LocalEndpoint | undefined {
    const { local } = this.spec;
    switch (local.type) {
      case "unix":
        return { type: "unix", path: local.path };
      case "fd":
        return this.#options.handedOver(local.name);
      default: {
        const port = local.port ?? this.#known[0]?.endpoint.port;
        return port === undefined ? undefined : { type: local.type, host: local.host, port };
      }
    }
  }

  /** A suspect is dropped at the first connect that fails; as long as there is one, that is looked for. */
  #lookAtSuspects(): void {
    const suspects = this.#known.filter((one) => one.suspectSinceMs !== undefined);
    const ids = new Set(suspects.map(({ endpoint }) => endpoint.instance));
    for (const id of this.#failures.keys()) if (!ids.has(id)) this.#failures.delete(id);
    if (ids.size === 0 || this.#cancelLook !== undefined || this.#closed) return;
    this.#cancelLook = this.#options.clock.setTimer(SUSPECT_LOOK_MS, () => {
      this.#cancelLook = undefined;
      this.#do(() => this.#dropSuspects());
    });
  }

  async #noteFailures(): Promise<ReadonlyMap<string, number>> {
    if (this.#known.every((one) => one.suspectSinceMs === undefined)) return new Map();
    const stats = await this.#link?.stats();
    const failures = new Map(stats?.backends.map((one) => [one.id, one.connectFailures]));
    for (const { endpoint, suspectSinceMs } of this.#known) {
      const id = endpoint.instance;
      if (suspectSinceMs !== undefined && !this.#failures.has(id))
        this.#failures.set(id, failures.get(id) ?? 0);
    }
    return failures;
  }

  async #dropSuspects(): Promise<void> {
    const failures = await this.#noteFailures();
    const kept = this.#known.filter(({ endpoint: { instance }, suspectSinceMs }) => {
      const before = this.#failures.get(instance) ?? 0;
      return suspectSinceMs === undefined || (failures.get(instance) ?? 0) <= before;
    });
    const rest = forgetSuspects(kept, this.#options.clock.monotonicMs());
    if (rest.length < this.#known.length) {
      const gone = this.#known.filter((one) => !rest.includes(one));
      const instances = gone.map(({ endpoint }) => endpoint.instance);
      this.#options.logger.info("suspects-dropped", { link: this.spec.name, instances });
      this.#known = rest;
      await this.#link?.setBackends(backendsOf(rest, this.#machine));
    }
    this.#lookAtSuspects();
  }
}
