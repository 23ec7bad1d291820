import type { Amounts } from "./capacity.ts";
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
import type { Constraints, Neighbour } from "./relations.ts";

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
  /** Where it is is assumed only (assumptions.ts). */
  readonly hasAssumedStay: boolean;
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
  /** As isOpen() says it: asked for every unit that is placed, without a look at the records. */
  readonly isOpen: boolean;
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

/** A change of a global unit reaches its machines in turn: only then what they say of it decides anything. */
export function isRolling({ blocked }: Pick<UnitEntry, "blocked">): boolean {
  return blocked?.record.reasons.some(({ reason }) => reason.type === "rolling") ?? false;
}
