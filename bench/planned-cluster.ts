import { ClusterState, everything } from "../src/cluster/cluster-state.ts";
import { type Dirty, newDirty } from "../src/cluster/dirty.ts";
import type { ClusterFact } from "../src/cluster/facts.ts";
import { plan } from "../src/engine/plan.ts";
import { type EngineTask, taskEffects } from "../src/engine/tasks.ts";
import { NO_REQUIREMENTS, type Requirements } from "../src/units/requirements.ts";

/** A cluster whose planner's decisions come back as facts, as they do from the registry: written at once, and seen by the watch. */
export class PlannedCluster {
  readonly state: ClusterState;
  readonly lost = new Set<string>();
  #dirty: Dirty = newDirty();
  #revision = 1_000_000;

  constructor(requirements: ReadonlyMap<string, Requirements>) {
    this.state = new ClusterState((unit) => requirements.get(unit) ?? NO_REQUIREMENTS);
  }

  get nextRevision(): number {
    this.#revision += 1;
    return this.#revision;
  }

  /** As a leader reads everything that is there: what each fact concerns is not asked. */
  load(facts: Iterable<ClusterFact>): void {
    for (const fact of facts) this.state.apply(fact);
  }

  apply(facts: Iterable<ClusterFact>): void {
    for (const fact of facts) this.state.apply(fact, this.#dirty);
  }

  lose(machineId: string): void {
    this.lost.add(machineId);
    this.#dirty.machines.add(machineId);
  }

  find(machineId: string): void {
    this.lost.delete(machineId);
    this.#dirty.machines.add(machineId);
  }

  /** One plan of everything. */
  planAll(): readonly EngineTask[] {
    this.#dirty = newDirty();
    return this.#plan(everything(this.state));
  }

  /** Plans and writes until nothing is left to do. */
  settle(): void {
    while (this.#dirty.units.size > 0 || this.#dirty.machines.size > 0) {
      const dirty = this.#dirty;
      this.#dirty = newDirty();
      this.write(this.#plan(dirty));
    }
  }

  write(tasks: readonly EngineTask[]): void {
    for (const task of tasks) {
      const revision = this.nextRevision;
      for (const fact of taskEffects(task)) this.apply([seenAt(fact, revision)]);
      if (!("history" in task)) continue;
      const value = { record: task.history, createRevision: revision, modRevision: revision };
      this.apply([{ kind: "history", unit: task.unit, value }]);
    }
  }

  #plan(dirty: Dirty): readonly EngineTask[] {
    const losses = { lost: this.lost, held: new Map() };
    const now = { monotonicMs: 0, wallMs: 0 };
    return plan(this.state, { dirty, losses, now }).tasks;
  }
}

function seenAt(fact: ClusterFact, revision: number): ClusterFact {
  if (fact.value === undefined || fact.value === "unreadable") return fact;
  // Kind and value keep belonging together, which the compiler cannot see through a spread.
  return { ...fact, value: { ...fact.value, modRevision: revision } } as ClusterFact;
}
