import { FleetError } from "../runtime/errors.ts";
import type { Random } from "../runtime/random.ts";
import type { Host, HostFacts, RecordFolder } from "./host.ts";
import { assertRecordFolder, assertRecordName } from "./record-name.ts";

export interface MemoryHostOptions {
  readonly machineId: string;
  /** Boot ids come from it. */
  readonly random: Random;
  readonly facts?: Partial<HostFacts>;
}

/** A machine of the simulation: what it is, and its folders. Survives the daemons that come and go on it. */
export class MemoryHost implements Host {
  readonly machineId: string;
  readonly volatile = new MemoryFolder();
  readonly persistent = new MemoryFolder();
  #bootId: string;
  #facts: HostFacts;
  readonly #random: Random;

  constructor(options: MemoryHostOptions) {
    this.machineId = options.machineId;
    this.#random = options.random;
    this.#bootId = options.random.id();
    this.#facts = {
      address: "192.0.2.1",
      automatic: { arch: "x64", os: "debian", kernel: "6.1.0", hostname: "m1", systemd: "252" },
      capacity: { cpus: 2, memoryBytes: 4 * 1024 ** 3, tasks: 10_000 },
      ...options.facts,
    };
  }

  get bootId(): string {
    return this.#bootId;
  }

  async facts(): Promise<HostFacts> {
    return this.#facts;
  }

  /** The network or the machine's size changes. */
  setFacts(facts: Partial<HostFacts>): void {
    this.#facts = { ...this.#facts, ...facts };
  }

  /** The machine boots anew, orderly or after a power cut. */
  reboot(): void {
    this.#bootId = this.#random.id();
    this.volatile.clear();
  }
}

/** Every write is whole or not at all, and on disk when it resolves. */
export class MemoryFolder implements RecordFolder {
  readonly #texts = new Map<string, string>();
  /** The next so many writes find the disk full. */
  failingWrites = 0;

  async read(name: string): Promise<string | undefined> {
    assertRecordName(name);
    return this.#texts.get(name);
  }

  async write(name: string, text: string): Promise<void> {
    assertRecordName(name);
    if (this.failingWrites > 0) {
      this.failingWrites -= 1;
      throw new FleetError("host-io", `cannot write record ${name}: disk is full`, {
        retriable: true,
      });
    }
    this.#texts.set(name, text);
  }

  async remove(name: string): Promise<void> {
    assertRecordName(name);
    this.#texts.delete(name);
  }

  async list(folder: string): Promise<readonly string[]> {
    assertRecordFolder(folder);
    const prefix = `${folder}/`;
    return [...this.#texts.keys()]
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length))
      .sort();
  }

  clear(): void {
    this.#texts.clear();
  }
}
