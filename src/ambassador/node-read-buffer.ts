import { type OnReadOpts, Socket } from "node:net";

/**
 * Reads of one direction of a connection go into a buffer that is used again and again: allocating one per read, as streams do, costs
 * more than moving the bytes. It begins small, so that 10,000 idle connections need little memory, and grows while reads fill it.
 */
const SMALL_BYTES = 2 * 1024;
/** Large buffers kept for the next that needs one. */
const SPARE_MAX = 64;

export class ReadBuffer {
  readonly #spares: Buffer[];
  readonly #largeBytes: number;
  #current: Buffer = Buffer.allocUnsafe(SMALL_BYTES);

  constructor(spares: Buffer[], largeBytes: number) {
    this.#spares = spares;
    this.#largeBytes = Math.max(SMALL_BYTES, largeBytes);
  }

  /** What the next read goes into. */
  get current(): Buffer {
    return this.#current;
  }

  /** After a read of `bytes` whose contents are of no more use. */
  adapt(bytes: number): void {
    const size = this.#current.length;
    if (bytes === size && size < this.#largeBytes) this.#current = this.#large();
    else if (bytes <= SMALL_BYTES && size > SMALL_BYTES) this.giveBack();
  }

  /** Only when nothing reads into it, or writes from it, any more. */
  giveBack(): void {
    if (this.#current.length > SMALL_BYTES && this.#spares.length < SPARE_MAX)
      this.#spares.push(this.#current);
    this.#current = Buffer.allocUnsafe(SMALL_BYTES);
  }

  #large(): Buffer {
    const spare = this.#spares.pop();
    return spare?.length === this.#largeBytes ? spare : Buffer.allocUnsafeSlow(this.#largeBytes);
  }
}

const ownSymbols = Object.getOwnPropertySymbols(new Socket());
const [bufferKey, callbackKey, makerKey] = ["kBuffer", "kBufferCb", "kBufferGen"].map((name) =>
  ownSymbols.find((symbol) => symbol.description === name),
);

/**
 * Begins to read an accepted socket the way `onread` of net.connect() reads one's own: node:net offers that option only to sockets that
 * connect (https://nodejs.org/api/net.html). Where this Node keeps it elsewhere, reads come by "data" events: slower, otherwise the same.
 */
export function readInto(socket: Socket, onread: OnReadOpts & { buffer: () => Uint8Array }): void {
  const handle: unknown = Reflect.get(socket, "_handle");
  const useUserBuffer: unknown =
    typeof handle === "object" && handle !== null && Reflect.get(handle, "useUserBuffer");
  if (typeof useUserBuffer !== "function" || !bufferKey || !callbackKey || !makerKey) {
    socket.on("data", (chunk: Buffer) => {
      if (!onread.callback(chunk.length, chunk)) socket.pause();
    });
    socket.resume();
    return;
  }
  const buffer = onread.buffer();
  Reflect.set(socket, bufferKey, buffer);
  Reflect.set(socket, callbackKey, onread.callback);
  Reflect.set(socket, makerKey, onread.buffer);
  useUserBuffer.call(handle, buffer);
  socket.read(0);
}
