import type { MachineEntry, UnitEntry } from "../cluster/entries.ts";
import { whyLeave, whyNot } from "../cluster/feasibility.ts";
import { unitReason } from "./blocked.ts";
import { countReasons } from "./give-up.ts";
import type { PlanPass } from "./pass.ts";
import { syncAssignment, unassign, unplace } from "./place.ts";
import { isHeldBack, type Roll, rollOf } from "./rolling.ts";

/** Takes a global unit from machines it must not be on and keeps the other assignments current. */
export function settleGlobal(
  pass: PlanPass,
  unit: UnitEntry,
  machineIds: Iterable<string> | undefined,
): void {
  unplace(pass, unit, { type: "unit-is-another" });
  if (unit.constraints?.type !== "known") return;
  const roll = rollOf(pass, unit, machineIds);
  for (const id of machineIds ?? [...unit.assignedTo].sort()) {
    const machine = pass.cluster.machine(id);
    if (machine !== undefined && unit.assignedTo.has(id)) settleOn(pass, { unit, machine, roll });
  }
}

function settleOn(
  pass: PlanPass,
  options: {
    readonly unit: UnitEntry;
    readonly machine: MachineEntry;
    readonly roll: Roll | undefined;
  },
): void {
  const { unit, machine, roll } = options;
  const machineId = machine.id;
  const status = pass.status(machine);
  if (status === "opaque") return;
  if (status === "lost" && !machine.inRoster) {
    unassign(pass, unit, { machineId, why: { type: "forgotten" } });
    return;
  }
  const acts = status === "present" || status === "leaving";
  const why = acts ? whyLeave(pass.cluster, unit, machine) : undefined;
  if (why !== undefined) unassign(pass, unit, { machineId, why });
  else if (!isHeldBack(unit, machine, roll)) syncAssignment(pass, unit, machine);
}

/** Assigns a global unit to machines that take it, and says why if none does. */
export function scheduleGlobal(
  pass: PlanPass,
  unit: UnitEntry,
  machineIds: Iterable<string> | undefined,
): void {
  if (unit.constraints?.type === "unreadable") return;
  if (unit.constraints?.type === "problem") {
    pass.decideBlocked(unit, unitReason(unit.constraints.reason));
    return;
  }
  for (const id of machineIds ?? pass.cluster.machineIds) {
    const machine = pass.cluster.machine(id);
    if (machine === undefined || unit.assignedTo.has(machine.id)) continue;
    const why = whyNot(pass.cluster, { unit, machine, group: undefined, holds: false });
    if (why === undefined) syncAssignment(pass, unit, machine);
  }
  const reasons =
    unit.assignedTo.size > 0
      ? (rollOf(pass, unit, machineIds)?.reasons ?? [])
      : countReasons(pass, (machine) => whyNot(pass.cluster, { unit, machine }));
  pass.decideBlocked(unit, reasons);
}
