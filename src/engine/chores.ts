import type { ClusterState } from "../cluster/cluster-state.ts";
import { newDirty } from "../cluster/dirty.ts";
import type { LossJudgement } from "../cluster/presence.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import { plan } from "./plan.ts";
import type { EngineTask } from "./tasks.ts";

/** How often manifests that nobody uses are collected, and how many at once. */
const COLLECT_INTERVAL_MS = 60_000;
const COLLECT_MAX = 50;
/** How often, and how many units at once, are planned although nothing happened to them. */
const AUDIT_INTERVAL_MS = 60_000;
const AUDIT_UNITS_MAX = 5_000;

/** What a leader does at leisure. */
export class Chores {
  readonly #clock: Clock;
  readonly #logger: Logger;
  #collectAtMs: number;
  #auditAtMs: number;
  /** Unused at the last look, with their mod revisions: collected if that is still so at the next. */
  #unused: ReadonlyMap<string, number> = new Map();
  #auditedUpTo = "";

  constructor({ clock, logger }: { readonly clock: Clock; readonly logger: Logger }) {
    this.#clock = clock;
    this.#logger = logger;
    this.#collectAtMs = clock.monotonicMs() + COLLECT_INTERVAL_MS;
    this.#auditAtMs = clock.monotonicMs() + AUDIT_INTERVAL_MS;
  }

  nextDueMs(nowMs: number): number {
    return Math.max(0, Math.min(this.#collectAtMs, this.#auditAtMs) - nowMs);
  }

  /** Manifests to collect now. */
  tasks(cluster: ClusterState, nowMs: number): readonly EngineTask[] {
    if (nowMs < this.#collectAtMs) return [];
    this.#collectAtMs = nowMs + COLLECT_INTERVAL_MS;
    const unused = cluster.unusedManifests(COLLECT_MAX);
    const tasks = unused
      .filter(({ manifest, modRevision }) => this.#unused.get(manifest) === modRevision)
      .map((entry): EngineTask => ({ type: "collect", ...entry }));
    this.#unused = new Map(unused.map(({ manifest, modRevision }) => [manifest, modRevision]));
    return tasks;
  }

  /**
   * Plans some units as if they were dirty, when nothing else is to do. There must be nothing to do for them: if there is, a change was not
   * noticed, which is a bug here. They are given back, so that it is done all the same.
   */
  audited(cluster: ClusterState, nowMs: number, losses: LossJudgement): readonly string[] {
    if (nowMs < this.#auditAtMs) return [];
    this.#auditAtMs = nowMs + AUDIT_INTERVAL_MS;
    const dirty = newDirty();
    for (const name of this.#nextSlice(cluster)) dirty.units.add(name);
    const now = { monotonicMs: nowMs, wallMs: this.#clock.wallMs() };
    const { tasks } = plan(cluster, { dirty, losses, now });
    if (tasks.length === 0) return [];
    const missed = tasks.map((task) => `${task.type} ${"unit" in task ? task.unit : ""}`);
    this.#logger.error("audit-difference", { count: tasks.length, tasks: missed.slice(0, 10) });
    return [...dirty.units];
  }

  /** Walks through all units, some at a time. */
  #nextSlice(cluster: ClusterState): readonly string[] {
    const names = [...cluster.units.keys()].sort();
    const from = names.findIndex((name) => name > this.#auditedUpTo);
    const slice = from === -1 ? [] : names.slice(from, from + AUDIT_UNITS_MAX);
    this.#auditedUpTo = slice.length < AUDIT_UNITS_MAX ? "" : (slice.at(-1) ?? "");
    return slice;
  }
}
