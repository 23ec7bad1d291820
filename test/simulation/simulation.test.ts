import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkPlans, failureText, runTwice } from "./check-plans.ts";
import { planText } from "./plan.ts";
import { runPlan } from "./run-plan.ts";
import { killedAt, SCENARIOS, type Scenario } from "./scenarios.ts";

/** FLEET_SIM_SEED=N runs other plans. */
const SEED = Number(process.env["FLEET_SIM_SEED"] ?? 1);
const RUNS = 100;
/** The story of `killedAt` has no more effects than that. */
const EFFECTS = 75;

describe("simulated cluster", () => {
  for (const scenario of SCENARIOS) {
    test(scenario.name, async () => await explained(scenario, () => runTwice(scenario.plan)));
  }

  test("a daemon is killed between any two steps", async () => {
    for (let effect = 1; effect <= EFFECTS; effect += 1) {
      for (const moment of ["before", "after"] as const) {
        const scenario = killedAt(effect, moment);
        await explained(scenario, async () => void (await runPlan(scenario.plan)));
      }
    }
  });

  test(`${RUNS} plans of faults, seed ${SEED}`, async () => {
    const failure = await checkPlans({ seed: SEED, runs: RUNS, twiceEvery: 10 });
    assert.ok(failure === undefined, failure && failureText(SEED, failure));
  });
});

async function explained({ name, plan }: Scenario, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (error instanceof Error) {
      error.message = `${error.message}\n${name}: ${planText(plan)}\nreplay: npm run sim -- --scenario ${JSON.stringify(name)}`;
    }
    throw error;
  }
}
