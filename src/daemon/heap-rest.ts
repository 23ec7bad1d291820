import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { CancelTimer, Clock } from "../runtime/clock.ts";

/** How often the process's own CPU time is looked at. */
const LOOK_MS = 5_000;
/** Less of a core than that is rest, more than that is work. */
const REST_SHARE = 0.02;
const WORK_SHARE = 0.05;

/**
 * Collects garbage once when the daemon comes to rest after work. V8 leaves the garbage of a burst where it is as long as nothing is allocated, and a
 * daemon at rest allocates nothing for hours: some 20 MB on every machine.
 */
export function collectAtRest(clock: Clock, signal: AbortSignal): void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect !== "function") return;
  let hasWorked = true;
  let before = process.cpuUsage();
  let cancel: CancelTimer;
  const look = () => {
    const { user, system } = process.cpuUsage(before);
    const share = (user + system) / 1_000 / LOOK_MS;
    if (share > WORK_SHARE) hasWorked = true;
    if (hasWorked && share < REST_SHARE) {
      hasWorked = false;
      collect({ type: "major", execution: "sync", flavor: "last-resort" });
    }
    before = process.cpuUsage();
    cancel = clock.setTimer(LOOK_MS, look);
  };
  cancel = clock.setTimer(LOOK_MS, look);
  signal.addEventListener("abort", () => cancel(), { once: true });
}
