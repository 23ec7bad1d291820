import { Worker } from "node:worker_threads";

/** A thread as fleet-ambassador starts it for its data plane. */
export function startPlaneThread(): Worker {
  return new Worker(new URL("../../src/ambassador/main.ts", import.meta.url));
}
