import type { Outlook } from "../cluster/outlook.ts";
import { blockedPhrase } from "../cluster/reason-text.ts";
import type { UnitView } from "../cluster/views.ts";
import { SOURCE_TEXTS_MAX, type SourceRecord } from "../registry/source-record.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import { type PlanSyncOptions, planSync, type SyncPlan } from "./plan-sync.ts";
import { readUnits, type TreeUnit, treeProblemText } from "./read-units.ts";
import { changeOf, type RolloutEvent, type RolloutResult, rollOut } from "./rollout.ts";
import { changedTexts, note, noteAway, noteReached } from "./source-notes.ts";
import type { SyncCluster } from "./sync-cluster.ts";
import { stepText } from "./sync-text.ts";
import type { TreeSource, TreeVersion } from "./tree.ts";
import { UnitFollower } from "./unit-follower.ts";

export interface SyncOptions extends PlanSyncOptions {
  readonly tree: TreeSource;
  readonly cluster: SyncCluster;
  readonly clock: Clock;
  /** Who runs it, for people: `ada@desk`. */
  readonly runner: string;
  /** What was changed by hand is put right; false: it is only shown. */
  readonly heal: boolean;
  readonly readyMs: number;
  readonly onEvent: (event: SyncEvent) => void;
  /** Is waited for after each outcome. */
  readonly tell?: ((outcome: SyncOutcome) => Promise<void>) | undefined;
}

export type SyncEvent =
  | {
      readonly type: "plan";
      readonly version: TreeVersion;
      readonly plan: SyncPlan;
      readonly outlooks: readonly Outlook[];
    }
  | { readonly type: "step"; readonly event: RolloutEvent }
  | { readonly type: "outcome"; readonly outcome: SyncOutcome }
  /** Tree or cluster are out of reach; it goes on by itself. */
  | { readonly type: "away"; readonly message: string };

export type SyncOutcome =
  | {
      /** `planned`: nothing was done, as asked. `unchanged`: there was nothing to do. */
      readonly type: "synced" | "unchanged" | "planned";
      readonly version: TreeVersion;
      readonly plan: SyncPlan;
      readonly units: readonly TreeUnit[];
      /** Of a plan that was asked for: where the units would go. */
      readonly outlooks?: readonly Outlook[];
      /** `unit: why` of those that no machine takes now. */
      readonly waiting?: readonly string[];
    }
  /** The version is not applied: nothing was touched, or all of it taken back to `backTo`. */
  | {
      readonly type: "rejected";
      readonly version: TreeVersion;
      readonly problems: readonly string[];
      readonly backTo?: TreeVersion;
      /** It was rejected before and has not changed since. */
      readonly known: boolean;
      /** Of the version that goes on running. */
      readonly units?: readonly TreeUnit[];
    }
  | { readonly type: "suspended" };

/** Plans one version without doing anything. */
export async function planOnce(options: SyncOptions, signal: AbortSignal): Promise<SyncOutcome> {
  const { tree, cluster, source } = options;
  const { record } = await cluster.source(source, signal);
  const version = await targetVersion(tree, record, signal);
  const distrust = await tree.distrust(version, { signal });
  const { units, problems } = await readTrusted(tree, { version, distrust }, signal);
  if (problems.length > 0) return { type: "rejected", version, problems, known: false };
  const plan = planSync(units, await cluster.units(signal), options);
  const type = plan.steps.length === 0 ? "unchanged" : "planned";
  const outlooks = await foresee(options, { version, units, plan }, signal);
  return { type, version, plan, units, outlooks };
}

/** Of changes as JSON: the API takes requests of 4 MiB. */
const FORESEEN_BYTES_MAX = 3 * 1024 * 1024;
const FORESEE_MS = 10_000;

/** Where the engine would put the units. Never a reason not to go on: empty when it cannot be told. */
async function foresee(
  options: SyncOptions,
  { version, units, plan }: Applied,
  signal: AbortSignal,
): Promise<readonly Outlook[]> {
  const { cluster, clock } = options;
  const byName = new Map(units.map((unit) => [unit.name, unit]));
  const changes = plan.steps.map((step) => changeOf(step, { ...options, version, byName }));
  if (changes.length === 0 || JSON.stringify(changes).length > FORESEEN_BYTES_MAX) return [];
  const onDeadline = () => new FleetError("api-refused", "planning took too long");
  try {
    return await withDeadline(clock, { deadlineMs: FORESEE_MS, signal, onDeadline }, (inner) =>
      cluster.preview(changes, inner),
    );
  } catch (error) {
    if (signal.aborted || !isFleetError(error)) throw error;
    return [];
  }
}

/** Brings the cluster to the newest version, or to the pinned one; to the last good one when that fails. */
export async function syncOnce(options: SyncOptions, signal: AbortSignal): Promise<SyncOutcome> {
  const { tree, cluster, source } = options;
  let stored = await cluster.source(source, signal);
  if (stored.record?.suspended === true) return { type: "suspended" };
  // Asked for meanwhile: reading many units takes both sides as long.
  const units = cluster.units(signal);
  units.catch(() => {});
  const version = await targetVersion(tree, stored.record, signal);
  stored = await noteReached(options, stored, signal);
  const { rejected, running } = stored.record ?? {};
  const distrust = await tree.distrust(version, { signal });
  const untrusted = distrust !== undefined;
  if (rejected?.version.id === version.id && (rejected.untrusted ?? false) === untrusted) {
    return await refuse(
      options,
      { version, problems: rejected.problems, known: true, running },
      signal,
    );
  }
  const read = await readTrusted(tree, { version, distrust }, signal);
  const { problems } = read;
  if (problems.length > 0) {
    await note(options, stored, { version, rejected: problems, untrusted }, signal);
    return await refuse(options, { version, problems, known: false, running }, signal);
  }
  const plan = planSync(read.units, await units, options);
  const isDrift = running?.id === version.id;
  if (plan.steps.length === 0 || (isDrift && !options.heal)) {
    const drift = isDrift ? plan.steps.slice(0, SOURCE_TEXTS_MAX).map(stepText) : [];
    if (!isDrift || changedTexts(stored.record, { plan, drift })) {
      await note(options, stored, { version, plan, drift }, signal);
    }
    if (plan.steps.length > 0) return { type: "planned", version, plan, units: read.units };
    const waiting = waitingUnits(read.units, await units);
    return { type: "unchanged", version, plan, units: read.units, waiting };
  }
  const outlooks = await foresee(options, { version, units: read.units, plan }, signal);
  options.onEvent({ type: "plan", version, plan, outlooks });
  const { failures, waiting } = await roll(options, { version, units: read.units, plan }, signal);
  if (failures.length === 0) {
    await note(options, await cluster.source(source, signal), { version, plan }, signal);
    return { type: "synced", version, plan, units: read.units, waiting };
  }
  // A version that runs already did not fail: something else did, and it is tried again.
  if (isDrift) {
    return { type: "rejected", version, problems: failures, known: false, units: read.units };
  }
  return await takeBack(options, { version, failures, running }, signal);
}

/** What the version says, and what is wrong with it. Nothing is read of one that is not to be trusted. */
async function readTrusted(
  tree: TreeSource,
  { version, distrust }: { readonly version: TreeVersion; readonly distrust: string | undefined },
  signal: AbortSignal,
): Promise<{ readonly units: readonly TreeUnit[]; readonly problems: readonly string[] }> {
  if (distrust !== undefined) return { units: [], problems: [distrust] };
  const { units, problems } = readUnits(await tree.read(version, { signal }));
  return { units, problems: problems.map(treeProblemText) };
}

/** `unit: why`, as a rollout tells of those that no machine takes. */
function waitingUnits(
  units: readonly TreeUnit[],
  views: ReadonlyMap<string, UnitView>,
): readonly string[] {
  return units.flatMap(({ name, desired }) => {
    const blocked = desired === "inactive" ? [] : (views.get(name)?.blocked ?? []);
    return blocked.length === 0 ? [] : [`${name}: ${blockedPhrase(blocked)}`];
  });
}

/** What was good before goes on being looked after. */
async function refuse(
  options: SyncOptions,
  refused: {
    readonly version: TreeVersion;
    readonly problems: readonly string[];
    readonly known: boolean;
    readonly running: SourceRecord["running"];
  },
  signal: AbortSignal,
): Promise<SyncOutcome> {
  const { running, ...outcome } = refused;
  const failed = outcome.version;
  const isKept = running !== undefined && options.heal;
  const kept = isKept ? await healTo(options, { running, failed }, signal) : undefined;
  return { type: "rejected", ...outcome, ...unitsOf(kept) };
}

async function takeBack(
  options: SyncOptions,
  failed: {
    readonly version: TreeVersion;
    readonly failures: readonly string[];
    readonly running: SourceRecord["running"];
  },
  signal: AbortSignal,
): Promise<SyncOutcome> {
  const { version, failures, running } = failed;
  const { cluster, source } = options;
  const before = running && (await healTo(options, { running, failed: version }, signal));
  const stored = await cluster.source(source, signal);
  const isBack = before !== undefined;
  await note(options, stored, { version, rejected: failures, rolledBack: isBack }, signal);
  return {
    type: "rejected",
    version,
    problems: failures,
    known: false,
    ...(before === undefined ? {} : { backTo: before.version }),
    ...unitsOf(before),
  };
}

interface Kept {
  readonly version: TreeVersion;
  readonly units: readonly TreeUnit[];
}

function unitsOf(kept: Kept | undefined): Pick<Kept, "units"> | undefined {
  return kept && { units: kept.units };
}

/** Undefined when that version is no longer to be had, or no longer trusted. */
async function healTo(
  options: SyncOptions,
  { running, failed }: { readonly running: TreeVersion; readonly failed: TreeVersion },
  signal: AbortSignal,
): Promise<Kept | undefined> {
  const { tree, cluster } = options;
  const version = await tree.find(running.id, { signal });
  if (version === undefined) return undefined;
  if ((await tree.distrust(version, { signal })) !== undefined) return undefined;
  const { units } = readUnits(await tree.read(version, { signal }));
  const current = await cluster.units(signal);
  const plan = planSync(units, current, { ...options, prune: true, pruneLimit: 1 });
  // What the failed version brought goes with it, whether asked to prune or not; what was left alone before it stays.
  const steps = plan.steps.filter(
    ({ type, unit }) => type !== "destroy" || current.get(unit)?.source?.version === failed.id,
  );
  if (steps.length > 0) await roll(options, { version, units, plan: { ...plan, steps } }, signal);
  return { version, units };
}

interface Applied extends Kept {
  readonly plan: SyncPlan;
}

async function roll(
  options: SyncOptions,
  what: Applied,
  signal: AbortSignal,
): Promise<RolloutResult> {
  return await rollOut(what.plan, {
    ...options,
    ...what,
    onStep: (event) => options.onEvent({ type: "step", event }),
    signal,
  });
}

async function targetVersion(
  tree: TreeSource,
  record: SourceRecord | undefined,
  signal: AbortSignal,
): Promise<TreeVersion> {
  const newest = await tree.newest({ signal });
  if (record?.pinned === undefined) return newest;
  return (await tree.find(record.pinned, { signal })) ?? newest;
}

const RETRY = { firstMs: 1_000, maxMs: 30_000 };
/** A unit that somebody keeps changing by hand is put right again and again, but not all the time. */
const HEAL_PAUSE_MS = 2_000;
const LOOK_AGAIN_MS = 3_600_000;

/** Follows the tree, and the units made of it, until `signal` aborts. */
export async function followSync(options: SyncOptions, signal: AbortSignal): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    const round = new AbortController();
    try {
      await followOnce(options, AbortSignal.any([signal, round.signal]));
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      if (!isFleetError(error)) throw error;
      failures += 1;
      const why = errorMessage(error);
      options.onEvent({ type: "away", message: why });
      await noteAway(options, why, signal);
      await sleep(options.clock, backoffMs(failures, RETRY), signal).catch(() => {});
    } finally {
      round.abort();
    }
  }
}

/** One look and what follows from it, until the next look is due. Waiting begins before the look, so nothing is missed in between. */
async function followOnce(options: SyncOptions, signal: AbortSignal): Promise<void> {
  const { tree, cluster, source, heal } = options;
  const stirred = tree.stirred({ signal });
  const before = steering((await cluster.source(source, signal)).record);
  const outcome = await syncOnce(options, signal);
  options.onEvent({ type: "outcome", outcome });
  await options.tell?.(outcome);
  const reasons = [stirred, untilSteered(options, before, signal)];
  if (heal && outcome.type !== "suspended") reasons.push(untilDrift(options, outcome, signal));
  // Those that lose are ended by the signal; what they say then does not matter.
  for (const reason of reasons) reason.catch(() => {});
  await Promise.race(reasons);
}

/** What operators, and forges that tell of pushes, have said. */
function steering(record: SourceRecord | undefined): string {
  return JSON.stringify([record?.pinned, record?.suspended, record?.["toldMs"]]);
}

async function untilSteered(
  { cluster, source }: SyncOptions,
  before: string,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const { record, revision } = await cluster.source(source, signal);
    if (steering(record) !== before) return;
    await cluster.sourceChanged(source, revision, signal);
  }
}

/** Until a unit of this source is other than the tree says. */
async function untilDrift(
  { cluster, clock }: SyncOptions,
  outcome: Exclude<SyncOutcome, { readonly type: "suspended" }>,
  signal: AbortSignal,
): Promise<void> {
  const refused = outcome.type === "rejected" ? [] : outcome.plan.refused.map(({ unit }) => unit);
  const wanted = new Map((outcome.units ?? []).map((unit) => [unit.name, unit]));
  for (const name of refused) wanted.delete(name);
  const names = [...wanted.keys()];
  let drifted = false;
  await new UnitFollower(cluster, signal).until({
    names,
    clock,
    limitMs: LOOK_AGAIN_MS,
    look: (_, { name, view }) => {
      const unit = wanted.get(name);
      drifted ||= view?.manifest !== unit?.hash || view?.desired !== unit?.desired;
      return drifted;
    },
  });
  await sleep(clock, HEAL_PAUSE_MS, signal);
}
