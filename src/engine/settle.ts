import {
  isNameTaken,
  isPlacedOn,
  isWanted,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "../cluster/entries.ts";
import { displacedBy, whyLeave, whyNot } from "../cluster/feasibility.ts";
import { isGroupable, peersOf, splitGroups } from "../cluster/groups.ts";
import { settleMove, standingDrainReasons } from "./arrival.ts";
import { unitReason } from "./blocked.ts";
import type { PlanPass } from "./pass.ts";
import { type Origin, syncAssignment, unassign, unplace, waitingForRoom } from "./place.ts";
import type { TaskReason } from "./tasks.ts";

/** How a member of a group stands before anything is placed. */
export type Standing =
  | { readonly type: "settled"; readonly machineId: string }
  /** Has to be placed; with an origin it has a machine until another takes it. */
  | { readonly type: "homeless"; readonly origin: Origin | undefined }
  /** Told to leave in this pass. */
  | {
      readonly type: "evicted";
      readonly machineId: string;
      /** Only to start there anew, as another unit: no reason for its followers to go. */
      readonly mayReturn?: boolean;
    }
  /** Cannot be placed whatever the machine. */
  | { readonly type: "unplaceable" };

export type Standings = Map<string, Standing>;

/** Takes away what must not stay where it is, keeps the rest current, and says who needs a place. */
export function settleGroup(pass: PlanPass, group: readonly UnitEntry[]): Standings {
  const standings: Standings = new Map();
  for (const unit of group) standings.set(unit.name, settleMember(pass, unit, group));
  ruleOutUnplaceable(pass, group, standings);
  evictFollowers(pass, group, standings);
  for (const unit of group) {
    const standing = standings.get(unit.name);
    if (standing?.type === "settled") keep(pass, unit, standing.machineId);
    if (standing?.type === "evicted") {
      pass.decideBlocked(unit, unitReason({ type: "stopping", machineId: standing.machineId }));
    }
  }
  return standings;
}

/** Nobody wants the unit here any more: on away machines too, so that they stop it when they return. */
export function withdraw(pass: PlanPass, unit: UnitEntry, why: TaskReason): void {
  unplace(pass, unit, why);
  for (const machineId of [...unit.assignedTo].sort()) unassign(pass, unit, { machineId, why });
  pass.decideBlocked(unit, []);
}

function settleMember(pass: PlanPass, unit: UnitEntry, group: readonly UnitEntry[]): Standing {
  const placedOn = unit.placement?.record.machine;
  for (const machineId of [...unit.assignedTo].sort()) {
    if (machineId !== placedOn) unassign(pass, unit, { machineId, why: { type: "stray" } });
  }
  const isKnown = unit.constraints?.type === "known";
  if (placedOn === undefined) {
    return isKnown ? { type: "homeless", origin: undefined } : { type: "unplaceable" };
  }
  if (unit.placement?.record.identity !== unit.unit?.createRevision) {
    unplace(pass, unit, { type: "unit-is-another" });
    return { type: "evicted", machineId: placedOn, mayReturn: true };
  }
  const machine = pass.cluster.machine(placedOn);
  if (machine === undefined) return { type: "settled", machineId: placedOn };
  if (isKnown) return settlePlaced(pass, { unit, machine, group });
  // While it is not known what the unit asks for, it stays where it is (I4), unless another asks it to go.
  const why = isActing(pass, machine) ? whyLeave(pass.cluster, unit, machine) : undefined;
  if (why === undefined) return { type: "settled", machineId: placedOn };
  unplace(pass, unit, why);
  return { type: "evicted", machineId: placedOn };
}

function settlePlaced(
  pass: PlanPass,
  options: {
    readonly unit: UnitEntry;
    readonly machine: MachineEntry;
    readonly group: readonly UnitEntry[];
  },
): Standing {
  const { unit, machine, group } = options;
  const status = pass.status(machine);
  const machineId = machine.id;
  if (status === "opaque" || status === "away") return { type: "settled", machineId };
  if (status === "lost") {
    return homelessFrom(machineId, { isLost: true, why: { type: "machine-lost", machineId } });
  }
  if (isNameTaken(machine.states.get(unit.name))) {
    return homelessFrom(machineId, { isLost: false, why: { type: "name-taken" } });
  }
  const why = whyLeave(pass.cluster, unit, machine);
  if (why !== undefined) {
    unplace(pass, unit, why);
    return { type: "evicted", machineId };
  }
  if (status === "leaving" && group.every((member) => !isHeldOn(member, machine))) {
    return homelessFrom(machineId, { isLost: false, why: { type: "leaving" } });
  }
  return { type: "settled", machineId };
}

function homelessFrom(machineId: string, origin: Omit<Origin, "machineId">): Standing {
  return { type: "homeless", origin: { machineId, ...origin } };
}

function isHeldOn(member: UnitEntry, machine: MachineEntry): boolean {
  return isPlacedOn(member, machine) && machine.states.has(member.name);
}

/** Who has no place and cannot get one because of what it asks of other units; then its own followers neither. */
function ruleOutUnplaceable(
  pass: PlanPass,
  group: readonly UnitEntry[],
  standings: Standings,
): void {
  for (const unit of group) {
    if (standings.get(unit.name)?.type !== "unplaceable") continue;
    const { constraints } = unit;
    if (constraints?.type === "problem") pass.decideBlocked(unit, unitReason(constraints.reason));
  }
  for (let changed = true; changed; ) {
    changed = false;
    for (const unit of group) {
      const standing = standings.get(unit.name);
      // On a lost machine it stays assigned: whether it has to leave is decided when that returns.
      if (standing?.type !== "homeless" || standing.origin?.isLost === true) continue;
      const peer = peersOf(unit).find((name) => !isPlaceable(pass, name, standings));
      if (peer === undefined) continue;
      unplace(pass, unit, { type: "peer-not-wanted", peer });
      pass.decideBlocked(unit, unitReason({ type: "peer-not-wanted", peer }));
      standings.set(unit.name, { type: "unplaceable" });
      changed = true;
    }
  }
}

function isPlaceable(pass: PlanPass, peer: string, standings: Standings): boolean {
  const entry = pass.cluster.unit(peer);
  if (!isWanted(entry)) return false;
  return (
    standings.get(peer)?.type !== "unplaceable" && (entry.unit.record.global || isGroupable(entry))
  );
}

/** When a peer leaves, its followers leave with it; theirs too, and so on. */
function evictFollowers(pass: PlanPass, group: readonly UnitEntry[], standings: Standings): void {
  if (group.length === 1 && group.every((unit) => peersOf(unit).length === 0)) return;
  for (let changed = true; changed; ) {
    changed = false;
    for (const unit of group) {
      const standing = standings.get(unit.name);
      if (standing?.type !== "settled") continue;
      const machine = pass.cluster.machine(standing.machineId);
      if (machine === undefined || !isActing(pass, machine) || unit.constraints?.type !== "known") {
        continue;
      }
      const why = whyPeerGone(pass, { unit, machine, standings });
      if (why === undefined) continue;
      unplace(pass, unit, why);
      standings.set(unit.name, { type: "evicted", machineId: machine.id });
      changed = true;
    }
  }
}

/** Whether the machine is there to act on what is taken from it. */
function isActing(pass: PlanPass, machine: MachineEntry): boolean {
  const status = pass.status(machine);
  return status === "present" || status === "leaving";
}

function whyPeerGone(
  pass: PlanPass,
  options: {
    readonly unit: UnitEntry;
    readonly machine: MachineEntry;
    readonly standings: Standings;
  },
): TaskReason | undefined {
  const { unit, machine, standings } = options;
  for (const peer of peersOf(unit)) {
    const entry = pass.cluster.unit(peer);
    if (entry !== undefined && entry.unreadable.size > 0) continue;
    if (!isWanted(entry)) return { type: "peer-not-wanted", peer };
    if (entry.unit.record.global) {
      if (!entry.assignedTo.has(machine.id)) return { type: "peer-elsewhere", peer };
      continue;
    }
    const standing = standings.get(peer);
    if (standing?.type === "settled" && standing.machineId === machine.id) continue;
    if (standing?.type === "evicted" && standing.mayReturn === true) continue;
    if (standing?.type === "homeless" && mayJoin(pass, { peer, machine, standings })) continue;
    return standing?.type === "unplaceable"
      ? { type: "peer-not-wanted", peer }
      : { type: "peer-elsewhere", peer };
  }
  return undefined;
}

/** Whether a homeless peer, with all who come along, can be put where its follower is. */
function mayJoin(
  pass: PlanPass,
  options: { readonly peer: string; readonly machine: MachineEntry; readonly standings: Standings },
): boolean {
  const { peer, machine, standings } = options;
  const coming = splitGroups(pass.cluster, homelessOf(standings)).find((group) =>
    group.some(({ name }) => name === peer),
  );
  if (coming === undefined) return false;
  const names = new Set(coming.map(({ name }) => name));
  return coming.every((unit) => {
    const stopping = [...unit.statesOn].some(
      (id) => id !== machine.id && holdsElsewhere(pass.cluster.machine(id), unit),
    );
    const holds = unit.statesOn.has(machine.id);
    return stopping || whyNot(pass.cluster, { unit, machine, group: names, holds }) === undefined;
  });
}

function holdsElsewhere(machine: MachineEntry | undefined, unit: UnitEntry): boolean {
  return machine?.presence !== undefined && !isNameTaken(machine.states.get(unit.name));
}

export function homelessOf(standings: Standings): ReadonlySet<string> {
  const names = new Set<string>();
  for (const [name, { type }] of standings) if (type === "homeless") names.add(name);
  return names;
}

/** The unit stays: what its machine is told of it is kept current. */
function keep(pass: PlanPass, unit: UnitEntry, machineId: string): void {
  const machine = pass.cluster.machine(machineId);
  if (machine === undefined) return;
  const status = pass.status(machine);
  if (status === "opaque") return;
  if (knownConstraints(unit) === undefined) {
    if (unit.constraints?.type === "problem") {
      pass.decideBlocked(unit, unitReason(unit.constraints.reason));
    }
    return;
  }
  const displaced = unit.assignedTo.has(machine.id) ? undefined : displacedBy(unit, machine)[0];
  if (displaced !== undefined) {
    pass.decideBlocked(unit, waitingForRoom(machineId, displaced));
    return;
  }
  // What moves is assigned with its group (moves.ts).
  const isComing = unit.placement?.record.moving !== undefined;
  if ((status === "present" && !isComing) || unit.assignedTo.has(machine.id)) {
    syncAssignment(pass, unit, machine);
  }
  const why = pass.losses.held.get(machineId);
  const isHeld = status === "away" && why !== undefined;
  const stays = standingDrainReasons(unit, machine);
  pass.decideBlocked(unit, isHeld ? unitReason({ type: "loss-held", machineId, why }) : stays);
  if (status === "present") settleMove(pass, unit, machine);
}
