import type { Side, SideEvents } from "./node-side.ts";

/** What a connection is told by its two flows. */
export interface FlowListener {
  /** Both sides have said everything, and all of it is passed on. */
  finished(): void;
  broke(side: Side): void;
}

/**
 * One direction of a connection, and all that its source tells. At most one read is being written and nothing is read meanwhile, so a slow
 * reader holds its sender back. Nothing in between looks at the bytes.
 */
export class Flow implements SideEvents {
  readonly #source: Side;
  readonly #sink: Side;
  readonly #count: (bytes: number) => void;
  readonly #listener: FlowListener;
  #opposite: Flow | undefined;
  #isWaiting = false;
  hasEnded = false;

  constructor(
    [source, sink]: readonly [Side, Side],
    count: (bytes: number) => void,
    listener: FlowListener,
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#count = count;
    this.#listener = listener;
  }

  /** Begins to carry bytes both ways. */
  static start(up: Flow, down: Flow): void {
    up.#opposite = down;
    down.#opposite = up;
    down.#source.start(down);
    up.#source.start(up);
  }

  bytes(chunk: Uint8Array): boolean {
    this.#count(chunk.length);
    this.#isWaiting = !this.#sink.write(chunk);
    return !this.#isWaiting;
  }

  /** Everything before it is passed on: nothing is read while something is not. */
  ended(): void {
    this.hasEnded = true;
    // Closing says the second goodbye too: one call less to the kernel for each short connection.
    if (this.#opposite?.hasEnded) this.#listener.finished();
    else this.#sink.end();
  }

  /** What the opposite flow has written to this one's source. */
  drained(): void {
    this.#opposite?.goOn();
  }

  goOn(): void {
    if (!this.#isWaiting) return;
    this.#isWaiting = false;
    this.#source.resume();
  }

  failed(): void {
    this.#listener.broke(this.#source);
  }
}
