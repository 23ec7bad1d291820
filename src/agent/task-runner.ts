import type { ManifestCache } from "../registry/manifest-cache.ts";
import type { StateRecord } from "../registry/records.ts";
import type { Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Assignments } from "./assignments.ts";
import { FileTasks, type Manifests } from "./file-tasks.ts";
import type { Handback } from "./handback.ts";
import type { Holdings } from "./holdings.ts";
import { JobTasks } from "./job-tasks.ts";
import type { Lanes } from "./lanes.ts";
import type { LeaseFence } from "./lease-fence.ts";
import { type DesiredUnit, reconcile, withdraw } from "./reconcile.ts";
import type { StatePublisher } from "./state-publisher.ts";
import type { Systemd } from "./systemd.ts";
import { type Step, UnheldUnits } from "./unheld-units.ts";

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
  readonly fence: LeaseFence;
  /** `hand-over`: the daemon stops for good, so it stops what it holds. `system-stopping`: systemd stops it all; the daemon only reports. */
  readonly mode: () => "normal" | "hand-over" | "system-stopping";
  /** Whether the machine's lease holds: without it nothing is begun. */
  readonly isPresent: () => boolean;
  /** Reads `cluster/id` and throws unless this is still the registry the machine belongs to, no older than seen (I5). */
  readonly confirmRegistry: (signal: AbortSignal) => Promise<void>;
  /** Ends with the daemon, not with a session: a stop or start under way is not given up when the registry goes away. */
  readonly life: AbortSignal;
  /** Unit files were written or removed. */
  readonly onFiles: () => void;
  /** A state may have changed: publish. */
  readonly onState: (unit: string) => void;
}

/** How many units one pass looks at: a pass stays short, the rest follows in the next. */
const PASS_UNITS_MAX = 256;

/**
 * At shutdown systemd stops these only after the daemon (they say Before= what the daemon comes after), so it must not wait for them. None of them does any
 * work; a service that one of them starts is waited for as ever.
 */
const STOP_AFTER_DAEMON: ReadonlySet<string> = new Set(["socket", "path", "slice", "automount"]);

/**
 * Does what `reconcile` says for the units that something has changed about. Each pass takes the first task of every such unit; files are
 * written and removed in batches with at most one daemon-reload, stops and starts run side by side, one per unit. When a task ends its unit is
 * looked at again, so no plan outlives the facts it was made from.
 */
export class TaskRunner {
  readonly #options: TaskRunnerOptions;
  readonly #dirty = new Set<string>();
  /** Units whose start waits until that one is on disk, by the one waited for. */
  readonly #waiting = new Map<string, Set<string>>();
  readonly #unheld: UnheldUnits;
  readonly #files: FileTasks;
  readonly #jobs: JobTasks;

  constructor(options: TaskRunnerOptions) {
    this.#options = options;
    this.#unheld = new UnheldUnits(options);
    const onChange = (unit: string) => {
      this.mark(unit);
      options.onState(unit);
    };
    this.#files = new FileTasks({
      ...options,
      unheld: this.#unheld,
      onChange,
      letGo: (unit) => this.#letGo(unit),
    });
    this.#jobs = new JobTasks({
      ...options,
      onChange,
      isStillWanted: (desired) => this.#isStillWanted(desired),
    });
  }

  mark(unit: string): void {
    this.#dirty.add(unit);
    for (const waiting of this.#waiting.get(unit) ?? []) this.#dirty.add(waiting);
    this.#waiting.delete(unit);
  }

  /** Something changed what is wanted of the unit: what failed before may be tried at once. */
  markChanged(unit: string): void {
    this.#options.lanes.forgive(unit);
    if (this.#options.assignments.get(unit) !== undefined) this.#unheld.forgetTaken(unit);
    this.mark(unit);
  }

  /** State of a unit that is not held: claimed, or refused because its name is taken. */
  unheldState(unit: string): StateRecord | undefined {
    return this.#unheld.state(unit);
  }

  /** Claims of an ended session mean nothing any more. */
  forgetClaims(): void {
    this.#unheld.forgetClaims();
  }

  async pass(signal: AbortSignal): Promise<number | undefined> {
    const looked = this.#takeDirty();
    try {
      await this.#files.reloadIfDue(signal);
      const manifests = await this.#files.fetchManifests(looked, signal);
      const found = await Promise.all(
        looked.map((unit) => this.#nextStep(unit, manifests, signal)),
      );
      const steps = found.filter((step) => step !== undefined);
      if (steps.some(({ task }) => task.type === "stop" || task.type === "remove")) {
        await this.#options.confirmRegistry(signal);
      }
      const permitted = await this.#unheld.claim(steps, signal);
      await this.#files.remove(permitted, signal);
      await this.#files.write(permitted, manifests, signal);
      for (const step of permitted) await this.#jobs.begin(step);
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
    dueMs.push(...this.#unheld.takenForMs(nowMs));
    const handbackMs = handback.nextMs();
    if (handbackMs !== undefined) {
      for (const unit of handback.waitingUnits()) if (handbackMs === 0) this.#dirty.add(unit);
      dueMs.push(handbackMs);
    }
    for (const unit of this.#unheld.endTaken(nowMs)) {
      this.#dirty.add(unit);
      this.#options.onState(unit);
    }
    return dueMs.length === 0 ? undefined : Math.min(...dueMs);
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
      const isOver =
        !holdings.isRunning(unit) || STOP_AFTER_DAEMON.has(unit.slice(unit.lastIndexOf(".") + 1));
      if (holdings.has(unit) && isOver) await this.#letGo(unit);
      return undefined;
    }
    if (mode === "hand-over") {
      const [task] = withdraw(unit, current, "machine-leaves");
      return task && { task, desired: undefined };
    }
    const desired = this.#desired(unit, manifests);
    if (desired === "unknown") return undefined;
    const [task] = reconcile(desired, holdings.current(unit), unit);
    if (desired !== undefined) {
      handback.settle(unit);
      // It was written to be started, and then no longer wanted running: nothing has made systemd load it.
      if (task === undefined && holdings.has(unit) && !holdings.isKnown(unit)) {
        await holdings.refreshUnit(unit);
        this.#options.onState(unit);
      }
    } else if (task === undefined) {
      handback.settle(unit);
      if (this.#unheld.forgetClaim(unit)) this.#options.onState(unit);
    } else if (!(await this.#mayStop(unit, current.start?.identity, signal))) {
      return undefined;
    }
    if (task?.type === "start" && this.#waitsForPartner(unit)) return undefined;
    return task && { task, desired };
  }

  /** systemd has to know a unit's partners when it starts it: those that come to this machine as well are written before. */
  #waitsForPartner(unit: string): boolean {
    const { assignments, holdings, lanes } = this.#options;
    const coming = holdings.file(unit)?.partners.find(
      (partner) =>
        assignments.get(partner) !== undefined &&
        holdings.file(partner) === undefined &&
        // What cannot be written holds up nobody else.
        lanes.failure(partner) === undefined &&
        this.#unheld.taken(partner) === undefined,
    );
    if (coming === undefined) return false;
    const waiting = this.#waiting.get(coming) ?? new Set();
    this.#waiting.set(coming, waiting.add(unit));
    return true;
  }

  #mayStop(unit: string, identity: number | undefined, signal: AbortSignal): Promise<boolean> {
    const seenAssigned = this.#options.assignments.wasWithdrawn(unit);
    return this.#options.handback.mayStop({ unit, identity, seenAssigned }, signal);
  }

  /** A refused name stays refused for a while, unless nobody wants the unit here any more. */
  async #isTaken(unit: string, signal: AbortSignal): Promise<boolean> {
    const { assignments } = this.#options;
    const taken = this.#unheld.taken(unit);
    if (taken === undefined) return false;
    if (assignments.get(unit) !== undefined) return true;
    if (!(await this.#mayStop(unit, taken.identity, signal))) return true;
    this.#unheld.forgetTaken(unit);
    this.#options.onState(unit);
    return false;
  }

  #desired(unit: string, manifests: Manifests): DesiredUnit | undefined | "unknown" {
    const { assignments, holdings, lanes } = this.#options;
    const assignment = assignments.get(unit);
    if (assignment === undefined) return undefined;
    const file = holdings.file(unit);
    const known =
      file?.manifest === assignment.manifest ? file : manifests.get(assignment.manifest)?.facts;
    if (known === undefined) {
      const message = `the files of ${unit} (${assignment.manifest.slice(0, 12)}) are not in the registry: submit it again`;
      lanes.fail(unit, "write", new FleetError("not-found", message, { retriable: true }));
      this.mark(unit);
      return "unknown";
    }
    const { identity, manifest, target, restarts, global, revision, fencingToken } = assignment;
    return {
      unit,
      identity,
      manifest,
      effective: known.effective,
      update: known.update,
      target,
      restarts,
      global,
      revision,
      ...(known.fencing === undefined ? {} : { fencingToken }),
    };
  }

  /** The unit no longer occupies the machine; its state goes from the registry. */
  async #letGo(unit: string): Promise<void> {
    const { holdings, lanes, handback, assignments, fence } = this.#options;
    await holdings.forget(unit);
    fence.uncover(unit);
    assignments.forget(unit);
    lanes.forgive(unit);
    handback.settle(unit);
    this.#unheld.forgetClaim(unit);
    this.#options.onState(unit);
  }

  #isStillWanted({ unit, revision }: DesiredUnit): boolean {
    const { assignments, isPresent, mode } = this.#options;
    return isPresent() && mode() === "normal" && assignments.get(unit)?.revision === revision;
  }
}
