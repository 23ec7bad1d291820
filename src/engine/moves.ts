import {
  compareAge,
  isNameTaken,
  isPlacedOn,
  isWanted,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "../cluster/entries.ts";
import { displacedBy } from "../cluster/feasibility.ts";
import { groupOf, isGroupable } from "../cluster/groups.ts";
import { nextHome } from "../cluster/next-home.ts";
import { isWell, resultOn, standingDrainReasons } from "./arrival.ts";
import { unitReason } from "./blocked.ts";
import type { PlanPass } from "./pass.ts";
import { placeAll, scheduleGroup } from "./schedule.ts";
import type { Standing, Standings } from "./settle.ts";

/**
 * Planned moves: of a machine that is drained, and those an operator asked for. A move has three steps, each of which follows from
 * the registry alone. The new place is reserved by the placement, which says where the unit comes from and thereby tells that
 * machine to stop it; when nobody holds the unit any more it is assigned; when its start has come to an end it has arrived. A drained
 * machine has one group (MachineOf) under way at a time, so that what does not start elsewhere stops the drain (I8).
 */
export function noteMove({ cluster, moves }: PlanPass, unit: UnitEntry): void {
  const { draining } = cluster.moves;
  if (unit.move !== undefined || draining.size > 0) moves.units.add(unit.name);
  if (draining.size === 0) return;
  const placement = unit.placement?.record;
  const holders = cluster.globals.has(unit.name) ? unit.assignedTo : [];
  for (const id of [placement?.machine, placement?.moving?.from, ...holders]) {
    if (id !== undefined && draining.has(id)) moves.draining.add(id);
  }
}

/** After everything else has been settled: what was looked at may have the next move of its machine follow from it. */
export function runMoves(pass: PlanPass): void {
  const { cluster, moves } = pass;
  for (const name of [...moves.units].sort()) runAskedMove(pass, cluster.unit(name));
  for (const id of [...moves.draining].sort()) {
    const machine = cluster.machine(id);
    if (machine !== undefined && pass.status(machine) === "present") drain(pass, machine);
  }
  moves.draining.clear();
}

/** Units that have their place reserved are assigned together, once none of them is held anywhere else. */
export function receiveGroup(
  pass: PlanPass,
  group: readonly UnitEntry[],
  standings: Standings,
): void {
  const coming = group.filter((unit) =>
    isReserved(unit, machineOf(pass, standings.get(unit.name))),
  );
  for (const [machine, units] of Map.groupBy(coming, (unit) =>
    machineOf(pass, standings.get(unit.name)),
  )) {
    if (machine === undefined || pass.status(machine) !== "present") continue;
    const holder = units.map((unit) => holderOf(pass, unit)).find((id) => id !== undefined);
    if (holder === undefined) {
      placeAll(pass, { units, standings }, { machine, why: { type: "moved" } });
      continue;
    }
    const reasons = unitReason({ type: "stopping", machineId: holder });
    for (const unit of units) pass.decideBlocked(unit, reasons);
  }
}

function machineOf(pass: PlanPass, standing: Standing | undefined): MachineEntry | undefined {
  return standing?.type === "settled" ? pass.cluster.machine(standing.machineId) : undefined;
}

/** On its way to the machine, and not assigned yet because it may still be stopping elsewhere. */
function isReserved(unit: UnitEntry, machine: MachineEntry | undefined): boolean {
  return (
    machine !== undefined &&
    unit.placement?.record.moving !== undefined &&
    !unit.assignedTo.has(machine.id) &&
    displacedBy(unit, machine).length === 0
  );
}

/** A machine that the unit has not left yet, as far as anybody can tell. */
function holderOf(pass: PlanPass, unit: UnitEntry): string | undefined {
  const { machine: target, moving } = unit.placement?.record ?? {};
  const from = moving === undefined ? undefined : pass.cluster.machine(moving.from);
  const status = from === undefined ? undefined : pass.status(from);
  if (status === "away" || status === "opaque") return from?.id;
  return [...unit.statesOn].sort().find((id) => {
    const machine = pass.cluster.machine(id);
    if (id === target || machine?.presence === undefined) return false;
    return !isNameTaken(machine.states.get(unit.name));
  });
}

/** Sends the next group on its way, if none is; stops global units when nothing is left to go. */
function drain(pass: PlanPass, machine: MachineEntry): void {
  if (pass.cluster.moves.movingFrom(machine.id).size > 0) {
    reviewStuck(pass, machine);
    return;
  }
  const seen = new Set<string>();
  let isEmpty = true;
  for (const unit of machine.placed.toSorted(compareAge)) {
    if (seen.has(unit.name)) continue;
    const group = isGroupable(unit) ? groupOf(pass.cluster, unit) : [unit];
    for (const { name } of group) seen.add(name);
    const outcome = leave(pass, group, machine);
    if (outcome === "moves") {
      reviewStuck(pass, machine);
      return;
    }
    isEmpty &&= outcome === "stays";
  }
  if (isEmpty) stopGlobals(pass, machine);
}

/** A group is under way. Of those that nobody took before, who has found a machine since only waits for its turn. */
function reviewStuck(pass: PlanPass, machine: MachineEntry): void {
  for (const name of [...pass.moves.units].sort()) {
    const unit = pass.cluster.unit(name);
    if (unit === undefined || !isStuckOn(unit, machine) || !isGroupable(unit)) continue;
    const group = groupOf(pass.cluster, unit);
    const here = group.filter((one) => isPlacedOn(one, machine));
    if (!here.every((one) => isMovable(pass, one, machine))) continue;
    if (nextHome(pass.cluster, here, machine) === undefined) {
      send(pass, { group, machine, why: { type: "draining" } });
    } else {
      for (const one of here) pass.decideBlocked(one, []);
    }
  }
}

function isStuckOn(unit: UnitEntry, machine: MachineEntry): boolean {
  return (
    isPlacedOn(unit, machine) &&
    standingDrainReasons(unit, machine).some(({ reason }) => reason.type === "drain-stuck")
  );
}

/** `waits`: it has to leave, but cannot now. */
function leave(
  pass: PlanPass,
  group: readonly UnitEntry[],
  machine: MachineEntry,
): "moves" | "stays" | "waits" {
  const here = group.filter((unit) => isPlacedOn(unit, machine));
  if (!here.every((unit) => isMovable(pass, unit, machine))) return "waits";
  if (here.every((unit) => resultOn(unit, machine) === "finished")) {
    for (const unit of here) pass.decideBlocked(unit, []);
    return "stays";
  }
  if (here.some((unit) => isPinned(pass, unit, machine))) {
    const reasons = unitReason({ type: "drain-pinned", machineId: machine.id });
    for (const unit of here) pass.decideBlocked(unit, reasons);
    return "stays";
  }
  // Nothing that concerns it has changed since it was found that nobody takes it.
  const isStuck = here.every((unit) => standingDrainReasons(unit, machine).length > 0);
  if (isStuck && !here.some(({ name }) => pass.moves.units.has(name))) return "waits";
  send(pass, { group, machine, why: { type: "draining" } });
  return here.some((unit) => pass.isTouched(unit)) ? "moves" : "waits";
}

export function isMovable(pass: PlanPass, unit: UnitEntry, machine: MachineEntry): boolean {
  return (
    isGroupable(unit) &&
    knownConstraints(unit) !== undefined &&
    unit.placement?.record.moving === undefined &&
    unit.assignedTo.has(machine.id) &&
    !pass.isTouched(unit)
  );
}

function isPinned({ cluster }: PlanPass, unit: UnitEntry, machine: MachineEntry): boolean {
  const required = knownConstraints(unit)?.requirements.machineId;
  if (required === undefined) return false;
  return cluster.machinesNamed(required).every((id) => id === machine.id);
}

/** Moves the group if there is a machine that takes it. */
export function send(
  pass: PlanPass,
  options: {
    readonly group: readonly UnitEntry[];
    readonly machine: MachineEntry;
    readonly why:
      | { readonly type: "draining" }
      | { readonly type: "rebalance" }
      | { readonly type: "failed"; readonly machineId: string };
    readonly to?: string;
    /** Machines that it is not to go to. */
    readonly avoid?: ReadonlySet<string>;
  },
): void {
  const { group, machine, why, to, avoid } = options;
  const standings: Standings = new Map();
  const units: UnitEntry[] = [];
  for (const unit of group) {
    const placedOn = unit.placement?.record.machine;
    if (placedOn === undefined) continue;
    if (placedOn !== machine.id) {
      standings.set(unit.name, { type: "settled", machineId: placedOn });
      continue;
    }
    const moving = { from: machine.id, wasWell: wasWell(unit, machine) };
    const origin = { machineId: machine.id, isLost: false, why, moving };
    standings.set(unit.name, { type: "homeless", origin });
    units.push(unit);
  }
  // Without a new home it is only asked why there is none.
  scheduleGroup(pass, {
    units,
    standings,
    to: to ?? nextHome(pass.cluster, units, machine, avoid) ?? "",
  });
}

/** Followers that stay keep the global unit they are tied to. */
function stopGlobals(pass: PlanPass, machine: MachineEntry): void {
  for (const name of [...pass.cluster.globals].sort()) {
    const unit = pass.cluster.unit(name);
    if (!isWanted(unit) || !unit.assignedTo.has(machine.id) || unit.unreadable.size > 0) continue;
    const followers = [...unit.followers];
    if (
      pass.isTouched(unit) ||
      followers.some((follower) => isPlacedOn(pass.cluster.unit(follower), machine))
    )
      continue;
    pass.do({
      type: "unassign",
      unit: name,
      machineId: machine.id,
      why: { type: "draining" },
    });
  }
}

/** Moves the unit's group as an operator has asked, or drops what was asked: it must not happen later by surprise. */
function runAskedMove(pass: PlanPass, unit: UnitEntry | undefined): void {
  const move = unit?.move;
  if (unit === undefined || move === undefined || pass.isTouched(unit)) return;
  const machine = pass.cluster.machine(move.record.from);
  const group = isGroupable(unit) ? groupOf(pass.cluster, unit) : [];
  const isAsPlanned =
    unit.unit?.createRevision === move.record.identity &&
    machine !== undefined &&
    pass.status(machine) === "present" &&
    move.record.to !== machine.id &&
    group.length > 0 &&
    group.every((one) => isPlacedOn(one, machine) && isMovable(pass, one, machine));
  if (isAsPlanned) {
    send(pass, { group, machine, why: { type: "rebalance" }, to: move.record.to });
  }
  if (pass.isTouched(unit)) return;
  pass.do({ type: "drop-move", unit: unit.name, moveRevision: move.modRevision });
}

function wasWell(unit: UnitEntry, machine: MachineEntry): boolean {
  const result = resultOn(unit, machine);
  return isWell(result) || result === "pending";
}
