import { parentPort } from "node:worker_threads";
import { checkPlans, runTwice } from "./check-plans.ts";
import { runPlan } from "./run-plan.ts";
import type { Job, JobResult } from "./simulator.ts";

/** One job at a time: whoever asks waits for the answer. */
parentPort?.on("message", async (job: Job) => {
  parentPort?.postMessage(await done(job));
});

async function done(job: Job): Promise<JobResult> {
  try {
    switch (job.type) {
      case "run": {
        const { effects } = await runPlan(job.plan);
        return { type: "done", effects, failure: undefined };
      }
      case "run-twice":
        await runTwice(job.plan);
        return { type: "done", effects: [], failure: undefined };
      case "check": {
        const failure = await checkPlans({ ...job, twiceEvery: 10 });
        return { type: "done", effects: [], failure };
      }
    }
  } catch (error) {
    return {
      type: "failed",
      message: error instanceof Error ? (error.stack ?? "") : String(error),
    };
  }
}
