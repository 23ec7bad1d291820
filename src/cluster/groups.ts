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
  if (isAlone(cluster, unit)) return [unit];
  const names = connected(unit.name, (name) => tiedTo(cluster, name));
  return entriesOf(cluster, names);
}

/** Splits `names` into sets that are tied to each other within `names`. Oldest first, sets and members. */
export function splitGroups(
  cluster: ClusterState,
  names: ReadonlySet<string>,
): readonly (readonly UnitEntry[])[] {
  if (names.size === 0) return [];
  const groups: (readonly UnitEntry[])[] = [];
  const seen = new Set<string>();
  for (const { name } of entriesOf(cluster, names)) {
    if (seen.has(name)) continue;
    const group = connected(name, (of) => tiedTo(cluster, of).filter((other) => names.has(other)));
    for (const member of group) seen.add(member);
    groups.push(entriesOf(cluster, group));
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
export function isAlone(cluster: ClusterState, unit: UnitEntry): boolean {
  return cluster.followers(unit.name).size === 0 && peersOf(unit).length === 0;
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

function tiedTo(cluster: ClusterState, name: string): readonly string[] {
  const entry = cluster.unit(name);
  if (entry === undefined || isAlone(cluster, entry)) return NO_PEERS;
  return [...peersOf(entry), ...cluster.followers(name)].filter((other) =>
    isGroupable(cluster.unit(other)),
  );
}

function connected(start: string, neighbours: (name: string) => readonly string[]): Set<string> {
  const found = new Set([start]);
  // A set is walked in the order of insertion, those added meanwhile included.
  for (const name of found) for (const other of neighbours(name)) found.add(other);
  return found;
}

function entriesOf(cluster: ClusterState, names: Iterable<string>): readonly UnitEntry[] {
  const entries: UnitEntry[] = [];
  for (const name of names) {
    const entry = cluster.unit(name);
    if (entry !== undefined) entries.push(entry);
  }
  return entries.length > 1 ? entries.sort(compareAge) : entries;
}
