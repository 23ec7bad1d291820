/**
 * Clock port: the only source of time. `system-clock.ts` is the machine's own clock,
 * `virtual-clock.ts` is moved by hand (simulation and tests).
 */
export interface Clock {
  /**
   * Milliseconds since an arbitrary start. Never goes back and is not moved by steps of the wall
   * clock: leases, deadlines and backoff are judged by it.
   */
  monotonicMs(): number;

  /** Milliseconds since 1970. May jump. For display and records only, never for decisions. */
  wallMs(): number;

  /**
   * Calls `callback` once, `delayMs` from now, in a task of its own.
   * Returns a function that takes the timer back; calling it late or twice is harmless.
   */
  setTimer(delayMs: number, callback: () => void): CancelTimer;
}

export type CancelTimer = () => void;

/** Resolves after `delayMs`; rejects with the signal's reason as soon as it aborts. */
export async function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const onAbort = () => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.setTimer(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** Calls `action` every `everyMs`, the first time after that, until the function it returns is called. */
export function repeat(clock: Clock, everyMs: number, action: () => void): CancelTimer {
  let cancel = clock.setTimer(everyMs, tick);
  function tick(): void {
    cancel = clock.setTimer(everyMs, tick);
    action();
  }
  return () => cancel();
}
