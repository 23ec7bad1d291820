import type { UnitChange } from "../../api/protocol.ts";
import type { Goal } from "../../cluster/progress.ts";
import { isFleetError } from "../../runtime/errors.ts";
import { validateManifest } from "../../units/manifest.ts";
import { templateOf } from "../../units/unit-name.ts";
import { problemText } from "../../units/unit-problem.ts";
import { type CommandOptions, type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE, worstExit } from "../exit-code.ts";
import { applyRequests } from "../fleet-client.ts";
import { ApiError } from "../http-client.ts";
import { type CreateVerb, DESIRED_OF_VERB, planCreate } from "../plan-create.ts";
import { type DoneResult, reach, reportApplied, tellReached, tellTriggered } from "../reach.ts";
import { sourcesOf } from "../source-arguments.ts";
import type { UnitSource } from "../unit-source.ts";
import type { Tracked } from "../wait-tracker.ts";

export const submit: CommandRun = (context, args, options) =>
  create({ context, verb: "submit", args, options });
export const load: CommandRun = (context, args, options) =>
  create({ context, verb: "load", args, options });
export const start: CommandRun = (context, args, options) =>
  create({ context, verb: "start", args, options });

const DOING: Readonly<Record<CreateVerb, string>> = {
  submit: "creating",
  load: "loading",
  start: "starting",
};

async function create(command: {
  readonly context: Context;
  readonly verb: CreateVerb;
  readonly args: readonly string[];
  readonly options: Parameters<CommandRun>[2];
}): Promise<number> {
  const { context, verb, options } = command;
  const templates = verb === "submit";
  const sources = await readSourcesOrSay(context, command.args, { ...options, templates });
  if (sources === undefined) return EXIT_FAILED;
  const names = namesToLookUp(sources);
  const registered = await context.client.unitsNamed(names, { machines: verb !== "submit" });
  const plan = planCreate({ verb, replace: options.replace === true, sources, registered });
  for (const { unit, exit, error } of plan.errors) {
    context.tell({
      unit,
      outcome: exit === EXIT_NOT_FOUND ? "not-found" : "refused",
      message: error,
    });
  }
  if (plan.exit !== EXIT_DONE) return plan.exit;
  for (const warning of plan.warnings) context.err(warning);
  if (!context.json) for (const note of plan.notes) context.out(note);
  if (!isTakenWhole(context, plan.changes)) return EXIT_USAGE;
  const results = await context.client.apply(plan.changes).catch((error: unknown) => {
    if (!(error instanceof ApiError) || error.status !== 400) throw error;
    context.tell({ outcome: "refused", message: `Error creating units: ${error.message}` });
  });
  // The API has refused a unit, its name or its file, and with it the whole request.
  if (results === undefined) return EXIT_USAGE;
  const { exit, done } = reportApplied(context, results, DOING[verb]);
  if (verb === "submit") {
    for (const { name } of done) {
      context.tell({ unit: name, outcome: "done", message: `Unit ${name} inactive` });
    }
    if (context.json) tellKept(context, sources, plan.changes);
    return exit;
  }
  if (options.block === false) {
    tellTriggered(context, done, verb);
    return exit;
  }
  const unchanged = new Set(
    done.filter(({ type }) => type === "unchanged").map(({ name }) => name),
  );
  const state = verb === "load" ? "loaded" : "launched";
  const legend = await fetchLegend(context);
  const { exit: reachedExit } = await reach(context, {
    goals: goalsOf(done, state, plan.manifests),
    options,
    legend,
    awayEnds: false,
    onReached: (unit) => {
      // As it was before: nothing to tell, like fleetctl.
      if (unchanged.has(unit.goal.name) && !context.json) return;
      tellReached(context, unit, { word: DESIRED_OF_VERB[verb], legend });
    },
    outlook: outlookOfStart,
  });
  return worstExit([exit, reachedExit]);
}

/** The API checks a request before it does any of it; of several, the first would be done before the last is refused. */
function isTakenWhole(context: Context, changes: readonly UnitChange[]): boolean {
  if (applyRequests(changes).length < 2) return true;
  const problems = changes.flatMap((change) => {
    const { content, dropIns = [], lenient = false } = change.type === "submit" ? change : {};
    if (content === undefined) return [];
    return validateManifest(change.name, { content, dropIns, lenient }).errors.slice(0, 1);
  });
  for (const problem of problems) {
    const message = `Error creating units: ${problemText(problem)}`;
    context.tell({ unit: problem.file, outcome: "refused", message });
  }
  return problems.length === 0;
}

/** People hear nothing of what is there already, like fleetctl's; a program hears of every unit. */
function tellKept(
  context: Context,
  sources: readonly UnitSource[],
  changes: readonly UnitChange[],
): void {
  const changed = new Set(changes.map(({ name }) => name));
  for (const { name } of sources) {
    if (changed.has(name)) continue;
    const message = `Unit ${name} is in the registry already`;
    context.tell({ unit: name, outcome: "done", message });
  }
}

export function goalsOf(
  done: readonly DoneResult[],
  state: Goal["state"],
  manifests: ReadonlyMap<string, string> = new Map(),
): readonly Goal[] {
  return done.map(({ name, identity, restarts }) => {
    const manifest = manifests.get(name);
    return { name, identity, restarts, state, ...(manifest === undefined ? {} : { manifest }) };
  });
}

function stayText({ name, state }: Tracked["goal"]): string {
  const verb = state === "loaded" ? "loaded" : "started";
  return `it stays wanted and is ${verb} as soon as that is possible (fleetctl-ts unload ${name} takes it back)`;
}

/** Where to look, or what becomes of the unit without anybody's doing. */
export function outlookOfStart({ goal, progress }: Tracked): string | undefined {
  switch (progress.type) {
    case "blocked":
      return `${stayText(goal)}; why, machine by machine: fleetctl-ts explain ${goal.name}`;
    case "waiting":
    case "away":
      return stayText(goal);
    case "failed":
      return progress.failure.type === "start"
        ? `look further with: fleetctl-ts journal ${goal.name}; try again with: fleetctl-ts restart ${goal.name}`
        : undefined;
    case "reached":
      return undefined;
  }
}

export async function readSourcesOrSay(
  context: Context,
  args: readonly string[],
  options: CommandOptions & { readonly templates: boolean },
): Promise<readonly UnitSource[] | undefined> {
  try {
    return await sourcesOf(context, args, options);
  } catch (error) {
    if (!isFleetError(error, "host-io")) throw error;
    context.err(`Error creating units: ${error.message}`);
    return undefined;
  }
}

export function namesToLookUp(sources: readonly UnitSource[]): readonly string[] {
  const names = sources.flatMap(({ name }) => [name, templateOf(name) ?? name]);
  return [...new Set(names)];
}
