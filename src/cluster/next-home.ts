import { Assumptions } from "./assumptions.ts";
import type { ClusterState } from "./cluster-state.ts";
import type { MachineEntry, UnitEntry } from "./entries.ts";
import { displacedBy, whyNotTogether } from "./feasibility.ts";
import { peersOf, whyNotTogetherOn } from "./groups.ts";
import { bestMachine } from "./ranking.ts";

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
  const assumptions = new Assumptions(cluster);
  for (const { name } of units) takeOff(assumptions, name, machine.id);
  const leaving = units.flatMap(({ name }) => cluster.unit(name) ?? []);
  const accepts = (candidate: MachineEntry) =>
    !avoid.has(candidate.id) && canJoin(cluster, leaving, candidate);
  try {
    return bestMachine(cluster, leaving, accepts)?.id;
  } finally {
    assumptions.takeBack();
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

function takeOff(assumptions: Assumptions, unit: string, machineId: string): void {
  assumptions.assume({ kind: "placement", unit, value: undefined });
  assumptions.assume({ kind: "assignment", machineId, unit, value: undefined });
  assumptions.assume({ kind: "state", machineId, unit, value: undefined });
}
