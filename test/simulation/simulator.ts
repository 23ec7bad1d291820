import { Worker } from "node:worker_threads";
import type { Failure } from "./check-plans.ts";
import type { Plan } from "./plan.ts";

/** What a simulator can be asked. */
export type Job =
  | { readonly type: "run" | "run-twice"; readonly plan: Plan }
  | { readonly type: "check"; readonly seed: number; readonly runs: number };

export type JobResult =
  | {
      readonly type: "done";
      readonly effects: readonly number[];
      readonly failure: Failure | undefined;
    }
  | { readonly type: "failed"; readonly message: string };

/**
 * Runs plans in a thread of its own. The test runner follows every promise of the threads it runs tests in, and a simulation makes millions:
 * it takes four times as long there.
 */
export class Simulator {
  readonly #worker = new Worker(new URL("simulator-worker.ts", import.meta.url));

  async run(job: Job): Promise<Extract<JobResult, { type: "done" }>> {
    const answer = new Promise<JobResult>((resolve, reject) => {
      this.#worker.once("message", resolve);
      this.#worker.once("error", reject);
    });
    this.#worker.postMessage(job);
    const result = await answer;
    this.#worker.removeAllListeners("error");
    if (result.type === "failed") throw new Error(result.message);
    return result;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
