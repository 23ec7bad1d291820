import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server, Socket } from "node:net";
import type { Cleanup } from "./cleanup.ts";

export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

export type Direction = "to-server" | "to-client";

interface Link {
  readonly client: Socket;
  readonly server: Socket;
}

/**
 * Stands between a client and a server on 127.0.0.1 and does to the connection what networks do. Faults act on the bytes, so
 * real clients meet them against real servers.
 */
export class TcpProxy {
  readonly host: string;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  readonly #paused = new Set<Direction>();
  readonly #dropped = new Set<Direction>();
  readonly #passed = new Map<Direction, number>();
  #target: TcpAddress;
  #port = 0;
  #accepted = 0;
  #open = true;
  #delayMs = 0;
  #breakEvery: { readonly direction: Direction; readonly bytes: number } | undefined;

  /** `t` closes it. It listens on a port of its own of `host`, any address of 127.0.0.0/8. */
  static async start(t: Cleanup, target: TcpAddress, host = "127.0.0.1"): Promise<TcpProxy> {
    const proxy = new TcpProxy(target, host);
    t.after(() => proxy.close());
    await proxy.#listen();
    return proxy;
  }

  private constructor(target: TcpAddress, host: string) {
    this.host = host;
    this.#target = target;
    this.#server = createServer((client) => this.#accept(client));
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `http://${this.host}:${this.#port}`;
  }

  /** Connections taken since the start. */
  get accepted(): number {
    return this.#accepted;
  }

  /** Bytes let through since the start. */
  passed(direction: Direction): number {
    return this.#passed.get(direction) ?? 0;
  }

  /** Breaks every connection and refuses new ones. Resolves when that is so. */
  async cut(): Promise<void> {
    this.#open = false;
    await this.breakConnections();
  }

  mend(): void {
    this.#open = true;
  }

  /** Breaks what is connected; new connections pass. */
  async breakConnections(): Promise<void> {
    const links = [...this.#links];
    await Promise.all(
      links.map(async ({ client, server }) => {
        const gone = Promise.all([closed(client), closed(server)]);
        client.destroy();
        server.destroy();
        await gone;
      }),
    );
  }

  /** Bytes of that direction wait, in order, until `resume`. */
  pause(direction: Direction): void {
    this.#paused.add(direction);
    for (const link of this.#links) from(link, direction).pause();
  }

  resume(direction: Direction): void {
    this.#paused.delete(direction);
    for (const link of this.#links) from(link, direction).resume();
  }

  /** Bytes of that direction vanish until `restore`; a connection that lost some is of no more use. */
  drop(direction: Direction): void {
    this.#dropped.add(direction);
  }

  restore(direction: Direction): void {
    this.#dropped.delete(direction);
  }

  /** Every connection breaks after that many bytes in that direction, in the middle of whatever it is; undefined: no longer. */
  breakEvery(limit: { readonly direction: Direction; readonly bytes: number } | undefined): void {
    this.#breakEvery = limit;
  }

  /** Every piece passes this much later, both ways. */
  delay(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** New connections go there. */
  retarget(target: TcpAddress): void {
    this.#target = target;
  }

  async close(): Promise<void> {
    const ended = once(this.#server, "close");
    this.#server.close();
    await this.cut();
    await ended;
  }

  async #listen(): Promise<void> {
    this.#server.listen(0, this.host);
    await once(this.#server, "listening");
    const address = this.#server.address();
    assert(address !== null && typeof address === "object");
    this.#port = address.port;
  }

  #accept(client: Socket): void {
    if (!this.#open) {
      client.resetAndDestroy();
      return;
    }
    this.#accepted += 1;
    const server = new Socket();
    client.setNoDelay(true);
    server.setNoDelay(true);
    const link = { client, server };
    this.#links.add(link);
    for (const direction of ["to-server", "to-client"] as const) {
      this.#forward(link, direction);
      if (this.#paused.has(direction)) from(link, direction).pause();
    }
    server.connect(this.#target);
  }

  #forward(link: Link, direction: Direction): void {
    const source = from(link, direction);
    const sink = source === link.client ? link.server : link.client;
    source.on("data", (bytes: Buffer) => {
      if (this.#dropped.has(direction)) return;
      const limit = this.#breakEvery;
      if (limit?.direction === direction && source.bytesRead > limit.bytes) {
        link.client.destroy();
        link.server.destroy();
        return;
      }
      if (this.#delayMs > 0)
        setTimeout(() => this.#pass(sink, { direction, bytes }), this.#delayMs);
      else this.#pass(sink, { direction, bytes });
    });
    source.on("end", () => {
      setTimeout(() => sink.end(), this.#delayMs);
    });
    source.on("error", () => sink.destroy());
    source.on("close", () => {
      this.#links.delete(link);
      if (source.errored !== null) sink.destroy();
    });
  }

  #pass(sink: Socket, piece: { readonly direction: Direction; readonly bytes: Buffer }): void {
    if (sink.destroyed || sink.writableEnded) return;
    this.#passed.set(piece.direction, this.passed(piece.direction) + piece.bytes.length);
    sink.write(piece.bytes);
  }
}

function from(link: Link, direction: Direction): Socket {
  return direction === "to-server" ? link.client : link.server;
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, "close");
}
