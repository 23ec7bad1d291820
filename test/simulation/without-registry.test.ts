import assert from "node:assert/strict";
import { test } from "node:test";
import type { Action } from "./plan.ts";
import { WORKLOAD } from "./workload.ts";
import { World } from "./world.ts";

const UNITS = ["pinned", "vault", "logger", "once"].map((name) =>
  WORKLOAD.findIndex((work) => work.name === `${name}.service`),
);
/** What runs on the machine of a unit, some time after that was switched off and on in the middle of an outage. */
async function afterBoot(
  unit: string,
  before: (machine: number) => readonly Action[] = () => [],
): Promise<readonly string[]> {
  const world = new World({ seed: 1, machines: 3, traces: false });
  try {
    world.startAll();
    await world.advance(5_000);
    await world.command("start", UNITS);
    await world.advance(15_000);
    const machine = world.machines.findIndex(({ memory }) => memory.isHeld(unit));
    for (const action of before(machine)) {
      await world.act(action);
      await world.advance(5_000);
    }
    await world.act({ type: "outage", forMs: 120_000 });
    await world.act({ type: "power", machine, offMs: 1_000 });
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

test("a machine that boots while the registry is away starts what it ran", async () => {
  assert.deepEqual(await afterBoot("pinned.service"), ["logger.service", "pinned.service"]);
});

test("a fenced unit does not start while the registry is away", async () => {
  const running = await afterBoot("vault.service");
  assert.ok(running.includes("logger.service"));
  assert.ok(!running.includes("vault.service"));
});

test("what a machine has handed over does not start when it boots while the registry is away", async () => {
  const handOver = (machine: number): readonly Action[] => [
    { type: "stop", machine, downMs: 60_000 },
  ];
  assert.deepEqual(await afterBoot("pinned.service", handOver), []);
});
