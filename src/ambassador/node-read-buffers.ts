/** What most messages fit in. */
const SHARED_BYTES = 16 * 1024;
/** Large buffers kept for the next that needs one. */
const SPARE_MAX = 64;

/**
 * Reads go into buffers that are used again and again: allocating one per read, as streams do, costs more than moving the bytes. All
 * connections of a link share one, so that idle ones need none; who fills it has a large one of its own while it goes on so.
 */
export class ReadBuffers {
  readonly largeBytes: number;
  readonly shared: Buffer;
  readonly #spares: Buffer[] = [];
  #copy: Buffer;

  constructor(largeBytes: number) {
    this.largeBytes = largeBytes;
    this.shared = Buffer.allocUnsafeSlow(Math.min(SHARED_BYTES, largeBytes));
    this.#copy = Buffer.allocUnsafeSlow(this.shared.length);
  }

  /** Of the beginning of the shared one. Good until the next copy is asked for. */
  copy(bytes: number): Buffer {
    this.shared.copy(this.#copy, 0, 0, bytes);
    return this.#copy.subarray(0, bytes);
  }

  /** The last copy stays good. */
  giveCopyAway(): void {
    this.#copy = Buffer.allocUnsafeSlow(this.shared.length);
  }

  takeLarge(): Buffer {
    return this.#spares.pop() ?? Buffer.allocUnsafeSlow(this.largeBytes);
  }

  /** Only when nothing reads into it, or writes from it, any more. */
  giveBack(large: Buffer): void {
    if (this.#spares.length < SPARE_MAX) this.#spares.push(large);
  }
}
