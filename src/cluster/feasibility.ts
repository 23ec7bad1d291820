import { NO_REQUIREMENTS, type Requirements } from "../units/requirements.ts";
import { templateOf } from "../units/unit-name.ts";
import { lacking, NOTHING_RESERVED, plus, reserved } from "./capacity.ts";
import type { ClusterState } from "./cluster-state.ts";
import {
  compareAge,
  isNameTaken,
  isPlacedOn,
  isWanted,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "./entries.ts";
import {
  HOSTNAME,
  isAutomatic,
  isMachineNamed,
  onMachine,
  requirementText,
  unmetRequirement,
} from "./machine.ts";
import type { MachineReason } from "./reason.ts";
import { conflicts, isPerMachine, neighbourOn, relatedOn, replaces } from "./relations.ts";

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
  const requirements = requirementsOf(candidate.unit);
  // So with most units, and this is asked for every one that is placed.
  if (requirements === NO_REQUIREMENTS) {
    return (
      whyNotThere(cluster, candidate) ??
      whyClosed(cluster, candidate) ??
      whyNotBeside(cluster, candidate)
    );
  }
  for (const check of CHECKS) {
    const reason = check(cluster, candidate, requirements);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** All that keeps the unit from the machine, the reason of whyNot() first. */
export function whyNotAll(cluster: ClusterState, candidate: Candidate): readonly MachineReason[] {
  return CHECKS.flatMap((check) => check(cluster, candidate, requirementsOf(candidate.unit)) ?? []);
}

/**
 * Why a unit placed on (or, global, assigned to) the machine has to leave it. Only MachineID, NotMachineID, metadata set by
 * operators, Conflicts and Replaces can make it leave, MachineOf besides (groups.ts); of two that conflict the younger goes.
 */
export function whyLeave(
  cluster: ClusterState,
  unit: UnitEntry,
  machine: MachineEntry,
): MachineReason | undefined {
  const requirements = requirementsOf(unit);
  return (
    whyLeaveNamed(machine, requirements) ??
    whyLeaveMetadata(machine, requirements) ??
    whyLeaveFor(cluster, unit, machine)
  );
}

/** Units on the machine that `unit` takes the place of. They have to be gone before it starts there. */
export function displacedBy(unit: UnitEntry, machine: MachineEntry): readonly string[] {
  if (requirementsOf(unit).replaces.length === 0) return NO_NAMES;
  const self = neighbourOn(unit.self, machine);
  return relatedOn(machine, self)
    .filter((other) => replaces(self, other))
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

/** Half of a lease is left for renewing it; of the other half a fenced unit's stop has all but this (lease-fence.ts). */
const FENCING_MARGIN_MS = 1_000;

type Check = (
  cluster: ClusterState,
  candidate: Candidate,
  requirements: Requirements,
) => MachineReason | undefined;

/**
 * In the order of what is said first. What depends on how many or how much is there comes last: it changes with every unit that comes or
 * goes, and whoever is kept away for another reason need not look again then.
 */
const CHECKS: readonly Check[] = [
  (_, { machine }, requirements) => whyNotNamed(machine, requirements),
  whyNotThere,
  (_, { machine }, { metadata }) => whyMetadataDiffers(machine, metadata),
  whyClosed,
  (cluster, { machine, group }, { machineOf }) => {
    for (const peer of machineOf) {
      if (!isPeerThere(cluster, { peer, machine, group })) return { type: "peer-elsewhere", peer };
    }
    return undefined;
  },
  (_, { machine }, { fencing }) => {
    const ttlMs = machine.presence?.record.ttlMs;
    if (fencing === undefined || ttlMs === undefined) return undefined;
    const fitsMs = Math.max(0, ttlMs / 2 - FENCING_MARGIN_MS);
    const { stopMs } = fencing;
    return stopMs > fitsMs ? { type: "fencing-too-slow", stopMs, fitsMs } : undefined;
  },
  whyNotBeside,
  whyTooMany,
  whyNoRoom,
];

function requirementsOf(unit: UnitEntry): Requirements {
  return knownConstraints(unit)?.requirements ?? NO_REQUIREMENTS;
}

function whyNotNamed(
  machine: MachineEntry,
  { machineId, notMachineIds }: Pick<Requirements, "machineId" | "notMachineIds">,
): MachineReason | undefined {
  if (machineId !== undefined && !isMachineNamed(machine.id, onMachine(machineId, machine))) {
    return { type: "machine-id-differs", required: machineId };
  }
  const excluded = notMachineIds.find((id) => isMachineNamed(machine.id, onMachine(id, machine)));
  return excluded === undefined ? undefined : { type: "machine-id-excluded", excluded };
}

function whyNotThere(_: ClusterState, { unit, machine }: Candidate): MachineReason | undefined {
  if (machine.presence === undefined || machine.unreadable.size > 0) return { type: "away" };
  const state = unit.statesOn.size === 0 ? undefined : machine.states.get(unit.name);
  return isNameTaken(state) ? { type: "name-taken" } : undefined;
}

function whyClosed(
  _: ClusterState,
  { machine, holds = false }: Candidate,
): MachineReason | undefined {
  if (machine.isOpen) return undefined;
  if (machine.presence?.record.leaving === true) return { type: "leaving" };
  const operator = machine.operator?.record;
  if (operator === undefined) return undefined;
  if (operator.draining) return { type: "draining" };
  return operator.cordoned && !holds ? { type: "cordoned" } : undefined;
}

function whyMetadataDiffers(
  machine: MachineEntry,
  requirements: Requirements["metadata"],
): MachineReason | undefined {
  const unmet = unmetRequirement(requirements, machine);
  return unmet && { type: "metadata-differs", requirement: requirementText(unmet) };
}

function isPeerThere(
  cluster: ClusterState,
  { peer, machine, group }: { peer: string } & Pick<Candidate, "machine" | "group">,
): boolean {
  if (group?.has(peer) === true) return true;
  const entry = cluster.unit(peer);
  if (!isWanted(entry)) return false;
  return entry.unit.record.global ? entry.assignedTo.has(machine.id) : isPlacedOn(entry, machine);
}

function whyNotBeside(
  cluster: ClusterState,
  { unit, machine, group }: Candidate,
): MachineReason | undefined {
  const self = neighbourOn(unit.self, machine);
  let conflict: string | undefined;
  let replacing: string | undefined;
  for (const other of relatedOn(machine, self)) {
    const { name } = other;
    if (group?.has(name) === true) continue;
    // The lowest name, so that the reason does not depend on the order in which units came.
    if (conflicts(self, other)) conflict = lower(conflict, name);
    else if (replaces(other, self)) replacing = lower(replacing, name);
  }
  // Whether two of a group can be together is known before (whyNotTogether), unless it depends on the machine.
  if (group === undefined) return apartFrom(conflict, replacing);
  for (const name of group) {
    const member = cluster.unit(name);
    if (member === undefined || !(isPerMachine(unit.self) || isPerMachine(member.self))) continue;
    const other = neighbourOn(member.self, machine);
    if (conflicts(self, other)) conflict = lower(conflict, name);
    else if (replaces(other, self)) replacing = lower(replacing, name);
  }
  return apartFrom(conflict, replacing);
}

function apartFrom(
  conflict: string | undefined,
  replacing: string | undefined,
): MachineReason | undefined {
  if (conflict !== undefined) return { type: "conflict", unit: conflict };
  if (replacing !== undefined) return { type: "replaced", unit: replacing };
  return undefined;
}

/** MaxPerMachine= of the candidate counts whoever occupies the machine, those that come along included. */
function whyTooMany(
  cluster: ClusterState,
  { unit, machine, group, holds = false }: Candidate,
  { maxPerMachine: max }: Requirements,
): MachineReason | undefined {
  const template = max === undefined || holds ? undefined : templateOf(unit.name);
  if (max === undefined || template === undefined) return undefined;
  let there = cluster.instances.countOn(template, machine.id);
  let coming = 0;
  for (const name of group ?? [unit.name]) {
    if (templateOf(name) !== template) continue;
    coming += 1;
    if (machine.occupants.has(name)) there -= 1;
  }
  return there + coming > max ? { type: "too-many-instances", template, max, there } : undefined;
}

/** Of what a unit reserves, and those with it that are not there yet, everything has to be free. */
function whyNoRoom(
  cluster: ClusterState,
  { unit, machine, group, holds = false }: Candidate,
  { reservation }: Requirements,
): MachineReason | undefined {
  if (reservation === undefined || holds) return undefined;
  let wanted = NOTHING_RESERVED;
  for (const name of group ?? [unit.name]) {
    const coming = cluster.unit(name)?.self;
    if (coming === undefined || machine.occupants.has(name)) continue;
    wanted = plus(wanted, reserved(coming.constraints, machine));
  }
  const short = lacking(wanted, machine);
  return short && { type: "no-room", ...short };
}

function whyLeaveNamed(
  machine: MachineEntry,
  { machineId, notMachineIds }: Requirements,
): MachineReason | undefined {
  if (machineId === undefined && notMachineIds.length === 0) return undefined;
  const counts = (id: string) => !isHostAutomatic(machine, [id]);
  return whyNotNamed(machine, {
    machineId: machineId !== undefined && counts(machineId) ? machineId : undefined,
    notMachineIds: notMachineIds.filter(counts),
  });
}

function whyLeaveMetadata(
  machine: MachineEntry,
  { metadata }: Requirements,
): MachineReason | undefined {
  if (metadata.length === 0) return undefined;
  const counting = metadata.filter(
    ({ key, values }) => !isByItself(machine, key) && !isHostAutomatic(machine, values),
  );
  return whyMetadataDiffers(machine, counting);
}

function whyLeaveFor(
  cluster: ClusterState,
  unit: UnitEntry,
  machine: MachineEntry,
): MachineReason | undefined {
  const self = neighbourOn(unit.self, machine);
  let conflict: string | undefined;
  let replacing: string | undefined;
  for (const { name } of relatedOn(machine, self)) {
    const other = cluster.unit(name);
    // What is only stopping there will be gone by itself.
    if (!isWanted(other) || !belongs(other, machine)) continue;
    const otherSelf = neighbourOn(other.self, machine);
    if (conflicts(self, otherSelf) && compareAge(other, unit) < 0) {
      conflict = lower(conflict, name);
    } else if (replaces(otherSelf, self)) {
      replacing = lower(replacing, name);
    }
  }
  return apartFrom(conflict, replacing);
}

function belongs(unit: UnitEntry, machine: MachineEntry): boolean {
  return unit.unit?.record.global === true
    ? unit.assignedTo.has(machine.id)
    : isPlacedOn(unit, machine);
}

/** What only the machine's daemon says of it counts when placing, and never makes a unit leave. */
function isByItself({ presence, operator }: MachineEntry, key: string): boolean {
  return isAutomatic(key, presence?.record, operator?.record);
}

function isHostAutomatic(machine: MachineEntry, texts: readonly string[]): boolean {
  return texts.some((text) => text.includes("%H")) && isByItself(machine, HOSTNAME);
}

const NO_NAMES: readonly string[] = [];

function lower(found: string | undefined, name: string): string {
  return found === undefined || name < found ? name : found;
}
