import type { Deciding, Explanation, MachineVerdict } from "../cluster/explain.ts";
import { blockedText, type MachineLegend, reasonText } from "../cluster/reason-text.ts";
import type { Remedy, RemedyStep } from "../cluster/remedies.ts";
import type { Column } from "./table.ts";

/** What can be said of a unit before its machines are listed, a line each. */
export function headLines(explanation: Explanation, legend: MachineLegend): readonly string[] {
  const { name, desired, global, placed, machines, problem, blocked, tied } = explanation;
  const lines: string[] = [];
  if (global) {
    const here = machines.filter(({ verdict }) => verdict === "here").length;
    lines.push(`Unit ${name} is ${desired}, global: on ${here} of ${machines.length} machines`);
  } else if (placed !== undefined) {
    const since = placed.sinceMs === undefined ? "" : ` since ${timeText(placed.sinceMs)}`;
    lines.push(`Unit ${name} is ${desired}, on ${legend(placed.machineId)}${since}`);
    lines.push(...placed.because.map((one) => `  ${decidingText(one)}`));
    if (placed.before !== undefined) {
      const { machineId, why } = placed.before;
      const reason = why === undefined ? "" : ` (${leavingText(why)})`;
      lines.push(`  it was on ${legend(machineId)} before${reason}`);
    }
  } else if (desired === "inactive") {
    lines.push(`Unit ${name} is inactive, so no machine has it; if it were loaded or started:`);
  } else {
    lines.push(`Unit ${name} is to be ${desired} and on no machine`);
  }
  if (tied.length > 0) lines.push(`  MachineOf= ties it to ${tied.join(", ")}`);
  if (problem !== undefined) lines.push(`  ${reasonText(problem, legend)}`);
  // Reasons with machines are in the table, and newer there.
  const own = blocked.filter(
    ({ machines: count, reason }) => count === 0 && reason.type !== problem?.type,
  );
  if (own.length > 0) lines.push(`  ${blockedText(own, legend)}`);
  return lines;
}

function decidingText(deciding: Deciding): string {
  switch (deciding.type) {
    case "machine-id":
      return `MachineID=${deciding.required} names this machine`;
    case "peer":
      return `MachineOf=${deciding.peer} is there`;
    case "metadata":
      return `MachineMetadata=${deciding.requirement} holds there`;
    case "only":
      return "no other machine could take it now";
    case "rank":
      return `${deciding.of} machines could take it now; this one came first when it was placed`;
  }
}

const LEAVING_TEXTS: Readonly<Record<string, string>> = {
  "machine-lost": "the machine was lost",
  "metadata-differs": "its metadata did not match any more",
  "not-wanted": "it was unloaded or destroyed",
  "peer-elsewhere": "a unit it is tied to left",
  "peer-not-wanted": "a unit it is tied to was unloaded",
  "unit-is-another": "it was destroyed and submitted anew",
  conflict: "a unit that conflicts with it stayed",
  draining: "the machine was drained",
  leaving: "the machine's daemon was stopped",
  replaced: "another unit replaced it there",
};

/** Why a unit left a machine, by the type of the reason. */
export function leavingText(type: string): string {
  return LEAVING_TEXTS[type] ?? type;
}

const VERDICT_TEXTS: Readonly<Record<MachineVerdict["verdict"], string>> = {
  here: "here",
  possible: "yes",
  impossible: "no",
};

function verdictReason({ reason, stopping }: MachineVerdict, legend: MachineLegend): string {
  const parts = [
    ...(stopping === true ? ["it has not finished stopping there"] : []),
    ...(reason === undefined ? [] : [reasonText(reason, legend)]),
  ];
  return parts.length === 0 ? "-" : parts.join("; ");
}

export function verdictColumns(legend: MachineLegend): readonly Column<MachineVerdict>[] {
  return [
    { field: "machine", value: ({ machineId }) => legend(machineId) },
    { field: "units", value: ({ units }) => String(units) },
    { field: "fits", value: ({ verdict }) => VERDICT_TEXTS[verdict] },
    { field: "reason", value: (verdict) => verdictReason(verdict, legend) },
  ];
}

/** Machines of which the same is to be said. */
export interface VerdictGroup {
  readonly fits: string;
  readonly reason: string;
  readonly machineIds: readonly string[];
}

/** Most machines last but for those that have it: what is special comes first. */
export function groupVerdicts(
  machines: readonly MachineVerdict[],
  legend: MachineLegend,
): readonly VerdictGroup[] {
  const groups = Map.groupBy(machines, (machine) =>
    JSON.stringify([VERDICT_TEXTS[machine.verdict], verdictReason(machine, legend)]),
  );
  return [...groups.values()]
    .map((members) => {
      const [first] = members;
      return {
        fits: first === undefined ? "" : VERDICT_TEXTS[first.verdict],
        reason: first === undefined ? "" : verdictReason(first, legend),
        machineIds: members.map(({ machineId }) => machineId),
      };
    })
    .sort((a, b) =>
      a.fits === b.fits ? 0 : FITS_ORDER.indexOf(a.fits) - FITS_ORDER.indexOf(b.fits),
    );
}

const FITS_ORDER = ["here", "yes", "no"];
const EXAMPLES_MAX = 3;

export function groupColumns(legend: MachineLegend): readonly Column<VerdictGroup>[] {
  return [
    { field: "machines", value: ({ machineIds }) => String(machineIds.length) },
    { field: "fits", value: ({ fits }) => fits },
    { field: "reason", value: ({ reason }) => reason },
    {
      field: "examples",
      value: ({ machineIds }) => machineIds.slice(0, EXAMPLES_MAX).map(legend).join(", "),
    },
  ];
}

/** `on 1234abcd.../10.0.0.1 after: fleetctl-ts uncordon 1234abcd` */
export function remedyText({ machineId, steps }: Remedy, legend: MachineLegend): string {
  const commands = steps.map(stepText).join(", ");
  return machineId === undefined
    ? `first of all: ${commands}`
    : `would fit on ${legend(machineId)} after: ${commands}`;
}

const SHORT_ID_LENGTH = 8;

function stepText(step: RemedyStep): string {
  switch (step.type) {
    case "uncordon":
      return `fleetctl-ts uncordon ${shortId(step.machineId)}`;
    case "set-metadata": {
      const { key, value } = step;
      const change = value === null ? `${key}-` : `${key}=${value}`;
      return `fleetctl-ts set-metadata ${shortId(step.machineId)} ${change}`;
    }
    case "unload":
    case "load":
    case "submit":
      return `fleetctl-ts ${step.type} ${step.unit}`;
    case "free-name":
      return `removing the machine's own ${step.unit}`;
  }
}

function shortId(machineId: string): string {
  return machineId.slice(0, SHORT_ID_LENGTH);
}

/** This locale writes dates as 2026-01-31 23:59:00. */
const TIME = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

export function timeText(unixMs: number): string {
  return TIME.format(unixMs);
}
