import { backoffMs } from "../runtime/backoff.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { errorMessage, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import {
  type Change,
  type KeyValue,
  type Range,
  type Revision,
  readAll,
  type Store,
  type StoreHeader,
} from "./store.ts";

export interface FollowOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly range: Range;
  readonly signal: AbortSignal;
  /** The whole range as of one revision. What was known before is void. Throwing `conflict` ends the following. */
  readonly onSnapshot: (items: readonly KeyValue[], header: StoreHeader) => void | Promise<void>;
  /** What changed since, one revision per call, in order. */
  readonly onChanges: (changes: readonly Change[], revision: number) => void | Promise<void>;
}

const RETRY = { firstMs: 100, maxMs: 2_000 };

/** Reads a range and follows its changes, reading it anew whenever the watch cannot go on. Until `signal` aborts; returns then. */
export async function follow(options: FollowOptions): Promise<void> {
  const { store, clock, logger, range, signal } = options;
  let failures = 0;
  while (!signal.aborted) {
    try {
      const revision = await takeSnapshot(options);
      failures = 0;
      const watch = store.watch({ range, fromRevision: revision + 1, signal });
      for await (const batch of watch) {
        if (batch.type === "reset") {
          logger.info("watch-reset", { range, why: batch.why });
          break;
        }
        await options.onChanges(batch.changes, batch.revision);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!isFleetError(error) || !error.retriable) throw error;
      failures += 1;
      logger.warn("read-failed", { range, error: errorMessage(error) });
    }
    // Also after a reset: a store that resets again and again must not be asked without a pause.
    await sleep(clock, backoffMs(Math.max(1, failures), RETRY), signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}

/** A function of its own: as a local of `follow`, the snapshot would be kept in memory for as long as the watch goes on. */
async function takeSnapshot(options: FollowOptions): Promise<Revision> {
  const { store, range, signal, onSnapshot } = options;
  const { header, items } = await readAll(store, range, { signal });
  await onSnapshot(items, header);
  return header.revision;
}
