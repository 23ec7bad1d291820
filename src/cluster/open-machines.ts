import { compareText } from "./facts.ts";
import { type LoadedMachine, LoadIndex } from "./load-index.ts";
import type { Metadata } from "./machine.ts";
import { type MutableMachine, removeFrom } from "./mutable-entries.ts";

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
  /** By id. Who has gone leaves the slot empty until a machine comes that has none. */
  readonly #slots: (OpenMachine | undefined)[] = [];
  readonly #gone = new Set<MutableMachine>();
  readonly byLoad = new LoadIndex(this.#slots);
  readonly #tables = new Map<string, ClassTable>();
  #asked = 0;

  /** Takes over of these machines whether they take units, their load and their metadata. */
  update(machines: readonly MutableMachine[]): void {
    const added: OpenMachine[] = [];
    for (const machine of machines) {
      const known = machine.slot === undefined ? undefined : this.#slots[machine.slot];
      const isSame = known !== undefined && machine.isOpen && known.metadata === machine.metadata;
      if (isSame) {
        this.#setLoad(known);
        continue;
      }
      if (known !== undefined) this.#remove(known);
      if (!machine.isOpen) continue;
      const { metadata, load } = machine;
      added.push({ machine, metadata, load, classes: [] });
    }
    if (added.length > 0) this.#add(added);
  }

  #setLoad(open: OpenMachine): void {
    const { load } = open.machine;
    if (open.load === load) return;
    this.byLoad.remove(open);
    for (const { byLoad } of open.classes) byLoad.remove(open);
    open.load = load;
    this.byLoad.add(open);
    for (const { byLoad } of open.classes) byLoad.add(open);
  }

  #remove(open: OpenMachine): void {
    this.byLoad.remove(open);
    for (const { byLoad } of open.classes) byLoad.remove(open);
    for (const table of this.#tables.values()) table.tidy(open);
    if (open.machine.slot !== undefined) this.#slots[open.machine.slot] = undefined;
    this.#gone.add(open.machine);
  }

  /** One that comes back has its slot still. Others bring everybody another, so that all are indexed anew: they seldom come. */
  #add(added: readonly OpenMachine[]): void {
    if (!added.every(({ machine }) => this.#gone.has(machine))) this.#makeSlots(added);
    for (const open of added) {
      this.#gone.delete(open.machine);
      if (open.machine.slot !== undefined) this.#slots[open.machine.slot] = open;
      this.byLoad.add(open);
      for (const table of this.#tables.values()) table.add(open);
    }
  }

  #makeSlots(added: readonly OpenMachine[]): void {
    const present = this.#present();
    for (const machine of this.#gone) machine.slot = undefined;
    this.#gone.clear();
    this.#slots.length = 0;
    const all = [...present, ...added];
    for (const open of all.sort((a, b) => compareText(a.machine.id, b.machine.id))) {
      open.machine.slot = this.#slots.length;
      this.#slots.push(open);
    }
    this.byLoad.clear();
    for (const table of this.#tables.values()) table.clear();
    for (const open of present) {
      this.byLoad.add(open);
      for (const { byLoad } of open.classes) byLoad.add(open);
    }
  }

  /** Classes by the values of these keys, in no particular order. `only`: those that can have one of these values. */
  classes(
    keys: readonly string[],
    only: ReadonlyMap<string, readonly string[]>,
  ): readonly MachineClass[] {
    const sorted = keys.length === 1 ? keys : [...new Set(keys)].sort(compareText);
    const name = nameOf(sorted);
    const table = this.#tables.get(name) ?? this.#makeTable(name, sorted);
    this.#asked += 1;
    table.askedLast = this.#asked;
    return table.classes(only);
  }

  #makeTable(name: string, keys: readonly string[]): ClassTable {
    if (this.#tables.size >= TABLES_MAX) this.#dropTable();
    const table = new ClassTable(keys, this.#slots);
    for (const open of this.#present()) table.add(open);
    this.#tables.set(name, table);
    return table;
  }

  /** The one that was not asked for the longest. */
  #dropTable(): void {
    const [oldest] = [...this.#tables].sort(([, a], [, b]) => a.askedLast - b.askedLast);
    if (oldest === undefined) return;
    this.#tables.delete(oldest[0]);
    for (const open of this.#present()) oldest[1].remove(open);
  }

  #present(): readonly OpenMachine[] {
    return this.#slots.filter((open) => open !== undefined);
  }
}

interface OpenMachine extends LoadedMachine {
  readonly machine: MutableMachine;
  readonly metadata: Metadata;
  load: number;
  /** Its class in every table. */
  readonly classes: MachineClass[];
}

/** `key` of a class: a pseudo metadata key whose value is the machine id, for what depends on %m. */
export const MACHINE_ID_KEY = "%m";

class ClassTable {
  askedLast = 0;
  readonly #keys: readonly string[];
  readonly #slots: readonly (OpenMachine | undefined)[];
  readonly #classes = new Map<string, MachineClass>();

  constructor(keys: readonly string[], slots: readonly (OpenMachine | undefined)[]) {
    this.#keys = keys;
    this.#slots = slots;
  }

  add(open: OpenMachine): void {
    const machineClass = this.#classOf(open);
    machineClass.byLoad.add(open);
    open.classes.push(machineClass);
  }

  /** The machines stay in their classes, and have to be indexed anew. */
  clear(): void {
    for (const { byLoad } of this.#classes.values()) byLoad.clear();
  }

  /** The table is no longer asked. */
  remove(open: OpenMachine): void {
    removeFrom(open.classes, this.#classOf(open));
  }

  /** The machine is not there any more. */
  tidy(open: OpenMachine): void {
    const { name, byLoad } = this.#classOf(open);
    if (byLoad.isEmpty) this.#classes.delete(name);
  }

  classes(only: ReadonlyMap<string, readonly string[]>): readonly MachineClass[] {
    let names = [""];
    for (const key of this.#keys) {
      const values = only.get(key);
      // With every value given there is nothing to look through.
      if (values === undefined || names.length * values.length > this.#classes.size) {
        return [...this.#classes.values()];
      }
      names = names.flatMap((name) => values.map((value) => name + nameOf([value])));
    }
    return names.flatMap((name) => this.#classes.get(name) ?? []);
  }

  #classOf({ machine, metadata }: OpenMachine): MachineClass {
    const own = new Map<string, string>();
    for (const key of this.#keys) {
      const value = key === MACHINE_ID_KEY ? machine.id : metadata.get(key);
      if (value !== undefined) own.set(key, value);
    }
    const name = nameOf(this.#keys.map((key) => own.get(key)));
    const known = this.#classes.get(name);
    if (known !== undefined) return known;
    const made = { name, metadata: own, byLoad: new LoadIndex(this.#slots) };
    this.#classes.set(name, made);
    return made;
  }
}

/** Different for different texts: none runs on into the next. */
function nameOf(texts: readonly (string | undefined)[]): string {
  let name = "";
  for (const text of texts) name += text === undefined ? "-" : `${text.length}:${text}`;
  return name;
}
