import {
  isPlacedOn,
  isWanted,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "../cluster/entries.ts";
import { whyNot } from "../cluster/feasibility.ts";
import { groupOf, isGroupable } from "../cluster/groups.ts";
import { startResult } from "../cluster/start-result.ts";
import type { MoveOnFailure } from "../units/requirements.ts";
import { attemptOf } from "./attempt.ts";
import { unitReason } from "./blocked.ts";
import { countReasons } from "./give-up.ts";
import { isMovable, send } from "./moves.ts";
import type { PlanPass } from "./pass.ts";

/**
 * OnFailure=move: a unit that systemd has given up goes to a machine where it has not failed of late, with all that are tied to it. What counts is in
 * the registry (states and history), so another engine decides the same. A restart by an operator begins anew.
 */
export function noteFailure({ moves }: PlanPass, unit: UnitEntry): void {
  if (moveOnFailure(unit) === undefined) return;
  const { failing, blockedSinceMs } = moves;
  failing.add(unit.name);
  if (!blockedSinceMs.has(unit.name)) {
    blockedSinceMs.set(unit.name, unit.blocked?.record.sinceMs);
  }
}

export function runFailures(pass: PlanPass): void {
  const names = [...pass.moves.failing].sort();
  pass.moves.failing.clear();
  for (const name of names) {
    const unit = pass.cluster.unit(name);
    const rule = unit && moveOnFailure(unit);
    if (unit !== undefined && rule !== undefined) runFailure(pass, unit, rule);
  }
}

function runFailure(pass: PlanPass, unit: UnitEntry, rule: MoveOnFailure): void {
  const machine = pass.cluster.machine(unit.placement?.record.machine ?? "");
  if (machine === undefined || !isWanted(unit) || pass.isTouched(unit)) return;
  if (pass.status(machine) !== "present" || !hasFailed(unit, machine)) return;
  // It has to leave anyway, in its turn.
  if (machine.operator?.record.draining === true) return;
  const group = isGroupable(unit) ? groupOf(pass.cluster, unit) : [];
  const isWhole = group.every((one) => isPlacedOn(one, machine) && isMovable(pass, one, machine));
  if (group.length === 0 || !isWhole) return;
  const earlier = recentFailures(pass, { unit, machine, rule });
  if (earlier.length >= rule.limit) {
    const { limit } = rule;
    pass.decideBlocked(unit, unitReason({ type: "move-limit", machineId: machine.id, limit }));
    return;
  }
  const avoid = new Set([...earlier, machine.id]);
  send(pass, { group, machine, why: { type: "failed", machineId: machine.id }, avoid });
  if (pass.isTouched(unit)) return;
  const elsewhere = countReasons(pass, (other) =>
    avoid.has(other.id) ? { type: "failed-there" } : whyNot(pass.cluster, { unit, machine: other }),
  );
  pass.decideBlocked(unit, [
    ...unitReason({ type: "failed", machineId: machine.id }),
    ...elsewhere,
  ]);
}

function moveOnFailure(unit: UnitEntry): MoveOnFailure | undefined {
  return knownConstraints(unit)?.requirements.moveOnFailure;
}

/** Systemd has ended its tries: start limit, or no Restart=. A start that the agent tries again is none, nor is a oneshot that is over. */
function hasFailed(unit: UnitEntry, machine: MachineEntry): boolean {
  const state = machine.states.get(unit.name)?.record;
  const restarts = unit.unit?.record.restarts ?? 0;
  return (
    state !== undefined &&
    state.identity === unit.unit?.createRevision &&
    state.active === "failed" &&
    state.error === undefined &&
    startResult(state, restarts) === "failed"
  );
}

/**
 * Machines it has left for a failure within the interval that ends with its failure here. That is told by the machine's clock, so it counts only where it
 * can be true: between its arrival and now. Else a clock far ahead would take every earlier failure for long ago, and nothing would end the moves.
 */
function recentFailures(
  pass: PlanPass,
  of: { readonly unit: UnitEntry; readonly machine: MachineEntry; readonly rule: MoveOnFailure },
): readonly string[] {
  const { unit, machine, rule } = of;
  const entries = unit.history?.record.entries ?? [];
  const arrivedMs = entries.at(-1)?.fromMs ?? 0;
  const toldMs = machine.states.get(unit.name)?.record.sinceMs ?? 0;
  // What was decided of it once stays so.
  const seenMs = pass.moves.blockedSinceMs.get(unit.name) ?? pass.wallMs;
  const failedMs = Math.max(arrivedMs, Math.min(toldMs, seenMs));
  const attempt = attemptOf(unit);
  return entries
    .filter(
      (entry) =>
        entry.why === "failed" &&
        entry.attempt === attempt &&
        (entry.untilMs ?? 0) > failedMs - rule.intervalMs,
    )
    .map((entry) => entry.machine);
}
