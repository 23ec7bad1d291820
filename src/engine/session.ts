import { type ClusterState, everything } from "../cluster/cluster-state.ts";
import { type Dirty, newDirty } from "../cluster/dirty.ts";
import { compareAge, isPresent, type UnitEntry } from "../cluster/entries.ts";
import type { ClusterFact } from "../cluster/facts.ts";
import { changeFact } from "../registry/cluster-facts.ts";
import { ClusterSnapshot } from "../registry/cluster-snapshot.ts";
import type { Change, KeyValue, Revision, StoreHeader } from "../registry/store.ts";
import { FleetError } from "../runtime/errors.ts";
import { BLOCKED_INTERVAL_MS } from "./blocked.ts";
import { Chores } from "./chores.ts";
import { type CampaignOptions, type Lead, whyNotCluster } from "./leader.ts";
import { LossTracker } from "./losses.ts";
import { plan } from "./plan.ts";
import type { EngineTask } from "./tasks.ts";
import type { EngineTuning } from "./tuning.ts";
import { writeTasks } from "./write-tasks.ts";

export interface SessionOptions extends CampaignOptions {
  readonly tuning: EngineTuning;
  readonly lead: Lead;
  /** This engine has just been without the store: what it does not see may only be late. */
  readonly lostStore: boolean;
  /** There may be something to do. */
  readonly wake: () => void;
}

/** At most so many units are looked at in one go, so that the lease can be kept alive in between. */
const PASS_UNITS_MAX = 5_000;
/** How long to wait for the watch to show what was written. */
const UNSEEN_MAX_MS = 2_000;
const LEASE_RECHECK_MS = 200;
/** When to look again at what was refused, should the watch not have said why. */
const REFUSED_RETRY_MS = 1_000;

/** What a leading engine knows and does, from taking the lead to losing it. */
export class LeaderSession {
  readonly #options: SessionOptions;
  readonly #losses: LossTracker;
  readonly #chores: Chores;
  #cluster: ClusterState | undefined;
  #dirty: Dirty = newDirty();
  #lossesDue = false;
  /** Changes up to this revision are in the cluster state. */
  #seenRevision: Revision = 0;
  #writtenRevision: Revision = 0;
  #writtenMs = 0;
  readonly #blockedWrittenMs = new Map<string, number>();
  /** Units to look at again, and when. Bounded by the number of units. */
  readonly #again = new Map<string, number>();

  constructor(options: SessionOptions) {
    this.#options = options;
    const { tuning, clock } = options;
    this.#losses = new LossTracker(tuning.loss, {
      ...options,
      leadsSinceMs: clock.monotonicMs(),
      bootGraceMs: tuning.bootGraceMs,
    });
    this.#chores = new Chores(options);
  }

  /** Starts from a read of everything at one revision. */
  async onSnapshot(items: readonly KeyValue[], header: StoreHeader): Promise<void> {
    const { keys, expected, clock, tuning, machineId, lostStore } = this.#options;
    const why =
      header.storeId === expected.storeId
        ? whyNotCluster(keys, items, this.#options)
        : "another store answers";
    if (why !== undefined) throw new FleetError("conflict", `this engine must not lead: ${why}`);
    const isFirst = this.#cluster === undefined;
    this.#cluster = undefined;
    const snapshot = new ClusterSnapshot(keys, this.#unreadable);
    await snapshot.add(items);
    const { cluster } = snapshot;
    const isAlone = cluster.machineIds.every(
      (id) => id === machineId || !isPresent(cluster.machine(id)),
    );
    const graceUntilMs = clock.monotonicMs() + tuning.bootGraceMs;
    // What cannot be seen may not be back yet, or the store may have been away and taken its leases with it.
    if (lostStore || !isFirst) this.#losses.holdUntil(graceUntilMs);
    else if (isAlone) this.#losses.holdUntilAllPresent(graceUntilMs);
    this.#lossesDue = true;
    this.#dirty = everything(cluster);
    this.#seenRevision = header.revision;
    this.#cluster = cluster;
    this.#options.wake();
  }

  onChanges(changes: readonly Change[], revision: Revision): void {
    const { keys, lead } = this.#options;
    for (const change of changes) {
      const key = change.type === "put" ? change.item.key : change.key;
      if (key === keys.clusterId) this.#checkCluster(change);
      if (
        key === keys.leader &&
        (change.type === "delete" || change.item.createRevision !== lead.token)
      ) {
        throw new FleetError("conflict", "the lead was taken from this engine");
      }
      const fact = changeFact(keys, change, this.#unreadable);
      if (fact === undefined) continue;
      this.#checkFormat(fact);
      this.#cluster?.apply(fact, this.#dirty);
    }
    const hasWaited = this.#seenRevision < this.#writtenRevision;
    this.#seenRevision = revision;
    const { units, machines } = this.#dirty;
    // Most of what machines say of their units concerns nobody here.
    const isDue = units.size > 0 || machines.size > 0;
    if (isDue || (hasWaited && revision >= this.#writtenRevision)) this.#options.wake();
  }

  /** Plans what is dirty and writes it. Gives back when time alone makes the next pass due. */
  async pass(signal: AbortSignal): Promise<number | undefined> {
    const cluster = this.#cluster;
    const { clock, lead } = this.#options;
    if (cluster === undefined) return undefined;
    // A keep-alive that is answered late makes it valid again, and nobody would wake the loop for it.
    if (!lead.lease.isValid()) return LEASE_RECHECK_MS;
    const nowMs = clock.monotonicMs();
    const unseenMs = this.#unseenMs(nowMs);
    if (unseenMs !== undefined) return unseenMs;
    this.#collectDirty(cluster, nowMs);
    const { lost, held } = this.#losses.judgement;
    const { dirty, isAll } = this.#takeDirty(cluster);
    const now = { monotonicMs: nowMs, wallMs: clock.wallMs() };
    const planned = plan(cluster, {
      dirty,
      losses: { lost, held },
      now,
      blockedWrittenMs: this.#blockedWrittenMs,
    });
    for (const unit of planned.later) this.#again.set(unit, nowMs + (planned.laterInMs ?? 0));
    const tasks = [...planned.tasks, ...this.#chores.tasks(cluster, nowMs)];
    try {
      await this.#write(tasks, signal);
    } catch (error) {
      // What was written nevertheless will be seen; the comparisons keep it from being done twice.
      for (const unit of dirty.units) this.#dirty.units.add(unit);
      for (const machine of dirty.machines) this.#dirty.machines.add(machine);
      throw error;
    }
    if (!isAll) this.#options.wake();
    return this.#nextDueMs(clock.monotonicMs());
  }

  async #write(tasks: readonly EngineTask[], signal: AbortSignal): Promise<void> {
    if (tasks.length === 0) return;
    const { store, keys, lead, clock, logger } = this.#options;
    const { refused } = await writeTasks(tasks, {
      store,
      keys,
      token: lead.token,
      call: { signal },
      onApplied: (written, revision) => {
        this.#writtenRevision = Math.max(this.#writtenRevision, revision);
        this.#writtenMs = clock.monotonicMs();
        for (const task of written) {
          if (task.type === "block") this.#blockedWrittenMs.set(task.unit, this.#writtenMs);
          logger.info("engine-task", logFields(task));
        }
      },
    });
    for (const task of refused) {
      logger.debug("engine-task-refused", logFields(task));
      if ("unit" in task) this.#again.set(task.unit, clock.monotonicMs() + REFUSED_RETRY_MS);
    }
  }

  /** How long to wait for the watch, or undefined when it has shown everything this engine wrote. */
  #unseenMs(nowMs: number): number | undefined {
    if (this.#seenRevision >= this.#writtenRevision) return undefined;
    const leftMs = this.#writtenMs + UNSEEN_MAX_MS - nowMs;
    if (leftMs > 0) return leftMs;
    this.#options.logger.warn("engine-writes-unseen", { revision: this.#writtenRevision });
    this.#writtenRevision = this.#seenRevision;
    return undefined;
  }

  #collectDirty(cluster: ClusterState, nowMs: number): void {
    const dueMs = this.#losses.judgement.againAtMs;
    if (this.#lossesDue || this.#dirty.machines.size > 0 || (dueMs ?? nowMs + 1) <= nowMs) {
      this.#lossesDue = false;
      const now = { monotonicMs: nowMs, wallMs: this.#options.clock.wallMs() };
      for (const id of this.#losses.update(cluster, now)) this.#dirty.machines.add(id);
    }
    for (const [unit, atMs] of this.#again) {
      if (atMs > nowMs) continue;
      this.#again.delete(unit);
      this.#dirty.units.add(unit);
    }
    for (const [unit, atMs] of this.#blockedWrittenMs) {
      if (nowMs - atMs >= BLOCKED_INTERVAL_MS) this.#blockedWrittenMs.delete(unit);
    }
    // What waits for its time is no oversight.
    const isIdle = this.#again.size === 0 && this.#dirty.machines.size === 0;
    if (isIdle && this.#dirty.units.size === 0) {
      for (const unit of this.#chores.audited(cluster, nowMs, this.#losses.judgement)) {
        this.#dirty.units.add(unit);
      }
    }
  }

  /** Oldest units first when there are too many for one pass. */
  #takeDirty(cluster: ClusterState): { readonly dirty: Dirty; readonly isAll: boolean } {
    const all = this.#dirty;
    this.#dirty = newDirty();
    if (all.units.size <= PASS_UNITS_MAX) return { dirty: all, isAll: true };
    const known: UnitEntry[] = [];
    for (const name of all.units) {
      const unit = cluster.unit(name);
      if (unit !== undefined) known.push(unit);
    }
    known.sort(compareAge);
    const units = new Set<string>();
    for (const [index, { name }] of known.entries()) {
      (index < PASS_UNITS_MAX ? units : this.#dirty.units).add(name);
    }
    return { dirty: { units, machines: all.machines }, isAll: false };
  }

  #nextDueMs(nowMs: number): number {
    let dueMs = this.#chores.nextDueMs(nowMs);
    const { againAtMs } = this.#losses.judgement;
    if (againAtMs !== undefined) dueMs = Math.min(dueMs, againAtMs - nowMs);
    for (const atMs of this.#again.values()) dueMs = Math.min(dueMs, atMs - nowMs);
    return Math.max(1, dueMs);
  }

  #checkCluster(change: Change): void {
    const items = change.type === "put" ? [change.item] : [];
    const why = whyNotCluster(this.#options.keys, items, this.#options);
    if (why !== undefined) throw new FleetError("conflict", `this engine must not lead: ${why}`);
  }

  /** A newer machine has joined: what its agent means, an older engine might undo. */
  #checkFormat(fact: ClusterFact): void {
    if (fact.kind !== "machine" || fact.value === undefined || fact.value === "unreadable") return;
    const { format } = fact.value.record;
    if (format > this.#options.format) {
      throw new FleetError("conflict", `a machine writes record format ${format}`);
    }
  }

  readonly #unreadable = (key: string, error: Error): void => {
    this.#options.logger.error("record-unreadable", { key, error: error.message });
  };
}

function logFields(task: EngineTask): Record<string, unknown> {
  if (task.type === "collect") return { type: task.type, manifest: task.manifest };
  const fields: Record<string, unknown> = { type: task.type, unit: task.unit };
  if ("machineId" in task) fields["machine"] = task.machineId;
  if ("why" in task) fields["reason"] = task.why.type;
  if (task.type === "block") {
    fields["reason"] = task.record.reasons.map(({ reason }) => reason.type).join(" ");
  }
  return fields;
}
