import type { Socket } from "node:net";
import { Duplex } from "node:stream";

export interface SignalHeader {
  readonly path: string;
  readonly member: string;
}

const TYPE_SIGNAL = 4;
const FIELD_PATH = 1;
const FIELD_MEMBER = 3;
const LITTLE_ENDIAN = 0x6c;
const HEADER_BYTES = 16;
const LINE_FEED = 0x0a;

/**
 * A connection to the bus that passes on only the signals somebody wants. Units that restart in a loop send hundreds
 * of signals a second; taking a header apart costs about a microsecond, decoding a message fifty.
 * Framing: D-Bus specification, "Message Format".
 */
export class SignalFilter extends Duplex {
  readonly #socket: Socket;
  readonly #wants: (signal: SignalHeader) => boolean;
  /** The answer to AUTH EXTERNAL is one line of text; frames follow. */
  #framed = false;
  #rest: Buffer | undefined;

  constructor(socket: Socket, wants: (signal: SignalHeader) => boolean) {
    super();
    this.#socket = socket;
    this.#wants = wants;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done);
  }

  override _writev(
    items: { readonly chunk: Buffer }[],
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.write(Buffer.concat(items.map((item) => item.chunk)), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }

  #take(chunk: Buffer): void {
    if (this.destroyed) return;
    if (this.#framed) {
      this.#takeFrames(chunk);
      return;
    }
    const end = chunk.indexOf(LINE_FEED) + 1;
    this.#framed = end > 0;
    this.push(end > 0 ? chunk.subarray(0, end) : chunk);
    if (end > 0 && end < chunk.length) this.#takeFrames(chunk.subarray(end));
  }

  #takeFrames(chunk: Buffer): void {
    const data = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    let keptFrom = 0;
    while (data.length - at >= HEADER_BYTES) {
      const fieldsBytes = readUint32(data, at, at + 12);
      const bytes = HEADER_BYTES + Math.ceil(fieldsBytes / 8) * 8 + readUint32(data, at, at + 4);
      if (data.length - at < bytes) break;
      if (data[at + 1] === TYPE_SIGNAL && !this.#wants(signalHeader(data, at, fieldsBytes))) {
        if (at > keptFrom) this.push(data.subarray(keptFrom, at));
        keptFrom = at + bytes;
      }
      at += bytes;
    }
    if (at > keptFrom) this.push(data.subarray(keptFrom, at));
    this.#rest = at < data.length ? data.subarray(at) : undefined;
  }
}

function signalHeader(data: Buffer, frame: number, fieldsBytes: number): SignalHeader {
  let path = "";
  let member = "";
  const end = frame + HEADER_BYTES + fieldsBytes;
  let at = frame + HEADER_BYTES;
  while (at + 8 <= end) {
    const code = data[at];
    const type = String.fromCharCode(data[at + 2] ?? 0);
    if (type === "s" || type === "o") {
      const length = readUint32(data, frame, at + 4);
      if (code === FIELD_PATH) path = data.toString("latin1", at + 8, at + 8 + length);
      if (code === FIELD_MEMBER) member = data.toString("latin1", at + 8, at + 8 + length);
      at += 8 + length + 1;
    } else if (type === "g") {
      at += 4 + 1 + (data[at + 4] ?? 0) + 1;
    } else {
      at += 8;
    }
    // Fields are structures: each begins at a multiple of eight from the start of the message.
    at = frame + Math.ceil((at - frame) / 8) * 8;
  }
  return { path, member };
}

function readUint32(data: Buffer, frame: number, at: number): number {
  return data[frame] === LITTLE_ENDIAN ? data.readUInt32LE(at) : data.readUInt32BE(at);
}
