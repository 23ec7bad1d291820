import {
  assignmentOn,
  isRolling,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "../cluster/entries.ts";
import type { BlockedReason } from "../cluster/facts.ts";
import { startResult } from "../cluster/start-result.ts";
import { unitReason } from "./blocked.ts";
import type { PlanPass } from "./pass.ts";

/** A change of a global unit on its way through the machines. */
export interface Roll {
  /** Machines whose assignment may become the new one now. */
  readonly released: ReadonlySet<string>;
  /** For people: how far it has come. Empty when nothing is left to do. */
  readonly reasons: readonly BlockedReason[];
}

/**
 * MaxUnavailable=: a new content or a restart of a global unit reaches so many present machines at a time, those where it does not run first; the next when
 * it runs there as wanted. Follows from assignments and states alone. Machines that are away get it at once: they are told when they return.
 * `machineIds`: where something may have changed since the whole unit was looked at, for it may be on very many machines.
 */
export function rollOf(
  pass: PlanPass,
  unit: UnitEntry,
  machineIds: Iterable<string> | undefined,
): Roll | undefined {
  const wanted = unit.unit;
  if (wanted === undefined || wanted.record.desired !== "launched") return undefined;
  if (machineIds !== undefined && !isRolling(unit) && !areOutdated(pass, unit, machineIds)) {
    return undefined;
  }
  const members = [...unit.assignedTo].sort().flatMap((id) => pass.cluster.machine(id) ?? []);
  const outdated = members.filter((machine) => isOutdated(unit, machine));
  if (outdated.length === 0 && !isRolling(unit)) return undefined;
  const present = members.filter((machine) => pass.status(machine) === "present");
  const missing = present.filter((machine) => !isServing(unit, machine));
  const max = knownConstraints(unit)?.requirements.maxUnavailable ?? 1;
  const released = new Set(
    outdated.filter((machine) => !present.includes(machine) || missing.includes(machine)).map(idOf),
  );
  let free = max - missing.length;
  for (const machine of outdated) {
    if (free <= 0 || released.has(machine.id)) continue;
    released.add(machine.id);
    free -= 1;
  }
  const done = present.filter(
    (machine) => !isOutdated(unit, machine) && isServing(unit, machine),
  ).length;
  const left = present.some((machine) => isOutdated(unit, machine));
  const reasons = left ? unitReason({ type: "rolling", done, of: present.length }) : [];
  return { released, reasons };
}

/** Its turn has not come. */
export function isHeldBack(
  unit: UnitEntry,
  machine: MachineEntry,
  roll: Roll | undefined,
): boolean {
  return roll !== undefined && isOutdated(unit, machine) && !roll.released.has(machine.id);
}

function areOutdated(pass: PlanPass, unit: UnitEntry, machineIds: Iterable<string>): boolean {
  for (const id of machineIds) {
    const machine = pass.cluster.machine(id);
    if (machine !== undefined && isOutdated(unit, machine)) return true;
  }
  return false;
}

function isOutdated(unit: UnitEntry, machine: MachineEntry): boolean {
  const current = assignmentOn(unit, machine.id)?.record;
  return (
    current !== undefined &&
    current.identity === unit.unit?.createRevision &&
    current.target === "launched" &&
    (current.manifest !== unit.unit.record.manifest ||
      current.restarts !== unit.unit.record.restarts)
  );
}

/** It runs, or has ended well, as its assignment says. */
function isServing(unit: UnitEntry, machine: MachineEntry): boolean {
  const assignment = assignmentOn(unit, machine.id)?.record;
  const state = machine.states.get(unit.name)?.record;
  if (assignment === undefined || state === undefined) return false;
  if (state.identity !== assignment.identity || state.manifest !== assignment.manifest)
    return false;
  if (state.update === "pending") return false;
  const result = startResult(state, assignment.restarts);
  return state.error === undefined && (result === "up" || result === "finished");
}

function idOf({ id }: MachineEntry): string {
  return id;
}
