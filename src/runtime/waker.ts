/**
 * What waiters sleep on until somebody wakes them. A wake without a waiter is lost: whoever waits looks at the state before, and again
 * after.
 */
export class Waker {
  readonly #waiting = new Set<() => void>();

  wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Resolves at the next wake, or when `signal` aborts or has aborted. */
  async woken(signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = () => resolve();
    this.#waiting.add(wake);
    signal?.addEventListener("abort", wake, { once: true });
    await promise;
    this.#waiting.delete(wake);
    signal?.removeEventListener("abort", wake);
  }
}
