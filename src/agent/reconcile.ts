import type { StartOutcome } from "../units/unit-state.ts";
import type { UpdateWay } from "../units/update-way.ts";
import { isRunning, type UnitStatus } from "./systemd.ts";

/**
 * What one unit of this machine needs next: desired against current, as tasks with reasons. Pure.
 *
 * Start is an edge, not a level: it is asked for once per (identity, restart counter, content that matters, boot) and remembered
 * in the start record; from then on systemd's own Restart=, timers and sockets act. A finished oneshot, a failed
 * service or one stopped by hand stays as it is.
 */
export interface DesiredUnit {
  readonly unit: string;
  /** Create revision of the unit's record. */
  readonly identity: number;
  readonly manifest: string;
  /** Hash of what matters in that manifest: everything outside `X-` sections. */
  readonly effective: string;
  /** What it does for a new manifest while it runs; `restart` when undefined. */
  readonly update?: UpdateWay | undefined;
  readonly target: "loaded" | "launched";
  readonly restarts: number;
  readonly global: boolean;
  /** It is fenced, and this is to be its FLEET_FENCING_TOKEN from its next start on. */
  readonly fencingToken?: number | undefined;
  /** Revision of the assignment, the record that permits all this. */
  readonly revision: number;
}

export interface CurrentUnit {
  /** What is on disk; undefined when nothing is. */
  readonly file:
    | {
        readonly manifest: string;
        readonly effective: string;
        readonly fencingToken?: number | undefined;
      }
    | undefined;
  readonly start: StartRecord | undefined;
  readonly status: UnitStatus;
}

/** Kept below /run, so it survives the daemon and dies with the boot. Written before systemd is asked. */
export interface StartRecord {
  readonly identity: number;
  readonly restarts: number;
  /** Hash of what matters in the manifest it was started with, or was brought to since as that asks for. */
  readonly effective: string;
  /** `sinceMs` of a unit that has kept what it ran, for OnUpdate=none: until that is another, it runs older content than its files have. */
  readonly keptSinceMs?: number | undefined;
  readonly outcome: StartOutcome;
  /** `sinceMs` of the unit just before: another value now means that the unit has moved since, so the start was acted on. */
  readonly sinceBeforeMs: number;
  /**
   * It was seen running while the outcome is pending. systemd forgets a unit that has ended, its times included: without this a oneshot that ends
   * while no daemon is there would be started again.
   */
  readonly begun?: boolean;
  /** Its stop has been asked for: one that a daemon died over is asked for again, or it would pass for a unit stopped by hand. */
  readonly stopping?: boolean;
}

export type AgentTask =
  | { readonly type: "stop"; readonly unit: string; readonly reason: StopReason }
  | { readonly type: "remove"; readonly unit: string; readonly reason: StopReason }
  | { readonly type: "write"; readonly unit: string; readonly reason: WriteReason }
  | { readonly type: "start"; readonly unit: string; readonly reason: StartReason }
  /** The files are new and the process goes on: systemd reloads it, or it is left alone until its next start. */
  | { readonly type: "reload" | "keep"; readonly unit: string; readonly reason: "content-changed" }
  /** The daemon died between asking for a start and hearing how it ended: what systemd shows settles it. */
  | {
      readonly type: "confirm-start";
      readonly unit: string;
      readonly reason: "start-unconfirmed";
      readonly outcome: StartOutcome;
    };

export type StopReason =
  | "not-assigned"
  | "machine-leaves"
  | "unit-is-another"
  | "content-changed"
  | "cannot-reload"
  | "restart-asked"
  | "wanted-loaded"
  | "stop-unfinished";
export type WriteReason = "not-on-disk" | "content-changed" | "token-changed";
export type StartReason =
  | "wanted-launched"
  | "restart-asked"
  | "content-changed"
  | "start-unconfirmed"
  | "start-retried";

export function reconcile(
  desired: DesiredUnit | undefined,
  current: CurrentUnit,
  unit: string,
): readonly AgentTask[] {
  if (desired === undefined) return withdraw(unit, current, "not-assigned");
  const { file, start } = current;
  const stopReason = start === undefined ? undefined : whyStop(desired, start, current.status);
  const tasks: AgentTask[] = [];
  if (stopReason !== undefined) tasks.push({ type: "stop", unit, reason: stopReason });
  if (file === undefined) {
    tasks.push({ type: "write", unit, reason: "not-on-disk" });
  } else if (file.manifest !== desired.manifest) {
    tasks.push({ type: "write", unit, reason: "content-changed" });
  } else if (file.fencingToken !== desired.fencingToken && (!start || stopReason !== undefined)) {
    tasks.push({ type: "write", unit, reason: "token-changed" });
  }
  if (desired.target === "loaded") return tasks;
  if (start === undefined || stopReason !== undefined) {
    tasks.push({ type: "start", unit, reason: startReason(stopReason) });
  } else {
    if (start.effective !== desired.effective) {
      const type = desired.update === "reload" ? "reload" : "keep";
      tasks.push({ type, unit, reason: "content-changed" });
    }
    tasks.push(...followUp(unit, current.status, start));
  }
  return tasks;
}

/** Why what was started has to end before anything else is done, so that its ExecStop is its own (I8). */
function whyStop(
  desired: DesiredUnit,
  start: StartRecord,
  status: UnitStatus,
): StopReason | undefined {
  if (start.identity !== desired.identity) return "unit-is-another";
  if (desired.target === "loaded") return "wanted-loaded";
  if (start.effective !== desired.effective) {
    const { update = "restart" } = desired;
    if (update === "cannot-reload") return "cannot-reload";
    if (update === "restart" || !isRunning(status)) return "content-changed";
  }
  if (start.restarts !== desired.restarts) return "restart-asked";
  return start.stopping === true ? "stop-unfinished" : undefined;
}

function startReason(stopped: StopReason | undefined): StartReason {
  if (stopped === "cannot-reload") return "content-changed";
  return stopped === "content-changed" || stopped === "restart-asked" ? stopped : "wanted-launched";
}

/** The tasks that take a unit off the machine. */
export function withdraw(
  unit: string,
  current: CurrentUnit,
  reason: StopReason,
): readonly AgentTask[] {
  const { file, start, status } = current;
  if (file === undefined && start === undefined) return [];
  const tasks: AgentTask[] = [];
  if (start !== undefined || isRunning(status) || status.hasJob)
    tasks.push({ type: "stop", unit, reason });
  if (file !== undefined) tasks.push({ type: "remove", unit, reason });
  return tasks;
}

/** A start was asked for already: only one that never came about is asked for again. */
function followUp(unit: string, status: UnitStatus, start: StartRecord): readonly AgentTask[] {
  switch (start.outcome) {
    case "pending":
      return settleUnconfirmed(unit, status, start);
    case "dependency":
    case "canceled":
    case "timeout":
      return [{ type: "start", unit, reason: "start-retried" }];
    case "done":
    case "failed":
    case "skipped":
      return [];
  }
}

function settleUnconfirmed(
  unit: string,
  status: UnitStatus,
  start: StartRecord,
): readonly AgentTask[] {
  const reason = "start-unconfirmed";
  if (status.hasJob) return [];
  if (status.active === "failed")
    return [{ type: "confirm-start", unit, reason, outcome: "failed" }];
  if (isRunning(status) || start.begun === true || status.sinceMs !== start.sinceBeforeMs) {
    return [{ type: "confirm-start", unit, reason, outcome: "done" }];
  }
  return [{ type: "start", unit, reason }];
}
