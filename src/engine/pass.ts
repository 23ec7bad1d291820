import { Assumptions } from "../cluster/assumptions.ts";
import type { ClusterState, Stay } from "../cluster/cluster-state.ts";
import { type Dirty, newDirty, type ReadonlyDirty } from "../cluster/dirty.ts";
import type { MachineEntry, UnitEntry } from "../cluster/entries.ts";
import type { BlockedReason, HistorySpec } from "../cluster/facts.ts";
import type { LossJudgement } from "../cluster/presence.ts";
import { arrived } from "./history.ts";
import { assumed, type EngineTask, type PlaceTask, type UnitTask, unitEffects } from "./tasks.ts";

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
  /** What was looked at in this pass, as far as it may move. */
  readonly moves = {
    units: new Set<string>(),
    draining: new Set<string>(),
    /** Those that move when they fail. */
    failing: new Set<string>(),
    /** Since when those are blocked, before this pass decided anything. */
    blockedSinceMs: new Map<string, number | undefined>(),
  };
  readonly #assumptions: Assumptions;
  /** What is still to be looked at: at first what is dirty, then what the assumed changes concern. */
  #queue: Dirty;
  readonly #touched = new Set<string>();
  readonly #blocked = new Map<string, readonly BlockedReason[]>();
  readonly #firstStays = new Map<MachineEntry, HistorySpec>();

  constructor(options: { cluster: ClusterState; dirty: Dirty; losses: Losses; wallMs: number }) {
    this.#queue = options.dirty;
    this.cluster = options.cluster;
    this.#assumptions = new Assumptions(options.cluster);
    this.losses = options.losses;
    this.wallMs = options.wallMs;
  }

  /** Nothing is left to be looked at. */
  get isDone(): boolean {
    return this.#queue.units.size === 0 && this.#queue.machines.size === 0;
  }

  /** What is still to be looked at; from then on only what comes to it. */
  takeQueue(): ReadonlyDirty {
    const taken = this.#queue;
    this.#queue = newDirty();
    return taken;
  }

  do(task: UnitTask): void {
    this.tasks.push(task);
    this.#touched.add(task.unit);
    // The unit itself is looked at again when the write is seen. Until then it counts only for what is drained (noteMove).
    const isDone = this.cluster.moves.draining.size === 0;
    if (isDone) this.#queue.acting = task.unit;
    for (const fact of unitEffects(task)) this.#assumptions.assume(fact, this.#queue);
    if (isDone) this.#queue.units.delete(task.unit);
    this.#queue.acting = undefined;
  }

  /** As do(), of a unit that is nowhere yet: so it is with almost all that are placed, and takes much less. */
  placeNew(task: PlaceTask, { unit, machine }: Pick<Stay, "unit" | "machine">): void {
    this.tasks.push(task);
    const placement = assumed(task.placement);
    const assignment = task.assignment && assumed(task.assignment);
    this.#assumptions.assumeStay({ unit, machine, placement, assignment }, this.#queue);
  }

  /** Whether the unit was acted on in this pass. */
  isTouched(unit: UnitEntry): boolean {
    return unit.hasAssumedStay || this.#touched.has(unit.name);
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
    this.#assumptions.assume({ kind: "blocked", unit: unit.name, value });
  }

  /** The history of a unit whose first machine this is: the same for all that are placed there by this pass. */
  firstStay(machine: MachineEntry): HistorySpec {
    let history = this.#firstStays.get(machine);
    if (history === undefined) {
      history = arrived(undefined, { machine: machine.id, fromMs: this.wallMs });
      this.#firstStays.set(machine, history);
    }
    return history;
  }

  status(machine: MachineEntry): MachineStatus {
    if (machine.unreadable.size > 0) return "opaque";
    if (machine.presence !== undefined)
      return machine.presence.record.leaving ? "leaving" : "present";
    return this.losses.lost.has(machine.id) ? "lost" : "away";
  }

  /** Takes back what was assumed; gives what was decided of blocked units. */
  finish(): ReadonlyMap<string, readonly BlockedReason[]> {
    this.#assumptions.takeBack();
    return this.#blocked;
  }
}
