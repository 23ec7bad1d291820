import type { ApplyResult } from "../api/protocol.ts";
import type { Goal } from "../cluster/progress.ts";
import type { MachineLegend } from "../cluster/reason-text.ts";
import type { CommandOptions, Context, Result } from "./context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_TIMED_OUT, worstExit } from "./exit-code.ts";
import { progressText } from "./progress-text.ts";
import { waitFor } from "./wait.ts";
import type { Tracked } from "./wait-tracker.ts";

/** fleet's attempts at finding a unit in its state took two seconds each. */
const ATTEMPT_MS = 2_000;

/** Undefined: for as long as progress is possible. */
export function waitLimitMs(options: CommandOptions): number | undefined {
  if (options.timeout !== undefined) return options.timeout * 1_000;
  const attempts = options.blockAttempts ?? 0;
  return attempts > 0 ? attempts * ATTEMPT_MS : undefined;
}

export interface Applied {
  readonly exit: number;
  /** Results that changed something or found it so already. */
  readonly done: readonly DoneResult[];
}

export type DoneResult = Extract<ApplyResult, { readonly identity: number; restarts: number }>;

/** Tells what the API did not do. `doing` begins the message: `Error starting units`. */
export function reportApplied(
  context: Context,
  results: readonly ApplyResult[],
  doing: string,
): Applied {
  const done: DoneResult[] = [];
  const exits: number[] = [];
  for (const result of results) {
    switch (result.type) {
      case "differs":
        context.tell({
          unit: result.name,
          outcome: "differs",
          message: `Unit ${result.name} in registry differs. Add --replace to override.`,
        });
        exits.push(EXIT_FAILED);
        break;
      case "refused":
        context.tell({
          unit: result.name,
          outcome: "refused",
          message: `Error ${doing} units: ${result.name}: ${result.message}`,
        });
        exits.push(EXIT_FAILED);
        break;
      case "not-found":
        reportNotFound(context, result.name);
        exits.push(EXIT_NOT_FOUND);
        break;
      default:
        done.push(result);
    }
  }
  return { exit: worstExit(exits), done };
}

export function reportNotFound(context: Context, name: string): void {
  context.tell(notFound(name));
}

export function notFound(unit: string): Result {
  return { unit, outcome: "not-found", message: `Unit ${unit} not found` };
}

export function tellTriggered(context: Context, done: readonly DoneResult[], verb: string): void {
  for (const { name: unit } of done) {
    context.tell({ unit, outcome: "triggered", message: `Triggered unit ${unit} ${verb}` });
  }
}

export function tellReached(
  context: Context,
  tracked: Tracked,
  how: { readonly word: string; readonly legend: MachineLegend },
): void {
  const { goal, progress } = tracked;
  const message = `Unit ${goal.name} ${how.word}${placeText(tracked, how.legend)}`;
  const machines = progress.type === "reached" ? progress.machines : [];
  context.tell({ unit: goal.name, outcome: "done", state: goal.state, machines, message });
}

export interface ReachOptions {
  readonly goals: readonly Goal[];
  readonly options: CommandOptions;
  readonly legend: MachineLegend;
  readonly awayEnds: boolean;
  readonly onReached: (unit: Tracked) => void;
  /** What happens next to a unit the command could not bring there. */
  readonly outlook: (unit: Tracked) => string | undefined;
}

export interface Reached {
  readonly exit: number;
  readonly pending: readonly Tracked[];
}

/** Waits for all goals and reports what was not reached, with its reason (I9). */
export async function reach(context: Context, reaching: ReachOptions): Promise<Reached> {
  const { goals, options, legend } = reaching;
  const told = new Set<string>();
  const tell = (unit: Tracked) => {
    const text = progressText(unit.progress, unit.goal, legend);
    // For a program one result per unit: the last word, below.
    if (told.has(text) || context.json) return;
    told.add(text);
    context.err(context.paint.bad(text));
    const outlook = reaching.outlook(unit);
    if (outlook !== undefined) context.err(`  ${outlook}`);
  };
  const { pending, timedOut } = await waitFor(context, goals, {
    limitMs: waitLimitMs(options),
    awayEnds: reaching.awayEnds,
    legend,
    onReached: reaching.onReached,
    onStuck: tell,
  });
  const exits = pending.map((unit) => {
    const { name, state } = unit.goal;
    const failed = unit.progress.type === "failed";
    if (context.json) {
      const outcome = !timedOut || failed ? "failed" : "timed-out";
      const message = progressText(unit.progress, unit.goal, legend);
      context.tell({ unit: name, outcome, state, progress: unit.progress, message });
    }
    if (!timedOut || failed) {
      tell(unit);
      return EXIT_FAILED;
    }
    if (!context.json) {
      context.err(`timed out waiting for unit ${name} to report state ${state}`);
    }
    tell(unit);
    return EXIT_TIMED_OUT;
  });
  return { exit: exits.length === 0 ? EXIT_DONE : worstExit(exits), pending };
}

/** Where a unit got to its state: ` on 1234abcd.../10.0.0.1`. */
function placeText({ view, progress }: Tracked, legend: MachineLegend): string {
  const machines = progress.type === "reached" ? progress.machines : [];
  const [only] = machines;
  if (only === undefined) return "";
  return view?.global === true && machines.length > 1
    ? ` on ${machines.length} machines`
    : ` on ${legend(only)}`;
}
