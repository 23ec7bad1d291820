import { once } from "node:events";
import { writeSync } from "node:fs";
import type { Writable } from "node:stream";

const WAITING_BYTES_MAX = 1024 * 1024;
const STANDARD_OUTPUT = 1;

/**
 * Standard output of a process that ends soon. What is written in its last moment goes out without a stream: making one takes longer than most
 * commands do. What is written earlier goes into the stream at the end of that turn of the event loop, so that a slow reader holds up nothing else.
 */
export class StandardOutput {
  readonly #openStream: () => Writable;
  #stream: Writable | undefined;
  /** Of this turn of the event loop. */
  #held: (string | Uint8Array)[] = [];

  constructor(openStream: () => Writable) {
    this.#openStream = openStream;
  }

  write(text: string | Uint8Array): void {
    if (this.#stream !== undefined) this.#stream.write(text);
    else if (this.#held.push(text) === 1) setImmediate(() => this.flush());
  }

  /** Hands everything to the stream: before something is written elsewhere that has to come after it. */
  flush(): void {
    if (this.#held.length > 0) this.#pass(takeBytes(this.#held));
  }

  /** Resolves when nearly all that was written has been taken. */
  async drained(): Promise<void> {
    this.flush();
    const stream = this.#stream;
    if (stream !== undefined && stream.writableLength > WAITING_BYTES_MAX) {
      await once(stream, "drain");
    }
  }

  /** Resolves when all has been taken, for which the process may have to wait. Throws what the system says when there was no stream. */
  async end(): Promise<void> {
    if (this.#stream === undefined) {
      const rest = writeNow(takeBytes(this.#held));
      if (rest.length === 0) return;
      this.#pass(rest);
    }
    await new Promise<void>((resolve) => this.#stream?.write("", () => resolve()));
  }

  #pass(bytes: Uint8Array): void {
    this.#stream ??= this.#openStream();
    this.#stream.write(bytes);
  }
}

function takeBytes(held: (string | Uint8Array)[]): Uint8Array {
  return Buffer.concat(held.splice(0).map((part) => Buffer.from(part)));
}

/** Gives back what a pipe that somebody else made non-blocking has no room for. */
function writeNow(bytes: Uint8Array): Uint8Array {
  let rest = bytes;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(STANDARD_OUTPUT, rest));
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EAGAIN") return rest;
      throw error;
    }
  }
  return rest;
}
