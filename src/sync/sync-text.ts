import type { Outlook } from "../cluster/outlook.ts";
import { blockedText } from "../cluster/reason-text.ts";
import type { SyncPlan, SyncRefusal, SyncStep } from "./plan-sync.ts";
import type { TreeVersion } from "./tree.ts";

export function versionText({ id, author, subject }: TreeVersion): string {
  const short = id.startsWith("folder-") ? id.slice(0, 15) : id.slice(0, 10);
  return [short, subject && `"${subject}"`, author && `by ${author}`]
    .filter((part) => part)
    .join(" ");
}

const SIGNS: Readonly<Record<SyncStep["type"], string>> = {
  create: "+",
  replace: "~",
  start: ">",
  load: ">",
  unload: "<",
  own: "=",
  destroy: "-",
};

/** `~ replace web@1.service`. */
export function stepText(step: SyncStep): string {
  const what = `${SIGNS[step.type]} ${step.type} ${step.unit}`;
  if (step.type === "create" && step.desired !== "launched") return `${what} (${step.desired})`;
  return "from" in step ? `${what} (is ${step.from}, should be ${step.desired})` : what;
}

export function refusalText({
  unit,
  reason,
}: {
  readonly unit: string;
  readonly reason: SyncRefusal;
}): string {
  return `${unit}: ${why(reason)}`;
}

function why(reason: SyncRefusal): string {
  switch (reason.type) {
    case "owned-by-person":
      return "a person submitted it: --adopt takes it over";
    case "owned-by-source":
      return `it belongs to the source ${reason.source}: --adopt takes it over`;
    case "not-pruned":
      return "it is no longer in the tree: --prune destroys it";
    case "prune-limit":
      return `${reason.wanted} of ${reason.owned} units would be destroyed at once: --prune-limit allows it`;
    case "tree-empty":
      return "the tree is empty, so nothing is destroyed: destroy the units by hand if that is meant";
  }
}

/** `3 to create, 1 to replace, 196 unchanged`. */
export function planSummary({ steps, refused, unchanged }: SyncPlan): string {
  const counts = Map.groupBy(steps, ({ type }) => type);
  const parts = [...counts].map(([type, list]) => `${list.length} to ${type}`);
  if (refused.length > 0) parts.push(`${refused.length} left alone`);
  return [...parts, `${unchanged} unchanged`].join(", ");
}

/** Where units would go, and which would have to wait. */
export function outlookTexts(outlooks: readonly Outlook[]): readonly string[] {
  return outlooks.flatMap(({ unit, before, after, blocked }) => {
    if (blocked.length > 0) return [`${unit} would wait: ${blockedText(blocked)}`];
    if (before.join() === after.join() || after.length === 0) return [];
    const from = before.length === 0 ? "" : ` from ${machinesText(before)}`;
    return [`${unit} would go${from} to ${machinesText(after)}`];
  });
}

/** Only those that would have to wait. */
export function waitingTexts(outlooks: readonly Outlook[]): readonly string[] {
  return outlookTexts(outlooks.filter(({ blocked }) => blocked.length > 0));
}

function machinesText(ids: readonly string[]): string {
  return ids.map((id) => `${id.slice(0, 8)}...`).join(", ");
}
