import { parseArgs } from "node:util";
import { checkPlans, failureText } from "./check-plans.ts";
import type { Plan } from "./plan.ts";
import { runPlan } from "./run-plan.ts";
import { allScenarios } from "./scenarios.ts";
import { InvariantError } from "./world.ts";

/**
 * npm run sim -- [--seed N] [--runs M] [--path P] [--scenario NAME]: runs plans of faults against a simulated cluster. Ends with status 1 at the first thing that must
 * not be, and says how to see it again; with --path, or for a named scenario, its whole trace.
 */
const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "1000" },
    path: { type: "string" },
    scenario: { type: "string" },
  },
});
if (values.scenario !== undefined) {
  const plan = allScenarios().find(({ name }) => name === values.scenario)?.plan;
  if (plan === undefined) throw new Error(`there is no scenario "${values.scenario}"`);
  await show(plan);
  process.exit();
}
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
  if (values.path !== undefined) await show(failure.plan);
  console.error(`FAILED ${failureText(seed, failure)}`);
  process.exitCode = 1;
}

/** Prints the whole trace. */
async function show(plan: Plan): Promise<void> {
  try {
    const { trace } = await runPlan(plan, { traces: true });
    console.log(trace.join("\n"));
  } catch (error) {
    if (error instanceof InvariantError) console.log(error.trace.join("\n"));
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
