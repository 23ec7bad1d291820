import type { RebalanceBody } from "../../api/protocol.ts";
import type { MachineLegend } from "../../cluster/reason-text.ts";
import { type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED } from "../exit-code.ts";
import { untilLeft } from "../leave.ts";
import { movedText, waitingText } from "../leave-text.ts";
import { progressText } from "../progress-text.ts";

type Move = RebalanceBody["moves"][number];

/** Brings the loads of the machines together. Only when asked: the engine never does so by itself. */
export const rebalance: CommandRun = async (context, _args, options) => {
  const { moves, loads } = await context.client.rebalance(options.maxMoves);
  const legend = await fetchLegend(context);
  if (options.plan === true && context.json) {
    context.out(JSON.stringify({ moves, loads }, undefined, 2));
    return EXIT_DONE;
  }
  if (moves.length === 0) {
    context.tell({ outcome: "done", message: `Nothing to move: ${loadsText(loads)}` });
    return EXIT_DONE;
  }
  if (options.plan === true) {
    for (const { units, from, to } of moves) {
      context.out(`${units.join(" + ")}: ${legend(from)} -> ${legend(to)}`);
    }
    context.out(`${countText(moves.length)}: ${loadsText(loads)}`);
    return EXIT_DONE;
  }
  for (const [index, move] of moves.entries()) {
    // Each has to run before the next one goes: what does not start must not spread.
    if (!(await carryOut(context, move, legend))) {
      const message = `Stopped after ${index} of ${countText(moves.length)}: run it again for a new plan`;
      context.tell({ outcome: "failed", message });
      return EXIT_FAILED;
    }
  }
  context.tell({
    outcome: "done",
    message: `Made ${countText(moves.length)}: ${loadsText(loads)}`,
  });
  return EXIT_DONE;
};

function countText(count: number): string {
  return `${count} ${count === 1 ? "move" : "moves"}`;
}

/** By Weight=, the lightest and the heaviest machine. */
function loadsText(loads: RebalanceBody["loads"]): string {
  const range = (of: "before" | "after") => {
    const all = loads.map((load) => load[of]);
    return `${Math.min(...all)} to ${Math.max(...all)}`;
  };
  if (loads.length === 0) return "no machine is present";
  const [before, after] = [range("before"), range("after")];
  const now = `load per machine ${before}`;
  return before === after ? now : `${now} before, ${after} after`;
}

const REFUSALS = {
  refused: "the machine does not take it any more",
  overtaken: "it is not where it was, or moves already",
  unheard: "no engine has taken it up",
} as const;

/** False when it did not come to a good end. */
async function carryOut(context: Context, move: Move, legend: MachineLegend): Promise<boolean> {
  const { from, to } = move;
  const units = [...(await context.client.unitsNamed(move.units)).values()];
  const [first = ""] = move.units;
  const outcome = await context.client.move({ unit: first, from, to });
  if (outcome !== "moving") {
    const message = `Unit ${first} was not moved to ${legend(to)}: ${REFUSALS[outcome]}`;
    context.tell({ unit: first, outcome: "failed", from, to, message });
    return false;
  }
  const { end, units: leavers } = await untilLeft(context, {
    machineId: from,
    units,
    limitMs: undefined,
    onLeft: (unit) => {
      if (unit.leaving.type !== "moved") return;
      const message = movedText(unit, unit.leaving, { from, legend });
      const downMs = unit.downMs === undefined ? {} : { downMs: unit.downMs };
      context.tell({ unit: unit.name, outcome: "done", from, to, ...downMs, message });
    },
    waitText: (all) => waitingText(all, legend),
    isStillWanted: async () => true,
  });
  for (const { name, view, leaving } of leavers) {
    const isBad = leaving.type === "failed" || (leaving.type === "moved" && leaving.wasAlreadyDown);
    if (!isBad && (end === "done" || leaving.type !== "moves")) continue;
    const goal = { name, state: view?.desired ?? "launched" };
    const message =
      "progress" in leaving
        ? progressText(leaving.progress, goal, legend)
        : `Unit ${name} does not run on ${legend(to)}`;
    context.tell({ unit: name, outcome: "failed", from, to, message });
    if (isBad) return false;
  }
  return end === "done";
}
