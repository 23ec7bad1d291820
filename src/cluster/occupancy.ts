import { NO_REQUIREMENTS } from "../units/requirements.ts";
import { minus, NOTHING_RESERVED, plus, reserved } from "./capacity.ts";
import type { Dirty } from "./dirty.ts";
import {
  assignmentOn,
  isNameTaken,
  isOpen,
  isPlacedOn,
  type MachineEntry,
  type UnitEntry,
} from "./entries.ts";
import { InstanceIndex } from "./instances.ts";
import { effectiveMetadata, HOSTNAME } from "./machine.ts";
import type { ManifestTable } from "./manifest-table.ts";
import { type MutableMachine, removeFrom } from "./mutable-entries.ts";
import { OpenMachines } from "./open-machines.ts";
import {
  type Constraints,
  isPerMachine,
  makeNeighbour,
  type Neighbour,
  neighbourOn,
  relatedOn,
  speaks,
} from "./relations.ts";
import type { TieIndex } from "./tie-index.ts";

/** Who takes up which machine, and what follows from it: load, room, instances, and whom a change concerns. */
export class Occupancy {
  readonly #open = new OpenMachines();
  /** Machines whose load the index does not have yet. */
  readonly #stale: MutableMachine[] = [];
  readonly #machines: ReadonlyMap<string, MutableMachine>;
  readonly #manifests: ManifestTable;
  readonly #ties: TieIndex;
  #instances: InstanceIndex | undefined;

  constructor(options: {
    readonly machines: ReadonlyMap<string, MutableMachine>;
    readonly manifests: ManifestTable;
    readonly ties: TieIndex;
  }) {
    this.#machines = options.machines;
    this.#manifests = options.manifests;
    this.#ties = options.ties;
  }

  get open(): OpenMachines {
    if (this.#stale.length > 0) this.#refreshOpen();
    return this.#open;
  }

  #refreshOpen(): void {
    for (const machine of this.#stale) machine.isStale = false;
    this.#open.update(this.#stale);
    this.#stale.length = 0;
  }

  /** Kept from the first question on: most clusters never ask. */
  get instances(): InstanceIndex {
    if (this.#instances !== undefined) return this.#instances;
    const instances = new InstanceIndex();
    for (const machine of this.#machines.values()) {
      for (const unit of machine.occupants.keys()) instances.count(unit, machine, 1);
    }
    this.#instances = instances;
    return instances;
  }

  /**
   * What the unit has on the machine may have changed. Whoever has to do with it there, or waits for its place, is concerned;
   * with `belongs` even if it takes up what it took up before, as it has come to belong there, or ceased to.
   */
  refresh(
    machine: MutableMachine,
    unit: UnitEntry,
    { dirty, belongs }: { readonly dirty: Dirty | undefined; readonly belongs: boolean },
  ): void {
    const { name } = unit;
    const before = machine.occupants.get(name);
    const after = this.#neighbour(machine, unit);
    if (before !== after) {
      const { used } = machine;
      this.#set(machine, name, { before, after });
      if (dirty !== undefined) {
        const isOther = (before === undefined) !== (after === undefined);
        this.#ties.markRoom(machine, { used, changed: isOther ? name : undefined }, dirty);
      }
    } else if (!belongs) return;
    if (dirty === undefined) return;
    if (before !== undefined) this.#markRelated(machine, before, dirty);
    if (after !== undefined && after !== before) this.#markRelated(machine, after, dirty);
  }

  /** As refresh(), for a unit that was nowhere: nobody has to look what of it is there. */
  enter(machine: MutableMachine, unit: UnitEntry, dirty: Dirty): void {
    const { name } = unit;
    const { used } = machine;
    const after = neighbourOn(unit.self, machine);
    this.#set(machine, name, { before: undefined, after });
    this.#ties.markRoom(machine, { used, changed: name }, dirty);
    this.#markRelated(machine, after, dirty);
  }

  /** The unit is nowhere again. */
  leave(machine: MutableMachine, { name }: UnitEntry): void {
    this.#set(machine, name, { before: machine.occupants.get(name), after: undefined });
  }

  /** The machine's own records have changed. */
  machineChanged(machine: MutableMachine, before: MachineEntry["presence"]): void {
    const hostname = machine.metadata.get(HOSTNAME);
    machine.isOpen = isOpen(machine);
    machine.metadata = effectiveMetadata(machine.presence?.record, machine.operator?.record);
    this.#instances?.forgetSpreads();
    if (machine.metadata.get(HOSTNAME) !== hostname) {
      for (const [name, occupant] of machine.occupants) {
        if (!isPerMachine(occupant)) continue;
        const after = neighbourOn(occupant, machine);
        this.#set(machine, name, { before: occupant, after });
      }
    }
    if (before?.record.capacity !== machine.presence?.record.capacity) {
      machine.used = NOTHING_RESERVED;
      for (const { constraints } of machine.occupants.values()) {
        machine.used = plus(machine.used, reserved(constraints, machine));
      }
    }
    this.#setStale(machine);
  }

  #set(
    machine: MutableMachine,
    name: string,
    {
      before,
      after,
    }: { readonly before: Neighbour | undefined; readonly after: Neighbour | undefined },
  ): void {
    if (after === undefined) machine.occupants.delete(name);
    else machine.occupants.set(name, after);
    if (before !== undefined && speaks(before)) removeFrom(machine.guarded, before);
    if (after !== undefined && speaks(after)) machine.guarded.push(after);
    machine.used = minus(machine.used, reserved(before?.constraints ?? NONE, machine));
    machine.used = plus(machine.used, reserved(after?.constraints ?? NONE, machine));
    machine.load += weightOf(after) - weightOf(before);
    if (before === undefined) this.#instances?.count(name, machine, 1);
    if (after === undefined) this.#instances?.count(name, machine, -1);
    this.#setStale(machine);
  }

  #setStale(machine: MutableMachine): void {
    if (machine.isStale) return;
    machine.isStale = true;
    this.#stale.push(machine);
  }

  /** Undefined: it does not occupy the machine. The same object as before, unless something is different. */
  #neighbour(machine: MachineEntry, unit: UnitEntry): Neighbour | undefined {
    const assignment = assignmentOn(unit, machine.id);
    const state = unit.statesOn.size === 0 ? undefined : machine.states.get(unit.name);
    const held = state === undefined || isNameTaken(state) ? undefined : state;
    if (assignment === undefined && held === undefined && !isPlacedOn(unit, machine)) {
      return undefined;
    }
    const self = this.#withOthers(unit, assignment?.record.manifest, held?.record.manifest);
    return neighbourOn(self, machine);
  }

  /** As the neighbours see it while other versions of it are assigned, or still there. */
  #withOthers(unit: UnitEntry, assigned: string | undefined, held: string | undefined): Neighbour {
    const own = unit.unit?.record.manifest;
    const isOther = (manifest: string | undefined) => manifest !== undefined && manifest !== own;
    // Asked for every unit that comes or goes, and almost always so.
    if (!isOther(assigned) && !isOther(held)) return unit.self;
    const constraints = [...unit.self.constraints];
    for (const manifest of new Set([assigned, held])) {
      if (manifest === undefined || !isOther(manifest)) continue;
      const read = this.#manifests.constraints(manifest, unit.name);
      if (read.type === "known") constraints.push(read.constraints);
    }
    return makeNeighbour(unit.name, constraints);
  }

  #markRelated(machine: MachineEntry, subject: Neighbour, dirty: Dirty): void {
    for (const { name } of relatedOn(machine, subject)) dirty.units.add(name);
    this.#ties.markWaiting(subject, dirty);
  }
}

const NONE: readonly Constraints[] = [];

/** What the unit counts for in the load of its machine; of several versions the heaviest. */
function weightOf(unit: Neighbour | undefined): number {
  if (unit === undefined) return 0;
  let heaviest: number | undefined;
  for (const { requirements } of unit.constraints) {
    const { weight } = requirements;
    if (heaviest === undefined || weight > heaviest) heaviest = weight;
  }
  return heaviest ?? NO_REQUIREMENTS.weight;
}
