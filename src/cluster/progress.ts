import type { DesiredState, StartOutcome } from "../units/unit-state.ts";
import { isDrainReason, type Reason } from "./reason.ts";
import { startResult } from "./start-result.ts";
import type { AssignedView, BlockedReasonView, UnitStateView, UnitView } from "./views.ts";

/**
 * How far a unit is on its way to what a command asked for (I9). Pure. A view may be older than the command (another daemon's
 * watch lags) and a machine's state may belong to an earlier unit of that name, to older content or to an earlier start:
 * none of these counts as reached.
 */
export interface Goal {
  readonly name: string;
  /** `stopped`: started nowhere, loaded or not. `inactive`: on no machine. */
  readonly state: "launched" | "loaded" | "stopped" | "inactive";
  /** As the apply request answered. */
  readonly identity: number;
  readonly restarts: number;
  /** Hash of what was submitted, when the asker knows it. */
  readonly manifest?: string;
}

export type Progress =
  /** Where it is so; empty when nothing has to hold it. */
  | { readonly type: "reached"; readonly machines: readonly string[] }
  | { readonly type: "waiting"; readonly on: Wait }
  /** The engine says why it is not placed, and only someone's doing changes that. */
  | { readonly type: "blocked"; readonly reasons: readonly BlockedReasonView[] }
  /** These machines hold it and are not present: nobody knows what it does there. */
  | { readonly type: "away"; readonly machines: readonly string[] }
  /** `final` false: fleet-ts tries again, or a newer view may say otherwise. */
  | { readonly type: "failed"; readonly failure: Failure; readonly final: boolean };

export type Wait =
  /** What was asked is not in the view yet. */
  | { readonly type: "registry" }
  | { readonly type: "engine"; readonly step: "place" | "withdraw" }
  /** The engine waits for something that passes by itself. */
  | { readonly type: "room"; readonly reasons: readonly BlockedReasonView[] }
  | {
      readonly type: "machine";
      readonly step: "load" | "start" | "stop" | "unload";
      readonly machineId: string;
      /** systemd's words, `activating (auto-restart)`, once it has something to say. */
      readonly detail?: string;
    };

export type Failure =
  | {
      readonly type: "start";
      readonly machineId: string;
      readonly outcome: StartOutcome;
      readonly state: UnitStateView;
    }
  | { readonly type: "load"; readonly machineId: string; readonly load: string }
  | {
      readonly type: "task";
      readonly machineId: string;
      readonly error: NonNullable<UnitStateView["error"]>;
    }
  /** Somebody else changed the unit meanwhile. */
  | {
      readonly type: "superseded";
      readonly by: "destroyed" | "another-unit" | "other-content" | DesiredState;
    };

export function progress(view: UnitView | undefined, goal: Goal): Progress {
  if (view === undefined) return superseded("destroyed");
  if (view.identity < goal.identity || view.restarts < goal.restarts) return REGISTRY;
  if (view.identity > goal.identity) return superseded("another-unit");
  if (goal.manifest !== undefined && view.manifest !== goal.manifest)
    return superseded("other-content");
  if (!DESIRED_OF_GOAL[goal.state].includes(view.desired)) return superseded(view.desired);
  if (goal.state === "stopped") return stoppedProgress(view);
  if (goal.state === "inactive") return inactiveProgress(view);
  return heldProgress(view, goal.state, goal.restarts);
}

const REGISTRY: Progress = { type: "waiting", on: { type: "registry" } };

const DESIRED_OF_GOAL: Readonly<Record<Goal["state"], readonly DesiredState[]>> = {
  launched: ["launched"],
  loaded: ["loaded"],
  stopped: ["loaded", "inactive"],
  inactive: ["inactive"],
};

function superseded(by: Extract<Failure, { type: "superseded" }>["by"]): Progress {
  return { type: "failed", failure: { type: "superseded", by }, final: false };
}

/** Loaded or launched, on the machine of the placement or (global) on every present machine of its assignments. */
function heldProgress(view: UnitView, wanted: "loaded" | "launched", restarts: number): Progress {
  const assigned = view.global ? view.assigned.filter(({ present }) => present) : view.assigned;
  const parts = assigned.map((place) => {
    if (!place.present) return away([place.machineId]);
    const state = stateOn(view, place.machineId);
    if (place.target !== wanted) return engine(wanted === "launched" ? "place" : "withdraw");
    return onMachine({ view, place, state, restarts });
  });
  const combined = parts.length === 0 ? engine("place") : combine(parts);
  const certain = combined.type === "reached" || combined.type === "failed";
  // A global unit's reasons speak of the machines it does not fit; those that hold it decide. So does one that a drain cannot move.
  const isRolling = view.blocked.some(({ reason }) => reason.type === "rolling");
  const isElsewhere =
    (view.global && parts.length > 0 && !isRolling) || view.blocked.some(isOfDrain);
  if (certain || view.blocked.length === 0 || isElsewhere) return combined;
  return view.blocked.some(({ reason }) => passesByItself(reason))
    ? { type: "waiting", on: { type: "room", reasons: view.blocked } }
    : { type: "blocked", reasons: view.blocked };
}

function isOfDrain({ reason }: BlockedReasonView): boolean {
  return isDrainReason(reason);
}

function passesByItself(reason: Reason): boolean {
  return (
    reason.type === "stopping" ||
    reason.type === "waiting-for-room" ||
    reason.type === "rolling" ||
    (reason.type === "loss-held" && reason.why === "boot-grace")
  );
}

function onMachine(options: {
  readonly view: UnitView;
  readonly place: AssignedView;
  readonly state: UnitStateView | undefined;
  readonly restarts: number;
}): Progress {
  const { view, place, state } = options;
  const { machineId, target } = place;
  if (state === undefined || state.identity !== view.identity) return machine("load", machineId);
  if (state.error !== undefined) return taskFailed(machineId, state.error);
  if (state.manifest !== view.manifest) return machine("load", machineId);
  if (BAD_LOAD_STATES.includes(state.load)) {
    return {
      type: "failed",
      failure: { type: "load", machineId, load: state.load },
      final: false,
    };
  }
  if (target === "loaded") {
    return state.current === "loaded" && state.active !== "deactivating"
      ? { type: "reached", machines: [machineId] }
      : machine(state.current === "launched" ? "stop" : "load", machineId, state);
  }
  return launchedOnMachine(state, options.restarts);
}

const BAD_LOAD_STATES: readonly string[] = ["bad-setting", "error", "masked", "not-found"];

function launchedOnMachine(state: UnitStateView, restarts: number): Progress {
  const { machineId } = state;
  if (state.update === "pending") return machine("start", machineId, state);
  const result = startResult(state, restarts);
  if (result === "pending" || state.start === undefined) return machine("start", machineId, state);
  if (result === "up" || result === "finished") return { type: "reached", machines: [machineId] };
  return {
    type: "failed",
    failure: { type: "start", machineId, outcome: state.start.outcome, state },
    final: result === "failed",
  };
}

function stoppedProgress(view: UnitView): Progress {
  const parts: Progress[] = view.assigned.map((place) => {
    if (!place.present) return away([place.machineId]);
    if (place.target === "launched") return engine("withdraw");
    return { type: "reached", machines: [] };
  });
  for (const state of view.states) {
    if (state.current !== "launched" && state.active !== "deactivating") {
      parts.push({ type: "reached", machines: [state.machineId] });
    } else if (state.error?.task === "stop") {
      parts.push(taskFailed(state.machineId, state.error));
    } else {
      parts.push(machine("stop", state.machineId, state));
    }
  }
  return combine(parts);
}

function inactiveProgress(view: UnitView): Progress {
  const parts: Progress[] = view.assigned.map((place) =>
    place.present ? engine("withdraw") : away([place.machineId]),
  );
  for (const state of view.states) {
    parts.push(
      state.error === undefined
        ? machine("unload", state.machineId, state)
        : taskFailed(state.machineId, state.error),
    );
  }
  return combine(parts);
}

/** The worst of several machines: a failure, then what is still under way, then machines nobody hears of. */
function combine(parts: readonly Progress[]): Progress {
  const failures = parts.filter((part) => part.type === "failed");
  const failed = failures.find(({ final }) => final) ?? failures[0];
  if (failed !== undefined) return failed;
  const waiting = parts.findLast((part) => part.type === "waiting");
  if (waiting !== undefined) return waiting;
  const absent = parts.flatMap((part) => (part.type === "away" ? part.machines : []));
  if (absent.length > 0) return away(absent);
  return {
    type: "reached",
    machines: parts.flatMap((part) => (part.type === "reached" ? part.machines : [])),
  };
}

function stateOn(view: UnitView, machineId: string): UnitStateView | undefined {
  return view.states.find((state) => state.machineId === machineId);
}

function away(machines: readonly string[]): Progress {
  return { type: "away", machines };
}

function engine(step: "place" | "withdraw"): Progress {
  return { type: "waiting", on: { type: "engine", step } };
}

function machine(
  step: "load" | "start" | "stop" | "unload",
  machineId: string,
  state?: UnitStateView,
): Progress {
  const moving =
    state !== undefined && (state.active === "activating" || state.active === "deactivating");
  return {
    type: "waiting",
    on: {
      type: "machine",
      step,
      machineId,
      ...(moving ? { detail: `${state.active} (${state.sub})` } : {}),
    },
  };
}

function taskFailed(machineId: string, error: NonNullable<UnitStateView["error"]>): Progress {
  // The agent tries every failed task again, so this is the state of things, not the end.
  return { type: "failed", failure: { type: "task", machineId, error }, final: false };
}
