import { type Amounts, NOTHING_RESERVED } from "./capacity.ts";
import type {
  AssignmentSpec,
  BlockedSpec,
  HistorySpec,
  MachineSpec,
  MoveSpec,
  OperatorSpec,
  PlacementSpec,
  StateSpec,
  UnitSpec,
  Versioned,
} from "./facts.ts";
import type { Metadata } from "./machine.ts";
import type { ReadConstraints } from "./manifest-table.ts";
import { type Constraints, makeNeighbour, type Neighbour } from "./relations.ts";

/** Everything the registry says of one unit name. */
export interface UnitEntry {
  readonly name: string;
  readonly unit: Versioned<UnitSpec> | undefined;
  /** Of the manifest the unit's record names; undefined without a record. */
  readonly constraints: ReadConstraints | undefined;
  readonly self: Neighbour;
  readonly placement: Versioned<PlacementSpec> | undefined;
  readonly blocked: Versioned<BlockedSpec> | undefined;
  readonly history: Versioned<HistorySpec> | undefined;
  /** Where an operator wants it moved to. */
  readonly move: Versioned<MoveSpec> | undefined;
  /** The units that say MachineOf= it; it need not exist itself. */
  readonly followers: ReadonlySet<string>;
  readonly assignedTo: ReadonlySet<string>;
  /** Ask assignmentOn(). Of a unit assigned to several machines by machine; almost always there is one, which needs no map. */
  readonly assignments:
    | Versioned<AssignmentSpec>
    | Map<string, Versioned<AssignmentSpec>>
    | undefined;
  readonly statesOn: ReadonlySet<string>;
  /** Which of its records cannot be read. While there is one, the unit is left alone. */
  readonly unreadable: ReadonlySet<string>;
}

/** A machine that any record names. */
export interface MachineEntry {
  readonly id: string;
  readonly presence: Versioned<MachineSpec> | undefined;
  readonly operator: Versioned<OperatorSpec> | undefined;
  readonly inRoster: boolean;
  /** Mod revision of the roster record: written when the machine comes (back). */
  readonly rosterRevision: number;
  /** As the roster says it; undefined where nothing does. */
  readonly lastBootMs: number | undefined;
  /** Its place among the machines that take new units, in order of id; undefined: the index does not have it. */
  readonly slot: number | undefined;
  readonly metadata: Metadata;
  readonly states: ReadonlyMap<string, Versioned<StateSpec>>;
  /** Non-global units placed here, in no particular order. */
  readonly placed: readonly UnitEntry[];
  /** Units placed, assigned or still held here. A state that says `name-taken` holds nothing. */
  readonly occupants: ReadonlyMap<string, Neighbour>;
  /** Occupants that say Conflicts= or Replaces=. */
  readonly guarded: readonly Neighbour[];
  /** Sum of the occupants' weights. */
  readonly load: number;
  /** What the occupants reserve. */
  readonly used: Amounts;
  /** Which of its records cannot be read. While there is one, nothing is put there and nothing taken away. */
  readonly unreadable: ReadonlySet<string>;
}

/** Somebody wants it loaded or launched. */
export function isWanted(
  entry: UnitEntry | undefined,
): entry is UnitEntry & { unit: Versioned<UnitSpec> } {
  return entry?.unit !== undefined && entry.unit.record.desired !== "inactive";
}

export function isPresent(machine: MachineEntry | undefined): boolean {
  return (
    machine !== undefined && (machine.presence !== undefined || machine.unreadable.has("machine"))
  );
}

/** An operator has said that this absence of it is a loss. */
export function isConfirmedLost(machine: MachineEntry | undefined): boolean {
  return machine?.inRoster === true && machine.operator?.record.evacuate === machine.rosterRevision;
}

/** Takes new units, as far as the machine itself is concerned. */
export function isOpen({ presence, operator, unreadable }: MachineEntry): boolean {
  return (
    presence !== undefined &&
    unreadable.size === 0 &&
    !presence.record.leaving &&
    !(operator?.record.cordoned ?? false) &&
    !(operator?.record.draining ?? false)
  );
}

export function knownConstraints(entry: UnitEntry): Constraints | undefined {
  return entry.constraints?.type === "known" ? entry.constraints.constraints : undefined;
}

/** The agent found a unit of this name that is not fleet-ts's (I11). */
export function isNameTaken(state: Versioned<StateSpec> | undefined): boolean {
  return state?.record.error?.code === "name-taken";
}

/** The older unit goes first and stays where two cannot be together. Two made by one transaction are told apart by name. */
export function compareAge(left: UnitEntry, right: UnitEntry): number {
  const byIdentity = (left.unit?.createRevision ?? 0) - (right.unit?.createRevision ?? 0);
  return byIdentity !== 0
    ? byIdentity
    : left.name < right.name
      ? -1
      : left.name > right.name
        ? 1
        : 0;
}

export function isPlacedOn(unit: UnitEntry | undefined, machine: MachineEntry): boolean {
  return unit?.placement?.record.machine === machine.id;
}

/** What the machine is told to do with the unit. */
export function assignmentOn(
  unit: UnitEntry | undefined,
  machineId: string,
): Versioned<AssignmentSpec> | undefined {
  if (unit === undefined || !unit.assignedTo.has(machineId)) return undefined;
  return unit.assignments instanceof Map ? unit.assignments.get(machineId) : unit.assignments;
}

/** Wherever it is placed, assigned or held. */
export function machinesOf(unit: UnitEntry): ReadonlySet<string> {
  const placed = unit.placement?.record.machine;
  const { assignedTo, statesOn } = unit;
  const isSame = statesOn.size === 0 || statesOn === assignedTo;
  if (isSame && (placed === undefined || assignedTo.has(placed))) return assignedTo;
  const machines = new Set([...assignedTo, ...statesOn]);
  return placed === undefined ? machines : machines.add(placed);
}

type Writable<T> = {
  -readonly [K in keyof T]: T[K] extends ReadonlySet<infer E>
    ? Set<E>
    : T[K] extends ReadonlyMap<infer K2, infer V2>
      ? Map<K2, V2>
      : T[K] extends readonly (infer E)[]
        ? E[]
        : T[K];
};
/** As the cluster state keeps it. Sets of its machines are changed by `including` and `without` only. */
export type MutableUnit = Writable<UnitEntry>;
export type MutableMachine = Omit<Writable<MachineEntry>, "metadata" | "used"> & {
  metadata: Metadata;
  used: Amounts;
  /** The index of loads does not have its load yet. */
  isStale: boolean;
  /** Of its own id only: shared by all units that are nowhere else, as almost all are. */
  readonly alone: Set<string>;
};

/** Shared, so never added to. */
const NOWHERE = new Set<string>();
const NOBODY = new Set<string>();

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

const NOTHING_UNREADABLE = new Set<string>();

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

const NO_CONSTRAINTS: readonly Constraints[] = [];

export function emptyUnit(name: string): MutableUnit {
  return {
    name,
    unit: undefined,
    constraints: undefined,
    self: makeNeighbour(name, NO_CONSTRAINTS),
    placement: undefined,
    blocked: undefined,
    history: undefined,
    move: undefined,
    followers: NOBODY,
    assignedTo: NOWHERE,
    assignments: undefined,
    statesOn: NOWHERE,
    unreadable: NOTHING_UNREADABLE,
  };
}

export function emptyMachine(id: string): MutableMachine {
  return {
    id,
    presence: undefined,
    operator: undefined,
    inRoster: false,
    rosterRevision: 0,
    lastBootMs: undefined,
    slot: undefined,
    metadata: new Map(),
    states: new Map(),
    placed: [],
    occupants: new Map(),
    guarded: [],
    load: 0,
    used: NOTHING_RESERVED,
    unreadable: NOTHING_UNREADABLE,
    isStale: false,
    alone: new Set([id]),
  };
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

/** A change of a global unit reaches its machines in turn: only then what they say of it decides anything. */
export function isRolling({ blocked }: Pick<UnitEntry, "blocked">): boolean {
  return blocked?.record.reasons.some(({ reason }) => reason.type === "rolling") ?? false;
}
