import { connect, type Socket } from "node:net";
import {
  type Connected,
  KEEP_ALIVE_AFTER_MS,
  type Side,
  type SideEnds,
  type SideEvents,
} from "./node-side.ts";

/** A side by node:net. */
export class SocketSide implements Side {
  readonly #socket: Socket;
  #events: SideEvents | undefined;
  #failure: Error | undefined;
  #isClosed = false;

  /** `socket` is connected, may stay half open, and has not been read from. */
  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", (error) => {
      this.#failure = error;
      this.#events?.failed(error);
    });
  }

  /** `host` may be a name. */
  static connect(to: { readonly host: string; readonly port: number }, connected: Connected): Side {
    const { host, port } = to;
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const side = new SocketSide(socket);
    const settle = (error?: Error) => {
      socket.off("connect", settle).off("error", settle);
      if (!side.#isClosed) connected(error);
    };
    socket.on("connect", settle).on("error", settle);
    return side;
  }

  get ends(): SideEnds | undefined {
    const { remoteAddress, remotePort, localAddress, localPort } = this.#socket;
    if (!remoteAddress || !remotePort || !localAddress || !localPort) return undefined;
    return {
      remote: { address: remoteAddress, port: remotePort },
      local: { address: localAddress, port: localPort },
    };
  }

  start(events: SideEvents): void {
    const socket = this.#socket;
    this.#events = events;
    socket.on("data", (chunk: Buffer) => {
      if (!this.#isClosed && !events.bytes(chunk)) socket.pause();
    });
    socket.on("end", () => {
      if (!this.#isClosed) events.ended();
    });
    socket.resume();
    if (this.#failure !== undefined) events.failed(this.#failure);
  }

  resume(): void {
    this.#socket.resume();
  }

  write(bytes: Uint8Array): boolean {
    const socket = this.#socket;
    socket.write(bytes, () => {
      if (socket.writableLength === 0) this.#events?.drained();
    });
    return socket.writableLength === 0;
  }

  end(): void {
    this.#socket.end();
  }

  close(): void {
    this.#isClosed = true;
    this.#events = undefined;
    this.#socket.destroy();
  }

  reset(): void {
    const socket = this.#socket;
    const saidGoodbye = socket.writableEnded && socket.writableLength === 0;
    // Where libuv refuses it, Node would close nothing.
    if (
      !socket.destroyed &&
      !socket.connecting &&
      !saidGoodbye &&
      socket.remoteFamily !== undefined
    )
      socket.resetAndDestroy();
    this.close();
  }

  keepAlive(): void {
    this.#socket.setKeepAlive(true, KEEP_ALIVE_AFTER_MS);
  }
}
