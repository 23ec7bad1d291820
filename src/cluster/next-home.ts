import type { ClusterState } from "./cluster-state.ts";
import type { MachineEntry, UnitEntry } from "./entries.ts";
import type { ClusterFact } from "./facts.ts";
import { displacedBy, whyNotTogether } from "./feasibility.ts";
import { peersOf, whyNotTogetherOn } from "./groups.ts";
import { rankedMachines } from "./ranking.ts";

/**
 * The machine that units that go together would be put on if they were not on `machine`: their own place there counts for nobody, so that
 * a move spreads instances as a new placement would. It drives nobody away. The state is as before when it returns.
 */
export function nextHome(
  cluster: ClusterState,
  units: readonly UnitEntry[],
  machine: MachineEntry,
  avoid: ReadonlySet<string> = new Set(),
): string | undefined {
  if (units.some((unit) => whyNotTogether(unit, units) !== undefined)) return undefined;
  if (units.some((unit) => peersOf(unit).some((peer) => isApart(cluster, peer, units)))) {
    return undefined;
  }
  const undo = units.flatMap(({ name }) => takeOff(cluster, name, machine));
  const leaving = units.flatMap(({ name }) => cluster.unit(name) ?? []);
  try {
    for (const id of rankedMachines(cluster, leaving)) {
      const candidate = cluster.machine(id);
      if (avoid.has(id)) continue;
      if (candidate !== undefined && canJoin(cluster, leaving, candidate)) return id;
    }
    return undefined;
  } finally {
    for (const fact of undo.reverse()) cluster.apply(fact);
  }
}

/** A peer that is not global and stays where it is. */
function isApart(cluster: ClusterState, peer: string, units: readonly UnitEntry[]): boolean {
  const entry = cluster.unit(peer);
  return entry?.unit?.record.global !== true && !units.some(({ name }) => name === peer);
}

/** All of them, and nobody has to go for them. */
export function canJoin(
  cluster: ClusterState,
  units: readonly UnitEntry[],
  machine: MachineEntry,
): boolean {
  return units.every(
    (unit) =>
      whyNotTogetherOn(cluster, { unit, units, machine }) === undefined &&
      displacedBy(unit, machine).length === 0,
  );
}

/** Gives back the facts that undo it. */
function takeOff(cluster: ClusterState, unit: string, machine: MachineEntry): ClusterFact[] {
  const machineId = machine.id;
  const facts: ClusterFact[] = [
    { kind: "placement", unit, value: cluster.unit(unit)?.placement },
    { kind: "assignment", machineId, unit, value: machine.assignments.get(unit) },
    { kind: "state", machineId, unit, value: machine.states.get(unit) },
  ];
  for (const fact of facts) cluster.apply({ ...fact, value: undefined } as ClusterFact);
  return facts;
}
