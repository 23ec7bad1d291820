import type { Requirements } from "../units/requirements.ts";
import { templateOf } from "../units/unit-name.ts";
import type { ClusterState } from "./cluster-state.ts";
import { knownConstraints, machinesOf, type UnitEntry } from "./entries.ts";
import { compareLoad, type LoadEntry } from "./load-index.ts";
import { HOSTNAME, isMet, type Metadata, namesMachine, unmetRequirement } from "./machine.ts";
import { MACHINE_ID_KEY, type MachineClass } from "./open-machines.ts";

/**
 * Which machine is tried first for units that go together: the one that meets most of their preferred metadata, the first counting most;
 * of those, one whose value of the spread key has the fewest instances; of those, the least loaded; of those, the one with the lowest
 * id. In a group the oldest unit's wishes go first. Only whyNot() says whether the units can be there: some of these machines
 * do not take them, but no machine that is left out does.
 */
export function rankedMachines(
  cluster: ClusterState,
  units: readonly UnitEntry[],
): Iterable<string> {
  if (!units.some(isChoosy)) return cluster.openMachines.byLoad;
  const wishes = units.flatMap((unit) => knownConstraints(unit)?.requirements ?? []);
  const pin = wishes.find(({ machineId }) => machineId !== undefined)?.machineId;
  if (pin !== undefined && !namesMachine([pin])) {
    return ranked(cluster, units, cluster.machinesNamed(pin));
  }
  const keys = wishes.flatMap(keysOf);
  if (keys.length === 0) return cluster.openMachines.byLoad;
  const only = new Map(wishes.flatMap(valuesByKey));
  return byClass(cluster, units, cluster.openMachines.classes(keys, only));
}

/** Where a machine stands in the order above; lower goes first. */
export interface Rank extends LoadEntry {
  readonly wishes: readonly number[];
}

export function rankOf(
  cluster: ClusterState,
  units: readonly UnitEntry[],
  machineId: string,
): Rank {
  const machine = cluster.machine(machineId);
  const metadata: Metadata = machine?.metadata ?? new Map();
  const wishes = criteriaOf(cluster, units).map((criterion) =>
    criterion({ id: machineId, metadata }),
  );
  return { wishes, machineId, load: machine?.load ?? 0 };
}

export function compareRank(left: Rank, right: Rank): number {
  return compareWishes(left.wishes, right.wishes) || compareLoad(left, right);
}

function ranked(
  cluster: ClusterState,
  units: readonly UnitEntry[],
  machineIds: readonly string[],
): readonly string[] {
  if (machineIds.length < 2) return machineIds;
  return machineIds
    .map((id) => rankOf(cluster, units, id))
    .sort(compareRank)
    .map(({ machineId }) => machineId);
}

/** Lower is better. */
type Criterion = (machine: { readonly id: string; readonly metadata: Metadata }) => number;

function criteriaOf(cluster: ClusterState, units: readonly UnitEntry[]): readonly Criterion[] {
  const preferences: Criterion[] = [];
  const spreads: Criterion[] = [];
  for (const unit of units) {
    const wish = knownConstraints(unit)?.requirements;
    for (const preferred of wish?.preferredMetadata ?? []) {
      preferences.push((machine) => (isMet(preferred, machine) ? 0 : 1));
    }
    const template = templateOf(unit.name);
    if (wish?.spreadBy === undefined || template === undefined) continue;
    spreads.push(spreadCriterion(cluster, { units, template, key: wish.spreadBy }));
  }
  return [...preferences, ...spreads];
}

/** How many other instances there are; machines without the key come last. */
function spreadCriterion(
  cluster: ClusterState,
  options: {
    readonly units: readonly UnitEntry[];
    readonly template: string;
    readonly key: string;
  },
): Criterion {
  const { units, template, key } = options;
  const counts = cluster.instances.spread(template, key, (id) => metadataOf(cluster, id));
  const own = new Map<string, number>();
  for (const unit of units) {
    if (templateOf(unit.name) !== template) continue;
    for (const id of machinesOf(unit)) {
      const value = metadataOf(cluster, id).get(key);
      if (value === undefined || !cluster.machine(id)?.occupants.has(unit.name)) continue;
      own.set(value, (own.get(value) ?? 0) + 1);
    }
  }
  return ({ metadata }) => {
    const value = metadata.get(key);
    if (value === undefined) return Number.POSITIVE_INFINITY;
    return (counts.get(value) ?? 0) - (own.get(value) ?? 0);
  };
}

function* byClass(
  cluster: ClusterState,
  units: readonly UnitEntry[],
  classes: Iterable<MachineClass>,
): Generator<string> {
  const required = units.flatMap((unit) => knownConstraints(unit)?.requirements.metadata ?? []);
  const criteria = criteriaOf(cluster, units);
  const found: { readonly wishes: readonly number[]; readonly machines: MachineClass }[] = [];
  for (const machines of classes) {
    const { metadata } = machines;
    const machine = { id: metadata.get(MACHINE_ID_KEY) ?? "", metadata };
    if (unmetRequirement(required, machine) !== undefined) continue;
    found.push({ wishes: criteria.map((criterion) => criterion(machine)), machines });
  }
  found.sort((a, b) => compareWishes(a.wishes, b.wishes));
  for (let at = 0; at < found.length; ) {
    const alike: MachineClass[] = [];
    const best = found[at]?.wishes ?? [];
    for (; at < found.length; at += 1) {
      const next = found[at];
      if (next === undefined || compareWishes(best, next.wishes) !== 0) break;
      alike.push(next.machines);
    }
    yield* mergedByLoad(alike);
  }
}

/** Up to so many classes are merged step by step; more are sorted at once. */
const MERGED_MAX = 8;

function* mergedByLoad(classes: readonly MachineClass[]): Generator<string> {
  const [only] = classes;
  if (only !== undefined && classes.length === 1) {
    yield* only.byLoad;
    return;
  }
  if (classes.length > MERGED_MAX) {
    const all = classes.flatMap(({ byLoad }) => [...byLoad.entries()]).sort(compareLoad);
    for (const { machineId } of all) yield machineId;
    return;
  }
  const heads = classes.map(({ byLoad }) => {
    const entries = byLoad.entries();
    return { entries, next: entries.next() };
  });
  for (;;) {
    let first: (typeof heads)[number] | undefined;
    for (const head of heads) {
      if (head.next.done === true) continue;
      if (first?.next.done !== false || compareLoad(head.next.value, first.next.value) < 0) {
        first = head;
      }
    }
    if (first?.next.done !== false) return;
    yield first.next.value.machineId;
    first.next = first.entries.next();
  }
}

function compareWishes(left: readonly number[], right: readonly number[]): number {
  for (const [index, value] of left.entries()) {
    const other = right[index] ?? 0;
    if (value !== other) return value < other ? -1 : 1;
  }
  return 0;
}

/** It asks for more of a machine than that it has little to do. */
function isChoosy(unit: UnitEntry): boolean {
  const wish = knownConstraints(unit)?.requirements;
  return (
    wish !== undefined &&
    (wish.machineId !== undefined ||
      wish.metadata.length > 0 ||
      wish.preferredMetadata.length > 0 ||
      wish.spreadBy !== undefined)
  );
}

/** Metadata keys that decide where such a unit can or should be. */
function keysOf(wish: Requirements): readonly string[] {
  const requirements = [...wish.metadata, ...wish.preferredMetadata];
  const keys = requirements.map(({ key }) => key);
  if (wish.spreadBy !== undefined) keys.push(wish.spreadBy);
  if (requirements.some(({ values }) => namesMachine(values))) keys.push(HOSTNAME, MACHINE_ID_KEY);
  return keys;
}

function valuesByKey(wish: Requirements): readonly (readonly [string, readonly string[]])[] {
  return wish.metadata.flatMap(({ key, operator, values }) =>
    operator === "in" && !namesMachine(values) ? [[key, values] as const] : [],
  );
}

function metadataOf(cluster: ClusterState, machineId: string): Metadata {
  return cluster.machine(machineId)?.metadata ?? NO_METADATA;
}

const NO_METADATA: Metadata = new Map();
