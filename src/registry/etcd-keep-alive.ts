import { FleetError } from "../runtime/errors.ts";
import type { SendContext } from "./etcd-client.ts";
import type { Lease } from "./store.ts";

/**
 * One keep-alive over a stream of its own, so that an answer can't belong to an earlier question. A machine does this every few
 * seconds; a lasting stream would save nothing that counts.
 */
export async function keepAliveOnce(
  leaseId: string,
  { connection, token, signal }: SendContext,
): Promise<Lease | undefined> {
  const stream = await connection.openKeepAliveStream(token);
  let onAbort: (() => void) | undefined;
  let isAnswered = false;
  try {
    const ttlSeconds = await new Promise<number>((resolve, reject) => {
      onAbort = () => reject(signal.reason);
      stream.on("data", (answer) => resolve(Number(answer.TTL)));
      stream.on("error", reject);
      stream.on("end", () => reject(endedEarly()));
      signal.addEventListener("abort", onAbort, { once: true });
      signal.throwIfAborted();
      stream.write({ ID: leaseId });
    });
    isAnswered = true;
    return ttlSeconds > 0 ? { leaseId, ttlMs: ttlSeconds * 1_000 } : undefined;
  } finally {
    if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
    // etcd ends a stream that has ended here; to cancel one makes an error, with its stack, each time.
    if (isAnswered) stream.end();
    else stream.cancel();
  }
}

function endedEarly(): FleetError {
  return new FleetError("store-unavailable", "etcd ended a keep-alive without an answer", {
    retriable: true,
  });
}
