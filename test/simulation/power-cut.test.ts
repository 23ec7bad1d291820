import assert from "node:assert/strict";
import { test } from "node:test";
import { WORKLOAD } from "./workload.ts";
import { World } from "./world.ts";

const NAMES = ["web1", "web2", "db", "logger", "slow"].map((name) => `${name}.service`);
const UNITS = NAMES.map((name) => WORKLOAD.findIndex((work) => work.name === name));

/** Which machines hold each unit. */
function places(world: World): Readonly<Record<string, readonly string[]>> {
  const holders = (unit: string) =>
    world.machines.filter(({ memory }) => memory.isHeld(unit)).map(({ name }) => name);
  return Object.fromEntries(NAMES.map((unit) => [unit, holders(unit)]));
}

test("after a power cut of everything no unit is moved off a machine that boots more slowly than the others", async () => {
  for (const late of [0, 1, 2]) {
    // Before the leader's lease has ended, after it, after the records of the last boot have ended, and just within the grace.
    for (const lateMs of [3_000, 7_000, 11_000, 20_000]) {
      const world = new World({ seed: lateMs + late, machines: 3, traces: false });
      try {
        world.startAll();
        await world.advance(5_000);
        await world.command("start", UNITS);
        await world.advance(60_000);
        const before = places(world);
        for (const machine of [0, 1, 2]) {
          await world.act({ type: "power", machine, offMs: machine === late ? lateMs : 1_000 });
        }
        await world.advance(60_000);
        assert.deepEqual(places(world), before, `machine ${late} was ${lateMs} ms late`);
      } finally {
        await world.close();
      }
    }
  }
});
