import { blockedPhrase, blockedText, type MachineLegend } from "../../cluster/reason-text.ts";
import type { UnitView } from "../../cluster/views.ts";
import { type CommandOptions, type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_TIMED_OUT } from "../exit-code.ts";
import { type LeaveResult, untilLeft } from "../leave.ts";
import { movedText, waitingText } from "../leave-text.ts";
import type { Leaver } from "../leave-tracker.ts";
import { progressText } from "../progress-text.ts";
import { waitLimitMs } from "../reach.ts";
import { findMachine } from "./machines.ts";

/** Takes everything off a machine that can go, one group of units at a time. The engine does it; this only asks for it and watches. */
export const drain: CommandRun = async (context, args, options) => {
  const machine = await findMachine(context, args[0] ?? "");
  const legend = await fetchLegend(context);
  const machineId = machine.id;
  const where = legend(machineId);
  const isFollowed = options.block !== false && machine.present;
  // Nothing comes any more, and what is there is seen as it was before the first of it goes.
  if (isFollowed) await context.client.changeOperator(machineId, { cordoned: true });
  const all = isFollowed ? await context.client.units() : [];
  await context.client.changeOperator(machineId, { cordoned: true, draining: true });
  if (options.block === false) {
    const message = `Triggered machine ${where} drain`;
    context.tell({ machine: machineId, outcome: "triggered", message });
    return EXIT_DONE;
  }
  if (!machine.present) {
    const message = `Machine ${where} is away: nothing can be moved off it before it is back or counts as lost (fleetctl-ts evacuate)`;
    context.tell({ machine: machineId, outcome: "failed", message });
    return EXIT_FAILED;
  }
  const units = all.filter((unit) => concerns(unit, machineId));
  if (!context.json) context.out(`Draining machine ${where}: ${countText(units)}`);
  return await wait(context, { machineId, units, legend, options });
};

/** It is there, or has not come to the end of its way from there. */
function concerns(unit: UnitView, machineId: string): boolean {
  return (
    unit.machineId === machineId ||
    unit.movingFrom === machineId ||
    unit.assigned.some((place) => place.machineId === machineId) ||
    unit.states.some((state) => state.machineId === machineId)
  );
}

function countText(units: readonly UnitView[]): string {
  const globals = units.filter((unit) => unit.global).length;
  const noun = units.length === 1 ? "unit" : "units";
  return `${units.length} ${noun} there${globals === 0 ? "" : `, ${globals} of them global`}`;
}

interface Draining {
  readonly machineId: string;
  readonly units: readonly UnitView[];
  readonly legend: MachineLegend;
  readonly options: CommandOptions;
}

async function wait(context: Context, draining: Draining): Promise<number> {
  const { machineId, units, legend, options } = draining;
  const result = await untilLeft(context, {
    machineId,
    units,
    limitMs: waitLimitMs(options),
    onLeft: (unit) => tellLeft(context, unit, { machineId, legend }),
    waitText: (all) => waitingText(all, legend),
    isStillWanted: async () => {
      const machines = await context.client.machinesNow();
      return machines.some(({ id, draining: isOn }) => id === machineId && isOn);
    },
  });
  tellEnd(context, result, draining);
  if (result.end === "done") return EXIT_DONE;
  return result.end === "timed-out" ? EXIT_TIMED_OUT : EXIT_FAILED;
}

function tellLeft(
  context: Context,
  unit: Leaver,
  { machineId, legend }: Pick<Draining, "machineId" | "legend">,
): void {
  const { name, global, leaving, downMs } = unit;
  const to = leaving.type === "moved" ? leaving.to : undefined;
  const message =
    leaving.type === "moved"
      ? movedText(unit, leaving, { from: machineId, legend })
      : `Unit ${name} ${global ? "(global) " : ""}stopped on ${legend(machineId)}`;
  const more = { ...(to === undefined ? {} : { to }), ...(downMs === undefined ? {} : { downMs }) };
  context.tell({ unit: name, outcome: "done", from: machineId, ...more, message });
}

/** What stayed and why, then what that means for the machine. */
function tellEnd(
  context: Context,
  { end, units }: LeaveResult,
  { machineId, legend }: Draining,
): void {
  const where = legend(machineId);
  const stays = units.filter(({ leaving }) => leaving.type !== "moved" && leaving.type !== "gone");
  for (const unit of stays) {
    const isMeant = unit.leaving.type === "stays";
    const outcome = isMeant ? "done" : end === "timed-out" ? "timed-out" : "failed";
    context.tell({
      unit: unit.name,
      outcome,
      from: machineId,
      message: staysText(unit, where, legend),
    });
  }
  const moved = units.filter(({ leaving }) => leaving.type === "moved").length;
  const counts = `${moved} moved, ${stays.length} ${stays.length === 1 ? "stays" : "stay"}`;
  const outcome = end === "done" ? "done" : end === "timed-out" ? "timed-out" : "failed";
  const message = `${END_TEXTS[end](where)}: ${counts}${end === "done" ? "" : outlook(end, machineId)}`;
  context.tell({ machine: machineId, outcome, moved, stays: stays.length, message });
}

const END_TEXTS: Readonly<Record<LeaveResult["end"], (where: string) => string>> = {
  done: (where) => `Drained machine ${where}`,
  stuck: (where) => `Machine ${where} is not drained, no machine takes the rest`,
  failed: (where) => `Machine ${where} is not drained, a unit does not start elsewhere`,
  "no-engine": (where) => `Machine ${where} is not drained, no engine is running`,
  "timed-out": (where) => `timed out draining machine ${where}`,
  "called-off": (where) => `Machine ${where} is not drained, it was uncordoned meanwhile`,
};

function outlook(end: LeaveResult["end"], machineId: string): string {
  const stop = `fleetctl-ts uncordon ${machineId.slice(0, 8)} ends it`;
  switch (end) {
    case "failed":
      return `\n  The drain waits until that unit runs, is stopped or is destroyed; ${stop}, and draining anew goes on without it.`;
    case "called-off":
    case "done":
      return "";
    default:
      return `\n  The drain goes on as soon as it can; ${stop}.`;
  }
}

function staysText(unit: Leaver, where: string, legend: MachineLegend): string {
  const { name, view, leaving } = unit;
  const desired = view?.desired ?? "inactive";
  switch (leaving.type) {
    case "stays":
      return leaving.why === "finished"
        ? `Unit ${name} stays: it has finished`
        : `Unit ${name} stays: ${blockedText(view?.blocked ?? [], legend)}`;
    case "stuck":
      return `Unit ${name} ${blockedPhrase(view?.blocked ?? [], legend)}`;
    case "failed":
    case "moves":
      return progressText(leaving.progress, { name, state: desired }, legend);
    default:
      return unit.global
        ? `Unit ${name} runs on ${where}: global units stop last`
        : `Unit ${name} runs on ${where} until it is its turn`;
  }
}
