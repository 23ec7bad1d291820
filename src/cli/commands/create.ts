import type { Goal } from "../../cluster/progress.ts";
import { isFleetError } from "../../runtime/errors.ts";
import { templateOf } from "../../units/unit-name.ts";
import { type CommandOptions, type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_USAGE, worstExit } from "../exit-code.ts";
import { ApiError } from "../http-client.ts";
import { type CreateVerb, DESIRED_OF_VERB, planCreate } from "../plan-create.ts";
import { type DoneResult, placeText, reach, reportApplied } from "../reach.ts";
import { readSources, type UnitSource } from "../unit-source.ts";
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
  const sources = await readSourcesOrSay(context, command.args, options);
  if (sources === undefined) return EXIT_FAILED;
  const registered = await context.client.unitsNamed(namesToLookUp(sources));
  const plan = planCreate({ verb, replace: options.replace === true, sources, registered });
  for (const error of plan.errors) context.err(error);
  if (plan.exit !== EXIT_DONE) return plan.exit;
  for (const warning of plan.warnings) context.err(warning);
  for (const note of plan.notes) context.out(note);
  const [results, legend] = await Promise.all([
    context.client.apply(plan.changes).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 400) throw error;
      context.err(`Error creating units: ${error.message}`);
    }),
    fetchLegend(context),
  ]);
  // The API has refused a unit, its name or its file, and with it the whole request.
  if (results === undefined) return EXIT_USAGE;
  const { exit, done } = reportApplied(context, results, DOING[verb]);
  if (verb === "submit") {
    for (const { name } of done) context.out(`Unit ${name} inactive`);
    return exit;
  }
  if (options.block === false) {
    for (const { name } of done) context.out(`Triggered unit ${name} ${verb}`);
    return exit;
  }
  const unchanged = new Set(
    done.filter(({ type }) => type === "unchanged").map(({ name }) => name),
  );
  const state = verb === "load" ? "loaded" : "launched";
  const { exit: reachedExit } = await reach(context, {
    goals: goalsOf(done, state, plan.manifests),
    options,
    legend,
    awayEnds: false,
    onReached: (unit) => {
      // As it was before: nothing to tell, like fleetctl.
      if (unchanged.has(unit.goal.name)) return;
      context.out(`Unit ${unit.goal.name} ${DESIRED_OF_VERB[verb]}${placeText(unit, legend)}`);
    },
    outlook: outlookOfStart,
  });
  return worstExit([exit, reachedExit]);
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

/** Where to look, or what becomes of the unit without anybody's doing. */
export function outlookOfStart({ goal, progress }: Tracked): string | undefined {
  switch (progress.type) {
    case "blocked":
    case "waiting":
    case "away":
      return `it stays wanted and is ${goal.state === "loaded" ? "loaded" : "started"} as soon as that is possible (fleetctl-ts unload ${goal.name} takes it back)`;
    case "failed":
      return progress.failure.type === "start"
        ? `look further with: fleetctl-ts journal ${goal.name}; try again with: fleetctl-ts restart ${goal.name}`
        : undefined;
    case "reached":
      return undefined;
  }
}

async function readSourcesOrSay(
  context: Context,
  args: readonly string[],
  options: CommandOptions,
): Promise<readonly UnitSource[] | undefined> {
  try {
    return await readSources(args, options);
  } catch (error) {
    if (!isFleetError(error, "host-io")) throw error;
    context.err(`Error creating units: ${error.message}`);
    return undefined;
  }
}

function namesToLookUp(sources: readonly UnitSource[]): readonly string[] {
  const names = sources.flatMap(({ name }) => [name, templateOf(name) ?? name]);
  return [...new Set(names)];
}
