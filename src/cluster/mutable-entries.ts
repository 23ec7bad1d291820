import { type Amounts, NOTHING_RESERVED } from "./capacity.ts";
import type { MachineEntry, UnitEntry } from "./entries.ts";
import type { AssignmentSpec, Versioned } from "./facts.ts";
import type { Metadata } from "./machine.ts";
import { type Constraints, makeNeighbour } from "./relations.ts";

type Writable<T> = {
  -readonly [K in keyof T]: T[K] extends ReadonlySet<infer E>
    ? Set<E>
    : T[K] extends ReadonlyMap<infer K2, infer V2>
      ? Map<K2, V2>
      : T[K] extends readonly (infer E)[]
        ? E[]
        : T[K];
};
type WritableUnit = Writable<UnitEntry>;
type WritableMachine = Writable<MachineEntry>;

/** Shared, so never added to. */
export const NOWHERE = new Set<string>();
const NOBODY = new Set<string>();
const NOTHING_UNREADABLE = new Set<string>();
const NO_CONSTRAINTS: readonly Constraints[] = [];

/** As the cluster state keeps it; a new one is empty. Sets of its machines are changed by `including` and `without` only. */
export class MutableUnit implements WritableUnit {
  name: string;
  unit: WritableUnit["unit"];
  constraints: WritableUnit["constraints"];
  self: WritableUnit["self"];
  placement: WritableUnit["placement"];
  blocked: WritableUnit["blocked"];
  history: WritableUnit["history"];
  move: WritableUnit["move"];
  followers = NOBODY;
  assignedTo = NOWHERE;
  assignments: WritableUnit["assignments"];
  statesOn = NOWHERE;
  unreadable = NOTHING_UNREADABLE;
  hasAssumedStay = false;

  constructor(name: string) {
    this.name = name;
    this.self = makeNeighbour(name, NO_CONSTRAINTS);
  }
}

export class MutableMachine implements Omit<WritableMachine, "metadata"> {
  id: string;
  presence: WritableMachine["presence"];
  operator: WritableMachine["operator"];
  inRoster = false;
  rosterRevision = 0;
  lastBootMs: number | undefined;
  isOpen = false;
  slot: number | undefined;
  metadata: Metadata = new Map();
  states: WritableMachine["states"] = new Map();
  placed: UnitEntry[] = [];
  occupants: WritableMachine["occupants"] = new Map();
  guarded: WritableMachine["guarded"] = [];
  load = 0;
  used: Amounts = NOTHING_RESERVED;
  unreadable = NOTHING_UNREADABLE;
  /** The index of loads does not have its load yet. */
  isStale = false;
  /** Of its own id only: shared by all units that are nowhere else, as almost all are. */
  readonly alone: Set<string>;

  constructor(id: string) {
    this.id = id;
    this.alone = new Set([id]);
  }
}

/** `set` with the machine: the same set if that has several, as those of less are shared. */
export function including(set: Set<string>, machine: MutableMachine): Set<string> {
  if (set.has(machine.id)) return set;
  if (set.size === 0) return machine.alone;
  return set.size === 1 ? new Set([...set, machine.id]) : set.add(machine.id);
}

export function without(set: Set<string>, machineId: string): Set<string> {
  if (!set.has(machineId)) return set;
  if (set.size === 1) return NOWHERE;
  set.delete(machineId);
  return set;
}

/** Undefined: it is not assigned there any more. */
export function setAssignment(
  unit: MutableUnit,
  machine: MutableMachine,
  assignment: Versioned<AssignmentSpec> | undefined,
): void {
  const { id } = machine;
  const before = unit.assignedTo;
  const after = assignment === undefined ? without(before, id) : including(before, machine);
  const { assignments } = unit;
  if (assignment !== undefined && after.size === 1) {
    unit.assignments = assignment;
  } else if (assignment !== undefined) {
    const several = assignments instanceof Map ? assignments : new Map<string, typeof assignment>();
    if (assignments !== undefined && !(assignments instanceof Map)) {
      for (const only of before) several.set(only, assignments);
    }
    unit.assignments = several.set(id, assignment);
  } else if (assignments instanceof Map) {
    assignments.delete(id);
    if (assignments.size === 1) [unit.assignments] = assignments.values();
  } else if (after.size === 0) {
    unit.assignments = undefined;
  }
  unit.assignedTo = after;
}

/** The other unit says MachineOf= this one, or no longer does. */
export function setFollower(unit: MutableUnit, follower: string, follows: boolean): void {
  if (!follows) {
    if (unit.followers.delete(follower) && unit.followers.size === 0) unit.followers = NOBODY;
  } else if (unit.followers === NOBODY) {
    unit.followers = new Set([follower]);
  } else {
    unit.followers.add(follower);
  }
}

/** The set of records that cannot be read with this one in it, or not. */
export function noting(
  unreadable: Set<string>,
  record: string,
  isUnreadable: boolean,
): Set<string> {
  if (unreadable.has(record) === isUnreadable) return unreadable;
  const records = new Set(unreadable);
  if (isUnreadable) records.add(record);
  else records.delete(record);
  return records;
}

/** Takes an item out of a list that has no order. */
export function removeFrom<T>(items: T[], item: T): void {
  // What came last goes first more often than not.
  const at = items.lastIndexOf(item);
  if (at === -1) return;
  const last = items.pop();
  if (at < items.length && last !== undefined) items[at] = last;
}

/** No record names it any more. */
export function isEmptyUnit(unit: UnitEntry): boolean {
  return (
    unit.unit === undefined &&
    unit.placement === undefined &&
    unit.blocked === undefined &&
    unit.history === undefined &&
    unit.move === undefined &&
    unit.followers.size === 0 &&
    unit.assignedTo.size === 0 &&
    unit.statesOn.size === 0 &&
    unit.unreadable.size === 0
  );
}

export function isEmptyMachine(machine: MachineEntry): boolean {
  return (
    machine.presence === undefined &&
    machine.operator === undefined &&
    !machine.inRoster &&
    machine.occupants.size === 0 &&
    machine.states.size === 0 &&
    machine.unreadable.size === 0
  );
}
