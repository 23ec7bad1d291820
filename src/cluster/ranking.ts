import { NO_REQUIREMENTS, type Requirements } from "../units/requirements.ts";
import { templateOf } from "../units/unit-name.ts";
import type { ClusterState } from "./cluster-state.ts";
import { knownConstraints, type MachineEntry, machinesOf, type UnitEntry } from "./entries.ts";
import { compareText } from "./facts.ts";
import { type Accepts, findInAll } from "./load-index.ts";
import { HOSTNAME, isMet, type Metadata, namesMachine, unmetRequirement } from "./machine.ts";
import { MACHINE_ID_KEY, type MachineClass } from "./open-machines.ts";

/**
 * The first machine that is accepted for units that go together. Tried first is the one that meets most of their preferred metadata, the
 * first counting most; of those, one whose value of the spread key has the fewest instances; of those, the least loaded; of those, the one
 * with the lowest id. In a group the oldest unit's wishes go first. `accepts` has to ask whyNot(): some of the machines do not take
 * the units, but no machine that is left out does.
 */
export function bestMachine(
  cluster: ClusterState,
  units: readonly UnitEntry[],
  accepts: Accepts,
): MachineEntry | undefined {
  if (!units.some(isChoosy)) return cluster.openMachines.byLoad.find(accepts);
  const wishes = units.flatMap((unit) => knownConstraints(unit)?.requirements ?? []);
  const pin = wishes.find(({ machineId }) => machineId !== undefined)?.machineId;
  if (pin !== undefined && !namesMachine([pin])) {
    return ranked(cluster, units, cluster.machinesNamed(pin)).find(accepts);
  }
  const { keys, only } = keysOf(wishes);
  if (keys.length === 0) return cluster.openMachines.byLoad.find(accepts);
  const required = wishes.flatMap(({ metadata }) => metadata);
  const classes = cluster.openMachines
    .classes(keys, only)
    .filter((one) => unmetRequirement(required, machineOf(one)) === undefined);
  return bestOfClasses(classes, criteriaOf(cluster, units), accepts);
}

/** It asks for more of a machine than that it has little to do. */
function isChoosy(unit: UnitEntry): boolean {
  const wish = knownConstraints(unit)?.requirements;
  return (
    wish !== undefined &&
    wish !== NO_REQUIREMENTS &&
    (wish.machineId !== undefined ||
      wish.metadata.length > 0 ||
      wish.preferredMetadata.length > 0 ||
      wish.spreadBy !== undefined)
  );
}

function ranked(
  cluster: ClusterState,
  units: readonly UnitEntry[],
  machineIds: readonly string[],
): readonly MachineEntry[] {
  const criteria = criteriaOf(cluster, units);
  const wishesOf = (machine: MachineEntry) => criteria.map((criterion) => criterion(machine));
  return machineIds
    .flatMap((id) => cluster.machine(id) ?? [])
    .sort(
      (a, b) =>
        compareWishes(wishesOf(a), wishesOf(b)) || a.load - b.load || compareText(a.id, b.id),
    );
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
    const template = wish?.spreadBy === undefined ? undefined : templateOf(unit.name);
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

/** Classes that meet the criteria alike are one to the search. */
function bestOfClasses(
  classes: readonly MachineClass[],
  criteria: readonly Criterion[],
  accepts: Accepts,
): MachineEntry | undefined {
  if (criteria.length === 0) {
    return findInAll(
      classes.map(({ byLoad }) => byLoad),
      accepts,
    );
  }
  const found = classes.map((one) => {
    const machine = machineOf(one);
    return { wishes: criteria.map((criterion) => criterion(machine)), byLoad: one.byLoad };
  });
  found.sort((a, b) => compareWishes(a.wishes, b.wishes));
  for (let at = 0; at < found.length; ) {
    const best = found[at]?.wishes ?? [];
    const end = found.findIndex(
      ({ wishes }, index) => index > at && compareWishes(best, wishes) !== 0,
    );
    const alike = found.slice(at, end === -1 ? undefined : end);
    const machine = findInAll(
      alike.map(({ byLoad }) => byLoad),
      accepts,
    );
    if (machine !== undefined) return machine;
    at += alike.length;
  }
  return undefined;
}

function compareWishes(left: readonly number[], right: readonly number[]): number {
  for (const [index, value] of left.entries()) {
    const other = right[index] ?? 0;
    if (value !== other) return value < other ? -1 : 1;
  }
  return 0;
}

/** Any machine of the class, as far as it was asked about. */
function machineOf({ metadata }: MachineClass): {
  readonly id: string;
  readonly metadata: Metadata;
} {
  return { id: metadata.get(MACHINE_ID_KEY) ?? "", metadata };
}

/** Metadata keys that decide where such units can or should be; `only`: with the values that are required, where these are fixed. */
function keysOf(wishes: readonly Requirements[]) {
  const keys: string[] = [];
  const only = new Map<string, readonly string[]>();
  for (const { metadata, preferredMetadata, spreadBy } of wishes) {
    let isNamed = false;
    for (const { key, operator, values } of metadata) {
      keys.push(key);
      const names = namesMachine(values);
      isNamed ||= names;
      if (operator === "in" && !names) only.set(key, values);
    }
    for (const { key, values } of preferredMetadata) {
      keys.push(key);
      isNamed ||= namesMachine(values);
    }
    if (spreadBy !== undefined) keys.push(spreadBy);
    if (isNamed) keys.push(HOSTNAME, MACHINE_ID_KEY);
  }
  return { keys, only };
}

function metadataOf(cluster: ClusterState, machineId: string): Metadata {
  return cluster.machine(machineId)?.metadata ?? NO_METADATA;
}

const NO_METADATA: Metadata = new Map();
