import type { ClusterState } from "../cluster/cluster-state.ts";
import { type Dirty, newDirty } from "../cluster/dirty.ts";
import { isPresent } from "../cluster/entries.ts";
import type { Outlook } from "../cluster/outlook.ts";
import { plan } from "./plan.ts";
import { type EngineTask, taskEffects } from "./tasks.ts";

/** A change sets off others (Replaces=, Conflicts=), each a round after what it waits for. */
const ROUNDS_MAX = 100;

/**
 * What the engine would make of a cluster state, and what would come of it when every machine does at once as it is told. Changes the
 * state. Machines that are away are not given up: that takes an engine that has watched them.
 */
export function previewPlan(
  cluster: ClusterState,
  options: { readonly dirty: Dirty; readonly wallMs: number },
): readonly Outlook[] {
  const found = new Map<string, { readonly before: readonly string[]; why?: string }>();
  const now = { monotonicMs: 0, wallMs: options.wallMs };
  const losses = { lost: new Set<string>(), held: new Map<string, "mass-loss">() };
  for (const name of options.dirty.units) found.set(name, { before: machinesOf(cluster, name) });
  let { dirty } = options;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const { tasks } = plan(cluster, { dirty, losses, now });
    if (tasks.length === 0) break;
    dirty = newDirty();
    for (const task of tasks) {
      if (!("unit" in task)) continue;
      const known = found.get(task.unit) ?? { before: machinesOf(cluster, task.unit) };
      found.set(task.unit, { ...known, ...whyLeft(task) });
      for (const fact of taskEffects(task)) cluster.apply(fact, dirty);
    }
    for (const task of tasks) if ("unit" in task) stopStrays(cluster, task.unit, dirty);
  }
  return [...found]
    .map(([unit, { before, why }]): Outlook => {
      const entry = cluster.unit(unit);
      return {
        unit,
        before,
        after: machinesOf(cluster, unit),
        ...(why === undefined ? {} : { why }),
        blocked: entry?.unit === undefined ? [] : (entry.blocked?.record.reasons ?? []),
      };
    })
    .sort((a, b) => (a.unit < b.unit ? -1 : 1));
}

function whyLeft(task: EngineTask): { readonly why?: string } {
  if (task.type === "unplace" || task.type === "unassign") return { why: task.why.type };
  return task.type === "place" && task.from !== undefined ? { why: task.why.type } : {};
}

/** Where it is placed or, global, assigned; sorted. */
function machinesOf(cluster: ClusterState, name: string): readonly string[] {
  const unit = cluster.unit(name);
  const machineId = unit?.placement?.record.machine;
  if (machineId !== undefined) return [machineId];
  return unit?.unit?.record.global === true ? [...unit.assignedTo].sort() : [];
}

/** Machines stop what is no longer assigned to them. */
function stopStrays(cluster: ClusterState, name: string, dirty: Dirty): void {
  const unit = cluster.unit(name);
  for (const machineId of [...(unit?.statesOn ?? [])]) {
    if (unit?.assignedTo.has(machineId) || !isPresent(cluster.machine(machineId))) continue;
    cluster.apply({ kind: "state", machineId, unit: name, value: undefined }, dirty);
  }
}
