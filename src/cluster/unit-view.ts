import type { DesiredState } from "../units/unit-state.ts";
import { currentState } from "./current-state.ts";
import type {
  AssignedView,
  BlockedReasonView,
  UnitSourceView,
  UnitStateView,
  UnitView,
} from "./views.ts";

/** What the registry holds of one unit, decoded. */
export interface UnitFacts {
  readonly name: string;
  /** Create revision of its record. */
  readonly identity: number;
  readonly unit: {
    readonly desired: DesiredState;
    readonly manifest: string;
    readonly restarts: number;
    readonly global: boolean;
    readonly source?: UnitSourceView;
  };
  readonly placement:
    | {
        readonly machine: string;
        readonly identity: number;
        readonly moving?: { readonly from: string };
      }
    | undefined;
  /** By machine id. */
  readonly assignments: ReadonlyMap<
    string,
    { readonly identity: number; readonly target: "loaded" | "launched" }
  >;
  /** By machine id. */
  readonly states: ReadonlyMap<string, Omit<UnitStateView, "machineId">>;
  readonly blocked:
    | { readonly identity: number; readonly reasons: readonly BlockedReasonView[] }
    | undefined;
}

/** What a manifest says of itself; both empty when it cannot be had. */
export interface ManifestSummary {
  /** fleet's SHA-1. */
  readonly hash: string;
  readonly description: string;
}

/** Pure. Records that an earlier unit of the same name left behind are ignored, except the states machines report. */
export function unitView(
  facts: UnitFacts,
  summary: ManifestSummary,
  present: ReadonlySet<string>,
): UnitView {
  const { unit, identity } = facts;
  const machineId =
    !unit.global && facts.placement?.identity === identity ? facts.placement.machine : undefined;
  const movingFrom = machineId === undefined ? undefined : facts.placement?.moving?.from;
  const states = [...facts.states]
    .filter(([id]) => present.has(id))
    .map(([id, state]) => stateView(id, state))
    .sort(byMachine);
  const current = currentState({
    identity,
    global: unit.global,
    machineId,
    state: states.find((state) => state.machineId === machineId),
  });
  return {
    name: facts.name,
    identity,
    desired: unit.desired,
    restarts: unit.restarts,
    global: unit.global,
    manifest: unit.manifest,
    hash: summary.hash,
    description: summary.description,
    ...(unit.source === undefined ? {} : { source: sourceView(unit.source) }),
    ...(machineId === undefined ? {} : { machineId }),
    ...(movingFrom === undefined ? {} : { movingFrom }),
    ...(current === undefined ? {} : { current }),
    states,
    assigned: assignedViews(facts, machineId, present),
    blocked: facts.blocked?.identity === identity ? facts.blocked.reasons.map(reasonView) : [],
  };
}

function assignedViews(
  facts: UnitFacts,
  machineId: string | undefined,
  present: ReadonlySet<string>,
): readonly AssignedView[] {
  if (!facts.unit.global) {
    if (machineId === undefined) return [];
    const target =
      facts.assignments.get(machineId)?.target ??
      (facts.unit.desired === "launched" ? "launched" : "loaded");
    return [{ machineId, target, present: present.has(machineId) }];
  }
  return [...facts.assignments]
    .filter(([, assignment]) => assignment.identity === facts.identity)
    .map(([id, { target }]) => ({ machineId: id, target, present: present.has(id) }))
    .sort(byMachine);
}

/** Copies field by field: records may carry more than the API promises. */
function stateView(machineId: string, state: Omit<UnitStateView, "machineId">): UnitStateView {
  const { start, error } = state;
  return {
    machineId,
    ...(state.identity === undefined ? {} : { identity: state.identity }),
    manifest: state.manifest,
    ...(state.update === undefined ? {} : { update: state.update }),
    hash: state.hash,
    current: state.current,
    load: state.load,
    active: state.active,
    sub: state.sub,
    result: state.result,
    mainPid: state.mainPid,
    sinceMs: state.sinceMs,
    ...(start === undefined ? {} : { start: { restarts: start.restarts, outcome: start.outcome } }),
    ...(error === undefined
      ? {}
      : {
          error: {
            task: error.task,
            code: error.code,
            message: error.message,
            attempts: error.attempts,
          },
        }),
  };
}

function reasonView({ reason, machines, examples, varied }: BlockedReasonView): BlockedReasonView {
  return { reason, machines, examples, ...(varied === undefined ? {} : { varied }) };
}

function byMachine(a: { readonly machineId: string }, b: { readonly machineId: string }): number {
  return compareText(a.machineId, b.machineId);
}

/** Order of UTF-16 units, the same on every machine whatever its locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function sourceView({ name, path, version, author }: UnitSourceView): UnitSourceView {
  return { name, path, version, author };
}
