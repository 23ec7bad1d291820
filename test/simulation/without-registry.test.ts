import assert from "node:assert/strict";
import { test } from "node:test";
import type { Action } from "./plan.ts";
import { WORKLOAD } from "./workload.ts";
import { World } from "./world.ts";

const UNITS = ["pinned", "vault", "logger", "once"].map((name) =>
  WORKLOAD.findIndex((work) => work.name === `${name}.service`),
);
const BOOT_OFF_MS = 1_000;

/** What runs on the machine of a unit some time after each of these has befallen it, 5 s after the other. */
async function runningAfter(
  unit: string,
  what: (machine: number) => readonly Action[],
): Promise<readonly string[]> {
  const world = new World({ seed: 1, machines: 3, traces: false });
  try {
    world.startAll();
    await world.advance(5_000);
    await world.command("start", UNITS);
    await world.advance(15_000);
    const machine = world.machines.findIndex(({ memory }) => memory.isHeld(unit));
    for (const action of what(machine)) {
      await world.advance(5_000);
      await world.act(action);
    }
    await world.advance(30_000);
    const runs = world.machines[machine]?.memory.runs ?? [];
    return runs
      .filter(({ endMs }) => endMs === undefined)
      .map((run) => run.unit)
      .sort();
  } finally {
    await world.close();
  }
}

/** It is switched off and on in the middle of an outage. */
function bootAlone(machine: number): readonly Action[] {
  return [
    { type: "outage", forMs: 120_000 },
    { type: "power", machine, offMs: BOOT_OFF_MS },
  ];
}

test("a machine that boots while the registry is away starts what it ran", async () => {
  assert.deepEqual(await runningAfter("pinned.service", bootAlone), [
    "logger.service",
    "pinned.service",
  ]);
});

test("a fenced unit does not start while the registry is away", async () => {
  const running = await runningAfter("vault.service", bootAlone);
  assert.ok(running.includes("logger.service"));
  assert.ok(!running.includes("vault.service"));
});

test("what a machine has handed over does not start when it boots while the registry is away", async () => {
  const handOver = (machine: number): readonly Action[] => [
    { type: "stop", machine, downMs: 60_000 },
    ...bootAlone(machine),
  ];
  assert.deepEqual(await runningAfter("pinned.service", handOver), []);
});

test("a machine that is detached when it boots starts nothing when the registry goes away after that", async () => {
  const wiped = (machine: number): readonly Action[] => [
    { type: "wipe" },
    { type: "power", machine, offMs: BOOT_OFF_MS },
    { type: "outage", forMs: 120_000 },
  ];
  assert.deepEqual(await runningAfter("pinned.service", wiped), []);
});
