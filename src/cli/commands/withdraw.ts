import type { UnitChange } from "../../api/protocol.ts";
import type { MachineLegend } from "../../cluster/reason-text.ts";
import type { UnitView } from "../../cluster/views.ts";
import { type CommandOptions, type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, worstExit } from "../exit-code.ts";
import { reach, reportApplied, reportNotFound, tellReached, tellTriggered } from "../reach.ts";
import { lookUpUnits } from "../unit-arguments.ts";
import type { Tracked } from "../wait-tracker.ts";
import { goalsOf } from "./create.ts";

/** The units that arguments name, each once; those that do not exist are told. */
export async function findUnits(
  context: Context,
  args: readonly string[],
): Promise<{ readonly units: readonly UnitView[]; readonly exit: number }> {
  const { units, missing } = await lookUpUnits(context, args);
  for (const name of missing) reportNotFound(context, name);
  return { units, exit: missing.length === 0 ? EXIT_DONE : EXIT_NOT_FOUND };
}

/** Decided by what is wanted, not by what machines have done: what could not be placed can be taken back too. */
export const stop: CommandRun = async (context, args, options) => {
  const { units, exit } = await findUnits(context, args);
  const inactive = units.filter(({ desired }) => desired === "inactive");
  for (const { name: unit } of inactive) {
    const message = `Unable to stop unit ${unit} in state inactive`;
    context.tell({ unit, outcome: "failed", message });
  }
  const exits = [exit, inactive.length === 0 ? EXIT_DONE : EXIT_FAILED];
  exits.push(
    await withdraw({
      context,
      options,
      units: units.filter(({ desired }) => desired !== "inactive"),
      verb: { name: "stop", past: "stopped", doing: "stopping", state: "stopped", word: "loaded" },
    }),
  );
  return worstExit(exits);
};

export const unload: CommandRun = async (context, args, options) => {
  const { units, exit } = await findUnits(context, args);
  const unloading = await withdraw({
    context,
    options,
    units,
    verb: {
      name: "unload",
      past: "unloaded",
      doing: "unloading",
      state: "inactive",
      word: "inactive",
    },
  });
  return worstExit([exit, unloading]);
};

interface WithdrawVerb {
  readonly name: string;
  readonly past: string;
  readonly doing: string;
  readonly state: "stopped" | "inactive";
  /** The desired state it sets. */
  readonly word: "loaded" | "inactive";
}

async function withdraw(command: {
  readonly context: Context;
  readonly options: CommandOptions;
  readonly units: readonly UnitView[];
  readonly verb: WithdrawVerb;
}): Promise<number> {
  const { context, options, units, verb } = command;
  const changes: UnitChange[] = units.map(({ name }) => ({
    type: "desire",
    name,
    desired: verb.word,
  }));
  const [results, legend] = await Promise.all([
    context.client.apply(changes),
    fetchLegend(context),
  ]);
  const { exit, done } = reportApplied(context, results, verb.doing);
  const changed = new Set(done.filter(({ type }) => type !== "unchanged").map(({ name }) => name));
  if (options.block === false) {
    const triggered = done.filter(({ name }) => changed.has(name));
    tellTriggered(context, triggered, verb.name);
    return exit;
  }
  const { exit: reachedExit, pending } = await reach(context, {
    goals: goalsOf(done, verb.state),
    options,
    legend,
    awayEnds: true,
    onReached: (unit) => {
      if (!changed.has(unit.goal.name) && !context.json) return;
      tellReached(context, unit, { word: verb.word, legend });
    },
    outlook: (unit) => outlookOfWithdrawal(unit, `it is ${verb.past}`),
  });
  const failed = pending.map(({ goal }) => goal.name);
  const succeeded = [...changed].filter((name) => !failed.includes(name));
  if (context.json) return worstExit([exit, reachedExit]);
  if (succeeded.length > 0 || failed.length === 0) {
    context.err(`Successfully ${verb.past} units [${succeeded.join(" ")}].`);
  }
  if (failed.length > 0) context.err(`Failed to ${verb.name} units [${failed.join(" ")}].`);
  return worstExit([exit, reachedExit]);
}

function outlookOfWithdrawal({ progress }: Tracked, future: string): string | undefined {
  switch (progress.type) {
    case "away":
      return `it may still run there; ${future} when the machine returns`;
    case "waiting":
      return `that is recorded: ${future} as soon as possible`;
    default:
      return undefined;
  }
}

/**
 * Takes the units off their machines and then deletes them, so that it can wait for the former. One whose machine is away
 * counts as destroyed all the same.
 */
export const destroy: CommandRun = async (context, args, options) => {
  const { units, exit } = await findUnits(context, args);
  const exits = [exit];
  const legend = await fetchLegend(context);
  if (options.block !== false) exits.push(await takeOff({ context, options, units, legend }));
  const results = await context.client.apply(units.map(({ name }) => ({ type: "destroy", name })));
  // Who was found and is gone now was destroyed by someone else: that is what was wanted.
  const refused = results.filter(({ type }) => type !== "not-found");
  exits.push(reportApplied(context, refused, "destroying").exit);
  const destroyed = new Set(results.filter(({ type }) => type !== "refused").map((r) => r.name));
  for (const unit of units.filter(({ name }) => destroyed.has(name))) {
    context.tell({ unit: unit.name, outcome: "done", message: `Destroyed ${unit.name}` });
    tellAwayHolders(context, unit, legend);
  }
  return worstExit(exits);
};

async function takeOff(command: {
  readonly context: Context;
  readonly options: CommandOptions;
  readonly units: readonly UnitView[];
  readonly legend: MachineLegend;
}): Promise<number> {
  const { context, options, units, legend } = command;
  const held = units.filter(
    ({ states, assigned }) => states.length > 0 || assigned.some(({ present }) => present),
  );
  const results = await context.client.apply(
    held.map(({ name }) => ({ type: "desire", name, desired: "inactive" })),
  );
  const goals = goalsOf(
    results.flatMap((result) => ("restarts" in result ? [result] : [])),
    "inactive",
  );
  const { pending, exit } = await reach(context, {
    goals,
    options,
    legend,
    awayEnds: true,
    onReached: () => {},
    outlook: (unit) => outlookOfWithdrawal(unit, "it is stopped"),
  });
  const open = pending.filter(
    ({ view, progress }) => view !== undefined && progress.type !== "away",
  );
  return open.length === 0 ? EXIT_DONE : exit;
}

function tellAwayHolders(context: Context, unit: UnitView, legend: MachineLegend): void {
  for (const { machineId, present } of unit.assigned) {
    if (present) continue;
    context.err(
      `Machine ${legend(machineId)} is away: ${unit.name} may still run there and is stopped when the machine returns`,
    );
  }
}
