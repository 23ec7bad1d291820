import type { DesiredState } from "../units/unit-state.ts";
import type { ClusterState } from "./cluster-state.ts";
import {
  isNameTaken,
  isPlacedOn,
  isPresent,
  isWanted,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "./entries.ts";
import type { HistoryEntry } from "./facts.ts";
import { whyLeave, whyNotTogether } from "./feasibility.ts";
import { groupOf, peersOf, splitGroups, whyNotTogetherOn } from "./groups.ts";
import { requirementText } from "./machine.ts";
import type { MachineReason, UnitReason } from "./reason.ts";
import { type Remedy, remedies } from "./remedies.ts";
import type { BlockedReasonView } from "./views.ts";

/** Where a unit is and why, where else it could be, and what keeps it from every other machine: as of one state of the cluster. */
export interface Explanation {
  readonly name: string;
  readonly desired: DesiredState;
  readonly global: boolean;
  /** Of a unit that is not global. */
  readonly placed?: Placed;
  /** Machines it was placed on, newest last; global units have none. */
  readonly history: readonly HistoryEntry[];
  /** Units that go with it wherever it goes (MachineOf=). */
  readonly tied: readonly string[];
  /** What the engine has recorded of a unit that is not where it should be. */
  readonly blocked: readonly BlockedReasonView[];
  /** Its file is missing or cannot be read, so nothing is known of what it asks for. */
  readonly problem?: UnitReason;
  /** Every known machine, by id. */
  readonly machines: readonly MachineVerdict[];
  /** When no machine takes it: what would have to change, the least first. */
  readonly remedies: readonly Remedy[];
}

export interface Placed {
  readonly machineId: string;
  readonly sinceMs?: number;
  /** The machine it was on before, and why it left. */
  readonly before?: { readonly machineId: string; readonly why?: string };
  readonly because: readonly Deciding[];
}

/** What made the choice of a machine smaller, or made it. */
export type Deciding =
  | { readonly type: "machine-id"; readonly required: string }
  | { readonly type: "peer"; readonly peer: string }
  | { readonly type: "metadata"; readonly requirement: string }
  | { readonly type: "only" }
  /** Among so many machines that could take it now, itself included, it was the first in rank when it was placed. */
  | { readonly type: "rank"; readonly of: number };

export interface MachineVerdict {
  readonly machineId: string;
  /** `here`: placed there or (global) assigned. `possible`: it could be there. */
  readonly verdict: "here" | "possible" | "impossible";
  /** With `here`: why it cannot stay or is not heard of. */
  readonly reason?: MachineReason;
  /** Units that count there. */
  readonly units: number;
  /** The machine still holds it although it is not to be there. */
  readonly stopping?: true;
}

/** Undefined: there is no such unit. The state is as before when it returns, though it is changed meanwhile. */
export function explain(cluster: ClusterState, name: string): Explanation | undefined {
  const unit = cluster.unit(name);
  if (unit?.unit === undefined) return undefined;
  const { desired, global } = unit.unit.record;
  const problem = unit.constraints?.type === "problem" ? unit.constraints.reason : undefined;
  const machines = verdicts(cluster, unit);
  const isInOrder = machines.some(
    ({ verdict, reason }) => verdict !== "impossible" && reason === undefined,
  );
  const placed = global ? undefined : placedOf(cluster, unit, machines);
  return {
    name,
    desired,
    global,
    ...(placed === undefined ? {} : { placed }),
    history: unit.history?.record.entries ?? [],
    tied: (global ? [] : groupOf(cluster, unit))
      .map((other) => other.name)
      .filter((other) => other !== name),
    blocked: isCurrent(unit) ? (unit.blocked?.record.reasons ?? []) : [],
    ...(problem === undefined ? {} : { problem }),
    machines,
    remedies: isInOrder || problem !== undefined ? [] : remedies(cluster, name, whyNotThere),
  };
}

function verdicts(cluster: ClusterState, unit: UnitEntry): readonly MachineVerdict[] {
  const found: MachineVerdict[] = [];
  const isKnown = unit.constraints?.type === "known";
  for (const machineId of cluster.machineIds) {
    const machine = cluster.machine(machineId);
    if (machine === undefined) continue;
    const isHere = belongsTo(unit, machine);
    if (!isHere && !isPresent(machine) && !machine.inRoster) continue;
    const reason = isHere
      ? whyNotStaying(cluster, unit, machine)
      : whyNotThere(cluster, unit, machine);
    found.push({
      machineId,
      verdict: isHere ? "here" : isKnown && reason === undefined ? "possible" : "impossible",
      ...(reason === undefined ? {} : { reason }),
      units: machine.occupants.size,
      ...(!isHere && machine.occupants.has(unit.name) ? { stopping: true } : {}),
    });
  }
  return found;
}

function whyNotStaying(
  cluster: ClusterState,
  unit: UnitEntry,
  machine: MachineEntry,
): MachineReason | undefined {
  if (!isPresent(machine)) return { type: "away" };
  return isNameTaken(machine.states.get(unit.name))
    ? { type: "name-taken" }
    : whyLeave(cluster, unit, machine);
}

/** Why the unit, with all that has to go with it, cannot be put on the machine. */
function whyNotThere(
  cluster: ClusterState,
  unit: UnitEntry,
  machine: MachineEntry,
): MachineReason | undefined {
  if (unit.unit?.record.global === true) {
    return whyNotTogetherOn(cluster, { unit, units: [unit], machine });
  }
  const units = goingTogether(cluster, unit);
  for (const member of units) {
    const because = whyNotTogether(member, units);
    if (because !== undefined) {
      return member === unit ? because : { type: "group-member", unit: member.name, because };
    }
  }
  return whyNotTogetherOn(cluster, { unit, units, machine }) ?? whyTied(cluster, units, machine);
}

/** A unit that has a place moves with everything tied to it; one that has none joins those that have, and takes the others along. */
function goingTogether(cluster: ClusterState, unit: UnitEntry): readonly UnitEntry[] {
  if (unit.unit?.record.global === true) return [unit];
  const group = groupOf(cluster, unit);
  if (group.length === 1) return group;
  const names = new Set<string>();
  for (const { name, placement, constraints } of group) {
    const comes =
      constraints?.type === "known" && (unit.placement !== undefined || placement === undefined);
    if (comes || name === unit.name) names.add(name);
  }
  for (let changed = true; changed; ) {
    changed = false;
    for (const name of names) {
      if (name === unit.name || !lacksPeer(cluster, name, names)) continue;
      names.delete(name);
      changed = true;
    }
  }
  return splitGroups(cluster, names).find((part) => part.includes(unit)) ?? [unit];
}

/** A unit whose peer cannot be placed cannot be either, and holds up nobody. */
function lacksPeer(cluster: ClusterState, name: string, coming: ReadonlySet<string>): boolean {
  const unit = cluster.unit(name);
  return (unit === undefined ? [] : peersOf(unit)).some((peer) => {
    const entry = cluster.unit(peer);
    if (!isWanted(entry)) return true;
    const isSettled = entry.unit.record.global || entry.placement !== undefined;
    return !isSettled && !coming.has(peer);
  });
}

/** Units that stay where they are ask for one of these to be with them. */
function whyTied(
  cluster: ClusterState,
  units: readonly UnitEntry[],
  machine: MachineEntry,
): MachineReason | undefined {
  const names = new Set(units.map(({ name }) => name));
  if (units.some((unit) => peersOf(unit).some((peer) => !names.has(peer)))) return undefined;
  const followers = units
    .flatMap((unit) => [...unit.followers])
    .filter((name) => !names.has(name) && cluster.unit(name)?.placement !== undefined)
    .sort();
  const [peer] = followers;
  return peer === undefined || followers.some((name) => isPlacedOn(cluster.unit(name), machine))
    ? undefined
    : { type: "peer-elsewhere", peer };
}

function placedOf(
  cluster: ClusterState,
  unit: UnitEntry,
  machines: readonly MachineVerdict[],
): Placed | undefined {
  const here = machines.find(({ verdict }) => verdict === "here");
  if (here === undefined) return undefined;
  const { machineId } = here;
  const entries = unit.history?.record.entries ?? [];
  const stay = entries.at(-1);
  const isCurrentStay = stay?.machine === machineId && stay.untilMs === undefined;
  const before = isCurrentStay ? entries.at(-2) : undefined;
  return {
    machineId,
    ...(isCurrentStay ? { sinceMs: stay.fromMs } : {}),
    ...(before === undefined
      ? {}
      : {
          before: {
            machineId: before.machine,
            ...(before.why === undefined ? {} : { why: before.why }),
          },
        }),
    because: because(cluster, unit, machines),
  };
}

function because(
  cluster: ClusterState,
  unit: UnitEntry,
  machines: readonly MachineVerdict[],
): readonly Deciding[] {
  const requirements = knownConstraints(unit)?.requirements;
  if (requirements === undefined) return [];
  const { machineId, metadata } = requirements;
  if (machineId !== undefined) return [{ type: "machine-id", required: machineId }];
  const peers = peersOf(unit).filter((peer) => isWanted(cluster.unit(peer)));
  const others = machines.filter(({ verdict }) => verdict === "possible").length;
  return [
    ...peers.map((peer): Deciding => ({ type: "peer", peer })),
    ...metadata.map((one): Deciding => ({ type: "metadata", requirement: requirementText(one) })),
    others === 0 ? { type: "only" } : { type: "rank", of: others + 1 },
  ];
}

function belongsTo(unit: UnitEntry, machine: MachineEntry): boolean {
  return unit.unit?.record.global === true
    ? unit.assignedTo.has(machine.id)
    : isPlacedOn(unit, machine) && unit.placement?.record.identity === unit.unit?.createRevision;
}

/** A record that an earlier unit of the name left behind says nothing of this one. */
function isCurrent(unit: UnitEntry): boolean {
  return unit.blocked?.record.identity === unit.unit?.createRevision;
}
