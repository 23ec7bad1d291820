import { compareText } from "./facts.ts";
import { LoadIndex } from "./load-index.ts";
import type { Metadata } from "./machine.ts";

/** Machines that are alike in the metadata that was asked about; there is at least one. */
export interface MachineClass {
  readonly name: string;
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
  readonly #machines = new Map<string, OpenMachine>();
  /** In the order of last use. */
  readonly #tables = new Map<string, ClassTable>();

  /** `load` undefined: it takes none. */
  set(machineId: string, metadata: Metadata, load: number | undefined): void {
    const known = this.#machines.get(machineId);
    if (known !== undefined) {
      if (known.load === load && known.metadata === metadata) return;
      this.byLoad.remove(machineId, known.load);
      for (const { byLoad } of known.classes.values()) byLoad.remove(machineId, known.load);
      if (known.metadata === metadata && load !== undefined) {
        known.load = load;
        this.byLoad.add(machineId, load);
        for (const { byLoad } of known.classes.values()) byLoad.add(machineId, load);
        return;
      }
      for (const [table, machineClass] of known.classes) table.tidy(machineClass);
      this.#machines.delete(machineId);
    }
    if (load === undefined) return;
    const machine: OpenMachine = { metadata, load, classes: new Map() };
    this.#machines.set(machineId, machine);
    this.byLoad.add(machineId, load);
    for (const table of this.#tables.values()) table.add(machineId, machine);
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
    if (this.#tables.size > TABLES_MAX && oldest !== undefined) this.#dropTable(oldest);
    return table.classes(only);
  }

  #makeTable(keys: readonly string[]): ClassTable {
    const table = new ClassTable(keys);
    for (const [machineId, machine] of this.#machines) table.add(machineId, machine);
    return table;
  }

  #dropTable(name: string): void {
    const table = this.#tables.get(name);
    this.#tables.delete(name);
    if (table === undefined) return;
    for (const { classes } of this.#machines.values()) classes.delete(table);
  }
}

interface OpenMachine {
  readonly metadata: Metadata;
  load: number;
  /** Where else it is indexed. */
  readonly classes: Map<ClassTable, MachineClass>;
}

/** `key` of a class: a pseudo metadata key whose value is the machine id, for what depends on %m. */
export const MACHINE_ID_KEY = "%m";

class ClassTable {
  readonly #keys: readonly string[];
  readonly #classes = new Map<string, MachineClass>();

  constructor(keys: readonly string[]) {
    this.#keys = keys;
  }

  add(machineId: string, machine: OpenMachine): void {
    const machineClass = this.#classOf(machineId, machine.metadata);
    machineClass.byLoad.add(machineId, machine.load);
    machine.classes.set(this, machineClass);
  }

  tidy({ name, byLoad }: MachineClass): void {
    if (byLoad.isEmpty) this.#classes.delete(name);
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
    const name = JSON.stringify(this.#keys.map((key) => own.get(key)));
    const known = this.#classes.get(name);
    if (known !== undefined) return known;
    const made = { name, metadata: own, byLoad: new LoadIndex() };
    this.#classes.set(name, made);
    return made;
  }
}
