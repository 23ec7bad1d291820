import assert from "node:assert/strict";
import { test } from "node:test";
import { startDaemon, submit, type VirtualDaemon } from "../support/virtual-daemon.ts";
import { openVirtualWorld } from "../support/virtual-world.ts";

const calls = ({ store }: VirtualDaemon) => store.reads + store.transactions + store.watches;

/** Calls to the registry that one more unit takes, of each daemon: those of the leader, of who got the unit, and of all others. */
async function costOfOne(machines: number, units: number): Promise<readonly number[]> {
  const world = openVirtualWorld();
  const daemons = Array.from({ length: machines }, (_, index) => startDaemon(world, index));
  try {
    await world.clock.advance(10_000);
    for (let index = 0; index < units; index += 1) await submit(world, `u${index}.service`);
    await world.clock.advance(30_000);
    const running = () => daemons.flatMap(({ machine }) => machine.runs).length;
    assert.equal(running(), units);
    const before = daemons.map(calls);
    await submit(world, "new.service");
    await world.clock.advance(5_000);
    assert.equal(running(), units + 1);
    const costs = daemons.map((daemon, index) => calls(daemon) - (before[index] ?? 0));
    return costs.sort((a, b) => b - a);
  } finally {
    await Promise.all(daemons.map(({ stop }) => stop()));
    await world.store.close();
  }
}

test("a change costs the same calls to the registry in a large cluster, and nothing on machines that it is not about", async () => {
  const [small, large] = [await costOfOne(3, 10), await costOfOne(20, 200)];
  for (const costs of [small, large]) {
    assert.ok((costs[0] ?? 0) > 0, "somebody placed and started it");
    assert.deepEqual(costs.slice(2), costs.slice(2).fill(0), `${costs}`);
  }
  // The leader may be who got the unit.
  const sum = (costs: readonly number[]) => costs.reduce((total, cost) => total + cost, 0);
  assert.equal(sum(large), sum(small));
});
