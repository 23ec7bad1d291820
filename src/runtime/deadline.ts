import type { Clock } from "./clock.ts";
import type { FleetError } from "./errors.ts";

/**
 * Runs `work` with a signal that aborts when the caller's does or when `deadlineMs` have passed, and
 * rejects then even if `work` does not listen. The timer and the listener are gone when it settles.
 */
export async function withDeadline<T>(
  clock: Clock,
  options: {
    readonly deadlineMs: number;
    readonly signal?: AbortSignal | undefined;
    readonly onDeadline: () => FleetError;
  },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  options.signal?.throwIfAborted();
  const controller = new AbortController();
  const forward = () => controller.abort(options.signal?.reason);
  options.signal?.addEventListener("abort", forward, { once: true });
  const cancel = clock.setTimer(options.deadlineMs, () => controller.abort(options.onDeadline()));
  const aborted = new Promise<never>((_, reject) => {
    controller.signal.addEventListener("abort", () => reject(controller.signal.reason), {
      once: true,
    });
  });
  try {
    return await Promise.race([work(controller.signal), aborted]);
  } finally {
    cancel();
    options.signal?.removeEventListener("abort", forward);
  }
}
