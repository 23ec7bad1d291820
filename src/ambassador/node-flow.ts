import type { Socket } from "node:net";
import type { ReadBuffer } from "./node-read-buffer.ts";

/**
 * One direction of a connection. At most one write is outstanding and nothing is read meanwhile, so the buffer may be used again and a
 * slow reader holds its sender back. Nothing in between looks at the bytes.
 */
export class Flow {
  readonly #buffer: ReadBuffer;
  readonly #count: (bytes: number) => void;
  #source: Socket | undefined;
  #sink: Socket | undefined;
  #waiting = false;
  /** The source has said everything. */
  hasEnded = false;

  readonly onread = {
    buffer: (): Uint8Array => this.#buffer.current,
    callback: (bytes: number, buffer: Uint8Array): boolean => this.#pass(bytes, buffer),
  };

  constructor(buffer: ReadBuffer, count: (bytes: number) => void) {
    this.#buffer = buffer;
    this.#count = count;
  }

  /** Comes before the first read. */
  join(source: Socket, sink: Socket): void {
    this.#source = source;
    this.#sink = sink;
  }

  /** The sink has everything it was sent: by this process, not by its own reader. */
  get isFlushed(): boolean {
    return this.#sink?.writableLength === 0;
  }

  /** After both sockets are closed. */
  close(): void {
    this.#buffer.giveBack();
  }

  #pass(bytes: number, buffer: Uint8Array): boolean {
    const sink = this.#sink;
    if (sink === undefined || sink.destroyed) return false;
    this.#count(bytes);
    sink.write(bytes === buffer.length ? buffer : buffer.subarray(0, bytes), this.#written);
    if (sink.writableLength === 0) {
      this.#buffer.adapt(bytes);
      return true;
    }
    this.#waiting = true;
    return false;
  }

  readonly #written = (): void => {
    if (!this.#waiting || this.#sink?.writableLength !== 0) return;
    this.#waiting = false;
    this.#source?.resume();
  };
}
