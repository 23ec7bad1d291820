import { FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Holdings } from "./holdings.ts";
import type { Lanes } from "./lanes.ts";
import type { LeaseFence } from "./lease-fence.ts";
import type { AgentTask, DesiredUnit } from "./reconcile.ts";
import type { Systemd } from "./systemd.ts";
import type { Step } from "./unheld-units.ts";

export interface JobTasksOptions {
  readonly logger: Logger;
  readonly systemd: Systemd;
  readonly holdings: Holdings;
  readonly lanes: Lanes;
  readonly fence: LeaseFence;
  /** Whether what was decided on is still to be done. */
  readonly isStillWanted: (desired: DesiredUnit) => boolean;
  /** Ends with the daemon, not with a session: a stop or start under way is not given up when the registry goes away. */
  readonly life: AbortSignal;
  readonly onChange: (unit: string) => void;
  /** Only its state may have changed: publish. */
  readonly onState: (unit: string) => void;
}

/** Starting and stopping units, each in its own lane. */
export class JobTasks {
  readonly #options: JobTasksOptions;

  constructor(options: JobTasksOptions) {
    this.#options = options;
  }

  async begin({ task, desired }: Step): Promise<void> {
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
          work: (giveSlot) => this.#start(task, desired, { signal, giveSlot }),
        });
        return;
      }
      case "confirm-start": {
        const start = holdings.start(unit);
        if (start === undefined) return;
        await holdings.setStart(unit, { ...start, outcome: task.outcome });
        logger.info("task-done", task);
        this.#options.onChange(unit);
        return;
      }
      case "reload": {
        if (desired === undefined) return;
        const work = () => this.#reload(task, desired, signal);
        lanes.run({ unit, task: "reload", slot: false, signal, work });
        return;
      }
      case "keep": {
        const start = holdings.start(unit);
        if (start === undefined || desired === undefined) return;
        const keptSinceMs = holdings.status(unit).sinceMs;
        await holdings.setStart(unit, { ...start, effective: desired.effective, keptSinceMs });
        logger.info("task-done", task);
        this.#options.onChange(unit);
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
    await holdings.glance(task.unit, signal);
    logger.info("task-done", task);
    this.#options.onState(task.unit);
  }

  /** A reload that fails leaves the process with what it had; it is tried again. */
  async #reload(task: AgentTask, desired: DesiredUnit, signal: AbortSignal): Promise<void> {
    const { systemd, holdings, logger, isStillWanted } = this.#options;
    const { unit, effective } = desired;
    if (!isStillWanted(desired)) return;
    await systemd.reloadUnit(unit, signal);
    const start = holdings.start(unit);
    if (start !== undefined) {
      await holdings.setStart(unit, { ...start, effective, keptSinceMs: undefined });
    }
    await holdings.refreshUnit(unit);
    logger.info("task-done", task);
    this.#options.onState(unit);
  }

  async #start(
    task: AgentTask,
    desired: DesiredUnit,
    { signal, giveSlot }: { readonly signal: AbortSignal; readonly giveSlot: () => void },
  ): Promise<void> {
    const { systemd, holdings, logger, fence, isStillWanted } = this.#options;
    const { unit } = desired;
    const file = holdings.file(unit);
    // It may have waited for its turn.
    if (file === undefined || !isStillWanted(desired)) return;
    if (file.fencing !== undefined) await fence.cover(unit, file.fencing, signal);
    // Asked anew: with an older state, a unit that moved before it was started would pass for one that was.
    const before = await holdings.glance(unit, signal);
    if (before.active === "failed") await systemd.resetFailed(unit, signal);
    // systemd may have taken its time.
    if (!isStillWanted(desired)) return;
    const record = {
      identity: desired.identity,
      restarts: desired.restarts,
      effective: file.effective,
    };
    await holdings.setStart(unit, { ...record, outcome: "pending", sinceBeforeMs: before.sinceMs });
    this.#options.onState(unit);
    const outcome = await systemd.start(unit, signal, before).catch(async (error: unknown) => {
      // Why it was refused shows in how it loads.
      if (isFleetError(error, "systemd-refused")) await holdings.refreshUnit(unit);
      throw error;
    });
    giveSlot();
    await holdings.endStart(unit, { ...record, outcome, sinceBeforeMs: before.sinceMs });
    this.#options.onState(unit);
    logger.info("task-done", { ...task, outcome });
    if (outcome === "dependency" || outcome === "canceled" || outcome === "timeout") {
      const message = `systemd ended the start of ${unit} with "${outcome}": it is tried again`;
      throw new FleetError("systemd-refused", message, { retriable: true });
    }
  }
}
