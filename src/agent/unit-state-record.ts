import type { StateRecord } from "../registry/records.ts";
import type { Assignments } from "./assignments.ts";
import type { Holdings } from "./holdings.ts";
import type { Lanes } from "./lanes.ts";
import type { StartRecord } from "./reconcile.ts";
import { isRunning, type UnitStatus } from "./systemd.ts";

export interface StateSources {
  readonly holdings: Holdings;
  readonly assignments: Assignments;
  readonly lanes: Lanes;
  /** State of a unit that is not held: claimed, or refused. */
  readonly unheldState: (unit: string) => StateRecord | undefined;
}

/** What is true of the unit now; undefined when the machine neither holds nor claims it. */
export function unitStateRecord(unit: string, sources: StateSources): StateRecord | undefined {
  const { holdings, assignments, lanes } = sources;
  const { start, status } = holdings.current(unit);
  const file = holdings.file(unit);
  const failure = lanes.failure(unit);
  const withError = (state: StateRecord | undefined): StateRecord | undefined => {
    if (state === undefined || failure === undefined) return state;
    const { task, code, message, attempts } = failure;
    return { ...state, error: { task, code, message, attempts } };
  };
  if (file === undefined && start === undefined) return withError(sources.unheldState(unit));
  const assignment = assignments.get(unit);
  const loadedFor =
    assignment !== undefined && assignment.manifest === file?.manifest
      ? assignment.identity
      : undefined;
  const identity = start?.identity ?? loadedFor;
  const outcome = holdings.outcome(unit);
  return withError({
    ...(identity === undefined ? {} : { identity }),
    manifest: file?.manifest ?? "",
    ...update(file?.effective, start, status),
    hash: file?.hash ?? "",
    current: start === undefined ? "loaded" : "launched",
    load: status.load,
    active: status.active,
    sub: status.sub,
    result: status.result,
    mainPid: status.mainPid,
    sinceMs: status.sinceMs,
    ...(start === undefined || outcome === undefined
      ? {}
      : { start: { restarts: start.restarts, outcome } }),
  });
}

/** Whether what runs is older than the files that `manifest` names. */
function update(
  effective: string | undefined,
  start: StartRecord | undefined,
  status: UnitStatus,
): Pick<StateRecord, "update"> {
  if (start === undefined || effective === undefined || !isRunning(status)) return {};
  if (start.effective !== effective) return { update: "pending" };
  return start.keptSinceMs === status.sinceMs ? { update: "kept" } : {};
}
