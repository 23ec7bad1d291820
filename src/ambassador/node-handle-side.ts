import { isIPv6 } from "node:net";
import { type Handles, type SocketName, systemError, type TcpHandle } from "./node-handles.ts";
import type { ReadBuffers } from "./node-read-buffers.ts";
import {
  type Connected,
  KEEP_ALIVE_AFTER_MS,
  type Side,
  type SideEnds,
  type SideEvents,
} from "./node-side.ts";

/** UV_EOF of libuv. */
const END_OF_FILE = -4095;

/** What sides of one link in one thread have in common. */
export interface HandleParts {
  readonly handles: Handles;
  readonly buffers: ReadBuffers;
}

/** A side by libuv's own handle of a TCP socket. */
export class HandleSide implements Side {
  readonly #handle: TcpHandle;
  readonly #handles: Handles;
  readonly #buffers: ReadBuffers;
  #events: SideEvents | undefined;
  /** Writes that the kernel has not taken all of. */
  #writing = 0;
  /** What is read into; undefined: the buffer that all share. */
  #ownBuffer: Buffer | undefined;
  #saidGoodbye = false;
  #isClosed = false;

  constructor({ handles, buffers }: HandleParts, handle: TcpHandle) {
    this.#handle = handle;
    this.#handles = handles;
    this.#buffers = buffers;
    handle.setNoDelay(true);
  }

  static connect(
    parts: HandleParts,
    to: { readonly address: string; readonly port: number },
    connected: Connected,
  ): Side {
    const { TCP, TCPConnectWrap, constants: types } = parts.handles;
    const handle = new TCP(types.SOCKET);
    const side = new HandleSide(parts, handle);
    const request = new TCPConnectWrap();
    const { address, port } = to;
    request.oncomplete = (status) => {
      if (side.#isClosed) return;
      connected(status === 0 ? undefined : systemError(`connect to ${address}:${port}`, status));
    };
    const status = isIPv6(address)
      ? handle.connect6(request, address, port)
      : handle.connect(request, address, port);
    if (status !== 0) queueMicrotask(() => request.oncomplete(status));
    return side;
  }

  get ends(): SideEnds | undefined {
    const remote: Partial<SocketName> = {};
    const local: Partial<SocketName> = {};
    this.#handle.getpeername(remote);
    this.#handle.getsockname(local);
    return isComplete(remote) && isComplete(local) ? { remote, local } : undefined;
  }

  start(events: SideEvents): void {
    if (this.#isClosed) return;
    this.#events = events;
    this.#handle.onread = this.#read;
    this.#handle.useUserBuffer(this.#buffers.shared);
    this.#handle.readStart();
  }

  resume(): void {
    if (!this.#isClosed) this.#handle.readStart();
  }

  write(bytes: Uint8Array): boolean {
    const request = this.#handle.writeBuffer(null, bytes);
    if (request === 0) return this.#writing === 0;
    const { streamBaseState, kLastWriteErr } = this.#handles;
    const status = typeof request === "number" ? request : (streamBaseState[kLastWriteErr] ?? 0);
    if (typeof request === "number" || status !== 0) {
      this.#fail("write", status);
      return false;
    }
    this.#writing += 1;
    request.buffer = bytes;
    request.oncomplete = this.#written;
    return false;
  }

  end(): void {
    this.#saidGoodbye = true;
    const request = new this.#handles.ShutdownWrap();
    request.oncomplete = () => {}; // What goes wrong here, reading and writing find out too.
    this.#handle.shutdown(request);
  }

  close(): void {
    if (!this.#isClosed) this.#handle.close();
    this.#release();
  }

  reset(): void {
    // After a goodbye libuv refuses, and the handle could not be closed any more.
    if (this.#isClosed || this.#saidGoodbye) this.close();
    else {
      this.#handle.reset();
      this.#release();
    }
  }

  keepAlive(): void {
    this.#handle.setKeepAlive(true, KEEP_ALIVE_AFTER_MS / 1_000);
  }

  readonly #read = (): Uint8Array | undefined => {
    const { streamBaseState, kReadBytesOrError } = this.#handles;
    const count = streamBaseState[kReadBytesOrError] ?? 0;
    if (count > 0) return this.#pass(count);
    if (count === END_OF_FILE) this.#events?.ended();
    else if (count < 0) this.#fail("read", count);
    return undefined;
  };

  /** Gives what to read into next, where that is another buffer. */
  #pass(count: number): Uint8Array | undefined {
    const { shared, largeBytes } = this.#buffers;
    const own = this.#ownBuffer;
    // Others read into the shared one while this is still being written.
    const chunk = own === undefined ? this.#buffers.copy(count) : own.subarray(0, count);
    const isPassed = this.#events?.bytes(chunk) ?? false;
    if (this.#isClosed) return undefined;
    if (!isPassed) {
      this.#handle.readStop();
      if (own === undefined) this.#buffers.giveCopyAway();
    }
    if (own === undefined) {
      if (count < shared.length || largeBytes <= count) return undefined;
      this.#ownBuffer = this.#buffers.takeLarge();
      return this.#ownBuffer;
    }
    if (!isPassed || count > shared.length) return undefined;
    this.#giveBack();
    return shared;
  }

  readonly #written = (status: number): void => {
    this.#writing -= 1;
    if (status < 0) this.#fail("write", status);
    else if (this.#writing === 0) this.#events?.drained();
  };

  #fail(what: string, status: number): void {
    this.#events?.failed(systemError(what, status));
  }

  /** After closing, when nothing reads into the buffer or writes from it any more. */
  #release(): void {
    this.#isClosed = true;
    this.#events = undefined;
    this.#giveBack();
  }

  #giveBack(): void {
    if (this.#ownBuffer !== undefined) this.#buffers.giveBack(this.#ownBuffer);
    this.#ownBuffer = undefined;
  }
}

function isComplete(name: Partial<SocketName>): name is SocketName {
  return name.address !== undefined && name.port !== undefined;
}
