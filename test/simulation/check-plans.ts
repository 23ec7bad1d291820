import fc from "fast-check";
import { type Plan, plans, planText } from "./plan.ts";
import { runPlan } from "./run-plan.ts";

export interface CheckOptions {
  readonly seed: number;
  readonly runs: number;
  /** Where fast-check found a failure: replays that one plan. */
  readonly path?: string | undefined;
  /** Every so many plans are run twice and have to leave the same trace (I10). */
  readonly twiceEvery: number;
  readonly onRun?: (done: number) => void;
}

export interface Failure {
  readonly plan: Plan;
  readonly message: string;
  readonly path: string;
}

/** Runs plans made from the seed; gives back the first that fails, made as small as it goes. */
export async function checkPlans(options: CheckOptions): Promise<Failure | undefined> {
  const { seed, runs, path, twiceEvery, onRun } = options;
  let done = 0;
  const property = fc.asyncProperty(plans, async (plan) => {
    done += 1;
    if (done % twiceEvery === 0) await runTwice(plan);
    else await runPlan(plan);
    onRun?.(done);
  });
  const result = await fc.check(property, {
    seed,
    numRuns: runs,
    ...(path === undefined ? {} : { path, endOnFailure: true }),
  });
  const [plan] = result.counterexample ?? [];
  if (!result.failed || plan === undefined) return undefined;
  const error = result.errorInstance;
  const message = error instanceof Error ? error.message : String(error);
  return { plan, message, path: result.counterexamplePath ?? "" };
}

/** I10: the same plan, the same trace. */
export async function runTwice(plan: Plan): Promise<void> {
  const { trace: first } = await runPlan(plan, { traces: true });
  const { trace: second } = await runPlan(plan, { traces: true });
  const at = first.findIndex((line, index) => line !== second[index]);
  if (at === -1 && first.length === second.length) return;
  throw new Error(
    `I10: the same plan gave another trace, first difference in line ${at}:\n${first[at]}\n${second[at]}`,
  );
}

export function failureText(seed: number, { plan, message, path }: Failure): string {
  return [
    message,
    planText(plan),
    JSON.stringify(plan),
    `replay: npm run sim -- --seed ${seed} --path ${path}`,
  ].join("\n");
}
