import { templateOf } from "../units/unit-name.ts";

/** Instances of each template by the machine they occupy. Made when it is first asked, as most clusters never do. */
export class InstanceIndex {
  readonly #templates = new Map<string, TemplateEntry>();

  /** A unit has begun (1) or ceased (-1) to occupy a machine. */
  count(unit: string, machine: Spot, by: 1 | -1): void {
    const template = templateOf(unit);
    if (template === undefined) return;
    let entry = this.#templates.get(template);
    if (entry === undefined) {
      entry = { machines: new Map(), spreads: new Map() };
      this.#templates.set(template, entry);
    }
    add(entry.machines, machine.id, by);
    for (const [key, counts] of entry.spreads) {
      const value = machine.metadata.get(key);
      if (value !== undefined) add(counts, value, by);
    }
    if (entry.machines.size === 0) this.#templates.delete(template);
  }

  countOn(template: string, machineId: string): number {
    return this.#templates.get(template)?.machines.get(machineId) ?? 0;
  }

  /** How many instances are on machines with each value of the key. */
  spread(
    template: string,
    key: string,
    metadataOf: (machineId: string) => Spot["metadata"],
  ): ReadonlyMap<string, number> {
    const entry = this.#templates.get(template);
    if (entry === undefined) return new Map();
    const known = entry.spreads.get(key);
    if (known !== undefined) return known;
    const counts = new Map<string, number>();
    for (const [machineId, count] of entry.machines) {
      const value = metadataOf(machineId).get(key);
      if (value !== undefined) add(counts, value, count);
    }
    entry.spreads.set(key, counts);
    return counts;
  }

  /** The metadata of a machine has changed. */
  forgetSpreads(): void {
    for (const { spreads } of this.#templates.values()) spreads.clear();
  }
}

interface Spot {
  readonly id: string;
  readonly metadata: ReadonlyMap<string, string>;
}

interface TemplateEntry {
  readonly machines: Map<string, number>;
  /** Metadata key -> value -> instances. */
  readonly spreads: Map<string, Map<string, number>>;
}

function add(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
