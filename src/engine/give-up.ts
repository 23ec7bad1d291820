import { isPresent, type MachineEntry, type UnitEntry } from "../cluster/entries.ts";
import type { BlockedReason } from "../cluster/facts.ts";
import { whyNotTogether } from "../cluster/feasibility.ts";
import { whyNotTogetherOn } from "../cluster/groups.ts";
import type { MachineReason } from "../cluster/reason.ts";
import { ReasonCounter, unitReason } from "./blocked.ts";
import { type Homeless, originOf, type Tied } from "./homeless.ts";
import type { PlanPass } from "./pass.ts";
import { syncAssignment, unplace } from "./place.ts";

/** If the units cannot be together on any machine, they are given up. */
export function areApart(pass: PlanPass, homeless: Homeless): boolean {
  const { units } = homeless;
  const apart = units.map((unit) => whyNotTogether(unit, units));
  if (apart.every((reason) => reason === undefined)) return false;
  giveUp(pass, homeless, (unit) => unitReason(togetherReason(units, apart, unit)));
  return true;
}

/** They have to stop first where they are held. */
export function giveUpStopping(
  pass: PlanPass,
  homeless: Homeless,
  occupied: readonly MachineEntry[],
): void {
  giveUp(pass, homeless, (unit) => stoppingReason(unit, occupied));
}

/** No machine takes them: each gets the reasons. */
export function giveUpEverywhere(pass: PlanPass, homeless: Homeless, tied: Tied | undefined): void {
  const { units } = homeless;
  giveUp(pass, homeless, (unit) => machineReasons(pass, { unit, units, tied }));
}

/** No machine for them now. Who has a machine keeps it, so that the unit goes on when that returns. */
function giveUp(
  pass: PlanPass,
  { units, standings }: Homeless,
  reasonsOf: (unit: UnitEntry) => readonly BlockedReason[],
): void {
  for (const unit of units) {
    const origin = originOf(unit, standings);
    if (origin?.moving !== undefined) {
      if (origin.why.type === "draining") stayOn(pass, unit, origin.machineId, reasonsOf(unit));
      continue;
    }
    const machine = origin === undefined ? undefined : pass.cluster.machine(origin.machineId);
    if (origin === undefined || machine === undefined) {
      pass.decideBlocked(unit, reasonsOf(unit));
      continue;
    }
    if (origin.isLost && !machine.inRoster) {
      unplace(pass, unit, { type: "forgotten" });
      pass.decideBlocked(unit, reasonsOf(unit));
      continue;
    }
    if (unit.assignedTo.has(machine.id)) syncAssignment(pass, unit, machine);
    pass.decideBlocked(
      unit,
      origin.isLost ? unitReason({ type: "machine-lost", machineId: machine.id }) : reasonsOf(unit),
    );
  }
}

/** It runs on where it is, and leaves as soon as another machine takes it. */
function stayOn(
  pass: PlanPass,
  unit: UnitEntry,
  machineId: string,
  reasons: readonly BlockedReason[],
): void {
  // That its own machine is drained goes without saying.
  const others = reasons.filter(
    ({ reason, machines }) => reason.type !== "draining" || machines > 1,
  );
  pass.decideBlocked(unit, [...unitReason({ type: "drain-stuck", machineId }), ...others]);
}

function togetherReason(
  units: readonly UnitEntry[],
  apart: readonly (MachineReason | undefined)[],
  unit: UnitEntry,
): MachineReason {
  const own = apart[units.indexOf(unit)];
  if (own !== undefined) return own;
  const index = apart.findIndex((reason) => reason !== undefined);
  const because = apart[index] ?? { type: "away" };
  return { type: "group-member", unit: units[index]?.name ?? "", because };
}

function stoppingReason(
  unit: UnitEntry,
  occupied: readonly MachineEntry[],
): readonly BlockedReason[] {
  const own = occupied.find(({ id }) => unit.statesOn.has(id) || unit.assignedTo.has(id));
  const machineId = (own ?? occupied[0])?.id ?? "";
  return unitReason({ type: "stopping", machineId });
}

function machineReasons(
  pass: PlanPass,
  options: {
    readonly unit: UnitEntry;
    readonly units: readonly UnitEntry[];
    readonly tied: Tied | undefined;
  },
): readonly BlockedReason[] {
  const { unit, units, tied } = options;
  return countReasons(pass, (machine) => {
    const why = whyNotTogetherOn(pass.cluster, { unit, units, machine });
    if (why !== undefined || tied === undefined) return why;
    return { type: "peer-elsewhere", peer: tied.because };
  });
}

/** The reasons of every known machine, counted. */
export function countReasons(
  pass: PlanPass,
  reasonAt: (machine: MachineEntry) => MachineReason | undefined,
): readonly BlockedReason[] {
  const counter = new ReasonCounter();
  let anyPresent = false;
  for (const id of pass.cluster.machineIds) {
    const machine = pass.cluster.machine(id);
    if (machine === undefined || !(isPresent(machine) || machine.inRoster)) continue;
    anyPresent ||= isPresent(machine);
    const reason = reasonAt(machine);
    if (reason !== undefined) counter.add(id, reason);
  }
  const reasons = counter.reasons();
  return anyPresent && reasons.length > 0 ? reasons : unitReason({ type: "no-machines" });
}
