import assert from "node:assert/strict";
import { createSocket, type Socket as DatagramSocket, type RemoteInfo } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Backend } from "../../src/ambassador/backend.ts";
import type { BoundAddress } from "../../src/ambassador/proxy.ts";
import type { Cleanup } from "./cleanup.ts";

/** A server that says its name to everybody who connects and then sends back what it gets. */
export class NamedServer {
  readonly name: string;
  readonly connections = new Set<Socket>();
  readonly #server: Server;

  static async start(t: Cleanup, name: string, port = 0): Promise<NamedServer> {
    const server = new NamedServer(name);
    t.after(() => server.stop());
    await listenHere(server.#server, port);
    return server;
  }

  private constructor(name: string) {
    this.name = name;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      this.connections.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.connections.delete(socket));
      socket.write(name);
      socket.pipe(socket);
    });
  }

  get port(): number {
    return portOf(this.#server);
  }

  backend(more: Partial<Backend> = {}): Backend {
    return backendAt(this.name, this.port, more);
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.connections) socket.destroy();
    await closed;
  }
}

export function backendAt(id: string, port: number, more: Partial<Backend> = {}): Backend {
  return {
    ...{ id, host: "127.0.0.1", port, health: "passing", weight: 1, priority: 10 },
    ...{ sameMachine: true, presence: "present" },
    ...more,
  };
}

export async function listenHere(server: Server, port = 0): Promise<void> {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
}

export function portOf(server: Server): number {
  const address = server.address();
  assert(address !== null && typeof address === "object");
  return address.port;
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await listenHere(server);
  const port = portOf(server);
  server.close();
  await once(server, "close");
  return port;
}

/** A connection to a link: what it got so far as text, and its end. */
export class Client {
  readonly socket: Socket;
  received = "";
  /** Resolves with the code of the error it ended with, "end" without one. */
  readonly ended: Promise<string>;

  constructor(t: Cleanup, address: BoundAddress | undefined) {
    assert(address !== undefined);
    const { host, port, type } = address;
    const where = type === "unix" ? { path: host } : { host, port };
    this.socket = connect({ ...where, allowHalfOpen: true });
    t.after(() => {
      this.socket.destroy();
    });
    this.socket.on("data", (bytes: Buffer) => {
      this.received += bytes.toString("latin1");
    });
    this.ended = new Promise((resolve) => {
      this.socket.once("end", () => resolve("end"));
      this.socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    });
  }

  /** Until it has got so many bytes. */
  async got(count: number): Promise<string> {
    while (this.received.length < count) {
      const ended = await Promise.race([
        once(this.socket, "data").then(() => undefined),
        this.ended,
      ]);
      if (ended !== undefined && this.received.length < count) {
        throw new Error(`ended by ${ended} after ${this.received.length} of ${count} bytes`);
      }
    }
    return this.received;
  }
}

/** The name of the server that a new connection reaches, or what it ended with; the connection is closed again. */
export async function reached(t: Cleanup, address: BoundAddress | undefined): Promise<string> {
  const client = new Client(t, address);
  try {
    return await client.got(1);
  } catch {
    return await client.ended;
  } finally {
    client.socket.end();
    client.socket.destroy();
  }
}

/** Answers each datagram with its name and what it got. */
export async function namedUdpServer(t: Cleanup, name: string): Promise<DatagramSocket> {
  const socket = createSocket("udp4");
  t.after(() => closeUdp(socket));
  socket.on("message", (bytes, from: RemoteInfo) => {
    socket.send(`${name}:${bytes}`, from.port, from.address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return socket;
}

export async function udpClient(t: Cleanup): Promise<DatagramSocket> {
  const socket = createSocket("udp4");
  t.after(() => closeUdp(socket));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return socket;
}

function closeUdp(socket: DatagramSocket): Promise<void> {
  return new Promise((resolve) => {
    socket.once("close", () => resolve());
    try {
      socket.close();
    } catch {
      resolve(); // closed by its test
    }
  });
}

/** Datagrams may get lost, so it asks until there is an answer to this question. */
export async function askUdp(
  socket: DatagramSocket,
  address: BoundAddress | undefined,
  question: string,
): Promise<string> {
  assert(address !== undefined);
  for (let attempt = 0; attempt < 100; attempt++) {
    socket.send(question, address.port, address.host);
    const waiting = new AbortController();
    const timer = setTimeout(() => waiting.abort(), 200);
    try {
      for (;;) {
        const [bytes]: unknown[] = await once(socket, "message", { signal: waiting.signal });
        if (String(bytes).endsWith(`:${question}`)) return String(bytes);
      }
    } catch (error) {
      if (!waiting.signal.aborted) throw error;
    } finally {
      clearTimeout(timer);
    }
  }
  return "no answer";
}
