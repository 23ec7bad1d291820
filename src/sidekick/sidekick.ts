import type { Registration } from "../registrar/protocol.ts";
import { ServicesClient } from "../registrar/services-client.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Random } from "../runtime/random.ts";
import type { ServiceNotifier } from "../runtime/service-notifier.ts";
import type { Health } from "../services/endpoint.ts";
import type { EndpointSpec, SidekickSpec } from "./arguments.ts";
import { judge, nextCheckMs, UNCHECKED, type Verdict } from "./health.ts";
import { probe } from "./probe.ts";

export interface SidekickOptions extends SidekickSpec {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly notifier: Pick<ServiceNotifier, "ready" | "status" | "extend" | "stopping">;
  /** Unit this process runs in. */
  readonly ownUnit: string | undefined;
}

/** `refused`: the daemon does not take an endpoint, and never will. */
export type SidekickEnd =
  | { readonly type: "ended" }
  | { readonly type: "refused"; readonly why: string };

interface Part {
  readonly id: number;
  readonly spec: EndpointSpec;
  verdict: Verdict | undefined;
  health: Health;
  sinceMs: number;
  state: "pending" | "registered" | "gone";
  why: string;
}

/** How long the daemon may take to say that an endpoint is marked, or gone, before the sidekick goes anyway. */
const ANSWER_MS = 2_000;
/** While it waits, systemd's start time-out is moved on, again and again. */
const EXTEND_EVERY_MS = 10_000;
const EXTEND_MS = 30_000;

/** Keeps endpoints registered and their health known, from its start until `signal` aborts; then takes them away in order. */
export class Sidekick {
  readonly #options: SidekickOptions;
  readonly #parts: readonly Part[];
  readonly #client: ServicesClient;
  readonly #refused = new AbortController();
  #refusal = "";
  #away: string | undefined = "connecting";
  #ready = false;
  #autoHost: string | undefined;
  #changed: (() => void) | undefined;

  constructor(options: SidekickOptions) {
    this.#options = options;
    const sinceMs = options.clock.wallMs();
    this.#parts = options.endpoints.map((spec, id) => ({
      id,
      spec,
      verdict: spec.check === undefined ? undefined : UNCHECKED,
      health: spec.check === undefined ? "unknown" : "failing",
      sinceMs,
      state: "pending",
      why: "not answered yet",
    }));
    this.#client = new ServicesClient({
      path: options.socket,
      clock: options.clock,
      random: options.random,
      onConnection: (why) => {
        this.#away = why;
        for (const part of this.#parts) part.state = "pending";
        this.#update();
      },
      onHello: ({ address }) => {
        this.#autoHost = address;
      },
      onEndpoint: ({ id, state, why }) => {
        const part = this.#parts[id];
        if (part !== undefined) Object.assign(part, { state, why });
        this.#update();
      },
      onRefused: ({ id, why }) => {
        const name = id === undefined ? "" : `${this.#parts[id]?.spec.service ?? ""}: `;
        this.#refusal = `${name}${why}`;
        this.#refused.abort();
      },
    });
  }

  async run(signal: AbortSignal): Promise<SidekickEnd> {
    const connected = new AbortController();
    const working = AbortSignal.any([signal, this.#refused.signal]);
    for (const part of this.#parts) this.#register(part);
    const connection = this.#client.run(connected.signal);
    const work = [
      ...this.#parts.map((part) => this.#check(part, working)),
      this.#askForTime(working),
    ];
    try {
      await Promise.all(work);
      if (this.#refused.signal.aborted) return { type: "refused", why: this.#refusal };
      await this.#leave();
      return { type: "ended" };
    } finally {
      connected.abort();
      await connection;
    }
  }

  /** Resolves when `signal` aborts. */
  async #check(part: Part, signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    const { spec } = part;
    const { check } = spec;
    let verdict = part.verdict;
    try {
      while (!signal.aborted) {
        if (check === undefined || verdict === undefined) return await untilAborted(signal);
        const host = spec.host ?? this.#autoHost;
        // Which address to check is known once the daemon has said it.
        if (host === undefined) {
          await sleep(clock, 50, signal);
          continue;
        }
        const result = await probe({ ...spec, check, host, clock, signal });
        const next = judge(verdict, result, spec);
        if (next.health !== verdict.health || next.detail !== verdict.detail) {
          part.verdict = next;
          const { service, port } = spec;
          logger.info("health", { service, port, health: next.health, detail: next.detail });
          this.#setHealth(part, next.health);
        }
        verdict = next;
        await sleep(clock, nextCheckMs(verdict, spec.intervalMs), signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #setHealth(part: Part, health: Health): void {
    if (part.health !== health) part.sinceMs = this.#options.clock.wallMs();
    part.health = health;
    this.#register(part);
    this.#update();
  }

  #register({ id, spec, health, verdict, sinceMs }: Part): void {
    const { service, instance, host, port, protocol, weight, priority, tags } = spec;
    const unit = spec.unit ?? this.#options.ownUnit;
    const registration: Registration = {
      service,
      ...(instance === undefined ? {} : { instance }),
      ...(host === undefined ? {} : { host }),
      ...(unit === undefined ? {} : { unit }),
      ...{ port, protocol, weight, priority, tags: { ...tags } },
      health,
      detail: health === "failing" ? (verdict?.detail ?? "").slice(0, 200) : "",
      sinceMs,
    };
    this.#client.register(id, registration);
  }

  /** Marks everything as draining, waits until whoever uses it went elsewhere, and takes it away. */
  async #leave(): Promise<void> {
    const { notifier, drainMs, clock } = this.#options;
    const isTold =
      this.#client.isConnected && this.#parts.some((one) => one.state === "registered");
    notifier.stopping(isTold ? "draining" : "ending");
    notifier.extend(drainMs + EXTEND_MS);
    if (!isTold) return;
    if (drainMs > 0) {
      for (const part of this.#parts) {
        part.state = "pending";
        this.#setHealth(part, "draining");
      }
      if (await this.#answered("registered")) await sleep(clock, drainMs);
    }
    for (const { id } of this.#parts) this.#client.deregister(id);
    await this.#answered("gone");
  }

  /** Whether the daemon said so of every endpoint, in time. */
  async #answered(state: Part["state"]): Promise<boolean> {
    let late = false;
    const cancel = this.#options.clock.setTimer(ANSWER_MS, () => {
      late = true;
      this.#changed?.();
    });
    while (!late && !this.#parts.every((part) => part.state === state)) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
    cancel();
    return !late;
  }

  #update(): void {
    this.#changed?.();
    const { notifier, logger } = this.#options;
    const status = this.#statusLine();
    const isReady = this.#parts.every(
      ({ state, health }) =>
        state === "registered" && (health === "passing" || health === "unknown"),
    );
    if (isReady && !this.#ready) {
      this.#ready = true;
      logger.info("ready", { status });
      notifier.ready(status);
    } else notifier.status(status);
  }

  #statusLine(): string {
    if (this.#away !== undefined) return this.#away;
    const lines = this.#parts.map(({ spec, state, why, health, verdict }) => {
      const what = `${spec.service}:${spec.port}`;
      if (state === "pending") return `${what} not registered yet: ${why}`;
      return health === "failing" ? `${what} failing: ${verdict?.detail}` : `${what} ${health}`;
    });
    return lines.join(", ");
  }

  async #askForTime(signal: AbortSignal): Promise<void> {
    const { clock, notifier } = this.#options;
    while (!this.#ready && !signal.aborted) {
      notifier.extend(EXTEND_MS);
      await sleep(clock, EXTEND_EVERY_MS, signal).catch(() => undefined);
    }
  }
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
