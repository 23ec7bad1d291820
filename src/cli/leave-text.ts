import type { MachineLegend } from "../cluster/reason-text.ts";
import type { Leaver } from "./leave-tracker.ts";
import type { Leaving } from "./leaving.ts";
import { waitText } from "./progress-text.ts";

export function movedText(
  { name, downMs, isDownUnseen }: Leaver,
  { to, wasAlreadyDown }: Extract<Leaving, { readonly type: "moved" }>,
  { from, legend }: { readonly from: string; readonly legend: MachineLegend },
): string {
  const most = isDownUnseen ? "at most " : "";
  const down = downMs === undefined ? "" : `, down for ${most}${(downMs / 1_000).toFixed(1)} s`;
  const state = wasAlreadyDown ? ", does not run there either" : "";
  return `Unit ${name} moved from ${legend(from)} to ${legend(to)}${down}${state}`;
}

/** What is under way, and how much is left. */
export function waitingText(units: readonly Leaver[], legend: MachineLegend): string {
  const left = units.filter(({ leaving }) => ["waits", "moves", "stuck"].includes(leaving.type));
  for (const { name, leaving } of units) {
    if (leaving.type !== "moves") continue;
    const { progress } = leaving;
    const what = progress.type === "waiting" ? waitText(progress.on, legend) : progress.type;
    return `${name}: ${what}, ${left.length - 1} more`;
  }
  return `${left.length} ${left.length === 1 ? "unit" : "units"} left`;
}
