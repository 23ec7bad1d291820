import type { ApplyResult, PlanBody } from "../../api/protocol.ts";
import type { Outlook } from "../../cluster/outlook.ts";
import { blockedText, type MachineLegend } from "../../cluster/reason-text.ts";
import { makeLegend } from "../columns.ts";
import type { CommandRun } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE, worstExit } from "../exit-code.ts";
import { leavingText } from "../explain-text.ts";
import { ApiError } from "../http-client.ts";
import { planCreate } from "../plan-create.ts";
import { type Column, renderTable } from "../table.ts";
import { namesToLookUp, readSourcesOrSay } from "./create.ts";

/** One unit in the plan. */
interface Row {
  readonly unit: string;
  /** What the registry would be told; `moved` of a unit that nobody named. */
  readonly action: ApplyResult["type"] | "moved" | "kept";
  readonly outlook: Outlook | undefined;
  readonly message?: string;
}

/** What a submit, or with --start a start, would do; it is not done. */
export const plan: CommandRun = async (context, args, options) => {
  const verb = options.start === true ? "start" : "submit";
  const sources = await readSourcesOrSay(context, args, {
    ...options,
    templates: options.start !== true,
  });
  if (sources === undefined) return EXIT_FAILED;
  const registered = await context.client.unitsNamed(namesToLookUp(sources));
  const planned = planCreate({ verb, replace: options.replace === true, sources, registered });
  for (const { unit, exit, error } of planned.errors) {
    const outcome = exit === EXIT_NOT_FOUND ? "not-found" : "refused";
    context.tell({ unit, outcome, message: error });
  }
  if (planned.exit !== EXIT_DONE) return planned.exit;
  for (const warning of planned.warnings) context.err(warning);
  const [body, machines] = await Promise.all([
    context.client.plan(planned.changes).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 400) throw error;
      context.tell({ outcome: "refused", message: `Error planning units: ${error.message}` });
    }),
    context.client.machines(),
  ]);
  if (body === undefined) return EXIT_USAGE;
  const rows = rowsOf(
    body,
    sources.map(({ name }) => name),
  );
  if (context.json) context.out(JSON.stringify(rows.map(jsonRow), undefined, 2));
  else {
    const legend = makeLegend(machines, options.full === true);
    context.write(renderTable(columns(legend), rows, { legend: options.legend !== false }));
  }
  return worstExit(rows.map(exitOf));
};

/** Units as they were named, then those that they set in motion. */
function rowsOf({ results, outlooks }: PlanBody, names: readonly string[]): readonly Row[] {
  const byUnit = new Map(outlooks.map((outlook) => [outlook.unit, outlook]));
  const named = names.map((unit): Row => {
    const result = results.findLast(({ name }) => name === unit);
    const message = result?.type === "refused" ? { message: result.message } : {};
    return { unit, action: result?.type ?? "kept", outlook: byUnit.get(unit), ...message };
  });
  const others = outlooks
    .filter(({ unit, before, after, blocked }) => {
      const moves = before.join() !== after.join();
      return !names.includes(unit) && (moves || (before.length > 0 && blocked.length > 0));
    })
    .map((outlook): Row => ({ unit: outlook.unit, action: "moved", outlook }));
  return [...named, ...others];
}

const ACTION_TEXTS: Readonly<Record<Row["action"], string>> = {
  created: "create",
  replaced: "replace",
  changed: "change",
  unchanged: "none",
  kept: "none",
  destroyed: "destroy",
  differs: "none: it differs, say --replace",
  "not-found": "none: not found",
  refused: "refused",
  moved: "move",
};

function columns(legend: MachineLegend): readonly Column<Row>[] {
  return [
    { field: "unit", value: ({ unit }) => unit },
    { field: "action", value: ({ action }) => ACTION_TEXTS[action] },
    { field: "machine", value: ({ outlook }) => whereText(outlook, legend) },
    { field: "reason", value: (row) => whyText(row, legend) },
  ];
}

function whereText(outlook: Outlook | undefined, legend: MachineLegend): string {
  const [before, after] = [outlook?.before ?? [], outlook?.after ?? []];
  if (before.join() === after.join() || before.length === 0) return placesText(after, legend);
  return `${placesText(before, legend)} -> ${placesText(after, legend)}`;
}

const PLACES_MAX = 3;

function placesText(machineIds: readonly string[], legend: MachineLegend): string {
  if (machineIds.length === 0) return "-";
  const shown = machineIds.slice(0, PLACES_MAX).map(legend).join(", ");
  return machineIds.length <= PLACES_MAX ? shown : `${machineIds.length} machines: ${shown}, ...`;
}

function whyText({ outlook, message }: Row, legend: MachineLegend): string {
  const parts = [
    ...(message === undefined ? [] : [message]),
    ...(outlook?.why === undefined ? [] : [leavingText(outlook.why)]),
    ...(outlook === undefined || outlook.blocked.length === 0
      ? []
      : [blockedText(outlook.blocked, legend)]),
  ];
  return parts.length === 0 ? "-" : parts.join("; ");
}

function jsonRow({ unit, action, outlook, message }: Row): unknown {
  const { before = [], after = [], why, blocked = [] } = outlook ?? {};
  return { unit, action, before, after, why, blocked, message };
}

/** As the planned command's would be, so that a script may ask first. */
function exitOf({ action, outlook }: Row): number {
  if (action === "not-found") return EXIT_NOT_FOUND;
  const isStuck = (outlook?.after.length ?? 0) === 0 && (outlook?.blocked.length ?? 0) > 0;
  return action === "refused" || action === "differs" || isStuck ? EXIT_FAILED : EXIT_DONE;
}
