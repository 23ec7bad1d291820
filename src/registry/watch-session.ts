/** From the first listener to the last. */
export class Session {
  readonly #controller = new AbortController();
  #opened = Promise.withResolvers<void>();

  constructor() {
    this.#opened.promise.catch(() => {});
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Resolves once the watch's start is known, so that what is read from then on misses nothing. */
  async ready(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([this.#opened.promise, aborted.promise]);
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  open(): void {
    this.#opened.resolve();
  }

  /** Whoever waits is told; who asks later waits for the next attempt. */
  fail(error: Error): void {
    this.#opened.reject(error);
    this.#opened = Promise.withResolvers();
    this.#opened.promise.catch(() => {});
  }

  end(): void {
    this.#controller.abort(new Error("nobody listens any more"));
  }
}
