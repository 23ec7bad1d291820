import assert from "node:assert/strict";
import { test } from "node:test";
import { Agent } from "../../src/agent/agent.ts";
import { MemoryHost } from "../../src/agent/memory-host.ts";
import { MemoryMachine } from "../../src/agent/memory-machine.ts";
import { MemorySystemd } from "../../src/agent/memory-systemd.ts";
import { EngineSwitch } from "../../src/daemon/engine-switch.ts";
import { runEngine } from "../../src/engine/engine.ts";
import { RECORD_FORMAT } from "../../src/registry/records.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { manifestHash } from "../../src/units/manifest.ts";
import { SwitchedStore } from "../api/switched-store.ts";
import { openVirtualWorld, putRecord, type VirtualWorld } from "../support/virtual-world.ts";

// Far beyond what is measured: keeping a lease alive is not a cost of the change.
const TTL_MS = 3_600_000;

interface Daemon {
  readonly store: SwitchedStore;
  readonly machine: MemoryMachine;
  readonly stop: () => Promise<void>;
}

function startDaemon(world: VirtualWorld, index: number): Daemon {
  const { clock, random, keys } = world;
  const store = new SwitchedStore(world.store);
  const machine = new MemoryMachine({ clock });
  const host = new MemoryHost({ machineId: `m${index}`, random });
  const nonce = random.id();
  const shared = { store, keys, clock, random, nonce, logger: silentLogger };
  const life = new AbortController();
  const engine = new EngineSwitch((expected, signal) =>
    runEngine({ ...shared, machineId: host.machineId, format: RECORD_FORMAT, expected, signal }),
  );
  const agent = new Agent({
    ...shared,
    host,
    systemd: new MemorySystemd(machine),
    ttlMs: TTL_MS,
    handbackMs: 1_000,
    startsWithoutRegistry: false,
    startParallelism: 2,
    describe: async () => ({
      ...(await host.facts()),
      metadata: {},
      version: "0",
      format: RECORD_FORMAT,
    }),
    onStatus: (status) => {
      if (status.type === "attached") engine.on(status);
    },
  });
  const ended = agent.run(life.signal);
  const stop = async () => {
    await engine.stop();
    life.abort();
    await ended;
  };
  return { store, machine, stop };
}

async function submit({ store, keys }: VirtualWorld, unit: string): Promise<void> {
  const manifest = { content: `[Service]\nExecStart=/bin/${unit}\n`, dropIns: [] };
  const hash = manifestHash(manifest);
  await putRecord(store, keys.file(hash), manifest);
  const record = { desired: "launched", manifest: hash, restarts: 0, global: false };
  await putRecord(store, keys.unit(unit), record);
}

const calls = ({ store }: Daemon) => store.reads + store.transactions + store.watches;

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
