import assert from "node:assert/strict";
import { Lab } from "../test/support/lab.ts";
import { followUnits, isActive } from "./follow-units.ts";
import type { Bench, BenchContext } from "./harness.ts";
import { destroyAll, fleetctl, SLEEPER, writeUnits } from "./lab-units.ts";

const COUNTS = [10, 100, 300];

export const bench: Bench = {
  about: "three machines: from the client's start until N units are active everywhere",
  references: {
    "start.10": "fleet: 2.5-4.8 s for one unit",
    "start.100": "fleet: about 100 units a machine, then no more",
    "start.300": "systemd alone: 1.1 s for 500 on one machine",
  },
  async run(context) {
    const lab = await Lab.open({ machines: 3 });
    try {
      for (const count of COUNTS) {
        for (let round = 1; round <= context.rounds; round++) {
          const value = await startOnce(lab, { count, round }, context);
          context.record({ name: `start.${count}`, unit: "s", value });
        }
      }
    } finally {
      await lab.close();
    }
  },
};

/** Seconds. Names are new in each round, so that nothing of the last one helps or hinders. */
async function startOnce(
  lab: Lab,
  load: { readonly count: number; readonly round: number },
  context: BenchContext,
): Promise<number> {
  const prefix = `start-${load.count}-${load.round}`;
  const names = await writeUnits(lab, { prefix, count: load.count, text: SLEEPER });
  const active = followUnits({
    endpoint: await lab.endpoint(1),
    units: names,
    deadlineMs: 180_000,
    until: (units) => names.every((name) => isActive(units.get(name))),
  });
  const beganMs = performance.now();
  const [endMs] = await Promise.all([active, fleetctl(lab, "start", ...names)]);
  const value = (endMs - beganMs) / 1000;
  const listed = await fleetctl(lab, "list-units", "--no-legend", "--fields=unit,active");
  const running = listed.split("\n").filter((line) => /\sactive\s*$/.test(line));
  assert.equal(running.length, load.count, "list-units shows all units as active");
  context.note(`${load.count} units, round ${load.round}: ${value.toFixed(2)} s`);
  await destroyAll(lab, names);
  return value;
}
