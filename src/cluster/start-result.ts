import type { DesiredState, StartOutcome } from "../units/unit-state.ts";

/** What has become of the last start of a unit on a machine. `retried`: it failed in a way that the agent tries again. */
export type StartResult = "pending" | "up" | "finished" | "failed" | "retried";

export interface StartedState {
  readonly current: DesiredState;
  readonly active: string;
  readonly result: string;
  readonly start?: { readonly restarts: number; readonly outcome: StartOutcome };
}

/** `restarts`: the restart counter that the start has to serve at least. */
export function startResult(state: StartedState, restarts: number): StartResult {
  const { start } = state;
  if (state.current !== "launched" || start === undefined || start.restarts < restarts) {
    return "pending";
  }
  if (start.outcome === "pending") return "pending";
  // Whatever became of the start, systemd's Restart= may have brought it up since.
  if (isUp(state)) return "up";
  if (start.outcome === "done") {
    // A oneshot that is over, or a service that ended well, is where it was to get.
    if (state.active === "inactive" && isSuccess(state)) return "finished";
    if (state.active !== "failed" && state.active !== "inactive") return "pending";
  }
  return RETRIED_OUTCOMES.includes(start.outcome) ? "retried" : "failed";
}

/** The agent asks for these starts again, with backoff. */
const RETRIED_OUTCOMES: readonly StartOutcome[] = ["dependency", "canceled", "timeout"];

function isUp({ active }: StartedState): boolean {
  return active === "active" || active === "reloading" || active === "refreshing";
}

/** Types without a Result property (targets, devices) have none to fail with. */
function isSuccess({ result }: StartedState): boolean {
  return result === "success" || result === "";
}
