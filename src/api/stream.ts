import type { ServerResponse } from "node:http";
import type { Clock } from "../runtime/clock.ts";

/** A client that takes nothing for so long is cut off. */
const STALLED_MS = 30_000;

/** Resolves when there is room for more. Rejects when `signal` aborts, which it does when the client is gone. */
export async function writePart(
  response: ServerResponse,
  part: string | Uint8Array,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  signal.throwIfAborted();
  if (response.write(part)) return;
  const drained = Promise.withResolvers<void>();
  const cancel = clock.setTimer(STALLED_MS, () => response.destroy());
  const onAbort = () => drained.reject(signal.reason);
  const onDrain = () => drained.resolve();
  response.once("drain", onDrain);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await drained.promise;
  } finally {
    cancel();
    response.removeListener("drain", onDrain);
    signal.removeEventListener("abort", onAbort);
  }
}
