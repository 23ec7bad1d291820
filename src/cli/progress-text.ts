import type { Failure, Goal, Progress, Wait } from "../cluster/progress.ts";
import { blockedText, type MachineLegend } from "../cluster/reason-text.ts";

/** What a unit waits for: `starting on 1234abcd.../10.0.0.1: activating (auto-restart)`. */
export function waitText(wait: Wait, legend: MachineLegend): string {
  switch (wait.type) {
    case "registry":
      return "waiting for the registry";
    case "engine":
      return wait.step === "place"
        ? "waiting for the engine to place it"
        : "waiting for the engine to take it back";
    case "room":
      return `waiting: ${blockedText(wait.reasons, legend)}`;
    case "machine": {
      const doing = { load: "loading", start: "starting", stop: "stopping", unload: "unloading" };
      const detail = wait.detail === undefined ? "" : `: ${wait.detail}`;
      return `${doing[wait.step]} on ${legend(wait.machineId)}${detail}`;
    }
  }
}

/** One line on a unit that is not where the command wanted it. */
export function progressText(
  progress: Progress,
  goal: Pick<Goal, "name" | "state">,
  legend: MachineLegend,
): string {
  const { name } = goal;
  switch (progress.type) {
    case "reached":
      return `Unit ${name} is ${goal.state}`;
    case "waiting":
      return `Unit ${name}: ${waitText(progress.on, legend)}`;
    case "blocked":
      return `Unit ${name} cannot be placed: ${blockedText(progress.reasons, legend)}`;
    case "away":
      return `Unit ${name}: machine ${progress.machines.map(legend).join(", ")} is away`;
    case "failed":
      return `Unit ${name} ${failureText(progress.failure, legend)}`;
  }
}

function failureText(failure: Failure, legend: MachineLegend): string {
  switch (failure.type) {
    case "start": {
      const { active, sub, result } = failure.state;
      const why = failure.outcome in START_TEXTS ? START_TEXTS[failure.outcome] : undefined;
      const state = `state ${active} (${sub}), result ${result === "" ? "-" : result}`;
      return `failed to start on ${legend(failure.machineId)}: ${why === undefined ? "" : `${why}; `}${state}`;
    }
    case "load":
      return `cannot be loaded on ${legend(failure.machineId)}: systemd says ${failure.load}`;
    case "task":
      return (
        `has trouble on ${legend(failure.machineId)}: ${failure.error.task}: ${failure.error.message} ` +
        `(${failure.error.code}, attempt ${failure.error.attempts}, is tried again)`
      );
    case "superseded":
      return SUPERSEDED_TEXTS[failure.by];
  }
}

const START_TEXTS: Readonly<Record<string, string>> = {
  dependency: "a unit it depends on failed; is tried again",
  canceled: "its job was cancelled by another; is tried again",
  timeout: "its job timed out; is tried again",
  skipped: "systemd skipped its job",
};

const SUPERSEDED_TEXTS: Readonly<Record<Extract<Failure, { type: "superseded" }>["by"], string>> = {
  destroyed: "was destroyed meanwhile",
  "another-unit": "was destroyed and submitted anew meanwhile",
  "other-content": "was replaced by other content meanwhile",
  inactive: "was unloaded meanwhile",
  loaded: "was stopped meanwhile",
  launched: "was started meanwhile",
};
