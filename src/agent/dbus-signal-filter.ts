import { connect, type Socket } from "node:net";
import { Duplex } from "node:stream";
import type { CancelTimer, Clock } from "../runtime/clock.ts";

export interface SignalHeader {
  readonly path: string;
  readonly member: string;
}

export interface SignalFilterOptions {
  readonly socketPath: string;
  readonly clock: Clock;
  /** Whether anybody wants this signal. */
  readonly wants: (signal: SignalHeader) => boolean;
  /** How much of what comes next somebody waits for: answers, ends of jobs. */
  readonly awaited: () => number;
}

/** So many reads of nothing but unwanted signals, none later than that after the one before, are noise ... */
const NOISE_READS = 2;
const NOISE_GAP_MS = 50;
/** ... that is left to gather for so long: being woken for each signal costs more than the signal. */
const LULL_MS = 100;
/** A read of so much is one of several: thousands of units have changed, and what is awaited next comes after all that. */
const FLOOD_BYTES = 16 * 1024;

/** With so much awaited at once, ... */
const CROWD = 8;
/**
 * ... what comes is read that often: whoever starts units by the hundred has others under way meanwhile, and each time that this process is woken it takes a
 * processor from systemd.
 */
const CROWD_MS = 10;

const READ_BYTES = 64 * 1024;

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
  readonly #options: SignalFilterOptions;
  /** The answer to AUTH EXTERNAL is one line of text; frames follow. */
  #framed = false;
  #rest: Buffer | undefined;
  #noiseReads = 0;
  #noiseMs = 0;
  #endLull: CancelTimer | undefined;
  #cancelCrowd: CancelTimer | undefined;

  constructor(options: SignalFilterOptions) {
    super();
    this.#options = options;
    // Reads into one buffer of ours. Only so does a pause leave what comes in the kernel: a stream would go on to be woken for every piece.
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    const callback = (bytes: number) => {
      this.#take(buffer.subarray(0, bytes));
      return true;
    };
    const socket = connect({ path: options.socketPath, onread: { buffer, callback } });
    this.#socket = socket;
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
  }

  override _read(): void {}

  /** What is written in one go leaves in one go: each write wakes the bus, and the bus systemd. */
  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.attend();
    if (this.#socket.writableCorked === 0) {
      this.#socket.cork();
      setImmediate(() => this.#socket.uncork());
    }
    this.#socket.write(chunk);
    done();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#endLull?.();
    this.#cancelCrowd?.();
    this.#socket.destroy();
    done(error);
  }

  /** `chunk` is overwritten by the next. */
  #take(chunk: Buffer): void {
    if (this.destroyed) return;
    if (this.#framed) {
      const passedOn = this.#takeFrames(chunk);
      if (chunk.length >= FLOOD_BYTES) return;
      if (this.#options.awaited() >= CROWD) this.#restInCrowd();
      else this.#listenForNoise(passedOn);
      return;
    }
    const end = chunk.indexOf(LINE_FEED) + 1;
    this.#framed = end > 0;
    this.push(Buffer.from(end > 0 ? chunk.subarray(0, end) : chunk));
    if (end > 0 && end < chunk.length) this.#takeFrames(chunk.subarray(end));
  }

  #listenForNoise(passedOn: boolean): void {
    const nowMs = this.#options.clock.monotonicMs();
    const isNoise = !passedOn && nowMs - this.#noiseMs < NOISE_GAP_MS;
    this.#noiseReads = isNoise ? this.#noiseReads + 1 : 0;
    this.#noiseMs = nowMs;
    if (this.#noiseReads < NOISE_READS || this.#options.awaited() > 0) return;
    this.#socket.pause();
    this.#endLull = this.#options.clock.setTimer(LULL_MS, () => this.attend());
  }

  #restInCrowd(): void {
    this.#socket.pause();
    this.#cancelCrowd = this.#options.clock.setTimer(CROWD_MS, () => this.#socket.resume());
  }

  /** Ends a lull: somebody waits for what comes next. */
  attend(): void {
    if (this.#endLull === undefined) return;
    this.#endLull();
    this.#endLull = undefined;
    this.#noiseMs = this.#options.clock.monotonicMs();
    this.#socket.resume();
  }

  /** Whether anything was passed on. */
  #takeFrames(chunk: Buffer): boolean {
    const data = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    let keptFrom = 0;
    let kept = 0;
    const keep = (end: number) => {
      if (end > keptFrom) this.push(Buffer.from(data.subarray(keptFrom, end)));
      kept += end - keptFrom;
    };
    while (data.length - at >= HEADER_BYTES) {
      const fieldsBytes = readUint32(data, at, at + 12);
      const bytes = HEADER_BYTES + Math.ceil(fieldsBytes / 8) * 8 + readUint32(data, at, at + 4);
      if (data.length - at < bytes) break;
      if (
        data[at + 1] === TYPE_SIGNAL &&
        !this.#options.wants(signalHeader(data, at, fieldsBytes))
      ) {
        keep(at);
        keptFrom = at + bytes;
      }
      at += bytes;
    }
    keep(at);
    this.#rest = at < data.length ? Buffer.from(data.subarray(at)) : undefined;
    return kept > 0;
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

/** Buffer's own way makes a number on the heap; lengths are below 2 ** 27. */
function readUint32(data: Buffer, frame: number, at: number): number {
  return data[frame] === LITTLE_ENDIAN
    ? word(data[at + 3], data[at + 2], data[at + 1], data[at])
    : word(data[at], data[at + 1], data[at + 2], data[at + 3]);
}

function word(high = 0, upper = 0, lower = 0, low = 0): number {
  return ((high << 24) | (upper << 16) | (lower << 8) | low) >>> 0;
}
