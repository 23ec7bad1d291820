import { ServicesClient } from "../registrar/services-client.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { errorMessage, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { Loop } from "../runtime/loop.ts";
import type { Random } from "../runtime/random.ts";
import type { ServiceNotifier } from "../runtime/service-notifier.ts";
import { type Endpoint, hostPort } from "../services/endpoint.ts";
import type { AmbassadorSpec, LinkSpec } from "./arguments.ts";
import { envFileText, hostsText, type LinkPlace } from "./consumer-files.ts";
import { LinkedService } from "./linked-service.ts";
import type {
  BoundAddress,
  Proxy as DataPlane,
  LinkStats,
  Endpoint as LocalEndpoint,
} from "./proxy.ts";
import { readSaved, savedText } from "./saved-endpoints.ts";
import { readText, writeText } from "./write-file.ts";

export interface AmbassadorOptions extends AmbassadorSpec {
  readonly proxy: DataPlane;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly notifier: Pick<ServiceNotifier, "ready" | "status" | "extend" | "stopping">;
  readonly consumer: string;
  readonly handedOver: (name: string) => LocalEndpoint;
}

/** What the status page shows of a link. */
export interface LinkStatus {
  readonly link: string;
  readonly service: string;
  readonly local: string;
  readonly usable: number;
  readonly problem: string;
  readonly endpoints: readonly (Endpoint & { readonly suspect: boolean })[];
  readonly stats: LinkStats | undefined;
}

const EXTEND_EVERY_MS = 10_000;
const EXTEND_MS = 30_000;
/** So long the daemon has to say which endpoints there are. Then an ambassador may be ready with what the one before it knew. */
const SAVED_PATIENCE_MS = 2_000;
/** A link that was taken out at a reload: how long its connections may go on. */
const RELOAD_DRAIN_MS = 3_600_000;

/** Keeps links to services open for one consumer, from its start until `signal` aborts. */
export class Ambassador {
  readonly #options: AmbassadorOptions;
  readonly #client: ServicesClient;
  readonly #links = new Map<string, LinkedService>();
  readonly #told = new Map<string, readonly Endpoint[]>();
  readonly #files: Loop;
  readonly #failed = Promise.withResolvers<never>();
  #saved: ReadonlyMap<string, readonly Endpoint[]> = new Map();
  #spec: AmbassadorSpec;
  #machine: string | undefined;
  #away: string | undefined = "connecting to fleetd-ts";
  #ready = false;
  /** When what was saved counts as much as what is told (monotonic milliseconds). */
  readonly #trustSavedAtMs: number;

  constructor(options: AmbassadorOptions) {
    this.#options = options;
    this.#spec = options;
    this.#trustSavedAtMs = options.clock.monotonicMs() + SAVED_PATIENCE_MS;
    this.#failed.promise.catch(() => undefined);
    this.#files = new Loop({
      ...options,
      name: "files",
      backoff: { firstMs: 200, maxMs: 5_000 },
      pass: async () => {
        await this.#writeFiles();
        const leftMs = this.#trustSavedAtMs - options.clock.monotonicMs();
        return this.#ready || leftMs <= 0 ? undefined : leftMs;
      },
    });
    this.#client = new ServicesClient({
      path: options.socket,
      clock: options.clock,
      random: options.random,
      onConnection: (why) => {
        this.#away = why;
        this.#update();
      },
      onHello: ({ machine }) => {
        this.#machine = machine;
      },
      onRefused: ({ why }) => options.logger.error("refused", { why }),
      onService: (service, endpoints) => {
        this.#told.set(service, endpoints);
        for (const link of this.#links.values())
          if (link.spec.service === service) link.tell(endpoints, this.#machine);
      },
    });
  }

  /** Rejects when a link cannot be opened before it was ever ready. */
  async run(signal: AbortSignal): Promise<void> {
    const { stateFile, notifier, drainMs } = this.#options;
    this.#saved = readSaved(stateFile === undefined ? undefined : await readText(stateFile));
    const controller = new AbortController();
    this.#change(this.#spec);
    const work = [
      this.#client.run(controller.signal),
      this.#files.run(controller.signal),
      this.#askForTime(controller.signal),
    ];
    const ends = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    try {
      await Promise.race([ends, this.#failed.promise, Promise.all(work)]);
      notifier.stopping("ending");
      if (drainMs > 0) notifier.extend(drainMs + EXTEND_MS);
      await this.#closeLinks(drainMs);
    } finally {
      await this.#closeLinks(0);
      controller.abort();
      await Promise.all(work);
      await this.#options.proxy.close();
    }
  }

  async #closeLinks(drainMs: number): Promise<void> {
    const links = [...this.#links.values()];
    this.#links.clear();
    await Promise.all(links.map((link) => link.close({ drainMs })));
  }

  /** Takes other links and tuning; what both have is not touched, and no connection is cut. */
  reload(spec: AmbassadorSpec): void {
    this.#options.logger.info("reloading", { links: spec.links.map(({ name }) => name) });
    this.#change(spec);
    this.#update();
  }

  get isDaemonConnected(): boolean {
    return this.#away === undefined;
  }

  get isReady(): boolean {
    return this.#ready;
  }

  async status(): Promise<readonly LinkStatus[]> {
    return await Promise.all(
      [...this.#links.values()].map(async (link) => ({
        link: link.spec.name,
        service: link.spec.service,
        local: localText(link.address),
        usable: link.usableCount,
        problem: link.problem,
        endpoints: link.known.map(({ endpoint, suspectSinceMs }) => ({
          ...endpoint,
          suspect: suspectSinceMs !== undefined,
        })),
        stats: await link.stats(),
      })),
    );
  }

  #change(spec: AmbassadorSpec): void {
    const isRetuned = JSON.stringify(spec.tuning) !== JSON.stringify(this.#spec.tuning);
    this.#spec = spec;
    const wanted = new Set(spec.links.map(({ name }) => name));
    for (const [name, link] of this.#links) {
      if (wanted.has(name)) {
        if (isRetuned) link.setTuning(spec.tuning);
        continue;
      }
      this.#links.delete(name);
      link.close({ drainMs: RELOAD_DRAIN_MS }).catch((error: unknown) => this.#fail(error));
    }
    for (const link of spec.links) if (!this.#links.has(link.name)) this.#open(link);
    this.#client.watch([...new Set(spec.links.map(({ service }) => service))]);
  }

  #open(spec: LinkSpec): void {
    const { clock } = this.#options;
    // Whoever was known before the restart is used until the daemon tells more, and after all others.
    const saved = this.#saved.get(spec.name) ?? [];
    const suspectSinceMs = clock.monotonicMs();
    const link = new LinkedService({
      ...this.#options,
      spec,
      tuning: this.#spec.tuning,
      known: saved.map((endpoint) => ({ endpoint, suspectSinceMs })),
      onChange: () => this.#update(),
      onFailure: (error) => this.#fail(error),
    });
    this.#links.set(spec.name, link);
    const told = this.#told.get(spec.service);
    if (told !== undefined) link.tell(told, this.#machine);
  }

  /** Nobody relies on it yet: whoever starts it has to know. Later, connections of other links are worth more. */
  #fail(error: unknown): void {
    if (!this.#ready || !isFleetError(error)) this.#failed.reject(error);
    else this.#options.logger.error("failed", { error: errorMessage(error) });
    this.#update();
  }

  #update(): void {
    const { notifier, logger } = this.#options;
    this.#files.wake();
    if (!this.#ready) return;
    notifier.status(this.#statusLine());
    logger.debug("status", { status: this.#statusLine() });
  }

  /** Whether there is a backend, as far as anybody can say: a suspect alone, of which the registry does not know, is none. */
  #isSure(link: LinkedService): boolean {
    if (link.isTold) return link.presentCount > 0;
    return link.usableCount > 0 && this.#options.clock.monotonicMs() >= this.#trustSavedAtMs;
  }

  get #waitsFor(): readonly string[] {
    return [...this.#links.values()].flatMap((link) => {
      const { name } = link.spec;
      const count = link.known.length;
      if (link.problem !== "") return [`${name} (${link.problem})`];
      if (count === 0 && (this.#spec.wait || link.address === undefined))
        return [`${name} (no endpoint)`];
      if (this.#spec.wait && !this.#isSure(link))
        return [`${name} (${count} endpoints, none ${link.usableCount > 0 ? "sure" : "usable"})`];
      return link.address === undefined ? [`${name} (not listening)`] : [];
    });
  }

  #statusLine(): string {
    const parts = [...this.#links.values()].map((link) => {
      if (link.problem !== "") return `${link.spec.name}: ${link.problem}`;
      return `${link.spec.service} on ${localText(link.address)}: ${link.usableCount} of ${link.known.length} usable`;
    });
    return [...parts, ...(this.#away === undefined ? [] : [this.#away])].join("; ");
  }

  /** Before the consumer starts its files are there, so being ready comes last. */
  async #writeFiles(): Promise<void> {
    const { notifier, logger, consumer, clock } = this.#options;
    const { envFile, hostsFile, stateFile } = this.#options;
    const links = [...this.#links.values()];
    // As of the places that are written: a link that opens meanwhile is for the next pass.
    const waitsFor = this.#waitsFor;
    const places: readonly LinkPlace[] = links.flatMap(({ spec, address }) =>
      address === undefined ? [] : [{ service: spec.service, address }],
    );
    if (places.length === links.length) {
      if (envFile !== undefined) await writeText(envFile, envFileText(consumer, places));
      if (hostsFile !== undefined) {
        const text = (await readText(hostsFile)) ?? "";
        await writeText(hostsFile, hostsText(text, consumer, places));
      }
    }
    if (stateFile !== undefined)
      await writeText(
        stateFile,
        savedText(new Map(links.map((link) => [link.spec.name, link.known]))),
      );
    this.#client.link(
      consumer,
      links.map(({ spec, address }) => ({ service: spec.service, local: localText(address) })),
    );
    if (this.#ready) return;
    if (waitsFor.length > 0) {
      const why = this.#away === undefined ? "" : `; ${this.#away}`;
      notifier.status(`waiting for ${waitsFor.join(", ")}${why}`);
      return;
    }
    this.#ready = true;
    logger.info("ready", { status: this.#statusLine(), afterMs: Math.round(clock.monotonicMs()) });
    notifier.ready(this.#statusLine());
  }

  async #askForTime(signal: AbortSignal): Promise<void> {
    const { clock, notifier } = this.#options;
    while (!this.#ready && !signal.aborted) {
      notifier.extend(EXTEND_MS);
      await sleep(clock, EXTEND_EVERY_MS, signal).catch(() => undefined);
    }
  }
}

function localText(address: BoundAddress | undefined): string {
  if (address === undefined) return "";
  return address.type === "unix" ? address.host : `${hostPort(address)}/${address.type}`;
}
