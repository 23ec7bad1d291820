import { assignmentOn, type MachineEntry, type UnitEntry } from "../cluster/entries.ts";
import type { BlockedReason, StateSpec } from "../cluster/facts.ts";
import { isDrainReason } from "../cluster/reason.ts";
import { type StartResult, startResult } from "../cluster/start-result.ts";
import type { PlanPass } from "./pass.ts";

/** A unit that is where it belongs: whether its move has come to its end. */
export function settleMove(pass: PlanPass, unit: UnitEntry, machine: MachineEntry): void {
  const { placement } = unit;
  const moving = placement?.record.moving;
  if (placement === undefined || moving === undefined) return;
  const result = resultOn(unit, machine);
  // A failure that is none of the move's, or that nobody waits for any more, is the unit's own.
  const mayFail = !moving.wasWell || !pass.cluster.moves.draining.has(moving.from);
  const isOver = isWell(result) || (mayFail && result === "failed");
  if (!isOver) return;
  const { moving: _, ...record } = placement.record;
  pass.do({
    type: "arrive",
    unit: unit.name,
    machineId: machine.id,
    placement: record,
    placementRevision: placement.modRevision,
  });
}

/** Why the unit has not left its machine, as decided before; nothing when the machine is not drained. */
export function standingDrainReasons(
  unit: UnitEntry,
  machine: MachineEntry,
): readonly BlockedReason[] {
  const record = unit.blocked?.record;
  const stands =
    machine.operator?.record.draining === true &&
    record?.identity === unit.unit?.createRevision &&
    record?.reasons.some(({ reason }) => isDrainReason(reason)) === true;
  return stands ? record.reasons : [];
}

/** What has become of what the machine was told to do with the unit. */
export function resultOn(unit: UnitEntry, machine: MachineEntry): StartResult {
  const assignment = assignmentOn(unit, machine.id)?.record;
  const state = machine.states.get(unit.name)?.record;
  if (assignment === undefined || !isSame(state, unit)) return "pending";
  if (state.error !== undefined) return "failed";
  if (assignment.target === "loaded") return state.current === "loaded" ? "up" : "pending";
  return startResult(state, assignment.restarts);
}

function isSame(state: StateSpec | undefined, unit: UnitEntry): state is StateSpec {
  return state !== undefined && state.identity === unit.unit?.createRevision;
}

export function isWell(result: StartResult): boolean {
  return result === "up" || result === "finished";
}
