import type { ClusterState } from "./cluster-state.ts";
import {
  assignmentOn,
  compareAge,
  isPlacedOn,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "./entries.ts";
import { compareText, type Versioned } from "./facts.ts";
import { groupOf, isGroupable } from "./groups.ts";
import { canJoin, nextHome } from "./next-home.ts";
import { startResult } from "./start-result.ts";

/** One step of a rebalance: units that go together, and what they count for. */
export interface RebalanceMove {
  /** Oldest first. */
  readonly units: readonly string[];
  readonly from: string;
  readonly to: string;
  readonly weight: number;
}

export interface Rebalance {
  /** In the order in which they have to be made. */
  readonly moves: readonly RebalanceMove[];
  /** Of machines that are present, by id. */
  readonly loads: readonly {
    readonly machineId: string;
    readonly before: number;
    readonly after: number;
  }[];
}

/** A difference up to this part of the mean load is not worth an interruption. */
const SLACK = 0.1;
/** More moves than that are planned at another time: the daemon that is asked does nothing else meanwhile. */
const MOVES_MAX = 500;

/**
 * The moves that bring machines' loads (Weight=) together. Each goes where the engine would put the units if they were new, so that all
 * requirements and preferences hold on the way, and takes load from a machine that has more than the other has with it. When no move
 * is worth it any more the plan is at its end, so that a second run right after finds nothing. Pure: the state is as before when it returns.
 */
export function rebalance(
  cluster: ClusterState,
  { movesMax = MOVES_MAX }: { readonly movesMax?: number } = {},
): Rebalance {
  const present = cluster.machineIds.flatMap((id) => {
    const machine = cluster.machine(id);
    return machine?.presence === undefined ? [] : [machine];
  });
  const wanted = assuming(cluster, (make) => netMoves(cluster, present, make));
  const moves = assuming(cluster, (make) => inOrder(cluster, wanted, make)).slice(0, movesMax);
  const loads = new Map(
    present.map(({ id, load }) => [id, { machineId: id, before: load, after: load }]),
  );
  for (const { from, to, weight } of moves) {
    for (const [id, by] of [
      [from, -weight],
      [to, weight],
    ] as const) {
      const load = loads.get(id);
      if (load !== undefined) load.after += by;
    }
  }
  return { moves, loads: [...loads.values()] };
}

type Make = (move: RebalanceMove) => void;

/** Runs `work`, which may assume that moves were made, and takes them back. */
function assuming<T>(cluster: ClusterState, work: (make: Make) => T): T {
  const undo: (() => void)[] = [];
  try {
    return work((move) => {
      for (const unit of move.units) undo.push(assume(cluster, unit, move));
    });
  } finally {
    for (const step of undo.reverse()) step();
  }
}

/** What comes of one useful move after another, the most useful first; what would move twice goes at once to where it ends. */
function netMoves(
  cluster: ClusterState,
  present: readonly MachineEntry[],
  make: Make,
): readonly RebalanceMove[] {
  const mean = present.reduce((sum, { load }) => sum + load, 0) / Math.max(1, present.length);
  const net = new Map<string, RebalanceMove>();
  for (let count = 0; count < MOVES_MAX; count += 1) {
    const move = bestMove(cluster, { present, slack: mean * SLACK });
    if (move === undefined) break;
    make(move);
    const key = move.units.join(" ");
    net.set(key, { ...move, from: net.get(key)?.from ?? move.from });
  }
  return [...net.values()].filter(({ from, to }) => from !== to);
}

/** Each when there is room for it: another may have to go first. */
function inOrder(
  cluster: ClusterState,
  wanted: readonly RebalanceMove[],
  make: Make,
): readonly RebalanceMove[] {
  const made = new Set<RebalanceMove>();
  for (let last = -1; last < made.size; ) {
    last = made.size;
    for (const move of wanted) {
      const units = move.units.flatMap((name) => cluster.unit(name) ?? []);
      const to = cluster.machine(move.to);
      if (made.has(move) || to === undefined || !canJoin(cluster, units, to)) continue;
      make(move);
      made.add(move);
    }
  }
  return [...made];
}

/** Of the most loaded machine that has one. */
function bestMove(
  cluster: ClusterState,
  { present, slack }: { readonly present: readonly MachineEntry[]; readonly slack: number },
): RebalanceMove | undefined {
  const least = cluster.openMachines.byLoad.find(() => true);
  const lowest = least?.load ?? Number.POSITIVE_INFINITY;
  const sources = present.toSorted((a, b) => b.load - a.load || compareText(a.id, b.id));
  for (const from of sources) {
    let best: { readonly move: RebalanceMove; readonly gain: number } | undefined;
    if (from.load - lowest <= slack) return undefined;
    for (const units of groupsOn(cluster, from)) {
      const weight = units.reduce((sum, unit) => sum + weightOf(unit), 0);
      if (from.load - lowest <= weight) continue;
      const to = nextHome(cluster, units, from);
      if (to === undefined || to === from.id) continue;
      const difference = from.load - (cluster.machine(to)?.load ?? 0);
      // How much less the loads differ afterwards, counted in squares.
      const gain = weight * (difference - weight);
      if (difference <= slack || gain <= (best?.gain ?? 0)) continue;
      const names = units.map(({ name }) => name);
      best = { move: { units: names, from: from.id, to, weight }, gain };
    }
    if (best !== undefined) return best.move;
  }
  return undefined;
}

/** Groups that are as wanted on the machine, each as a whole; oldest first. */
function groupsOn(cluster: ClusterState, machine: MachineEntry): readonly (readonly UnitEntry[])[] {
  if (machine.presence?.record.leaving === true || machine.unreadable.size > 0) return [];
  if (machine.operator?.record.draining === true) return [];
  const groups: (readonly UnitEntry[])[] = [];
  const seen = new Set<string>();
  const units = machine.placed.toSorted(compareAge);
  for (const unit of units) {
    if (seen.has(unit.name) || !isGroupable(unit)) continue;
    const group = groupOf(cluster, unit);
    for (const { name } of group) seen.add(name);
    if (group.every((one) => isSettled(one, machine))) groups.push(group);
  }
  return groups;
}

/** Up, or loaded if that is all that is wanted. What is finished or has failed would only be started once more. */
function isSettled(unit: UnitEntry, machine: MachineEntry): boolean {
  const assignment = assignmentOn(unit, machine.id)?.record;
  const state = machine.states.get(unit.name)?.record;
  if (assignment === undefined || state === undefined || knownConstraints(unit) === undefined) {
    return false;
  }
  if (!isPlacedOn(unit, machine) || unit.placement?.record.moving !== undefined) return false;
  if (state.identity !== unit.unit?.createRevision || state.error !== undefined) return false;
  return assignment.target === "loaded"
    ? state.current === "loaded"
    : startResult(state, assignment.restarts) === "up";
}

function weightOf(unit: UnitEntry): number {
  return knownConstraints(unit)?.requirements.weight ?? 1;
}

/** As if the move had been made; gives back what undoes it. */
function assume(cluster: ClusterState, unit: string, { from, to }: RebalanceMove): () => void {
  const placement = cluster.unit(unit)?.placement;
  const assignment = assignmentOn(cluster.unit(unit), from);
  const state = cluster.machine(from)?.states.get(unit);
  const put = (machineId: string, place: typeof placement, isThere: boolean) => {
    const of = <T>(value: Versioned<T> | undefined) => (isThere ? value : undefined);
    cluster.apply({ kind: "placement", unit, value: place });
    cluster.apply({ kind: "assignment", machineId, unit, value: of(assignment) });
    cluster.apply({ kind: "state", machineId, unit, value: of(state) });
  };
  put(from, undefined, false);
  const there = placement && { ...placement, record: { ...placement.record, machine: to } };
  put(to, there, true);
  return () => {
    put(to, undefined, false);
    put(from, placement, true);
  };
}
