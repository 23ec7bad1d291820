import type { ClusterState } from "./cluster-state.ts";
import {
  compareAge,
  isWanted,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "./entries.ts";
import { whyNot } from "./feasibility.ts";
import type { MachineReason } from "./reason.ts";

/**
 * The units that have to be on one machine with `unit`: everything wanted, not global and tied to it by MachineOf, in either direction
 * and over any number of steps. Oldest first.
 */
export function groupOf(cluster: ClusterState, unit: UnitEntry): readonly UnitEntry[] {
  if (isAlone(unit)) return [unit];
  return connected(cluster, unit, isGroupable);
}

/** Splits `names` into sets that are tied to each other within `names`. Oldest first, sets and members. */
export function splitGroups(
  cluster: ClusterState,
  names: ReadonlySet<string>,
): readonly (readonly UnitEntry[])[] {
  if (names.size === 0) return [];
  const groups: (readonly UnitEntry[])[] = [];
  const seen = new Set<UnitEntry>();
  for (const unit of byAge([...names].flatMap((name) => cluster.unit(name) ?? []))) {
    if (seen.has(unit)) continue;
    const group = connected(cluster, unit, (other) => names.has(other.name) && isGroupable(other));
    for (const member of group) seen.add(member);
    groups.push(group);
  }
  return groups;
}

/** Why units that go together cannot be put on the machine, as `unit`, one of them, sees it; undefined when they can. */
export function whyNotTogetherOn(
  cluster: ClusterState,
  options: {
    readonly unit: UnitEntry;
    readonly units: readonly UnitEntry[];
    readonly machine: MachineEntry;
  },
): MachineReason | undefined {
  const { unit, units, machine } = options;
  const group = new Set(units.map(({ name }) => name));
  const own = whyNot(cluster, { unit, machine, group });
  if (own !== undefined) return own;
  for (const other of units) {
    const because = other === unit ? undefined : whyNot(cluster, { unit: other, machine, group });
    if (because !== undefined) return { type: "group-member", unit: other.name, because };
  }
  return undefined;
}

/** Nobody has to be where it is, and it not where anybody is. */
export function isAlone(unit: UnitEntry): boolean {
  return unit.followers.size === 0 && peersOf(unit).length === 0;
}

export function peersOf(unit: UnitEntry): readonly string[] {
  const peers = knownConstraints(unit)?.requirements.machineOf ?? NO_PEERS;
  return peers.length === 0 ? peers : peers.filter((peer) => peer !== unit.name);
}

/** Wanted, not global, readable: takes part in groups. */
export function isGroupable(
  entry: UnitEntry | undefined,
): entry is UnitEntry & { unit: NonNullable<UnitEntry["unit"]> } {
  return isWanted(entry) && !entry.unit.record.global && entry.unreadable.size === 0;
}

const NO_PEERS: readonly string[] = [];

/** The units that are connected with `start` within those that `isMeant`. */
function connected(
  cluster: ClusterState,
  start: UnitEntry,
  isMeant: (unit: UnitEntry) => boolean,
): readonly UnitEntry[] {
  const found = new Set([start]);
  const add = (name: string) => {
    const unit = cluster.unit(name);
    if (unit !== undefined && isMeant(unit)) found.add(unit);
  };
  // A set is walked in the order of insertion, those added meanwhile included.
  for (const unit of found) {
    for (const peer of peersOf(unit)) add(peer);
    for (const follower of unit.followers) add(follower);
  }
  return byAge([...found]);
}

/** Sorts in place, oldest first. Most lists are in order already, and seeing that takes less than sorting them. */
export function byAge(units: UnitEntry[]): readonly UnitEntry[] {
  let before: UnitEntry | undefined;
  for (const unit of units) {
    if (before !== undefined && compareAge(before, unit) > 0) return units.sort(compareAge);
    before = unit;
  }
  return units;
}
