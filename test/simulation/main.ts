import { parseArgs } from "node:util";
import { checkPlans, failureText } from "./check-plans.ts";
import { runPlan } from "./run-plan.ts";

/**
 * npm run sim -- [--seed N] [--runs M] [--path P]: runs plans of faults against a simulated cluster. Ends with status 1 at the first thing that must
 * not be, and says how to see it again; with --path its whole trace.
 */
const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "1000" },
    path: { type: "string" },
  },
});
const seed = Number(values.seed);
const runs = Number(values.runs);
console.log(`simulation: seed ${seed}, ${runs} runs`);
const failure = await checkPlans({
  seed,
  runs,
  path: values.path,
  twiceEvery: 10,
  onRun: (done) => {
    if (done % 100 === 0) console.log(`${done} of ${runs}`);
  },
});
if (failure !== undefined) {
  if (values.path !== undefined) {
    await runPlan(failure.plan, { traces: true }).catch((error: Error & { trace?: string[] }) => {
      console.log(error.trace?.join("\n"));
    });
  }
  console.error(`FAILED ${failureText(seed, failure)}`);
  process.exitCode = 1;
}
