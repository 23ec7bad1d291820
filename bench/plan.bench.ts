import { fork } from "node:child_process";
import { once } from "node:events";
import type { Bench } from "./harness.ts";
import type { PlanFigures, PlanRun } from "./plan-process.ts";

const WHOLE = { machines: 5_000, units: 150_000 };
/** A tenth of everything. */
const TENTH = { machines: 500, units: 15_000 };

/**
 * The planner alone, without a registry. Cold: every index is built from the facts and one plan() of everything made. A change or a
 * loss: until its tasks have come back as facts and there is nothing left to plan. CPU time of all threads on one core for the first (two
 * cores may be one with two threads, which slow each other down: that would count as work), time on the clock for the others, which therefore
 * want a quiet machine. The oracle judges every placement of the cold plan, and every so manieth choice.
 */
export const bench: Bench = {
  about: "the planner: 150,000 units on 5,000 machines from cold, then one change at a time",
  references: {
    "plan.cold_s": "at most 3 s of one core; Firmament: below 1 s on 12,500 machines",
    "plan.rss_mb": "at most 1024 MB",
    "plan.change_p50_ms": "at most 0.2 ms",
    "plan.change_p99_ms": "at most 2 ms; Swarm: 400 ms at 1,000 machines",
    "plan.machine_loss_p99_ms": "at most 20 ms",
    "plan.growth_10x": "at most 12",
  },
  async run({ rounds, random, record, note }) {
    for (let round = 1; round <= rounds; round += 1) {
      const seed = Math.floor(random.fraction() * 2 ** 31);
      const small = await runOnce({ ...TENTH, seed, whole: false });
      const whole = await runOnce({ ...WHOLE, seed, whole: true });
      record({ name: "plan.cold_s", unit: "s", value: whole.coldMs / 1000 });
      record({ name: "plan.rss_mb", unit: "MB", value: whole.rssMb });
      const ms = { unit: "ms" };
      record({ name: "plan.change_p50_ms", ...ms, value: percentile(whole.changesMs, 50) });
      record({ name: "plan.change_p99_ms", ...ms, value: percentile(whole.changesMs, 99) });
      record({ name: "plan.machine_loss_p99_ms", ...ms, value: percentile(whole.lossesMs, 99) });
      record({ name: "plan.growth_10x", unit: "times", value: whole.coldMs / small.coldMs });
      const where = whole.isOnOneCore ? "on one core" : "on any core (there is no taskset)";
      note(`round ${round}: ${(whole.coldMs / 1000).toFixed(2)} s ${where}, the oracle agrees`);
    }
  },
};

async function runOnce(run: PlanRun): Promise<PlanFigures> {
  const child = fork(`${import.meta.dirname}/plan-process.ts`, [JSON.stringify(run)]);
  const ended = once(child, "exit");
  const [figures] = await Promise.race([
    once(child, "message"),
    ended.then(([code]) => {
      throw new Error(`the planner's process ended with ${code}`);
    }),
  ]);
  await ended;
  return figures as PlanFigures;
}

function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil((sorted.length * percent) / 100) - 1] ?? Number.NaN;
}
