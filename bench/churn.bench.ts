import { setTimeout as pause } from "node:timers/promises";
import type { UnitsBody } from "../src/api/protocol.ts";
import { Lab } from "../test/support/lab.ts";
import type { Bench, BenchContext } from "./harness.ts";
import { destroyAll, fleetctl, SLEEPER, writeUnits } from "./lab-units.ts";

const UNITS = 100;
const CHANGES_A_SECOND = 50;

export const bench: Bench = {
  about:
    "three machines, 50 changes a second: from the API's answer until list-units shows the state",
  references: {
    "churn.p50_ms": "target: 50 ms",
    "churn.p99_ms": "target: 300 ms",
  },
  async run(context) {
    const lab = await Lab.open({ machines: 3 });
    try {
      const names = await writeUnits(lab, { prefix: "churn", count: UNITS, text: SLEEPER });
      await fleetctl(lab, "start", ...names);
      const delays = await churn(lab, names, context);
      const at = (share: number) => delays[Math.floor((delays.length - 1) * share)] ?? Number.NaN;
      context.record({ name: "churn.p50_ms", unit: "ms", value: at(0.5) });
      context.record({ name: "churn.p99_ms", unit: "ms", value: at(0.99) });
      context.record({ name: "churn.changes", unit: "changes", value: delays.length });
      await destroyAll(lab, names);
    } finally {
      await lab.close();
    }
  },
};

/** Stops what runs and starts what is stopped, one unit after the other: each has two seconds. In order of length. */
async function churn(
  lab: Lab,
  names: readonly string[],
  context: BenchContext,
): Promise<readonly number[]> {
  const endpoint = await lab.endpoint(1);
  const delays: number[] = [];
  const changes: Promise<void>[] = [];
  const count = CHANGES_A_SECOND * (context.seconds ?? 60);
  const beganMs = performance.now();
  for (let index = 0; index < count; index++) {
    await pause(Math.max(0, beganMs + (index * 1_000) / CHANGES_A_SECOND - performance.now()));
    const name = names[index % names.length] ?? "";
    const starts = Math.floor(index / names.length) % 2 === 1;
    changes.push(
      change(lab, endpoint, { name, starts }).then((ms) => {
        delays.push(ms);
      }),
    );
  }
  await Promise.all(changes);
  context.note(`${count} changes in ${Math.round((performance.now() - beganMs) / 1_000)} s`);
  return delays.sort((a, b) => a - b);
}

/** Milliseconds from the answer until the unit is listed as it was asked to be. */
async function change(
  lab: Lab,
  endpoint: string,
  what: { readonly name: string; readonly starts: boolean },
): Promise<number> {
  const { name, starts } = what;
  const desired = starts ? "launched" : "loaded";
  await lab.api(1, "/fleet/v2/apply", { changes: [{ type: "desire", name, desired }] });
  const answeredMs = performance.now();
  const active = starts ? "active" : "inactive";
  const endMs = answeredMs + 60_000;
  while (performance.now() < endMs) {
    const response = await fetch(`${endpoint}/fleet/v2/units?unit=${name}`);
    const { units } = (await response.json()) as UnitsBody;
    if (units[0]?.states.some((state) => state.active === active)) {
      return performance.now() - answeredMs;
    }
    await pause(10);
  }
  throw new Error(`${name} is not ${active} a minute after the answer`);
}
