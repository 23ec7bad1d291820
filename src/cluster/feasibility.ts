import type { ClusterState } from "./cluster-state.ts";
import {
  compareAge,
  isNameTaken,
  isWanted,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "./entries.ts";
import { isAutomatic, isMachineNamed, requirementText, unmetRequirement } from "./machine.ts";
import type { MachineReason } from "./reason.ts";
import { conflicts, hasPatterns, type Neighbour, replaces } from "./relations.ts";

export interface Candidate {
  readonly unit: UnitEntry;
  readonly machine: MachineEntry;
  /** Units that come along (MachineOf): they count as being there. */
  readonly group?: ReadonlySet<string> | undefined;
  /** The machine holds this very unit already, so a cordon does not keep it out. */
  readonly holds?: boolean | undefined;
}

/** Why the unit cannot be put on the machine, the first reason that holds; undefined when it can. */
export function whyNot(cluster: ClusterState, candidate: Candidate): MachineReason | undefined {
  const { unit, machine, group } = candidate;
  const requirements = knownConstraints(unit)?.requirements;
  const required = requirements?.machineId;
  if (required !== undefined && !isMachineNamed(machine.id, required)) {
    return { type: "machine-id-differs", required };
  }
  if (machine.presence === undefined || machine.unreadable.size > 0) return { type: "away" };
  if (isNameTaken(machine.states.get(unit.name))) return { type: "name-taken" };
  const unmet = unmetRequirement(requirements?.metadata ?? [], machine.metadata);
  if (unmet !== undefined) return { type: "metadata-differs", requirement: requirementText(unmet) };
  const closed = whyClosed(candidate);
  if (closed !== undefined) return closed;
  for (const peer of requirements?.machineOf ?? []) {
    if (!isPeerThere(cluster, { peer, machine, group })) return { type: "peer-elsewhere", peer };
  }
  return whyNotBeside(unit.self, machine, group);
}

/**
 * Why a unit placed on (or, global, assigned to) the machine has to leave it. Only MachineID, metadata set by operators,
 * Conflicts and Replaces can make it leave, MachineOf besides (groups.ts); of two that conflict the younger goes.
 */
export function whyLeave(
  cluster: ClusterState,
  unit: UnitEntry,
  machine: MachineEntry,
): MachineReason | undefined {
  const requirements = knownConstraints(unit)?.requirements;
  const required = requirements?.machineId;
  if (required !== undefined && !isMachineNamed(machine.id, required)) {
    return { type: "machine-id-differs", required };
  }
  const spec = machine.presence?.record;
  const counting = (requirements?.metadata ?? []).filter(
    ({ key }) => !isAutomatic(key, spec, machine.operator?.record),
  );
  const unmet = unmetRequirement(counting, machine.metadata);
  if (unmet !== undefined) return { type: "metadata-differs", requirement: requirementText(unmet) };
  return whyLeaveFor(cluster, unit, machine);
}

/** Units on the machine that `unit` takes the place of. They have to be gone before it starts there. */
export function displacedBy(unit: UnitEntry, machine: MachineEntry): readonly string[] {
  if ((knownConstraints(unit)?.requirements.replaces.length ?? 0) === 0) return [];
  return [...machine.occupants.values()]
    .filter((other) => replaces(unit.self, other))
    .map((other) => other.name)
    .sort();
}

/** Why two of a group cannot be together anywhere, from the view of `unit`. */
export function whyNotTogether(
  unit: UnitEntry,
  others: Iterable<UnitEntry>,
): MachineReason | undefined {
  for (const other of others) {
    if (conflicts(unit.self, other.self)) return { type: "conflict", unit: other.name };
    if (replaces(other.self, unit.self)) return { type: "replaced", unit: other.name };
  }
  return undefined;
}

function whyClosed({ machine, holds = false }: Candidate): MachineReason | undefined {
  if (machine.presence?.record.leaving === true) return { type: "leaving" };
  if (machine.operator?.record.draining === true) return { type: "draining" };
  if (machine.operator?.record.cordoned === true && !holds) return { type: "cordoned" };
  return undefined;
}

function isPeerThere(
  cluster: ClusterState,
  { peer, machine, group }: { peer: string } & Pick<Candidate, "machine" | "group">,
): boolean {
  if (group?.has(peer) === true) return true;
  const entry = cluster.unit(peer);
  if (!isWanted(entry)) return false;
  return entry.unit.record.global ? machine.assignments.has(peer) : machine.placed.has(peer);
}

function whyNotBeside(
  self: Neighbour,
  machine: MachineEntry,
  group: ReadonlySet<string> | undefined,
): MachineReason | undefined {
  let conflict: string | undefined;
  let replacing: string | undefined;
  for (const name of speaking(self, machine)) {
    const other = machine.occupants.get(name);
    if (other === undefined || group?.has(name) === true) continue;
    // The lowest name, so that the reason does not depend on the order in which units came.
    if (conflicts(self, other)) conflict = lower(conflict, name);
    else if (replaces(other, self)) replacing = lower(replacing, name);
  }
  if (conflict !== undefined) return { type: "conflict", unit: conflict };
  if (replacing !== undefined) return { type: "replaced", unit: replacing };
  return undefined;
}

function whyLeaveFor(
  cluster: ClusterState,
  unit: UnitEntry,
  machine: MachineEntry,
): MachineReason | undefined {
  let conflict: string | undefined;
  let replacing: string | undefined;
  for (const name of speaking(unit.self, machine)) {
    const other = cluster.unit(name);
    // What is only stopping there will be gone by itself.
    if (!isWanted(other) || !belongs(other, machine)) continue;
    if (conflicts(unit.self, other.self) && compareAge(other, unit) < 0) {
      conflict = lower(conflict, name);
    } else if (replaces(other.self, unit.self)) {
      replacing = lower(replacing, name);
    }
  }
  if (conflict !== undefined) return { type: "conflict", unit: conflict };
  if (replacing !== undefined) return { type: "replaced", unit: replacing };
  return undefined;
}

function belongs(unit: UnitEntry, machine: MachineEntry): boolean {
  return unit.unit?.record.global === true
    ? machine.assignments.has(unit.name)
    : machine.placed.has(unit.name);
}

/** Without a pattern on either side there is nothing to compare: only those that have one, if the unit has none. */
function speaking(self: Neighbour, machine: MachineEntry): Iterable<string> {
  return self.constraints.some(hasPatterns) ? machine.occupants.keys() : machine.guarded;
}

function lower(found: string | undefined, name: string): string {
  return found === undefined || name < found ? name : found;
}
