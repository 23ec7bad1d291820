import { createServer, type Server, type Socket } from "node:net";
import { encodeEndpoint, encodeLink } from "../registry/service-records.ts";
import { type ExpectedCluster, ServiceWatch } from "../registry/service-watch.ts";
import type { CancelTimer } from "../runtime/clock.ts";
import { listenUnix, type UnixSocketSpec } from "../runtime/unix-socket.ts";
import type { Endpoint } from "../services/endpoint.ts";
import { defaultInstance, instanceProblem, serviceNameProblem } from "../services/service-name.ts";
import { skyDnsEntry } from "../services/sky-dns.ts";
import { globMatches } from "../units/glob.ts";
import type { ClientMessage, Registration } from "./protocol.ts";
import { type Presence, Publisher, type PublisherOptions } from "./publisher.ts";
import { Session } from "./session.ts";

export interface RegistrarOptions extends PublisherOptions {
  /** The address others reach this machine by; empty when it has none. */
  readonly address: () => Promise<string>;
  /** Whether an address is one of this machine's. */
  readonly isOwnAddress: (host: string) => boolean;
  /** Patterns of the services that may be registered here. */
  readonly serviceNames: readonly string[];
  /** Endpoints are written in SkyDNS' form too. */
  readonly skyDns?: { readonly prefix: string; readonly domain: string } | undefined;
}

interface Claim {
  readonly session: Session;
  readonly id: number;
  readonly registration: Registration;
  readonly key: string;
  mirror: string | undefined;
}

const CONNECTIONS_MAX = 1_024;
const ENDPOINTS_PER_SESSION_MAX = 64;
const ADDRESS_RECHECK_MS = 30_000;
const LOOPBACK = "127.0.0.1";

/** The daemon's part for services: keeps what sidekicks and ambassadors of this machine say in the registry, and tells them what others say. */
export class Registrar {
  readonly #options: RegistrarOptions;
  readonly #publisher: Publisher;
  readonly #watch: ServiceWatch;
  readonly #sessions = new Set<Session>();
  /** By key of the registry. The newest connection to claim a key has it. */
  readonly #claims = new Map<string, Claim>();
  readonly #byId = new Map<Session, Map<number, Claim>>();
  readonly #links = new Map<string, Session>();
  readonly #server: Server;
  #address = "";
  #closing = false;

  constructor(options: RegistrarOptions) {
    this.#options = options;
    this.#publisher = new Publisher(options);
    this.#watch = new ServiceWatch(options);
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /** Runs until `signal` aborts. What is registered stays in the registry then: the next daemon waits for its owners. */
  async run(listen: UnixSocketSpec, signal: AbortSignal): Promise<void> {
    await this.#publisher.load();
    this.#address = await this.#options.address();
    await listenUnix(this.#server, listen, "the services socket");
    const cancel = this.#recheckAddress();
    try {
      await this.#publisher.run(signal);
    } finally {
      cancel();
      this.#closing = true;
      this.#watch.stop();
      for (const session of this.#sessions) session.destroy();
      await new Promise((resolve) => this.#server.close(resolve));
    }
  }

  /** What the machine's own cluster has registered, for other parts of the daemon. */
  get services(): ServiceWatch {
    return this.#watch;
  }

  /** The machine is present, or no longer. */
  setPresence(presence: Presence | undefined): void {
    this.#publisher.setPresence(presence);
  }

  /** The machine belongs to this cluster; undefined: the registry is not its own, so nothing it says counts. */
  setCluster(expected: ExpectedCluster | undefined): void {
    if (expected === undefined) this.#watch.stop();
    else this.#watch.start(expected);
  }

  #accept(socket: Socket): void {
    const session = new Session({
      socket,
      clock: this.#options.clock,
      host: {
        register: (...args) => this.#register(...args),
        deregister: (...args) => this.#deregister(...args),
        watch: (service, listener) => this.#watch.open(service, listener),
        link: (...args) => this.#link(...args),
        closed: (gone) => this.#closed(gone),
      },
    });
    this.#sessions.add(session);
    this.#byId.set(session, new Map());
    const { machineId: machine } = this.#options;
    session.begin({ type: "hello", machine, address: this.#autoHost() });
  }

  #register(session: Session, id: number, registration: Registration): string | undefined {
    const { keys, machineId, logger } = this.#options;
    const own = this.#byId.get(session) ?? new Map<number, Claim>();
    const { service, host, port } = registration;
    const instance = registration.instance ?? defaultInstance(machineId, port);
    const problem = this.#problem(service, instance, host);
    if (problem !== undefined) return problem;
    if (!own.has(id) && own.size >= ENDPOINTS_PER_SESSION_MAX)
      return `more than ${ENDPOINTS_PER_SESSION_MAX} endpoints on one connection`;
    const key = keys.service(service, instance);
    const before = own.get(id);
    if (before !== undefined && before.key !== key) this.#withdraw(before);
    const other = this.#claims.get(key);
    if (other !== undefined && (other.session !== session || other.id !== id)) {
      const why = "another sidekick of this machine has registered this instance since";
      other.session.tellState(other.id, { type: "pending", why });
      this.#byId.get(other.session)?.delete(other.id);
      logger.warn("endpoint-taken-over", { key });
    }
    const claim: Claim = { session, id, registration, key, mirror: other?.mirror };
    this.#claims.set(key, claim);
    own.set(id, claim);
    this.#publish(claim);
    return undefined;
  }

  #problem(service: string, instance: string, host: string | undefined): string | undefined {
    const { serviceNames, isOwnAddress } = this.#options;
    const problem = serviceNameProblem(service) ?? instanceProblem(instance);
    if (problem !== undefined) return problem;
    if (!serviceNames.some((pattern) => globMatches(pattern, service)))
      return `service_names in fleet.conf does not let "${service}" be registered on this machine`;
    if (host !== undefined && host !== this.#autoHost() && !isOwnAddress(host))
      return `${host} is no address of this machine`;
    return undefined;
  }

  #publish(claim: Claim): void {
    const { keys, machineId, skyDns } = this.#options;
    const { session, id, registration, key } = claim;
    const parsed = keys.parse(key);
    const instance = parsed?.kind === "services" ? parsed.instance : "";
    const host = registration.host ?? this.#autoHost();
    const endpoint: Endpoint = { ...registration, host, instance, machine: machineId };
    this.#publisher.want(key, encodeEndpoint(endpoint), (state) => session.tellState(id, state));
    if (skyDns === undefined) return;
    const mirror = skyDnsEntry(endpoint, skyDns);
    if (claim.mirror !== undefined && claim.mirror !== mirror?.key)
      this.#publisher.unwant(claim.mirror);
    if (mirror !== undefined) this.#publisher.want(mirror.key, mirror.value, () => undefined);
    claim.mirror = mirror?.key;
  }

  #deregister(session: Session, id: number): void {
    const claim = this.#byId.get(session)?.get(id);
    if (claim === undefined) session.tellState(id, { type: "gone" });
    else this.#withdraw(claim);
  }

  #withdraw({ session, id, key, mirror }: Claim): void {
    this.#byId.get(session)?.delete(id);
    this.#claims.delete(key);
    this.#publisher.unwant(key, (state) => session.tellState(id, state));
    if (mirror !== undefined) this.#publisher.unwant(mirror);
  }

  #link(
    session: Session,
    { consumer, services }: Extract<ClientMessage, { type: "link" }>,
  ): string | undefined {
    const { keys, machineId } = this.#options;
    if (!/^[^/\s]+$/.test(consumer)) return `"${consumer}" is no name of a unit`;
    const key = keys.link(machineId, consumer);
    for (const [other, owner] of this.#links) {
      if (owner === session && other !== key) this.#unlink(other);
    }
    this.#links.set(key, session);
    const value = encodeLink({ machine: machineId, consumer, services });
    this.#publisher.want(key, value, () => undefined);
    return undefined;
  }

  #unlink(key: string): void {
    this.#links.delete(key);
    this.#publisher.unwant(key);
  }

  #closed(session: Session): void {
    const claims = this.#byId.get(session);
    this.#sessions.delete(session);
    this.#byId.delete(session);
    // The daemon ends, not its clients.
    if (this.#closing) return;
    for (const claim of claims?.values() ?? []) this.#withdraw(claim);
    for (const [key, owner] of this.#links) if (owner === session) this.#unlink(key);
  }

  #autoHost(): string {
    return this.#address === "" ? LOOPBACK : this.#address;
  }

  /** A machine that got another address must not be looked for at the old one. */
  #recheckAddress(): CancelTimer {
    const { clock, logger } = this.#options;
    let cancel: CancelTimer;
    let ended = false;
    const look = async () => {
      const address = await this.#options.address().catch(() => this.#address);
      if (ended) return;
      cancel = clock.setTimer(ADDRESS_RECHECK_MS, () => void look());
      if (address === this.#address) return;
      logger.info("address-changed", { from: this.#address, to: address });
      this.#address = address;
      for (const claim of this.#claims.values()) this.#publish(claim);
    };
    cancel = clock.setTimer(ADDRESS_RECHECK_MS, () => void look());
    return () => {
      ended = true;
      cancel();
    };
  }
}
