import { missingManifests, unsettled } from "./convergence.ts";
import type { Plan } from "./plan.ts";
import { TUNING } from "./tuning.ts";
import { InvariantError, World } from "./world.ts";

export interface RunResult {
  readonly trace: readonly string[];
  readonly virtualMs: number;
  /** Of the daemons that run at the end, by machine. */
  readonly effects: readonly number[];
}

const START_UP_MS = 2_000;
const POLL_MS = 2_000;
const QUIET_MS = 15_000;

/** Runs a plan and throws `InvariantError` at the first thing that must not be. */
export async function runPlan(plan: Plan, options: { traces?: boolean } = {}): Promise<RunResult> {
  const world = new World({
    seed: plan.seed,
    machines: plan.machines,
    traces: options.traces ?? false,
  });
  try {
    world.startAll();
    await world.advance(START_UP_MS);
    await world.command("start", plan.units);
    for (const { afterMs, action } of plan.steps) {
      await world.advance(afterMs);
      await world.act(action);
    }
    await world.advance(plan.tailMs);
    await world.heal();
    await converge(world);
    const effects = world.machines.map(({ daemon }) => daemon?.gate.effects ?? 0);
    return { trace: world.trace, virtualMs: world.nowMs, effects };
  } catch (error) {
    if (error instanceof InvariantError) error.trace = world.trace;
    throw error;
  } finally {
    await world.close();
  }
}

/** All has to be well at two looks in a row that are some time apart: a machine may have yet to notice what befell it last. */
async function converge(world: World): Promise<void> {
  const untilMs = world.nowMs + TUNING.convergeMs;
  let isQuiet = false;
  for (;;) {
    await world.tend();
    const problems = [...unsettled(world), ...missingManifests(world)];
    if (problems.length === 0 && isQuiet) return;
    isQuiet = problems.length === 0;
    if (world.nowMs >= untilMs && !isQuiet) {
      throw new InvariantError("convergence", problems.slice(0, 5).join("; "), world.nowMs);
    }
    await world.advance(isQuiet ? QUIET_MS : POLL_MS);
  }
}
