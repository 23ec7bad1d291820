import { blockedPhrase, blockedText, type MachineLegend } from "../cluster/reason-text.ts";
import type { UnitStateView, UnitView } from "../cluster/views.ts";

/** One thing that happened to a unit. */
export interface UnitEvent {
  readonly event:
    | "submitted"
    | "destroyed"
    | "replaced"
    | "desired"
    | "restart"
    | "placed"
    | "blocked"
    | "state"
    | "trouble";
  readonly unit: string;
  readonly machine?: string;
  /** For people. */
  readonly text: string;
  readonly isBad?: boolean;
}

/** What changed from one view of a unit to the next; undefined: it did not or does not exist. Pure. */
export function unitEvents(
  before: UnitView | undefined,
  after: UnitView | undefined,
  legend: MachineLegend,
): readonly UnitEvent[] {
  if (after === undefined) {
    return before === undefined
      ? []
      : [{ event: "destroyed", unit: before.name, text: "destroyed" }];
  }
  const unit = after.name;
  // Destroyed and submitted anew, seen at once.
  const old = before?.identity === after.identity ? before : undefined;
  return [
    ...recordEvents(old, after),
    ...(after.machineId !== undefined && after.machineId !== old?.machineId
      ? [
          {
            event: "placed" as const,
            unit,
            machine: after.machineId,
            text: `${old?.machineId === undefined ? "placed" : "moved"} on ${legend(after.machineId)}`,
          },
        ]
      : []),
    ...blockedEvents(old, after, legend),
    ...stateEvents(before, after, legend),
  ];
}

function recordEvents(old: UnitView | undefined, after: UnitView): readonly UnitEvent[] {
  const { name: unit, desired } = after;
  if (old === undefined) {
    return [{ event: "submitted", unit, text: `submitted, desired ${desired}` }];
  }
  const events: UnitEvent[] = [];
  if (old.manifest !== after.manifest) events.push({ event: "replaced", unit, text: "replaced" });
  if (old.desired !== desired) events.push({ event: "desired", unit, text: `desired ${desired}` });
  if (old.restarts !== after.restarts) {
    events.push({ event: "restart", unit, text: "restart asked for" });
  }
  return events;
}

function blockedEvents(
  old: UnitView | undefined,
  after: UnitView,
  legend: MachineLegend,
): readonly UnitEvent[] {
  const text = blockedText(after.blocked, legend);
  if (text === "" || (old !== undefined && text === blockedText(old.blocked, legend))) return [];
  return [
    { event: "blocked", unit: after.name, text: blockedPhrase(after.blocked, legend), isBad: true },
  ];
}

function stateEvents(
  before: UnitView | undefined,
  after: UnitView,
  legend: MachineLegend,
): readonly UnitEvent[] {
  const unit = after.name;
  const earlier = new Map(before?.states.map((state) => [state.machineId, state]));
  const events: UnitEvent[] = [];
  for (const state of after.states) {
    const machine = state.machineId;
    const old = earlier.get(machine);
    earlier.delete(machine);
    const text = stateText(state);
    if (old === undefined || stateText(old) !== text) {
      const isBad = state.active === "failed" || !isLoading(state);
      events.push({ event: "state", unit, machine, text: `${text} on ${legend(machine)}`, isBad });
    }
    const { error } = state;
    if (error !== undefined && error.message !== old?.error?.message) {
      const what = `${error.task} on ${legend(machine)}: ${error.message}`;
      events.push({ event: "trouble", unit, machine, text: what, isBad: true });
    }
  }
  for (const machine of earlier.keys()) {
    events.push({ event: "state", unit, machine, text: `gone from ${legend(machine)}` });
  }
  return events;
}

function stateText({ load, active, sub, result }: UnitStateView): string {
  const why = result === "success" || result === "" ? "" : `, result ${result}`;
  return `${isLoading({ load }) ? "" : `${load}, `}${active} (${sub})${why}`;
}

/** It is, or nothing has been said of it yet. */
function isLoading({ load }: Pick<UnitStateView, "load">): boolean {
  return load === "loaded" || load === "";
}
