import type { ApplyResult, UnitChange } from "../cluster/unit-change.ts";
import { mapBounded } from "../registry/bounded.ts";
import type { Clock } from "../runtime/clock.ts";
import { templateOf } from "../units/unit-name.ts";
import type { SyncPlan, SyncStep } from "./plan-sync.ts";
import type { TreeUnit } from "./read-units.ts";
import type { SyncCluster } from "./sync-cluster.ts";
import type { TreeVersion } from "./tree.ts";
import { UnitFollower } from "./unit-follower.ts";
import { type Arrival, type Awaited, untilReady } from "./until-ready.ts";

export interface RolloutOptions {
  readonly cluster: SyncCluster;
  readonly clock: Clock;
  readonly source: string;
  readonly version: TreeVersion;
  readonly adopt: boolean;
  readonly units: readonly TreeUnit[];
  /** How long a new version of a unit may take until it is well. */
  readonly readyMs: number;
  readonly onStep: (event: RolloutEvent) => void;
  readonly signal: AbortSignal;
}

export type RolloutEvent = { readonly type: "done"; readonly step: SyncStep } | Arrival;

export interface RolloutResult {
  /** `unit: why`; empty: everything is as the tree says, as far as it may be. */
  readonly failures: readonly string[];
  /** `unit: why` of those that no machine takes now. */
  readonly waiting: readonly string[];
}

/** Templates rolled at a time. Each waits for its own units only. */
const GROUPS_PARALLEL = 16;
/** Text of the changes of one request; the API takes 4 MiB. */
const REQUEST_BYTES_MAX = 1024 * 1024;

/**
 * Carries out a plan: first what is new, in order; then replacements, the instances of a template a few at a time, each few well before the
 * next; what goes, last and only if all else went well. The first failure of a replacement stops its template, and nothing is destroyed.
 */
export async function rollOut(plan: SyncPlan, options: RolloutOptions): Promise<RolloutResult> {
  const byName = new Map(options.units.map((unit) => [unit.name, unit]));
  const follower = new UnitFollower(options.cluster, options.signal);
  const failures: string[] = [];
  const waiting: string[] = [];
  const run: Run = { ...options, byName, follower, waiting };
  try {
    const now = plan.steps.filter(({ type }) => type !== "replace" && type !== "destroy");
    failures.push(...(await applySteps(now, run)));
    const groups = Map.groupBy(
      plan.steps.filter(({ type }) => type === "replace"),
      ({ unit }) => templateOf(unit) ?? unit,
    );
    for (const level of levelsOf([...groups.values()], byName)) {
      if (failures.length > 0) return { failures, waiting };
      const outcomes = await mapBounded(level, GROUPS_PARALLEL, (steps) => rollGroup(steps, run));
      failures.push(...outcomes.flat());
    }
    const last = plan.steps.filter(({ type }) => type === "destroy");
    if (failures.length === 0) failures.push(...(await applySteps(last, run)));
    return { failures, waiting };
  } finally {
    follower.close();
  }
}

type Run = RolloutOptions & {
  readonly byName: ReadonlyMap<string, TreeUnit>;
  readonly follower: UnitFollower;
  /** Is added to. */
  readonly waiting: string[];
};

/** One template's instances, or one unit: as many at once as may be away. */
async function rollGroup(steps: readonly SyncStep[], run: Run): Promise<readonly string[]> {
  const first = run.byName.get(steps[0]?.unit ?? "");
  const { maxUnavailable = 1, minReadyMs = 0 } = first?.deployment ?? {};
  for (let at = 0; at < steps.length; at += maxUnavailable) {
    const failures = await applySteps(steps.slice(at, at + maxUnavailable), run);
    if (failures.length > 0) return failures;
    if (minReadyMs > 0) {
      const late = await stayReady(steps.slice(at, at + maxUnavailable), { ...run, minReadyMs });
      if (late.length > 0) return late;
    }
  }
  return [];
}

/** Applies the steps in order and waits until all units are where they are to be. */
async function applySteps(steps: readonly SyncStep[], run: Run): Promise<readonly string[]> {
  const failures: string[] = [];
  const awaited: Awaited[] = [];
  for (const request of requests(steps, run)) {
    const results = await run.cluster.apply(
      request.map(({ change }) => change),
      run.signal,
    );
    for (const [index, result] of results.entries()) {
      const step = request[index]?.step;
      if (step === undefined) continue;
      const failure = applyFailure(result);
      if (failure !== undefined) {
        failures.push(`${step.unit}: ${failure}`);
        run.onStep({ type: "failed", unit: step.unit, why: failure });
        continue;
      }
      run.onStep({ type: "done", step });
      const unit = awaitedOf(step, result, run.byName);
      if (unit !== undefined) awaited.push(unit);
    }
  }
  const onArrival = (arrival: Arrival) => {
    if (arrival.type === "failed") failures.push(`${arrival.unit}: ${arrival.why}`);
    else if (arrival.type === "waits") run.waiting.push(`${arrival.unit}: ${arrival.why}`);
    run.onStep(arrival);
  };
  await untilReady(awaited, { ...run, onArrival });
  return failures;
}

interface Request {
  readonly step: SyncStep;
  readonly change: UnitChange;
}

function* requests(steps: readonly SyncStep[], run: Run): Iterable<readonly Request[]> {
  let batch: Request[] = [];
  let bytes = 0;
  for (const step of steps) {
    const change = changeOf(step, run);
    const size = JSON.stringify(change).length;
    if (batch.length > 0 && bytes + size > REQUEST_BYTES_MAX) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push({ step, change });
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

/** What carries out a step. */
export function changeOf(
  step: SyncStep,
  run: Pick<Run, "source" | "version" | "adopt" | "byName">,
): UnitChange {
  const { source, version, adopt } = run;
  if (step.type === "destroy") return { type: "destroy", name: step.unit, ifSource: source };
  const unit = run.byName.get(step.unit);
  if (unit === undefined) throw new TypeError(`${step.unit} is not in the tree`);
  const { manifest, path, desired } = unit;
  return {
    type: "submit",
    name: step.unit,
    content: manifest.content,
    dropIns: manifest.dropIns,
    desired,
    replace: true,
    source: { name: source, path, version: version.id, author: version.author },
    ...(adopt ? { adopt } : {}),
  };
}

function applyFailure(result: ApplyResult): string | undefined {
  switch (result.type) {
    case "refused":
      return result.message;
    case "differs":
      return "somebody changed it meanwhile";
    default:
      return undefined;
  }
}

/** Undefined: nothing to wait for. */
function awaitedOf(
  step: SyncStep,
  result: ApplyResult,
  byName: ReadonlyMap<string, TreeUnit>,
): Awaited | undefined {
  const unit = byName.get(step.unit);
  if (!("identity" in result) || !("restarts" in result)) return undefined;
  const { identity, restarts } = result;
  if (step.type === "destroy" || unit === undefined || step.type === "own") return undefined;
  // Unloading may wait for a machine that is away; nothing in a tree depends on it.
  if (unit.desired === "inactive") return undefined;
  const { desired: state, hash: manifest } = unit;
  const goal = { name: step.unit, state, identity, restarts, manifest };
  return { goal, held: step.type === "replace" && step.held };
}

/** Active now is not well yet: a program may end after a moment. */
async function stayReady(
  steps: readonly SyncStep[],
  run: Run & { readonly minReadyMs: number },
): Promise<readonly string[]> {
  const { follower, clock, minReadyMs } = run;
  const names = steps.map(({ unit }) => unit);
  const fallen = new Set<string>();
  await follower.until({
    names,
    clock,
    limitMs: minReadyMs,
    look: (views) => {
      for (const name of names) {
        const states = views.get(name)?.states ?? [];
        if (states.some(({ active }) => active === "failed" || active === "activating")) {
          fallen.add(name);
        }
      }
      return fallen.size > 0;
    },
  });
  return [...fallen].map((unit) => {
    run.onStep({ type: "failed", unit, why: "did not stay active" });
    return `${unit}: did not stay active for ${minReadyMs / 1_000} s`;
  });
}

/** Groups that come after others of the plan wait for those. */
function levelsOf(
  groups: readonly (readonly SyncStep[])[],
  byName: ReadonlyMap<string, TreeUnit>,
): readonly (readonly (readonly SyncStep[])[])[] {
  const groupOf = new Map(
    groups.flatMap((steps) => steps.map(({ unit }) => [unit, steps] as const)),
  );
  const levels = new Map<readonly SyncStep[], number>();
  // The steps are in order of dependency, so what a group comes after has its level already; in a circle it has none, and counts as 0.
  for (const steps of groups) {
    const before = steps.flatMap(({ unit }) => byName.get(unit)?.after ?? []);
    const above = before.map((name) => {
      const group = groupOf.get(name);
      return group === undefined || group === steps ? 0 : (levels.get(group) ?? 0) + 1;
    });
    levels.set(steps, Math.max(0, ...above));
  }
  const sorted = Map.groupBy(groups, (steps) => levels.get(steps) ?? 0);
  return [...sorted].sort(([a], [b]) => a - b).map(([, level]) => level);
}
