import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";
import type { CancelTimer } from "../runtime/clock.ts";
import type { Slot } from "./backend-table.ts";
import type { ConnectionHost } from "./node-connection.ts";
import { addressError } from "./node-listen.ts";
import type { BoundAddress, Endpoint, LinkTuning, RefusalReason } from "./proxy.ts";

/** Datagrams of a session that wait while its socket is being made. */
const WAITING_MAX = 16;
const NONE: ReadonlySet<string> = new Set();

/** What a UDP endpoint needs of its link. */
export interface UdpHost extends Pick<ConnectionHost, "clock" | "table" | "connectFailed"> {
  readonly tuning: LinkTuning;
  accepted(): void;
  refused(reason: RefusalReason): void;
}

interface Session {
  readonly client: RemoteInfo;
  readonly slot: Slot;
  readonly socket: Socket;
  /** Until the socket is connected. */
  waiting: Buffer[] | undefined;
  hasAnswered: boolean;
  lastMs: number;
}

/** Datagrams of one client go to one backend and the answers back, until neither has come for a while. */
export class UdpEndpoint {
  readonly #host: UdpHost;
  readonly #socket: Socket;
  /** By client's address and port; the one idle longest first. */
  readonly #sessions = new Map<string, Session>();
  #cancelSweep: CancelTimer | undefined;

  static async open(host: UdpHost, endpoint: Endpoint): Promise<UdpEndpoint> {
    const isUdp = endpoint.type === "udp";
    const type = isUdp && isIPv6(endpoint.host) ? "udp6" : "udp4";
    const socket = createSocket({ type, reuseAddr: false });
    const where = isUdp
      ? { address: endpoint.host, port: endpoint.port }
      : { fd: endpoint.type === "fd" ? endpoint.fd : -1 };
    try {
      // A socket that is bound already says so within bind().
      const listening = once(socket, "listening");
      socket.bind(where);
      await listening;
    } catch (error) {
      throw addressError(isUdp ? `${endpoint.host}:${endpoint.port}` : `fd ${where.fd}`, error);
    }
    return new UdpEndpoint(host, socket);
  }

  private constructor(host: UdpHost, socket: Socket) {
    this.#host = host;
    this.#socket = socket;
    socket.on("message", (bytes, client) => this.#fromClient(bytes, client));
    socket.on("error", () => {}); // of an answer that could not be sent: UDP promises nothing
    this.#sweepLater();
  }

  get address(): BoundAddress {
    const { address, port } = this.#socket.address();
    return { type: "udp", host: address, port };
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  async close(): Promise<void> {
    this.#cancelSweep?.();
    for (const [key, session] of this.#sessions) this.#end(key, session);
    const closed = once(this.#socket, "close");
    this.#socket.close();
    await closed;
  }

  #fromClient(bytes: Buffer, client: RemoteInfo): void {
    const key = `${client.address} ${client.port}`;
    let session = this.#sessions.get(key);
    if (session !== undefined && !this.#host.table.isGood(session.slot)) {
      this.#end(key, session);
      session = undefined;
    }
    session ??= this.#begin(key, client);
    if (session === undefined) return;
    this.#touch(key, session);
    session.slot.bytesToBackend += bytes.length;
    if (session.waiting === undefined) this.#send(session, bytes);
    else if (session.waiting.length < WAITING_MAX) session.waiting.push(bytes);
  }

  #begin(key: string, client: RemoteInfo): Session | undefined {
    const { clock, table, tuning } = this.#host;
    this.#host.accepted();
    const slot = table.acquire(NONE);
    if (slot === undefined) {
      this.#host.refused("no-backend");
      return undefined;
    }
    const [oldest] = this.#sessions;
    if (this.#sessions.size >= tuning.connectionsMax && oldest !== undefined) {
      this.#host.refused("too-many-connections");
      this.#end(...oldest);
    }
    const { host, port } = slot.backend;
    const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
    const began = clock.monotonicMs();
    const session: Session = {
      client,
      slot,
      socket,
      waiting: [],
      hasAnswered: false,
      lastMs: began,
    };
    socket.once("connect", () => {
      for (const bytes of session.waiting ?? []) this.#send(session, bytes);
      session.waiting = undefined;
    });
    socket.on("message", (bytes) => {
      if (!session.hasAnswered) table.connected(slot, clock.monotonicMs() - began);
      session.hasAnswered = true;
      slot.bytesToClient += bytes.length;
      this.#touch(key, session);
      this.#socket.send(bytes, client.port, client.address);
    });
    // Nobody listens there, or the network says no: the client's next datagram begins anew.
    socket.on("error", (error) => {
      this.#host.connectFailed(slot, error);
      this.#end(key, session);
    });
    this.#sessions.set(key, session);
    socket.connect(port, host);
    return session;
  }

  #send(session: Session, bytes: Buffer): void {
    if (session.socket.getSendQueueSize() < this.#host.tuning.bufferBytes)
      session.socket.send(bytes);
  }

  #touch(key: string, session: Session): void {
    session.lastMs = this.#host.clock.monotonicMs();
    if (this.#sessions.get(key) !== session) return;
    this.#sessions.delete(key);
    this.#sessions.set(key, session);
  }

  #end(key: string, session: Session): void {
    if (this.#sessions.get(key) !== session) return;
    this.#sessions.delete(key);
    session.socket.removeAllListeners();
    session.socket.on("error", () => {});
    session.socket.close();
    this.#host.table.release(session.slot);
  }

  #sweepLater(): void {
    const { clock, tuning } = this.#host;
    const everyMs = Math.max(10, tuning.sessionIdleMs / 4);
    this.#cancelSweep = clock.setTimer(everyMs, () => {
      const endMs = clock.monotonicMs() - this.#host.tuning.sessionIdleMs;
      for (const [key, session] of this.#sessions) {
        if (session.lastMs > endMs) break;
        this.#end(key, session);
      }
      this.#sweepLater();
    });
  }
}
