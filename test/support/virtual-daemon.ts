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
import { putRecord, type VirtualWorld } from "./virtual-world.ts";

// Far beyond what is measured: keeping a lease alive is not a cost of the change.
const TTL_MS = 3_600_000;

/** Engine and agent of one machine, on a virtual clock. */
export interface VirtualDaemon {
  readonly store: SwitchedStore;
  readonly machine: MemoryMachine;
  readonly systemd: MemorySystemd;
  readonly stop: () => Promise<void>;
}

export function startDaemon(world: VirtualWorld, index: number): VirtualDaemon {
  const { clock, random, keys } = world;
  const store = new SwitchedStore(world.store);
  const machine = new MemoryMachine({ clock });
  const systemd = new MemorySystemd(machine);
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
    systemd,
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
  return { store, machine, systemd, stop };
}

/** The unit is wanted launched from now on. */
export async function submit(
  { store, keys }: VirtualWorld,
  unit: string,
  content = `[Service]\nExecStart=/bin/${unit}\n`,
): Promise<void> {
  const manifest = { content, dropIns: [] };
  const hash = manifestHash(manifest);
  await putRecord(store, keys.file(hash), manifest);
  const record = { desired: "launched", manifest: hash, restarts: 0, global: false };
  await putRecord(store, keys.unit(unit), record);
}
