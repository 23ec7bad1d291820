import type { ClusterState } from "../cluster/cluster-state.ts";
import { type Dirty, newDirty } from "../cluster/dirty.ts";
import type { MachineEntry, UnitEntry } from "../cluster/entries.ts";
import type { BlockedReason, ClusterFact } from "../cluster/facts.ts";
import type { LossJudgement } from "../cluster/presence.ts";
import { type EngineTask, taskEffects } from "./tasks.ts";

export type Losses = Pick<LossJudgement, "lost" | "held">;

/** `opaque`: a record of the machine cannot be read, so nothing is put there and nothing taken away. */
export type MachineStatus = "present" | "leaving" | "away" | "lost" | "opaque";

/**
 * One pass of planning. What it decides is assumed in the cluster state at once, so that later decisions of the pass build on
 * it, and taken back at the end: from outside the state does not change.
 */
export class PlanPass {
  readonly cluster: ClusterState;
  readonly losses: Losses;
  /** For records only; and what machines' clocks say is never later. */
  readonly wallMs: number;
  readonly tasks: EngineTask[] = [];
  /** What the assumed changes concern, still to be looked at in this pass. */
  readonly queue: Dirty = newDirty();
  /** What was looked at in this pass, as far as it may move. */
  readonly moves = {
    units: new Set<string>(),
    draining: new Set<string>(),
    /** Those that move when they fail. */
    failing: new Set<string>(),
    /** Since when those are blocked, before this pass decided anything. */
    blockedSinceMs: new Map<string, number | undefined>(),
  };
  readonly #undo: ClusterFact[] = [];
  readonly #touched = new Set<string>();
  readonly #blocked = new Map<string, readonly BlockedReason[]>();

  constructor(options: { cluster: ClusterState; losses: Losses; wallMs: number }) {
    this.cluster = options.cluster;
    this.losses = options.losses;
    this.wallMs = options.wallMs;
  }

  do(task: EngineTask): void {
    this.tasks.push(task);
    if ("unit" in task) this.#touched.add(task.unit);
    for (const fact of taskEffects(task)) this.#assume(fact, this.queue);
  }

  /** Whether the unit was acted on in this pass: then it is looked at again when the write is seen. */
  isTouched(unit: string): boolean {
    return this.#touched.has(unit);
  }

  /** None: it is not blocked. The last word of a pass counts. */
  decideBlocked(unit: UnitEntry, reasons: readonly BlockedReason[]): void {
    const isBlocked = unit.blocked !== undefined;
    // As almost always: it was not blocked and is not, whatever was decided before.
    if (!isBlocked && reasons.length === 0) return;
    this.#blocked.set(unit.name, reasons);
    if (isBlocked === reasons.length > 0) return;
    const identity = unit.unit?.createRevision ?? 0;
    const record = { identity, sinceMs: this.wallMs, reasons };
    const value = isBlocked ? undefined : { record, createRevision: 0, modRevision: 0 };
    this.#assume({ kind: "blocked", unit: unit.name, value }, undefined);
  }

  status(machine: MachineEntry): MachineStatus {
    if (machine.unreadable.size > 0) return "opaque";
    if (machine.presence !== undefined)
      return machine.presence.record.leaving ? "leaving" : "present";
    return this.losses.lost.has(machine.id) ? "lost" : "away";
  }

  /** Takes back what was assumed; gives what was decided of blocked units. */
  finish(): ReadonlyMap<string, readonly BlockedReason[]> {
    for (const fact of this.#undo.reverse()) this.cluster.apply(fact);
    this.#undo.length = 0;
    return this.#blocked;
  }

  #assume(fact: ClusterFact, dirty: Dirty | undefined): void {
    this.#undo.push(currentFact(this.cluster, fact));
    this.cluster.apply(fact, dirty);
  }
}

/** The fact of the same key as it is now. Only kinds that tasks write. */
function currentFact(cluster: ClusterState, fact: ClusterFact): ClusterFact {
  switch (fact.kind) {
    case "placement":
      return { ...fact, value: cluster.unit(fact.unit)?.placement };
    case "assignment":
      return { ...fact, value: cluster.machine(fact.machineId)?.assignments.get(fact.unit) };
    case "blocked":
      return { ...fact, value: cluster.unit(fact.unit)?.blocked };
    case "move":
      return { ...fact, value: cluster.unit(fact.unit)?.move };
    default:
      throw new TypeError(`the planner does not assume facts of kind ${fact.kind}`);
  }
}
