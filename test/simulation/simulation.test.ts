import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { IS_QUICK } from "../support/quick.ts";
import { failureText } from "./check-plans.ts";
import { planText } from "./plan.ts";
import { LIFE_EFFECTS_MAX, LIVES, lifeOf, SCENARIOS, type Scenario } from "./scenarios.ts";
import { Simulator } from "./simulator.ts";

/** FLEET_SIM_SEED=N runs other plans. */
const SEED = Number(process.env["FLEET_SIM_SEED"] ?? 1);
const RUNS = 100;
/** `npm run check` sees whether all goes well; whether it goes the same way twice, and after each single step, `npm test` does. */
const TYPE = IS_QUICK ? "run" : "run-twice";
const EFFECTS_STRIDE = IS_QUICK ? 3 : 1;

describe("simulated cluster", () => {
  const simulator = new Simulator();
  after(() => simulator.close());

  for (const scenario of SCENARIOS) {
    const { plan } = scenario;
    test(scenario.name, () => explained(scenario, () => simulator.run({ type: TYPE, plan })));
  }

  for (const life of LIVES) {
    test(`the ${life}'s daemon is killed between any two steps of a unit's life`, async () => {
      const { effects } = await simulator.run({ type: "run", plan: lifeOf(life).plan });
      const last = Math.max(...effects);
      assert.ok(last > 20 && last < LIFE_EFFECTS_MAX, `${last} effects`);
      // Right after one effect is right before the next.
      for (let effect = 1; effect <= last; effect += EFFECTS_STRIDE) {
        const scenario = lifeOf(life, { effect, moment: "after" });
        const { plan } = scenario;
        await explained(scenario, () => simulator.run({ type: "run", plan }));
      }
    });
  }

  test(`${RUNS} plans of faults, seed ${SEED}`, async () => {
    const { failure } = await simulator.run({ type: "check", seed: SEED, runs: RUNS });
    if (failure !== undefined) assert.fail(failureText(SEED, failure));
  });
});

async function explained({ name, plan }: Scenario, run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (error instanceof Error) {
      error.message = `${error.message}\n${name}: ${planText(plan)}\nreplay: npm run sim -- --scenario ${JSON.stringify(name)}`;
    }
    throw error;
  }
}
