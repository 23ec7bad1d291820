import {
  assignmentOn,
  isNameTaken,
  type MachineEntry,
  type UnitEntry,
} from "../cluster/entries.ts";
import type {
  AssignmentSpec,
  BlockedReason,
  HistorySpec,
  Moving,
  PlacementSpec,
} from "../cluster/facts.ts";
import { displacedBy } from "../cluster/feasibility.ts";
import { attemptOf } from "./attempt.ts";
import { unitReason } from "./blocked.ts";
import { arrived, left } from "./history.ts";
import type { PlanPass } from "./pass.ts";
import type { PlaceTask, TaskReason } from "./tasks.ts";

/** Where a unit comes from when it moves. */
export interface Origin {
  readonly machineId: string;
  readonly isLost: boolean;
  readonly why: TaskReason;
  /** A planned move: the unit stops there first, with its new place reserved. */
  readonly moving?: Moving;
}

/** Places a unit on a machine, or moves it there. It starts at once unless another has to make room first. */
export function place(
  pass: PlanPass,
  options: {
    readonly unit: UnitEntry;
    readonly machine: MachineEntry;
    readonly origin: Origin | undefined;
    readonly why: TaskReason;
    readonly bundle: string | undefined;
  },
): void {
  const { unit, machine, origin, why, bundle } = options;
  const displaced = displacedBy(unit, machine)[0];
  const stops = origin?.moving?.from;
  const holders = mayHold(pass, unit, machine.id);
  const task: PlaceTask = {
    type: "place",
    unit: unit.name,
    machineId: machine.id,
    placement: placementOf(unit, machine, origin),
    placementRevision: unit.placement?.modRevision ?? 0,
    assignment: displaced === undefined && stops === undefined ? assignmentOf(unit) : undefined,
    from: origin?.machineId,
    fromLost: origin?.isLost ?? false,
    absentAt: stops === undefined ? holders : holders.filter((id) => id !== stops),
    history: historyOf(pass, { unit, machine, origin }),
    why,
    bundle,
    moveRevision: unit.move?.modRevision,
  };
  if (isNew(pass, unit)) pass.placeNew(task, { unit, machine });
  else pass.do(task);
  const waits = displaced === undefined ? NO_REASONS : waitingForRoom(machine.id, displaced);
  const reasons = stops === undefined ? waits : unitReason({ type: "stopping", machineId: stops });
  pass.decideBlocked(unit, reasons);
}

/** It is nowhere, and nobody else's move depends on where it comes to be. */
function isNew({ cluster }: PlanPass, { placement, move, assignedTo, statesOn }: UnitEntry) {
  const isNowhere = placement === undefined && assignedTo.size === 0 && statesOn.size === 0;
  return isNowhere && move === undefined && cluster.moves.draining.size === 0;
}

const NO_REASONS: readonly BlockedReason[] = [];

function historyOf(
  pass: PlanPass,
  of: {
    readonly unit: UnitEntry;
    readonly machine: MachineEntry;
    readonly origin: Origin | undefined;
  },
): HistorySpec {
  const { unit, machine, origin } = of;
  if (origin === undefined && unit.history === undefined) return pass.firstStay(machine);
  const before =
    origin === undefined
      ? unit.history?.record
      : left(unit.history, {
          machineId: origin.machineId,
          atMs: pass.wallMs,
          why: origin.why.type,
          ...(origin.why.type === "failed" ? { attempt: attemptOf(unit) } : {}),
        });
  return arrived(before, { machine: machine.id, fromMs: pass.wallMs });
}

function placementOf(
  unit: UnitEntry,
  machine: MachineEntry,
  origin: Origin | undefined,
): PlacementSpec {
  const known = unit.placement?.record;
  const placement = { machine: machine.id, identity: unit.unit?.createRevision ?? 0 };
  if (known === undefined && origin?.moving === undefined) return placement;
  const moving = origin?.moving === undefined ? {} : { moving: origin.moving };
  return { ...known, ...placement, ...moving };
}

export function unplace(pass: PlanPass, unit: UnitEntry, why: TaskReason): void {
  const { placement } = unit;
  if (placement === undefined) return;
  const machineId = placement.record.machine;
  pass.do({
    type: "unplace",
    unit: unit.name,
    machineId,
    placementRevision: placement.modRevision,
    isAssigned: unit.assignedTo.has(machineId),
    history: left(unit.history, { machineId, atMs: pass.wallMs, why: why.type }),
    why,
  });
}

export function unassign(
  pass: PlanPass,
  unit: UnitEntry,
  options: { readonly machineId: string; readonly why: TaskReason },
): void {
  pass.do({ type: "unassign", unit: unit.name, ...options });
}

/** Writes the assignment of a unit that is to be on the machine, if what stands there is not what is wanted. */
export function syncAssignment(pass: PlanPass, unit: UnitEntry, machine: MachineEntry): void {
  const current = assignmentOn(unit, machine.id)?.record;
  const wanted = assignmentOf(unit);
  if (current !== undefined && isSameAssignment(current, wanted)) return;
  pass.do({
    type: "assign",
    unit: unit.name,
    machineId: machine.id,
    assignment: { ...current, ...wanted },
    unitRevision: unit.unit?.modRevision ?? 0,
    why: current === undefined ? { type: "wanted" } : { type: "changed" },
  });
}

export function waitingForRoom(machineId: string, unit: string) {
  return unitReason({ type: "waiting-for-room", machineId, unit });
}

function assignmentOf(unit: UnitEntry): AssignmentSpec {
  const { record, createRevision } = unit.unit ?? ABSENT;
  return {
    identity: createRevision,
    manifest: record.manifest,
    target: record.desired === "launched" ? "launched" : "loaded",
    restarts: record.restarts,
    global: record.global,
  };
}

const ABSENT = {
  record: { desired: "inactive", manifest: "", restarts: 0, global: false },
  createRevision: 0,
} as const;

function isSameAssignment(one: AssignmentSpec, other: AssignmentSpec): boolean {
  return (
    one.identity === other.identity &&
    one.manifest === other.manifest &&
    one.target === other.target &&
    one.restarts === other.restarts &&
    one.global === other.global
  );
}

const NOBODY: readonly string[] = [];

/**
 * Machines that had the unit and might still hold it, sorted; the transaction compares that they do not (I8). Away ones too: a machine that is just
 * coming back shows what it holds before the watch tells of it.
 */
export function mayHold(pass: PlanPass, unit: UnitEntry, target: string): readonly string[] {
  const before = unit.history?.record.entries ?? [];
  if (before.length === 0 && unit.assignedTo.size === 0 && unit.statesOn.size === 0) return NOBODY;
  const machines = new Set<string>([...unit.assignedTo, ...unit.statesOn]);
  for (const { machine } of before) machines.add(machine);
  machines.delete(target);
  return [...machines]
    .filter((id) => {
      const machine = pass.cluster.machine(id);
      return machine !== undefined && !isNameTaken(machine.states.get(unit.name));
    })
    .sort();
}
