import { compareText } from "./facts.ts";
import { LoadIndex } from "./load-index.ts";
import type { Metadata } from "./machine.ts";

/** Machines that are alike in the metadata that was asked about; there is at least one. */
export interface MachineClass {
  readonly metadata: Metadata;
  readonly byLoad: LoadIndex;
}

/** So many combinations of keys are indexed at most: those asked for last. */
const TABLES_MAX = 16;

/**
 * The machines that take new units, by load. For units that care about metadata also by class: what a class does not meet is
 * passed over as a whole. A combination of keys is indexed when it is first asked for.
 */
export class OpenMachines {
  readonly byLoad = new LoadIndex();
  readonly #metadata = new Map<string, Metadata>();
  /** In the order of last use. */
  readonly #tables = new Map<string, ClassTable>();

  /** `load` undefined: it takes none. */
  set(machineId: string, metadata: Metadata, load: number | undefined): void {
    this.byLoad.set(machineId, load);
    if (load === undefined) this.#metadata.delete(machineId);
    else this.#metadata.set(machineId, metadata);
    for (const table of this.#tables.values()) table.set(machineId, metadata, load);
  }

  /** Classes by the values of these keys, in no particular order. `only`: those that can have one of these values. */
  classes(
    keys: readonly string[],
    only: ReadonlyMap<string, readonly string[]>,
  ): Iterable<MachineClass> {
    const sorted = [...new Set(keys)].sort(compareText);
    const name = JSON.stringify(sorted);
    const table = this.#tables.get(name) ?? this.#makeTable(sorted);
    this.#tables.delete(name);
    this.#tables.set(name, table);
    const [oldest] = this.#tables.keys();
    if (this.#tables.size > TABLES_MAX && oldest !== undefined) this.#tables.delete(oldest);
    return table.classes(only);
  }

  #makeTable(keys: readonly string[]): ClassTable {
    const table = new ClassTable(keys);
    for (const { machineId, load } of this.byLoad.entries()) {
      table.set(machineId, this.#metadata.get(machineId) ?? new Map(), load);
    }
    return table;
  }
}

/** `key` of a class: a pseudo metadata key whose value is the machine id, for what depends on %m. */
export const MACHINE_ID_KEY = "%m";

class ClassTable {
  readonly #keys: readonly string[];
  readonly #classes = new Map<string, MachineClass>();
  readonly #of = new Map<string, { readonly metadata: Metadata; readonly in: MachineClass }>();

  constructor(keys: readonly string[]) {
    this.#keys = keys;
  }

  set(machineId: string, metadata: Metadata, load: number | undefined): void {
    let known = this.#of.get(machineId);
    if (known !== undefined && (load === undefined || known.metadata !== metadata)) {
      known.in.byLoad.set(machineId, undefined);
      if (known.in.byLoad.size === 0) this.#classes.delete(this.#nameOf(known.in.metadata));
      this.#of.delete(machineId);
      known = undefined;
    }
    if (load === undefined) return;
    if (known === undefined) {
      known = { metadata, in: this.#classOf(machineId, metadata) };
      this.#of.set(machineId, known);
    }
    known.in.byLoad.set(machineId, load);
  }

  classes(only: ReadonlyMap<string, readonly string[]>): Iterable<MachineClass> {
    // With every value given there is nothing to look through.
    if (!this.#keys.every((key) => only.has(key))) return this.#classes.values();
    let names: (readonly string[])[] = [[]];
    for (const key of this.#keys) {
      names = names.flatMap((values) =>
        [...new Set(only.get(key))].map((value) => [...values, value]),
      );
      if (names.length > this.#classes.size) return this.#classes.values();
    }
    return names.flatMap((values) => this.#classes.get(JSON.stringify(values)) ?? []);
  }

  #classOf(machineId: string, metadata: Metadata): MachineClass {
    const own = new Map<string, string>();
    for (const key of this.#keys) {
      const value = key === MACHINE_ID_KEY ? machineId : metadata.get(key);
      if (value !== undefined) own.set(key, value);
    }
    const name = this.#nameOf(own);
    const known = this.#classes.get(name);
    if (known !== undefined) return known;
    const made = { metadata: own, byLoad: new LoadIndex() };
    this.#classes.set(name, made);
    return made;
  }

  #nameOf(metadata: Metadata): string {
    return JSON.stringify(this.#keys.map((key) => metadata.get(key)));
  }
}
