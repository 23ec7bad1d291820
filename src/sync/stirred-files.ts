import { type FSWatcher, watch } from "node:fs";
import type { Clock } from "../runtime/clock.ts";

/** Files that are being written stir several times: what comes together is one change. */
const SETTLE_MS = 50;

export interface WatchedPath {
  readonly path: string;
  /** Folders below it too. */
  readonly deep: boolean;
}

/**
 * Resolves soon after something below one of the directories changed, or when `pollMs` have passed: a watch may miss changes (network file
 * systems, limits of inotify), so it only makes the answer come earlier. Also when `signal` aborts.
 */
export async function stirredFiles(options: {
  readonly clock: Clock;
  readonly paths: readonly WatchedPath[];
  readonly pollMs: number;
  readonly signal: AbortSignal | undefined;
}): Promise<void> {
  const { clock, paths, pollMs, signal } = options;
  if (signal?.aborted) return;
  const watchers: FSWatcher[] = [];
  let cancel = () => {};
  let onAbort = () => {};
  try {
    await new Promise<void>((resolve) => {
      cancel = clock.setTimer(pollMs, resolve);
      const stir = () => {
        cancel();
        cancel = clock.setTimer(SETTLE_MS, resolve);
      };
      for (const path of paths) {
        const watcher = tryWatch(path, stir);
        if (watcher !== undefined) watchers.push(watcher);
      }
      onAbort = resolve;
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  } finally {
    cancel();
    signal?.removeEventListener("abort", onAbort);
    for (const watcher of watchers) watcher.close();
  }
}

function tryWatch({ path, deep }: WatchedPath, stir: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(path, { recursive: deep, persistent: true }, stir);
    // The directory went away: looking from time to time goes on.
    watcher.on("error", () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}
