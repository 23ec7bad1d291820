import { type Dirty, newDirty } from "./dirty.ts";
import {
  emptyMachine,
  emptyUnit,
  isEmptyMachine,
  isEmptyUnit,
  isNameTaken,
  isOpen,
  knownConstraints,
  type MachineEntry,
  type MutableMachine,
  type MutableUnit,
  type UnitEntry,
} from "./entries.ts";
import type {
  AssignmentSpec,
  BlockedSpec,
  ClusterFact,
  FactValue,
  HistorySpec,
  MachineSpec,
  MoveSpec,
  OperatorSpec,
  PlacementSpec,
  StateSpec,
  UnitSpec,
  Versioned,
} from "./facts.ts";
import { LoadIndex, position } from "./load-index.ts";
import { effectiveMetadata, isMachineNamed } from "./machine.ts";
import { ManifestTable, type RequirementsReader, type UnusedManifest } from "./manifest-table.ts";
import { isOtherStart, MoveIndex } from "./move-index.ts";
import { conflicts, hasPatterns, type Neighbour, replaces } from "./relations.ts";
import { TieIndex } from "./tie-index.ts";

/**
 * The whole cluster in memory, with the indexes that decisions need, kept current one fact at a time. Facts may come
 * in any order; the same facts give the same state. `apply` also says what a change concerns, so that the cost of a change does not
 * grow with the cluster (I7).
 */
export class ClusterState {
  readonly #units = new Map<string, MutableUnit>();
  readonly #machines = new Map<string, MutableMachine>();
  readonly #machineIds: string[] = [];
  readonly #globals = new Set<string>();
  readonly #blocked = new Set<string>();
  readonly #ties = new TieIndex();
  readonly #moves = new MoveIndex();
  readonly #manifests: ManifestTable;
  readonly #byLoad = new LoadIndex();

  constructor(readRequirements: RequirementsReader) {
    this.#manifests = new ManifestTable(readRequirements);
  }

  unit(name: string): UnitEntry | undefined {
    return this.#units.get(name);
  }

  machine(machineId: string): MachineEntry | undefined {
    return this.#machines.get(machineId);
  }

  /** Every unit name that any record names, in no particular order. */
  get units(): ReadonlyMap<string, UnitEntry> {
    return this.#units;
  }

  /** Known machines, sorted. */
  get machineIds(): readonly string[] {
    return this.#machineIds;
  }

  /** Global units that exist, in no particular order. */
  get globals(): ReadonlySet<string> {
    return this.#globals;
  }

  /** Units with a blocked record, in no particular order. */
  get blocked(): ReadonlySet<string> {
    return this.#blocked;
  }

  /** Machines that take new units, least loaded first. */
  get openByLoad(): Iterable<string> {
    return this.#byLoad;
  }

  /** Machines that are drained, and which units have left which machine and are still on their way. */
  get moves(): Pick<MoveIndex, "draining" | "movingFrom"> {
    return this.#moves;
  }

  machinesNamed(required: string): readonly string[] {
    const found: string[] = [];
    for (let at = position(this.#machineIds, required); at < this.#machineIds.length; at += 1) {
      const id = this.#machineIds[at] ?? "";
      if (required === "" || !id.startsWith(required)) break;
      if (isMachineNamed(id, required)) found.push(id);
    }
    return found;
  }

  followers(unit: string): ReadonlySet<string> {
    return this.#ties.followers(unit);
  }

  unusedManifests(countMax: number): readonly UnusedManifest[] {
    return this.#manifests.unused(countMax);
  }

  /** Takes over one fact; what it concerns is added to `dirty`. */
  apply(fact: ClusterFact, dirty: Dirty = newDirty()): void {
    switch (fact.kind) {
      case "unit":
        this.#applyUnit(this.#unit(fact.unit), fact.value, dirty);
        break;
      case "file":
        for (const unit of this.#manifests.set(fact.manifest, fact.value)) {
          this.#refreshConstraints(this.#unit(unit), dirty);
        }
        break;
      case "machine":
        this.#applyMachine(this.#machine(fact.machineId), fact.value, dirty);
        break;
      case "operator":
        this.#applyOperator(this.#machine(fact.machineId), fact.value, dirty);
        break;
      case "roster":
        this.#applyRoster(this.#machine(fact.machineId), fact.value, dirty);
        break;
      case "placement":
        this.#applyPlacement(this.#unit(fact.unit), fact.value, dirty);
        break;
      case "assignment":
        this.#applyAssignment(fact.machineId, this.#unit(fact.unit), fact.value, dirty);
        break;
      case "state":
        this.#applyState(fact.machineId, this.#unit(fact.unit), fact.value, dirty);
        break;
      case "blocked":
        this.#applyBlocked(this.#unit(fact.unit), fact.value, dirty);
        break;
      case "history":
        this.#applyHistory(this.#unit(fact.unit), fact.value, dirty);
        break;
      case "move":
        this.#applyMove(this.#unit(fact.unit), fact.value, dirty);
        break;
    }
  }

  #applyUnit(unit: MutableUnit, value: FactValue<UnitSpec>, dirty: Dirty): void {
    dirty.units.add(unit.name);
    if (!this.#note(unit, "unit", value, dirty)) return;
    const next = readable(value);
    const before = unit.unit;
    this.#count(unit.name, before?.record.manifest, next?.record.manifest);
    unit.unit = next;
    if (next?.record.global === true) this.#globals.add(unit.name);
    else this.#globals.delete(unit.name);
    this.#refreshConstraints(unit, dirty);
    this.#tidyUnit(unit);
  }

  /** The unit's record or manifest changed: whoever is tied to it, before or now, is concerned. */
  #refreshConstraints(unit: MutableUnit, dirty: Dirty): void {
    dirty.units.add(unit.name);
    this.#ties.markTied(unit, dirty);
    const before = knownConstraints(unit);
    unit.constraints =
      unit.unit === undefined
        ? undefined
        : this.#manifests.constraints(unit.unit.record.manifest, unit.name);
    const after = knownConstraints(unit);
    if (before !== after) {
      unit.self = { name: unit.name, constraints: after === undefined ? [] : [after] };
      this.#ties.setConstraints(unit.name, before, after);
    }
    this.#ties.refreshWaiting(unit, before);
    this.#ties.markTied(unit, dirty);
    for (const machineId of machinesOf(unit)) {
      const machine = this.#machine(machineId);
      this.#markRelated(machine, unit.name, dirty);
      this.#refreshOccupant(machine, unit);
      this.#markRelated(machine, unit.name, dirty);
    }
  }

  #applyMachine(machine: MutableMachine, value: FactValue<MachineSpec>, dirty: Dirty): void {
    const wasOpaque = machine.unreadable.size > 0;
    if (note(machine.unreadable, "machine", value)) {
      const before = machine.presence;
      machine.presence = readable(value);
      if (!wasOpaque && isSamePresence(before, machine.presence)) return;
    }
    this.#machineChanged(machine, dirty);
  }

  #applyOperator(machine: MutableMachine, value: FactValue<OperatorSpec>, dirty: Dirty): void {
    if (note(machine.unreadable, "operator", value)) machine.operator = readable(value);
    this.#machineChanged(machine, dirty);
  }

  #applyRoster(machine: MutableMachine, value: FactValue<object>, dirty: Dirty): void {
    const inRoster = value !== undefined;
    machine.rosterRevision = readable(value)?.modRevision ?? 0;
    if (machine.inRoster === inRoster) return;
    machine.inRoster = inRoster;
    this.#machineChanged(machine, dirty);
  }

  #machineChanged(machine: MutableMachine, dirty: Dirty): void {
    dirty.machines.add(machine.id);
    machine.metadata = effectiveMetadata(machine.presence?.record, machine.operator?.record);
    this.#moves.setDraining(machine);
    this.#refreshLoad(machine);
    this.#tidyMachine(machine);
  }

  #applyPlacement(unit: MutableUnit, value: FactValue<PlacementSpec>, dirty: Dirty): void {
    dirty.units.add(unit.name);
    if (!this.#note(unit, "placement", value, dirty)) return;
    const before = unit.placement?.record.machine;
    const beforeFrom = unit.placement?.record.moving?.from;
    unit.placement = readable(value);
    const after = unit.placement?.record.machine;
    this.#ties.markTied(unit, dirty);
    if (before !== undefined && before !== after) {
      const machine = this.#machine(before);
      machine.placed.delete(unit.name);
      this.#occupancyChanged(machine, unit, dirty);
    }
    if (after !== undefined) {
      const machine = this.#machine(after);
      machine.placed.add(unit.name);
      this.#occupancyChanged(machine, unit, dirty);
    }
    const left = this.#moves.setFrom(unit, beforeFrom);
    if (left !== undefined) this.#moves.markNext(left, this.#machines.get(left), dirty);
    this.#tidyUnit(unit);
  }

  #applyAssignment(
    machineId: string,
    unit: MutableUnit,
    value: FactValue<AssignmentSpec>,
    dirty: Dirty,
  ): void {
    dirty.units.add(unit.name);
    if (!this.#note(unit, `assignment ${machineId}`, value, dirty)) return;
    const machine = this.#machine(machineId);
    const before = machine.assignments.get(unit.name);
    const next = readable(value);
    this.#count(unit.name, before?.record.manifest, next?.record.manifest);
    if (next === undefined) {
      machine.assignments.delete(unit.name);
      unit.assignedTo.delete(machineId);
    } else {
      machine.assignments.set(unit.name, next);
      unit.assignedTo.add(machineId);
    }
    if ((before === undefined) !== (next === undefined)) this.#ties.markTied(unit, dirty);
    this.#occupancyChanged(machine, unit, dirty);
    this.#tidyUnit(unit);
  }

  #applyState(
    machineId: string,
    unit: MutableUnit,
    value: FactValue<StateSpec>,
    dirty: Dirty,
  ): void {
    if (!this.#note(unit, `state ${machineId}`, value, dirty)) return;
    const machine = this.#machine(machineId);
    const before = machine.states.get(unit.name);
    const next = readable(value);
    this.#count(unit.name, before?.record.manifest, next?.record.manifest);
    if (next === undefined) {
      machine.states.delete(unit.name);
      unit.statesOn.delete(machineId);
    } else {
      machine.states.set(unit.name, next);
      unit.statesOn.add(machineId);
    }
    // What else systemd says changes often and decides nothing here, but for units that move.
    if (
      before?.record.identity !== next?.record.identity ||
      before?.record.manifest !== next?.record.manifest ||
      (before === undefined) !== (next === undefined) ||
      isNameTaken(before) !== isNameTaken(next)
    ) {
      dirty.units.add(unit.name);
      // A group leaves a machine when the last of its members has stopped there.
      this.#ties.markTied(unit, dirty);
      this.#occupancyChanged(machine, unit, dirty);
    } else if (this.#moves.isMoving(unit, machineId) && isOtherStart(before, next)) {
      dirty.units.add(unit.name);
    }
    this.#tidyUnit(unit);
  }

  #applyBlocked(unit: MutableUnit, value: FactValue<BlockedSpec>, dirty: Dirty): void {
    if (!this.#note(unit, "blocked", value, dirty)) return;
    const was = unit.blocked !== undefined;
    unit.blocked = readable(value);
    const is = unit.blocked !== undefined;
    if (was && !is) {
      dirty.units.add(unit.name);
      this.#blocked.delete(unit.name);
    } else if (is && !was) {
      this.#blocked.add(unit.name);
    }
    this.#ties.refreshWaiting(unit, knownConstraints(unit));
    this.#tidyUnit(unit);
  }

  #applyHistory(unit: MutableUnit, value: FactValue<HistorySpec>, dirty: Dirty): void {
    if (this.#note(unit, "history", value, dirty)) unit.history = readable(value);
    this.#tidyUnit(unit);
  }

  #applyMove(unit: MutableUnit, value: FactValue<MoveSpec>, dirty: Dirty): void {
    if (this.#note(unit, "move", value, dirty)) unit.move = readable(value);
    if (unit.move !== undefined) dirty.units.add(unit.name);
    this.#tidyUnit(unit);
  }

  /** Whoever has to do with the unit on this machine, or waits for its place, is concerned, before and after. */
  #occupancyChanged(machine: MutableMachine, unit: MutableUnit, dirty: Dirty): void {
    this.#markRelated(machine, unit.name, dirty);
    this.#refreshOccupant(machine, unit);
    this.#markRelated(machine, unit.name, dirty);
    this.#tidyMachine(machine);
  }

  #refreshOccupant(machine: MutableMachine, unit: MutableUnit): void {
    const assignment = machine.assignments.get(unit.name);
    const state = machine.states.get(unit.name);
    const held = state !== undefined && !isNameTaken(state);
    if (assignment === undefined && !held && !machine.placed.has(unit.name)) {
      machine.occupants.delete(unit.name);
      machine.guarded.delete(unit.name);
    } else {
      const neighbour = this.#neighbour(unit, [
        assignment?.record.manifest,
        held ? state.record.manifest : undefined,
      ]);
      machine.occupants.set(unit.name, neighbour);
      if (neighbour.constraints.some(hasPatterns)) machine.guarded.add(unit.name);
      else machine.guarded.delete(unit.name);
    }
    this.#refreshLoad(machine);
  }

  #neighbour(unit: MutableUnit, manifests: readonly (string | undefined)[]): Neighbour {
    const own = unit.unit?.record.manifest;
    const others = manifests.filter((hash) => hash !== undefined && hash !== own);
    if (others.length === 0) return unit.self;
    const constraints = [...unit.self.constraints];
    for (const hash of new Set(others)) {
      const read = this.#manifests.constraints(hash ?? "", unit.name);
      if (read.type === "known") constraints.push(read.constraints);
    }
    return { name: unit.name, constraints };
  }

  #markRelated(machine: MutableMachine, name: string, dirty: Dirty): void {
    const subject = machine.occupants.get(name);
    if (subject === undefined) return;
    const speaks = machine.guarded.has(name);
    for (const other of speaks ? machine.occupants.keys() : machine.guarded) {
      const neighbour = machine.occupants.get(other);
      if (neighbour !== undefined && areRelated(subject, neighbour)) dirty.units.add(other);
    }
    this.#ties.markWaiting(subject, speaks, dirty);
  }

  #refreshLoad(machine: MutableMachine): void {
    this.#byLoad.set(machine.id, isOpen(machine) ? machine.occupants.size : undefined);
  }

  #count(unit: string, before: string | undefined, after: string | undefined): void {
    if (before === after) return;
    if (after !== undefined) this.#manifests.addUser(after, unit);
    if (before !== undefined) this.#manifests.removeUser(before, unit);
  }

  /** False: the record cannot be read, so what was known before stays. */
  #note(unit: MutableUnit, record: string, value: FactValue<unknown>, dirty: Dirty): boolean {
    const was = unit.unreadable.has(record);
    if (was !== (value === "unreadable")) dirty.units.add(unit.name);
    return note(unit.unreadable, record, value);
  }

  #unit(name: string): MutableUnit {
    const known = this.#units.get(name);
    if (known !== undefined) return known;
    const unit = emptyUnit(name);
    this.#units.set(name, unit);
    return unit;
  }

  #machine(id: string): MutableMachine {
    const known = this.#machines.get(id);
    if (known !== undefined) return known;
    const machine = emptyMachine(id);
    this.#machines.set(id, machine);
    this.#machineIds.splice(position(this.#machineIds, id), 0, id);
    return machine;
  }

  #tidyUnit(unit: MutableUnit): void {
    if (isEmptyUnit(unit)) this.#units.delete(unit.name);
  }

  #tidyMachine(machine: MutableMachine): void {
    if (!isEmptyMachine(machine)) return;
    this.#machines.delete(machine.id);
    this.#machineIds.splice(position(this.#machineIds, machine.id), 1);
  }
}

/** Everything: what a fresh leader looks at, and what an audit compares with. */
export function everything(cluster: ClusterState): Dirty {
  return { units: new Set(cluster.units.keys()), machines: new Set() };
}

function machinesOf(unit: UnitEntry): Set<string> {
  const machines = new Set([...unit.assignedTo, ...unit.statesOn]);
  if (unit.placement !== undefined) machines.add(unit.placement.record.machine);
  return machines;
}

function areRelated(one: Neighbour, other: Neighbour): boolean {
  return conflicts(one, other) || replaces(one, other) || replaces(other, one);
}

function readable<T>(value: FactValue<T>): Versioned<T> | undefined {
  return value === "unreadable" ? undefined : value;
}

function note(unreadable: Set<string>, record: string, value: FactValue<unknown>): boolean {
  if (value === "unreadable") unreadable.add(record);
  else unreadable.delete(record);
  return value !== "unreadable";
}

function isSamePresence(
  before: Versioned<MachineSpec> | undefined,
  after: Versioned<MachineSpec> | undefined,
): boolean {
  if (before === undefined || after === undefined) return before === after;
  return (
    before.createRevision === after.createRevision &&
    before.record.leaving === after.record.leaving &&
    isSameText(before.record.automatic, after.record.automatic) &&
    isSameText(before.record.metadata, after.record.metadata)
  );
}

function isSameText(
  left: Readonly<Record<string, string>>,
  right: Readonly<Record<string, string>>,
): boolean {
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => left[key] === right[key]);
}
