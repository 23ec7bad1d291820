import { createServer, isIP, type Server } from "node:net";
import type { CancelTimer, Clock } from "../runtime/clock.ts";
import { errorMessage } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Backend } from "./backend.ts";
import { BackendTable, type Slot } from "./backend-table.ts";
import { type ConnectionHost, NodeConnection } from "./node-connection.ts";
import { type HandleParts, HandleSide } from "./node-handle-side.ts";
import { type Handles, takeHandles } from "./node-handles.ts";
import { listenStream } from "./node-listen.ts";
import { ReadBuffers } from "./node-read-buffers.ts";
import type { Connected, Side } from "./node-side.ts";
import { SocketSide } from "./node-socket-side.ts";
import { UdpEndpoint } from "./node-udp.ts";
import {
  type BoundAddress,
  defaultTuning,
  type Endpoint,
  type LinkOptions,
  type LinkStats,
  type LinkTuning,
  type ProxyLink,
  type RefusalReason,
} from "./proxy.ts";

/** Connections older than this get keep-alive probes: short ones need not pay for the calls. */
const PROBE_EVERY_MS = 15_000;
/** Of the machine's own making: says nothing about a backend. */
const LOCAL_ERRORS = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL", "EAGAIN"]);

export interface NodeProxyParts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Without them connections are carried by sockets. */
  readonly handles?: Handles | undefined;
}

export interface NodeLinkOptions extends LinkOptions {
  /** Of all threads together, where several carry the link: then it listens beside the others (SO_REUSEPORT). */
  readonly counts?: Int32Array<SharedArrayBuffer>;
  /** Another thread listens there already. */
  readonly isJoining?: boolean;
}

/** Indexes in `counts`: what is open, and what of it is held. */
const OPEN = 0;
const HELD = 1;

export function newCounts(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
}

/** A link in one thread of this process. */
export class NodeLink implements ProxyLink, ConnectionHost {
  readonly name: string;
  readonly clock: Clock;
  readonly table: BackendTable;
  readonly #logger: Logger;
  readonly #onClose: () => void;
  readonly #servers: Server[] = [];
  readonly #udp: UdpEndpoint[] = [];
  readonly #connections = new Set<NodeConnection>();
  readonly #refused = {
    ...{ "too-many-connections": 0, "too-many-held": 0, "no-backend": 0, "connect-failed": 0 },
  };
  readonly #counts: Int32Array<SharedArrayBuffer>;
  readonly #reusePort: "first" | "joining" | undefined;
  #addresses: BoundAddress[] = [];
  #tuning: LinkTuning;
  #handleParts: HandleParts | undefined;
  #accepted = 0;
  #isOpen = true;
  #idle: (() => void) | undefined;
  #cancelProbe: CancelTimer | undefined;

  /** `onClose` is called when nothing is left of it. */
  static async open(
    parts: NodeProxyParts,
    options: NodeLinkOptions,
    onClose: () => void,
  ): Promise<NodeLink> {
    const link = new NodeLink(parts, options, onClose);
    try {
      for (const endpoint of options.endpoints) await link.#listen(endpoint);
    } catch (error) {
      await link.close();
      throw error;
    }
    link.#probeLater();
    return link;
  }

  private constructor(parts: NodeProxyParts, options: NodeLinkOptions, onClose: () => void) {
    this.name = options.name;
    const isFirst = options.isJoining !== true;
    this.#reusePort = options.counts && (isFirst ? "first" : "joining");
    this.#counts = options.counts ?? newCounts();
    this.#onClose = onClose;
    this.clock = parts.clock;
    this.#logger = parts.logger;
    this.#tuning = { ...defaultTuning, ...options.tuning };
    const { handles } = parts;
    if (handles !== undefined)
      this.#handleParts = { handles, buffers: new ReadBuffers(this.#tuning.bufferBytes) };
    this.table = new BackendTable(parts.clock, () => this.#tuning);
  }

  get addresses(): readonly BoundAddress[] {
    return this.#addresses;
  }

  get tuning(): LinkTuning {
    return this.#tuning;
  }

  async setBackends(backends: readonly Backend[]): Promise<void> {
    this.table.set(backends);
    for (const connection of this.#connections) if (connection.isHeld) connection.start();
  }

  async setTuning(tuning: Partial<LinkTuning>): Promise<void> {
    const { bufferBytes } = this.#tuning;
    this.#tuning = { ...defaultTuning, ...tuning };
    if (this.#handleParts !== undefined && this.#tuning.bufferBytes !== bufferBytes) {
      const buffers = new ReadBuffers(this.#tuning.bufferBytes);
      this.#handleParts = { ...this.#handleParts, buffers };
    }
  }

  async stats(): Promise<LinkStats> {
    return {
      name: this.name,
      addresses: this.#addresses,
      open: this.#connections.size + sum(this.#udp.map((endpoint) => endpoint.sessions)),
      held: this.#held(),
      accepted: this.#accepted,
      refused: { ...this.#refused },
      backends: this.table.stats(),
    };
  }

  async close(
    options: { readonly drainMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    this.#isOpen = false;
    this.#cancelProbe?.();
    for (const server of this.#servers) server.close();
    for (const connection of this.#connections) if (connection.isHeld) connection.cut();
    if (this.#connections.size > 0 && (options.drainMs ?? 0) > 0 && !options.signal?.aborted) {
      await this.#drained(options.drainMs ?? 0, options.signal);
    }
    for (const connection of this.#connections) connection.cut();
    await Promise.all(this.#udp.map((endpoint) => endpoint.close()));
    this.#onClose();
  }

  connect(backend: Backend, connected: Connected): Side {
    const { host, port } = backend;
    return this.#handleParts === undefined || isIP(host) === 0
      ? SocketSide.connect({ host, port }, connected)
      : HandleSide.connect(this.#handleParts, { address: host, port }, connected);
  }

  canHold(): boolean {
    return Atomics.load(this.#counts, HELD) < this.#tuning.heldMax;
  }

  heldChanged(by: 1 | -1): void {
    Atomics.add(this.#counts, HELD, by);
  }

  connectFailed(slot: Slot, error: Error): void {
    if ("code" in error && LOCAL_ERRORS.has(String(error.code))) return;
    const ejectedMs = this.table.connectFailed(slot);
    const fields = { link: this.name, backend: slot.backend.id, error: errorMessage(error) };
    if (ejectedMs === undefined) this.#logger.debug("connect-failed", fields);
    else this.#logger.warn("backend-ejected", { ...fields, ejectedMs });
  }

  accepted(): void {
    this.#accepted += 1;
  }

  refused(reason: RefusalReason): void {
    this.#refused[reason] += 1;
  }

  ended(connection: NodeConnection): void {
    this.#connections.delete(connection);
    Atomics.sub(this.#counts, OPEN, 1);
    if (this.#connections.size === 0) this.#idle?.();
  }

  async #listen(endpoint: Endpoint): Promise<void> {
    if (endpoint.type === "udp" || (endpoint.type === "fd" && endpoint.protocol === "datagram")) {
      const udp = await UdpEndpoint.open(this, endpoint);
      this.#udp.push(udp);
      this.#addresses.push(udp.address);
      return;
    }
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
    server.on("connection", (socket) => this.#accept(new SocketSide(socket)));
    // In the same turn as it begins to listen: none has come yet.
    server.once("listening", () => {
      const parts = this.#handleParts;
      if (parts === undefined || typeof server.address() === "string") return;
      takeHandles(server, (handle) => {
        this.#accept(new HandleSide(this.#handleParts ?? parts, handle));
      });
    });
    this.#addresses.push(await listenStream(server, endpoint, this.#reusePort));
    this.#servers.push(server);
    server.on("error", (error) => {
      this.#logger.warn("accept-failed", { link: this.name, error: errorMessage(error) });
    });
  }

  #accept(client: Side): void {
    this.#accepted += 1;
    const open = Atomics.add(this.#counts, OPEN, 1);
    if (!this.#isOpen || open >= this.#tuning.connectionsMax) {
      Atomics.sub(this.#counts, OPEN, 1);
      if (this.#isOpen) this.refused("too-many-connections");
      client.reset();
      return;
    }
    const connection = new NodeConnection(this, this.#tuning, client);
    this.#connections.add(connection);
    connection.start();
  }

  #held(): number {
    let held = 0;
    for (const connection of this.#connections) if (connection.isHeld) held += 1;
    return held;
  }

  #probeLater(): void {
    const before = new Set(this.#connections);
    this.#cancelProbe = this.clock.setTimer(PROBE_EVERY_MS, () => {
      for (const connection of before) if (this.#connections.has(connection)) connection.probe();
      this.#probeLater();
    });
  }

  async #drained(drainMs: number, signal: AbortSignal | undefined): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        cancel();
        signal?.removeEventListener("abort", done);
        this.#idle = undefined;
        resolve();
      };
      const cancel = this.clock.setTimer(drainMs, done);
      signal?.addEventListener("abort", done, { once: true });
      this.#idle = done;
    });
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
