import type { RecordFolder } from "../../src/agent/host.ts";
import { MemoryHost } from "../../src/agent/memory-host.ts";
import { MemoryMachine } from "../../src/agent/memory-machine.ts";
import type { Clock } from "../../src/runtime/clock.ts";
import type { Random } from "../../src/runtime/random.ts";
import { Link } from "./fault-store.ts";
import { MachineClock } from "./sim-clock.ts";
import { HOST_UNIT, machineId } from "./workload.ts";

/** A simulated host with all that outlives the daemons on it. */
export class SimMachine {
  readonly index: number;
  readonly id: string;
  readonly clock: MachineClock;
  readonly memory: MemoryMachine;
  readonly host: MemoryHost;
  readonly link = new Link();
  /** The daemon's records as they are now: below /run/fleet, and /var/lib/fleet-ts. */
  readonly volatile: ReadonlyMap<string, string>;
  readonly persistent: ReadonlyMap<string, string>;
  isPowered = true;
  /** When it was last shut down in order: then systemd stops everything. */
  shutdownMs = Number.NEGATIVE_INFINITY;
  /** How many faults hold it frozen. */
  freezes = 0;
  thawedMs = Number.NEGATIVE_INFINITY;
  /** Until when what the daemon does may rest on what it knew earlier: calls are slow, or it was frozen. */
  laggingUntilMs = Number.NEGATIVE_INFINITY;
  /** Until when it may not have heard of what changed, although it can ask. */
  staleUntilMs = Number.NEGATIVE_INFINITY;
  readonly #volatile: Map<string, string>;

  constructor(options: { index: number; clock: Clock; random: Random }) {
    this.index = options.index;
    this.id = machineId(options.index);
    this.clock = new MachineClock(options.clock);
    this.memory = new MemoryMachine({ clock: this.clock });
    this.host = new MemoryHost({ machineId: this.id, random: options.random });
    this.#volatile = mirror(this.host.volatile);
    this.volatile = this.#volatile;
    this.persistent = mirror(this.host.persistent);
    this.#addHostUnit();
  }

  get name(): string {
    return `m${this.index}`;
  }

  /** Nothing runs any more and /run is empty. */
  cutPower(): void {
    this.isPowered = false;
    this.memory.boot();
    this.host.reboot();
    this.#volatile.clear();
  }

  boot(): void {
    this.isPowered = true;
    this.#addHostUnit();
  }

  #addHostUnit(): void {
    if (this.index !== HOST_UNIT.machine) return;
    const path = `/etc/systemd/system/${HOST_UNIT.name}`;
    const content = "[Service]\nExecStart=/bin/own\n";
    this.memory.addHostUnit(HOST_UNIT.name, { path, content }, { running: true });
  }
}

/** What is in the folder, to be looked at without waiting. */
function mirror(folder: RecordFolder): Map<string, string> {
  const texts = new Map<string, string>();
  const write = folder.write.bind(folder);
  const remove = folder.remove.bind(folder);
  folder.write = async (name, text) => {
    await write(name, text);
    texts.set(name, text);
  };
  folder.remove = async (name) => {
    await remove(name);
    texts.delete(name);
  };
  return texts;
}
