import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, isIPv6, type Socket } from "node:net";
import type { Clock } from "../runtime/clock.ts";

export interface DnsListen {
  readonly host: string;
  readonly port: number;
}

/** Gives the reply to a message, or undefined for those that get none. Never rejects. */
export type DnsHandler = (message: Buffer, by: "udp" | "tcp") => Promise<Buffer | undefined>;

export interface DnsSockets {
  readonly port: number;
  close(): Promise<void>;
}

/** Questions at the same time; beyond, resolvers ask again. */
const UDP_PENDING_MAX = 256;
const TCP_CONNECTIONS_MAX = 64;
const TCP_IDLE_MS = 10_000;
const LENGTH_BYTES = 2;

/** UDP and TCP on one address (of port 0: on one that is free for both). Rejects with the system's error where it cannot listen. */
export async function listenDns(options: {
  readonly listen: DnsListen;
  readonly handler: DnsHandler;
  readonly clock: Clock;
}): Promise<DnsSockets> {
  const { listen, handler, clock } = options;
  const open = new Set<Socket>();
  const tcp = createServer((socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    serveTcp(socket, handler, clock);
  });
  const closeTcp = async () => {
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => tcp.close(resolve));
  };
  tcp.maxConnections = TCP_CONNECTIONS_MAX;
  tcp.listen({ ...listen, exclusive: true });
  await once(tcp, "listening");
  const { port } = tcp.address() as { readonly port: number };
  const udp = createSocket(isIPv6(listen.host) ? "udp6" : "udp4");
  serveUdp(udp, handler);
  try {
    udp.bind({ address: listen.host, port, exclusive: true });
    await once(udp, "listening");
  } catch (error) {
    await closeTcp();
    throw error;
  }
  // What goes wrong later concerns one message: its sender asks again.
  udp.on("error", () => undefined);
  tcp.on("error", () => undefined);
  return {
    port,
    close: async () => {
      await Promise.all([new Promise<void>((resolve) => udp.close(resolve)), closeTcp()]);
    },
  };
}

function serveUdp(socket: UdpSocket, handler: DnsHandler): void {
  let pending = 0;
  let closed = false;
  socket.on("close", () => {
    closed = true;
  });
  socket.on("message", (message, from) => {
    if (pending >= UDP_PENDING_MAX) return;
    pending += 1;
    void handler(message, "udp").then((reply) => {
      pending -= 1;
      if (reply !== undefined && !closed)
        socket.send(reply, from.port, from.address, () => undefined);
    });
  });
}

/** One message after the other, each behind its length. */
function serveTcp(socket: Socket, handler: DnsHandler, clock: Clock): void {
  let cancel = clock.setTimer(TCP_IDLE_MS, () => socket.destroy());
  socket.on("error", () => undefined);
  socket.on("close", () => cancel());
  void answerAll().catch(() => socket.destroy());

  async function answerAll(): Promise<void> {
    let rest = Buffer.alloc(0);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      rest = Buffer.concat([rest, chunk]);
      for (let next = firstMessage(rest); next !== undefined; next = firstMessage(rest)) {
        rest = rest.subarray(LENGTH_BYTES + next.length);
        cancel();
        cancel = clock.setTimer(TCP_IDLE_MS, () => socket.destroy());
        const reply = await handler(next, "tcp");
        if (reply === undefined) continue;
        const length = Buffer.alloc(LENGTH_BYTES);
        length.writeUInt16BE(reply.length);
        if (!socket.write(Buffer.concat([length, reply]))) await once(socket, "drain");
      }
    }
  }
}

function firstMessage(bytes: Buffer): Buffer | undefined {
  if (bytes.length < LENGTH_BYTES) return undefined;
  const end = LENGTH_BYTES + bytes.readUInt16BE(0);
  return bytes.length < end ? undefined : bytes.subarray(LENGTH_BYTES, end);
}
