import assert from "node:assert/strict";
import { type Dirty, newDirty } from "./dirty.ts";
import {
  assignmentOn,
  isPlacedOn,
  isRolling,
  knownConstraints,
  type MachineEntry,
  machinesOf,
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
  RosterSpec,
  StateSpec,
  UnitSpec,
  Versioned,
} from "./facts.ts";
import type { InstanceIndex } from "./instances.ts";
import { position } from "./load-index.ts";
import { isMachineNamed, isSamePresence } from "./machine.ts";
import { ManifestTable, type RequirementsReader, type UnusedManifest } from "./manifest-table.ts";
import { ManifestUse } from "./manifest-use.ts";
import { isOtherHold, isOtherStart, MoveIndex } from "./move-index.ts";
import {
  including,
  isEmptyMachine,
  isEmptyUnit,
  MutableMachine,
  MutableUnit,
  NOWHERE,
  noting,
  removeFrom,
  setAssignment,
  setFollower,
  without,
} from "./mutable-entries.ts";
import { Occupancy } from "./occupancy.ts";
import type { OpenMachines } from "./open-machines.ts";
import { type Constraints, makeNeighbour } from "./relations.ts";
import { markTied, TieIndex } from "./tie-index.ts";

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
  readonly #manifestUse: ManifestUse;
  readonly #occupancy: Occupancy;

  constructor(readRequirements: RequirementsReader) {
    this.#manifests = new ManifestTable(readRequirements);
    this.#manifestUse = new ManifestUse(this.#manifests, this.#machines);
    this.#occupancy = new Occupancy({
      machines: this.#machines,
      manifests: this.#manifests,
      ties: this.#ties,
    });
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
  get openMachines(): Pick<OpenMachines, "byLoad" | "classes"> {
    return this.#occupancy.open;
  }

  get instances(): Pick<InstanceIndex, "countOn" | "spread"> {
    return this.#occupancy.instances;
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

  unusedManifests(countMax: number): readonly UnusedManifest[] {
    return this.#manifests.unused(countMax);
  }

  /** Takes over one fact; what it concerns is added to `dirty`, if that is asked. */
  apply(fact: ClusterFact, dirty?: Dirty): void {
    switch (fact.kind) {
      case "file":
        for (const unit of this.#manifests.set(fact.manifest, fact.value)) {
          dirty?.units.add(unit);
          this.#refreshConstraints(this.#unit(unit), dirty);
        }
        break;
      case "machine":
        this.#applyMachine(this.#machine(fact.machineId), fact.value, dirty);
        break;
      case "roster":
        this.#applyRoster(this.#machine(fact.machineId), fact.value, dirty);
        break;
      default:
        this.replace(fact, dirty);
    }
  }

  /** As apply(); gives back the value that the fact takes the place of. One that cannot be read takes nobody's. */
  replace(fact: ReplaceableFact, dirty?: Dirty): FactValue<unknown> {
    switch (fact.kind) {
      case "unit":
        return this.#applyUnit(this.#unit(fact.unit), fact.value, dirty);
      case "operator":
        return this.#applyOperator(this.#machine(fact.machineId), fact.value, dirty);
      case "placement":
        return this.#applyPlacement(this.#unit(fact.unit), fact.value, dirty);
      case "assignment":
        return this.#applyAssignment(fact.machineId, this.#unit(fact.unit), fact.value, dirty);
      case "state":
        return this.#applyState(fact.machineId, this.#unit(fact.unit), fact.value, dirty);
      case "blocked":
        return this.#applyBlocked(this.#unit(fact.unit), fact.value, dirty);
      case "history":
        return this.#applyHistory(this.#unit(fact.unit), fact.value, dirty);
      case "move":
        return this.#applyMove(this.#unit(fact.unit), fact.value, dirty);
    }
  }

  /** As if both its facts had been applied, for a while: what a pass of planning does most, and takes back as often. */
  assumeStay(stay: Stay, dirty: Dirty): void {
    const { unit, machine } = mutable(stay);
    unit.hasAssumedStay = true;
    unit.placement = stay.placement;
    unit.assignments = stay.assignment;
    if (stay.assignment !== undefined) unit.assignedTo = machine.alone;
    markTied(unit, dirty);
    machine.placed.push(unit);
    this.#occupancy.enter(machine, unit, dirty);
  }

  /** The unit is nowhere again. */
  endStay(stay: Stay): void {
    const { unit, machine } = mutable(stay);
    unit.hasAssumedStay = false;
    unit.placement = undefined;
    unit.assignments = undefined;
    unit.assignedTo = NOWHERE;
    removeFrom(machine.placed, unit);
    this.#occupancy.leave(machine, unit);
  }

  #applyUnit(
    unit: MutableUnit,
    value: FactValue<UnitSpec>,
    dirty: Dirty | undefined,
  ): FactValue<UnitSpec> {
    const before = unit.unit;
    markOwn(unit, dirty);
    if (!this.#note(unit, "unit", value, dirty)) return undefined;
    const next = readable(value);
    this.#manifestUse.setOwn(unit, next?.record.manifest);
    unit.unit = next;
    if (next?.record.global === true) this.#globals.add(unit.name);
    else this.#globals.delete(unit.name);
    this.#refreshConstraints(unit, dirty);
    this.#tidyUnit(unit);
    return before;
  }

  /** The unit's record or manifest changed: whoever is tied to it, before or now, is concerned. */
  #refreshConstraints(unit: MutableUnit, dirty: Dirty | undefined): void {
    if (dirty !== undefined) markTied(unit, dirty);
    const before = knownConstraints(unit);
    unit.constraints =
      unit.unit === undefined
        ? undefined
        : this.#manifests.constraints(unit.unit.record.manifest, unit.name);
    const after = knownConstraints(unit);
    if (before !== after) {
      const all = unit.constraints?.type === "known" ? unit.constraints.all : [];
      unit.self = makeNeighbour(unit.name, all);
      this.#setPeers(unit.name, before, after);
    }
    this.#ties.refreshWaiting(unit, before);
    if (dirty !== undefined && before !== after) markTied(unit, dirty);
    for (const machineId of machinesOf(unit)) {
      this.#occupancy.refresh(this.#machine(machineId), unit, { dirty, belongs: true });
    }
  }

  #setPeers(name: string, before: Constraints | undefined, after: Constraints | undefined): void {
    for (const peer of before?.requirements.machineOf ?? []) {
      const entry = this.#unit(peer);
      setFollower(entry, name, false);
      this.#tidyUnit(entry);
    }
    for (const peer of after?.requirements.machineOf ?? []) {
      setFollower(this.#unit(peer), name, true);
    }
  }

  #applyMachine(
    machine: MutableMachine,
    value: FactValue<MachineSpec>,
    dirty: Dirty | undefined,
  ): void {
    const wasOpaque = machine.unreadable.size > 0;
    const before = machine.presence;
    machine.unreadable = noting(machine.unreadable, "machine", value === "unreadable");
    if (value !== "unreadable") {
      machine.presence = value;
      if (!wasOpaque && isSamePresence(before, value)) return;
    }
    this.#machineChanged(machine, before, dirty);
  }

  #applyOperator(
    machine: MutableMachine,
    value: FactValue<OperatorSpec>,
    dirty: Dirty | undefined,
  ): FactValue<OperatorSpec> {
    const before = machine.operator;
    machine.unreadable = noting(machine.unreadable, "operator", value === "unreadable");
    if (value !== "unreadable") machine.operator = value;
    this.#machineChanged(machine, machine.presence, dirty);
    return before;
  }

  #applyRoster(
    machine: MutableMachine,
    value: FactValue<RosterSpec>,
    dirty: Dirty | undefined,
  ): void {
    const inRoster = value !== undefined;
    machine.rosterRevision = readable(value)?.modRevision ?? 0;
    machine.lastBootMs = readable(value)?.record.lastBootMs;
    if (machine.inRoster === inRoster) return;
    machine.inRoster = inRoster;
    this.#machineChanged(machine, machine.presence, dirty);
  }

  #machineChanged(
    machine: MutableMachine,
    before: MachineEntry["presence"],
    dirty: Dirty | undefined,
  ): void {
    dirty?.machines.add(machine.id);
    this.#occupancy.machineChanged(machine, before);
    // Whether those that have left it are waited for may be another matter now.
    if (this.#moves.setDraining(machine))
      for (const unit of this.#moves.movingFrom(machine.id)) dirty?.units.add(unit);
    this.#tidyMachine(machine);
  }

  #applyPlacement(
    unit: MutableUnit,
    value: FactValue<PlacementSpec>,
    dirty: Dirty | undefined,
  ): FactValue<PlacementSpec> {
    const replaced = unit.placement;
    markOwn(unit, dirty);
    if (!this.#note(unit, "placement", value, dirty)) return undefined;
    const before = replaced?.record.machine;
    unit.placement = readable(value);
    const after = unit.placement?.record.machine;
    if (dirty !== undefined) markTied(unit, dirty);
    if (before !== undefined && before !== after) {
      const machine = this.#machine(before);
      removeFrom(machine.placed, unit);
      this.#occupancyChanged(machine, unit, { dirty, belongs: true });
    }
    if (after !== undefined) {
      const machine = this.#machine(after);
      if (before !== after) machine.placed.push(unit);
      this.#occupancyChanged(machine, unit, { dirty, belongs: true });
    }
    const left = this.#moves.setFrom(unit, replaced?.record.moving?.from);
    if (left !== undefined && dirty !== undefined)
      this.#moves.markNext(left, this.#machines.get(left), dirty);
    this.#tidyUnit(unit);
    return replaced;
  }

  #applyAssignment(
    machineId: string,
    unit: MutableUnit,
    value: FactValue<AssignmentSpec>,
    dirty: Dirty | undefined,
  ): FactValue<AssignmentSpec> {
    markOwn(unit, dirty);
    if (!this.#note(unit, "assignment", value, dirty, machineId)) return undefined;
    const machine = this.#machine(machineId);
    const before = assignmentOn(unit, machineId);
    const next = readable(value);
    this.#manifestUse.setHeld(unit, before?.record.manifest, next?.record.manifest);
    setAssignment(unit, machine, next);
    const isOther = (before === undefined) !== (next === undefined);
    if (isOther && dirty !== undefined) markTied(unit, dirty);
    // A unit that is not global belongs where it is placed, and takes up that place already, unless this is another version of it.
    const isGlobal = unit.unit?.record.global === true;
    const own = unit.unit?.record.manifest;
    const areOwn = isOneOf(before, own) && isOneOf(next, own);
    if (isGlobal || !areOwn || !isPlacedOn(unit, machine)) {
      const belongs = isOther && isGlobal;
      this.#occupancyChanged(machine, unit, { dirty, belongs });
    }
    this.#tidyUnit(unit);
    return before;
  }

  #applyState(
    machineId: string,
    unit: MutableUnit,
    value: FactValue<StateSpec>,
    dirty: Dirty | undefined,
  ): FactValue<StateSpec> {
    if (!this.#note(unit, "state", value, dirty, machineId)) return undefined;
    const machine = this.#machine(machineId);
    const before = machine.states.get(unit.name);
    const next = readable(value);
    this.#manifestUse.setHeld(unit, before?.record.manifest, next?.record.manifest);
    if (next === undefined) {
      machine.states.delete(unit.name);
      unit.statesOn = without(unit.statesOn, machineId);
    } else {
      machine.states.set(unit.name, next);
      unit.statesOn = including(unit.statesOn, machine);
    }
    // What else systemd says changes often and decides nothing here, but for units that move.
    if (isOtherHold(before, next)) {
      markOwn(unit, dirty);
      // A group leaves a machine when the last of its members has stopped there.
      if (dirty !== undefined) markTied(unit, dirty);
      this.#occupancyChanged(machine, unit, { dirty, belongs: false });
    } else if (this.#isHeeded(unit, machineId) && isOtherStart(before, next)) {
      markOwn(unit, dirty);
    }
    this.#tidyUnit(unit);
    return before;
  }

  /** Whether what systemd says of the unit there decides anything: for units that move, that move when they fail, and global ones that roll. */
  #isHeeded(unit: MutableUnit, machineId: string): boolean {
    return (
      this.#moves.isMoving(unit, machineId) ||
      knownConstraints(unit)?.requirements.moveOnFailure !== undefined ||
      isRolling(unit)
    );
  }

  #applyBlocked(
    unit: MutableUnit,
    value: FactValue<BlockedSpec>,
    dirty: Dirty | undefined,
  ): FactValue<BlockedSpec> {
    const before = unit.blocked;
    if (!this.#note(unit, "blocked", value, dirty)) return undefined;
    const was = before !== undefined;
    unit.blocked = readable(value);
    const is = unit.blocked !== undefined;
    if (was && !is) {
      markOwn(unit, dirty);
      this.#blocked.delete(unit.name);
    } else if (is && !was) {
      this.#blocked.add(unit.name);
      // What was not heeded until now may have changed.
      if (isRolling(unit)) markOwn(unit, dirty);
    }
    this.#ties.refreshWaiting(unit, knownConstraints(unit));
    this.#tidyUnit(unit);
    return before;
  }

  #applyHistory(
    unit: MutableUnit,
    value: FactValue<HistorySpec>,
    dirty: Dirty | undefined,
  ): FactValue<HistorySpec> {
    const before = unit.history;
    if (this.#note(unit, "history", value, dirty)) unit.history = readable(value);
    this.#tidyUnit(unit);
    return before;
  }

  #applyMove(
    unit: MutableUnit,
    value: FactValue<MoveSpec>,
    dirty: Dirty | undefined,
  ): FactValue<MoveSpec> {
    const before = unit.move;
    if (this.#note(unit, "move", value, dirty)) unit.move = readable(value);
    if (unit.move !== undefined) markOwn(unit, dirty);
    this.#tidyUnit(unit);
    return before;
  }

  #occupancyChanged(
    machine: MutableMachine,
    unit: MutableUnit,
    options: { readonly dirty: Dirty | undefined; readonly belongs: boolean },
  ): void {
    this.#occupancy.refresh(machine, unit, options);
    this.#tidyMachine(machine);
  }

  /** False: the record cannot be read, so what was known before stays. */
  #note(
    unit: MutableUnit,
    kind: ClusterFact["kind"],
    value: FactValue<unknown>,
    dirty: Dirty | undefined,
    machineId?: string,
  ): boolean {
    const isUnreadable = value === "unreadable";
    if (!isUnreadable && unit.unreadable.size === 0) return true;
    const before = unit.unreadable;
    const key = machineId === undefined ? kind : `${kind} ${machineId}`;
    unit.unreadable = noting(before, key, isUnreadable);
    if (unit.unreadable !== before) markOwn(unit, dirty);
    return !isUnreadable;
  }

  #unit(name: string): MutableUnit {
    let unit = this.#units.get(name);
    if (unit === undefined) {
      unit = new MutableUnit(name);
      this.#units.set(name, unit);
    }
    return unit;
  }

  #machine(id: string): MutableMachine {
    let machine = this.#machines.get(id);
    if (machine === undefined) {
      machine = new MutableMachine(id);
      this.#machines.set(id, machine);
      this.#machineIds.splice(position(this.#machineIds, id), 0, id);
    }
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

/** A unit that is nowhere yet comes to a machine that is present. */
export interface Stay {
  readonly unit: UnitEntry;
  readonly machine: MachineEntry;
  readonly placement: Versioned<PlacementSpec>;
  /** With the manifest of the unit's own record. */
  readonly assignment: Versioned<AssignmentSpec> | undefined;
}

/** Nobody else makes entries. */
function mutable({ unit, machine }: Stay) {
  assert(unit instanceof MutableUnit && machine instanceof MutableMachine);
  return { unit, machine };
}

/** Facts of which there is one value at a time that can be had back. */
export type ReplaceableFact = Exclude<ClusterFact, { kind: "file" | "machine" | "roster" }>;

/** Everything: what a fresh leader looks at, and what an audit compares with. */
export function everything(cluster: ClusterState): Dirty {
  const dirty = newDirty();
  for (const name of cluster.units.keys()) dirty.units.add(name);
  return dirty;
}

function markOwn({ name }: UnitEntry, dirty: Dirty | undefined): void {
  if (dirty !== undefined && dirty.acting !== name) dirty.units.add(name);
}

/** An assignment of this manifest, or none. */
function isOneOf(
  assignment: Versioned<AssignmentSpec> | undefined,
  manifest: string | undefined,
): boolean {
  return assignment === undefined || assignment.record.manifest === manifest;
}

function readable<T>(value: FactValue<T>): Versioned<T> | undefined {
  return value === "unreadable" ? undefined : value;
}
