import type { UnitChange } from "../../api/protocol.ts";
import { type CommandRun, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, worstExit } from "../exit-code.ts";
import { reach, reportApplied, tellReached, tellTriggered } from "../reach.ts";
import { goalsOf, outlookOfStart } from "./create.ts";
import { findUnits } from "./withdraw.ts";

/** One more start of each unit, on every machine that has it; a loaded one is started. */
export const restart: CommandRun = async (context, args, options) => {
  const { units, exit } = await findUnits(context, args);
  const inactive = units.filter(({ desired }) => desired === "inactive");
  for (const { name: unit } of inactive) {
    const message = `Unable to restart unit ${unit} in state inactive`;
    context.tell({ unit, outcome: "failed", message });
  }
  const changes = units
    .filter(({ desired }) => desired !== "inactive")
    .map(
      ({ name, desired }): UnitChange =>
        desired === "loaded"
          ? { type: "desire", name, desired: "launched" }
          : { type: "restart", name },
    );
  const [results, legend] = await Promise.all([
    context.client.apply(changes),
    fetchLegend(context),
  ]);
  const { exit: appliedExit, done } = reportApplied(context, results, "restarting");
  const exits = [exit, appliedExit, inactive.length === 0 ? EXIT_DONE : EXIT_FAILED];
  if (options.block === false) {
    tellTriggered(context, done, "restart");
    return worstExit(exits);
  }
  const started = new Set(units.filter(({ desired }) => desired === "loaded").map((u) => u.name));
  const { exit: reachedExit } = await reach(context, {
    goals: goalsOf(done, "launched"),
    options,
    legend,
    awayEnds: false,
    onReached: (unit) => {
      const word = started.has(unit.goal.name) ? "launched" : "restarted";
      tellReached(context, unit, { word, legend });
    },
    outlook: outlookOfStart,
  });
  return worstExit([...exits, reachedExit]);
};
