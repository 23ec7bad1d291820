import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, isIP, isIPv6, type Server } from "node:net";
import type { Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import { type Backend, bestGroup } from "./backend.ts";
import { counterName, type NftEndpoint, type NftRules, nftName } from "./nft-rules.ts";
import { runProgram } from "./nft-run.ts";
import { addressError, listenStream } from "./node-listen.ts";
import {
  type BoundAddress,
  defaultTuning,
  type LinkOptions,
  type LinkStats,
  type LinkTuning,
  type ProxyLink,
} from "./proxy.ts";

/** What a link needs of the table it is a part of. */
export interface NftLinkHost {
  readonly clock: Clock;
  /** Resolves when the kernel does what all links want. */
  apply(): Promise<void>;
  /** Has every link look at the counters, by `count`. */
  count(): Promise<void>;
  checkTuning(tuning: Partial<LinkTuning>): void;
  /** Resolves when the kernel has forgotten it. */
  ended(): Promise<void>;
}

/**
 * A link that the kernel serves. Sockets of its own hold the addresses: others cannot take them, and clients are refused by them while no
 * backend can be used.
 */
export class NftLink implements ProxyLink {
  readonly name: string;
  readonly #host: NftLinkHost;
  readonly #holders: (Server | DatagramSocket)[] = [];
  readonly #endpoints: NftEndpoint[] = [];
  /** By backend's id: the number of its counter, connections counted by tables that are gone, and by the present one. */
  readonly #known = new Map<string, { readonly number: number; before: number; now: number }>();
  #backends: readonly Backend[] = [];
  #tuning: LinkTuning;
  #nextNumber = 0;
  #refused = 0;

  static async open(options: LinkOptions, host: NftLinkHost): Promise<NftLink> {
    const link = new NftLink(options, host);
    try {
      for (const endpoint of options.endpoints) {
        if (endpoint.type === "tcp" || endpoint.type === "udp") await link.#take(endpoint);
      }
    } catch (error) {
      link.#letGo();
      throw error;
    }
    return link;
  }

  private constructor(options: LinkOptions, host: NftLinkHost) {
    this.name = options.name;
    this.#host = host;
    this.#tuning = { ...defaultTuning, ...options.tuning };
  }

  get addresses(): readonly BoundAddress[] {
    return this.#endpoints.map(({ protocol, host, port }) => ({ type: protocol, host, port }));
  }

  get rules(): NftRules {
    const { preferSameMachine } = this.#tuning;
    const none: ReadonlySet<string> = new Set();
    const group = bestGroup({
      backends: this.#backends,
      ejected: none,
      excluded: none,
      preferSameMachine,
    });
    return {
      link: { name: nftName(this.name), endpoints: this.#endpoints },
      backends: group.map((backend) => ({
        backend,
        number: this.#known.get(backend.id)?.number ?? 0,
      })),
    };
  }

  async setBackends(backends: readonly Backend[]): Promise<void> {
    const name = backends.find(({ host }) => isIP(host) === 0);
    if (name !== undefined) {
      const message = `the nft data plane needs addresses, not names: ${name.host} (link ${this.name})`;
      throw new FleetError("proxy-unsupported", message);
    }
    const before = this.rules.backends.map(({ backend }) => backend);
    this.#backends = backends;
    const ids = new Set(backends.map(({ id }) => id));
    for (const id of this.#known.keys()) if (!ids.has(id)) this.#known.delete(id);
    for (const { id } of backends) {
      if (!this.#known.has(id))
        this.#known.set(id, { number: this.#nextNumber++, before: 0, now: 0 });
    }
    await this.#host.apply();
    await this.#moveFlows(before);
  }

  async setTuning(tuning: Partial<LinkTuning>): Promise<void> {
    this.#host.checkTuning(tuning);
    this.#tuning = { ...defaultTuning, ...tuning };
    await this.#host.apply();
  }

  async stats(): Promise<LinkStats> {
    await this.#host.count();
    const backends = this.#backends.map(({ id }) => {
      const { before = 0, now = 0 } = this.#known.get(id) ?? {};
      return {
        ...{
          id,
          open: undefined,
          total: before + now,
          connectFailures: 0,
          errors: 0,
          ejectedMs: 0,
        },
        ...{ bytesToBackend: undefined, bytesToClient: undefined },
        connect: { counts: [], count: 0, sumMs: 0 },
      };
    });
    const given = backends.reduce((total, backend) => total + backend.total, 0);
    return {
      ...{ name: this.name, addresses: this.addresses, open: undefined, held: undefined, backends },
      accepted: given + this.#refused,
      refused: {
        ...{ "too-many-connections": 0, "too-many-held": 0, "connect-failed": 0 },
        "no-backend": this.#refused,
      },
    };
  }

  /** Established connections are not seen, so all of `drainMs` passes; the kernel carries them on until their ends close. */
  async close(
    options: { readonly drainMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    this.#letGo();
    await this.#host.ended();
    const { drainMs = 0, signal } = options;
    if (drainMs > 0 && !signal?.aborted) await this.#pause(drainMs, signal);
  }

  count(counters: ReadonlyMap<string, number>): void {
    const { link } = this.rules;
    for (const known of this.#known.values()) {
      known.now = counters.get(counterName(link, known.number)) ?? 0;
    }
  }

  /** Before counters begin at 0 again. */
  remember(): void {
    for (const known of this.#known.values()) {
      known.before += known.now;
      known.now = 0;
    }
  }

  async #take(endpoint: {
    readonly type: "tcp" | "udp";
    readonly host: string;
    readonly port: number;
  }): Promise<void> {
    const { type, host } = endpoint;
    if (isIP(host) === 0)
      throw addressError(host, new Error("the nft data plane needs an address"));
    if (type === "tcp") {
      const server = createServer((client) => {
        this.#refused += 1;
        client.on("error", () => {});
        client.resetAndDestroy();
      });
      this.#endpoints.push({
        protocol: type,
        host,
        port: (await listenStream(server, endpoint)).port,
      });
      this.#holders.push(server);
      return;
    }
    await runProgram("conntrack", ["--version"]);
    const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
    try {
      socket.bind({ address: host, port: endpoint.port });
      await once(socket, "listening");
    } catch (error) {
      throw addressError(`${host}:${endpoint.port}`, error);
    }
    this.#holders.push(socket);
    this.#endpoints.push({ protocol: type, host, port: socket.address().port });
  }

  /** The kernel remembers where a UDP client's datagrams go: it is made to forget those that went where no more may go. */
  async #moveFlows(before: readonly Backend[]): Promise<void> {
    const isStill = (old: Backend) =>
      this.#backends.some(
        ({ id, host, port, health }) =>
          id === old.id && host === old.host && port === old.port && health !== "failing",
      );
    for (const endpoint of this.#endpoints) {
      if (endpoint.protocol !== "udp") continue;
      for (const { host } of before.filter((backend) => !isStill(backend))) {
        const flows = ["-p", "udp", "--orig-port-dst", String(endpoint.port), "--reply-src", host];
        // It fails where there is no such flow.
        await runProgram("conntrack", ["-D", "-f", isIPv6(host) ? "ipv6" : "ipv4", ...flows]).catch(
          () => {},
        );
      }
    }
  }

  #letGo(): void {
    for (const holder of this.#holders.splice(0)) holder.close();
  }

  async #pause(drainMs: number, signal: AbortSignal | undefined): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#host.clock.setTimer(drainMs, done);
      function done() {
        cancel();
        signal?.removeEventListener("abort", done);
        resolve();
      }
      signal?.addEventListener("abort", done, { once: true });
    });
  }
}
