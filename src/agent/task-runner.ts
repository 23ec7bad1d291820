import type { ManifestCache } from "../registry/manifest-cache.ts";
import type { StateRecord } from "../registry/records.ts";
import type { Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Manifest } from "../units/manifest.ts";
import type { Assignments } from "./assignments.ts";
import type { Handback } from "./handback.ts";
import { describeManifest, type HeldFile, type Holdings } from "./holdings.ts";
import type { Lanes } from "./lanes.ts";
import { type AgentTask, type DesiredUnit, reconcile, withdraw } from "./reconcile.ts";
import type { StatePublisher } from "./state-publisher.ts";
import type { Systemd } from "./systemd.ts";

export interface TaskRunnerOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly systemd: Systemd;
  readonly holdings: Holdings;
  readonly assignments: Assignments;
  readonly manifests: ManifestCache;
  readonly lanes: Lanes;
  readonly handback: Handback;
  readonly publisher: StatePublisher;
  /** `hand-over`: the daemon stops for good, so it stops what it holds. `system-stopping`: systemd stops it all; the daemon only reports. */
  readonly mode: () => "normal" | "hand-over" | "system-stopping";
  /** Whether the machine's lease holds: without it nothing is begun. */
  readonly isPresent: () => boolean;
  /** Reads `cluster/id` and throws unless this is still the registry the machine belongs to, no older than seen (I5). */
  readonly confirmRegistry: (signal: AbortSignal) => Promise<void>;
  /** Ends with the daemon, not with a session: a stop or start under way is not given up when the registry goes away. */
  readonly life: AbortSignal;
  /** A state may have changed: publish. */
  readonly onState: (unit: string) => void;
}

/** How many units one pass looks at: a pass stays short, the rest follows in the next. */
const PASS_UNITS_MAX = 256;
/** How long a refused name stays refused, so that a unit is not sent back and forth. */
const TAKEN_MS = 60_000;

/** Manifests that are to be written in this pass, by hash. */
type Manifests = ReadonlyMap<string, { readonly manifest: Manifest; readonly file: HeldFile }>;

interface Step {
  readonly task: AgentTask;
  readonly desired: DesiredUnit | undefined;
}

/**
 * Does what `reconcile` says for the units that something has changed about. Each pass takes the first task of every such unit; files are
 * written and removed in batches with at most one daemon-reload, stops and starts run side by side, one per unit. When a task ends its unit is
 * looked at again, so no plan outlives the facts it was made from.
 */
export class TaskRunner {
  readonly #options: TaskRunnerOptions;
  readonly #dirty = new Set<string>();
  /** Units claimed in the registry and not yet on disk, with their state as claimed. */
  readonly #claims = new Map<string, StateRecord>();
  /** Names the machine has from elsewhere (I11). */
  readonly #taken = new Map<string, { readonly state: StateRecord; readonly untilMs: number }>();
  #reloadDue = false;

  constructor(options: TaskRunnerOptions) {
    this.#options = options;
  }

  mark(unit: string): void {
    this.#dirty.add(unit);
  }

  /** Something changed what is wanted of the unit: what failed before may be tried at once. */
  markChanged(unit: string): void {
    this.#options.lanes.forgive(unit);
    const taken = this.#taken.get(unit);
    if (taken !== undefined && this.#options.assignments.get(unit) !== undefined)
      this.#taken.delete(unit);
    this.mark(unit);
  }

  /** State of a unit that is not held: claimed, or refused because its name is taken. */
  unheldState(unit: string): StateRecord | undefined {
    return this.#claims.get(unit) ?? this.#taken.get(unit)?.state;
  }

  /** Claims of an ended session mean nothing any more. */
  forgetClaims(): void {
    this.#claims.clear();
  }

  async pass(signal: AbortSignal): Promise<number | undefined> {
    const looked = this.#takeDirty();
    try {
      if (this.#reloadDue) await this.#reload(signal);
      const manifests = await this.#fetchManifests(looked, signal);
      const found = await Promise.all(
        looked.map((unit) => this.#nextStep(unit, manifests, signal)),
      );
      const steps = found.filter((step) => step !== undefined);
      if (steps.some(({ task }) => task.type === "stop" || task.type === "remove")) {
        await this.#options.confirmRegistry(signal);
      }
      const permitted = await this.#claim(steps, signal);
      await this.#remove(permitted, signal);
      await this.#write(permitted, manifests, signal);
      for (const step of permitted) await this.#begin(step);
    } catch (error) {
      for (const unit of looked) this.#dirty.add(unit);
      throw error;
    }
    return this.#nextMs();
  }

  #takeDirty(): readonly string[] {
    const { clock, lanes } = this.#options;
    const nowMs = clock.monotonicMs();
    const taken: string[] = [];
    for (const unit of [...this.#dirty].sort()) {
      if (taken.length >= PASS_UNITS_MAX) break;
      // A busy unit is looked at again when its task ends; one that failed, when its time has come.
      if (lanes.isBusy(unit) || lanes.retryAtMs(unit) > nowMs) continue;
      this.#dirty.delete(unit);
      taken.push(unit);
    }
    return taken;
  }

  #nextMs(): number | undefined {
    const { clock, lanes, handback } = this.#options;
    const nowMs = clock.monotonicMs();
    const dueMs: number[] = [];
    for (const unit of this.#dirty)
      if (!lanes.isBusy(unit)) dueMs.push(Math.max(0, lanes.retryAtMs(unit) - nowMs));
    for (const { untilMs } of this.#taken.values()) dueMs.push(Math.max(0, untilMs - nowMs));
    const handbackMs = handback.nextMs();
    if (handbackMs !== undefined) {
      for (const unit of handback.waitingUnits()) if (handbackMs === 0) this.#dirty.add(unit);
      dueMs.push(handbackMs);
    }
    for (const [unit, { untilMs }] of this.#taken) {
      if (untilMs > nowMs) continue;
      this.#taken.delete(unit);
      this.#dirty.add(unit);
      this.#options.onState(unit);
    }
    return dueMs.length === 0 ? undefined : Math.min(...dueMs);
  }

  async #fetchManifests(units: readonly string[], signal: AbortSignal): Promise<Manifests> {
    const { assignments, holdings, manifests } = this.#options;
    const hashes = new Set<string>();
    for (const unit of units) {
      const manifest = assignments.get(unit)?.manifest;
      if (manifest !== undefined && holdings.file(unit)?.manifest !== manifest)
        hashes.add(manifest);
    }
    const found = new Map<string, { manifest: Manifest; file: HeldFile }>();
    for (const [hash, manifest] of await manifests.manifests(hashes, { signal })) {
      found.set(hash, { manifest, file: describeManifest(manifest) });
    }
    return found;
  }

  async #nextStep(
    unit: string,
    manifests: Manifests,
    signal: AbortSignal,
  ): Promise<Step | undefined> {
    const { assignments, holdings, handback } = this.#options;
    if (assignments.isUnreadable(unit) || (await this.#isTaken(unit, signal))) return undefined;
    const current = holdings.current(unit);
    const mode = this.#options.mode();
    if (mode === "system-stopping") {
      if (holdings.has(unit) && !holdings.isRunning(unit)) await this.#letGo(unit);
      return undefined;
    }
    if (mode === "hand-over") {
      const [task] = withdraw(unit, current, "machine-leaves");
      return task && { task, desired: undefined };
    }
    const desired = this.#desired(unit, manifests);
    if (desired === "unknown") return undefined;
    const [task] = reconcile(desired, current, unit);
    if (desired !== undefined) {
      handback.settle(unit);
    } else if (task === undefined) {
      handback.settle(unit);
      if (this.#claims.delete(unit)) this.#options.onState(unit);
    } else if (!(await this.#mayStop(unit, current.start?.identity, signal))) {
      return undefined;
    }
    return task && { task, desired };
  }

  #mayStop(unit: string, identity: number | undefined, signal: AbortSignal): Promise<boolean> {
    const seenAssigned = this.#options.assignments.wasWithdrawn(unit);
    return this.#options.handback.mayStop({ unit, identity, seenAssigned }, signal);
  }

  /** A refused name stays refused for a while, unless nobody wants the unit here any more. */
  async #isTaken(unit: string, signal: AbortSignal): Promise<boolean> {
    const { assignments } = this.#options;
    const taken = this.#taken.get(unit);
    if (taken === undefined) return false;
    if (assignments.get(unit) !== undefined) return true;
    if (!(await this.#mayStop(unit, taken.state.identity, signal))) return true;
    this.#taken.delete(unit);
    this.#options.onState(unit);
    return false;
  }

  #desired(unit: string, manifests: Manifests): DesiredUnit | undefined | "unknown" {
    const { assignments, holdings, lanes } = this.#options;
    const assignment = assignments.get(unit);
    if (assignment === undefined) return undefined;
    const file = holdings.file(unit);
    const known =
      file?.manifest === assignment.manifest ? file : manifests.get(assignment.manifest)?.file;
    if (known === undefined) {
      const message = `the files of ${unit} (${assignment.manifest.slice(0, 12)}) are not in the registry: submit it again`;
      lanes.fail(unit, "write", new FleetError("not-found", message, { retriable: true }));
      this.mark(unit);
      return "unknown";
    }
    const { identity, manifest, target, restarts, global, revision } = assignment;
    return {
      unit,
      identity,
      manifest,
      effective: known.effective,
      target,
      restarts,
      global,
      revision,
    };
  }

  /** Keeps the steps that may be done: what comes new to this machine has to be claimed first. */
  async #claim(steps: readonly Step[], signal: AbortSignal): Promise<readonly Step[]> {
    const { publisher } = this.#options;
    const unclaimed = steps.filter(
      ({ task, desired }) =>
        desired !== undefined &&
        (task.type === "write" || task.type === "start") &&
        !publisher.isPublished(task.unit),
    );
    if (unclaimed.length === 0) return steps;
    const claims = unclaimed.flatMap(({ task, desired }) =>
      desired === undefined
        ? []
        : [{ unit: task.unit, assignmentRevision: desired.revision, state: claimedState(desired) }],
    );
    for (const { unit, state } of claims) this.#claims.set(unit, state);
    const claimed = await publisher.claim(claims, signal);
    for (const { unit } of claims) if (!claimed.has(unit)) this.#claims.delete(unit);
    const refused = new Set(claims.map(({ unit }) => unit).filter((unit) => !claimed.has(unit)));
    return steps.filter(({ task }) => !refused.has(task.unit));
  }

  async #write(steps: readonly Step[], manifests: Manifests, signal: AbortSignal): Promise<void> {
    const { systemd, holdings, lanes, logger } = this.#options;
    const writes = steps.flatMap(({ task, desired }) => {
      const known = desired && manifests.get(desired.manifest);
      return task.type === "write" && desired !== undefined && known !== undefined
        ? [{ task, desired, known }]
        : [];
    });
    if (writes.length === 0) return;
    const results = await systemd.write(
      writes.map(({ task, known }) => ({ unit: task.unit, manifest: known.manifest })),
      signal,
    );
    for (const [index, { task, desired, known }] of writes.entries()) {
      const result = results[index];
      this.#claims.delete(task.unit);
      if (result?.type === "written") {
        holdings.setFile(task.unit, known.file);
        this.#reloadDue ||= result.reloadNeeded;
        lanes.forgive(task.unit);
        logger.info("task-done", task);
      } else if (result?.type === "name-taken") {
        this.#refuse(desired, result.path);
      } else {
        const message = result?.message ?? "systemd gave no answer";
        lanes.fail(
          task.unit,
          "write",
          new FleetError(result?.code ?? "host-io", message, { retriable: true }),
        );
        logger.warn("task-failed", { ...task, error: message });
      }
    }
    if (this.#reloadDue) await this.#reload(signal);
    // Asking makes systemd load the unit; one that is started next is loaded then.
    const kept = writes
      .filter(({ desired }) => desired.target === "loaded")
      .map(({ task }) => task.unit);
    if (kept.length > 0) {
      for (const status of await systemd.status(kept, signal)) holdings.setStatus(status);
    }
    for (const { task } of writes) {
      this.mark(task.unit);
      this.#options.onState(task.unit);
    }
  }

  #refuse(desired: DesiredUnit, path: string): void {
    const { clock, logger } = this.#options;
    const from = path === "" ? "a unit without a file" : path;
    const message = `the machine has ${desired.unit} from elsewhere (${from}): submit the unit under another name`;
    const state = {
      ...claimedState(desired),
      error: { task: "write", code: "name-taken", message, attempts: 1 },
    };
    this.#taken.set(desired.unit, { state, untilMs: clock.monotonicMs() + TAKEN_MS });
    logger.warn("name-taken", { unit: desired.unit, path });
  }

  async #remove(steps: readonly Step[], signal: AbortSignal): Promise<void> {
    const { systemd, logger } = this.#options;
    const removals = steps.filter(({ task }) => task.type === "remove");
    if (removals.length === 0) return;
    const { reloadNeeded } = await systemd.remove(
      removals.map(({ task }) => task.unit),
      signal,
    );
    this.#reloadDue ||= reloadNeeded;
    if (this.#reloadDue) await this.#reload(signal);
    for (const { task } of removals) {
      await this.#letGo(task.unit);
      this.mark(task.unit);
      logger.info("task-done", task);
    }
  }

  /** The unit no longer occupies the machine; its state goes from the registry. */
  async #letGo(unit: string): Promise<void> {
    const { holdings, lanes, handback, assignments } = this.#options;
    await holdings.forget(unit);
    assignments.forget(unit);
    lanes.forgive(unit);
    handback.settle(unit);
    this.#claims.delete(unit);
    this.#options.onState(unit);
  }

  async #reload(signal: AbortSignal): Promise<void> {
    await this.#options.systemd.reload(signal);
    this.#reloadDue = false;
  }

  async #begin({ task, desired }: Step): Promise<void> {
    const { holdings, lanes, logger, life: signal } = this.#options;
    const { unit } = task;
    switch (task.type) {
      case "stop":
        lanes.run({
          unit,
          task: "stop",
          slot: false,
          signal,
          work: () => this.#stop(task, signal),
        });
        return;
      case "start": {
        if (desired === undefined) return;
        lanes.run({
          unit,
          task: "start",
          slot: true,
          signal,
          work: () => this.#start(task, desired, signal),
        });
        return;
      }
      case "confirm-start": {
        const start = holdings.start(unit);
        if (start === undefined) return;
        await holdings.setStart(unit, { ...start, outcome: task.outcome });
        logger.info("task-done", task);
        this.mark(unit);
        this.#options.onState(unit);
        return;
      }
      case "write":
      case "remove":
        return;
    }
  }

  async #stop(task: AgentTask, signal: AbortSignal): Promise<void> {
    const { systemd, holdings, logger } = this.#options;
    const start = holdings.start(task.unit);
    // Of what has ended by itself nothing is stopped, so nothing has to be made good.
    if (start !== undefined && holdings.isRunning(task.unit))
      await holdings.setStart(task.unit, { ...start, stopping: true });
    await systemd.stop(task.unit, signal);
    await holdings.clearStart(task.unit);
    await holdings.refreshUnit(task.unit);
    logger.info("task-done", task);
    this.#options.onState(task.unit);
  }

  #isStillWanted({ unit, revision }: DesiredUnit): boolean {
    const { assignments, isPresent, mode } = this.#options;
    return isPresent() && mode() === "normal" && assignments.get(unit)?.revision === revision;
  }

  async #start(task: AgentTask, desired: DesiredUnit, signal: AbortSignal): Promise<void> {
    const { systemd, holdings, logger } = this.#options;
    const { unit } = desired;
    const file = holdings.file(unit);
    // It may have waited for its turn.
    if (file === undefined || !this.#isStillWanted(desired)) return;
    // Asked anew: with an older state, a unit that moved before it was started would pass for one that was.
    await holdings.refreshUnit(unit);
    const before = holdings.status(unit);
    if (before.active === "failed") await systemd.resetFailed(unit, signal);
    const record = {
      identity: desired.identity,
      restarts: desired.restarts,
      effective: file.effective,
    };
    await holdings.setStart(unit, { ...record, outcome: "pending", sinceBeforeMs: before.sinceMs });
    this.#options.onState(unit);
    const outcome = await systemd.start(unit, signal);
    await holdings.setStart(unit, { ...record, outcome, sinceBeforeMs: before.sinceMs });
    await holdings.refreshUnit(unit);
    this.#options.onState(unit);
    logger.info("task-done", { ...task, outcome });
    if (outcome === "dependency" || outcome === "canceled" || outcome === "timeout") {
      const message = `systemd ended the start of ${unit} with "${outcome}": it is tried again`;
      throw new FleetError("systemd-refused", message, { retriable: true });
    }
  }
}

function claimedState(desired: DesiredUnit): StateRecord {
  return {
    identity: desired.identity,
    manifest: desired.manifest,
    hash: "",
    current: "inactive",
    load: "",
    active: "inactive",
    sub: "dead",
    result: "",
    mainPid: 0,
    sinceMs: 0,
  };
}
