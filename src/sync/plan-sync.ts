import type { UnitView } from "../cluster/views.ts";
import { isTemplate } from "../units/unit-name.ts";
import type { DesiredState } from "../units/unit-state.ts";
import type { TreeUnit } from "./read-units.ts";

/** What is to be done so that the cluster has what the tree says. Pure, and the same for people and programs. */
export interface SyncPlan {
  /** In the order in which they are done: dependencies first, destroys last. */
  readonly steps: readonly SyncStep[];
  /** Units that are left alone although the tree says otherwise, and why. */
  readonly refused: readonly { readonly unit: string; readonly reason: SyncRefusal }[];
  readonly unchanged: number;
}

export type SyncStep =
  | { readonly type: "create"; readonly unit: string; readonly desired: DesiredState }
  | {
      readonly type: "replace";
      readonly unit: string;
      readonly desired: DesiredState;
      /** Whether a machine holds it, or is to. */
      readonly held: boolean;
    }
  /** The file is the same: another desired state, because of the tree or because somebody changed it by hand. */
  | {
      readonly type: "start" | "load" | "unload";
      readonly unit: string;
      readonly from: DesiredState;
      readonly desired: DesiredState;
    }
  /** Same content, and from now on this source's (`adopt`), or its path in the tree is another. */
  | { readonly type: "own"; readonly unit: string; readonly desired: DesiredState }
  | { readonly type: "destroy"; readonly unit: string };

export type SyncRefusal =
  | { readonly type: "owned-by-source"; readonly source: string }
  /** A person submitted it: `adopt` takes it over. */
  | { readonly type: "owned-by-person" }
  /** It is no longer in the tree, and nobody said `prune`. */
  | { readonly type: "not-pruned" }
  /** More than the limit would be destroyed at once, or all of it. */
  | { readonly type: "prune-limit"; readonly wanted: number; readonly owned: number }
  | { readonly type: "tree-empty" };

export interface PlanSyncOptions {
  readonly source: string;
  readonly adopt: boolean;
  readonly prune: boolean;
  /** Share of its units that a source may destroy at once; 0.5 is half of them. */
  readonly pruneLimit: number;
}

/** Fewer are never too many: the last two of three may go. */
const PRUNE_ALWAYS = 2;

export function planSync(
  wanted: readonly TreeUnit[],
  current: ReadonlyMap<string, UnitView>,
  options: PlanSyncOptions,
): SyncPlan {
  const steps: SyncStep[] = [];
  const refused: { unit: string; reason: SyncRefusal }[] = [];
  let unchanged = 0;
  const planned = new Map<string, SyncStep>();
  for (const unit of wanted) {
    const outcome = planUnit(unit, current.get(unit.name), options);
    if (outcome === "unchanged") unchanged += 1;
    else if ("reason" in outcome) refused.push({ unit: unit.name, reason: outcome.reason });
    else planned.set(unit.name, outcome);
  }
  for (const { name } of planned.size === 0 ? [] : inOrder(wanted)) {
    const step = planned.get(name);
    if (step !== undefined) steps.push(step);
  }
  const names = new Set(wanted.map(({ name }) => name));
  const gone = [...current.values()]
    .filter(({ name, source }) => source?.name === options.source && !names.has(name))
    .map(({ name }) => name)
    .sort(byPruneOrder);
  const owned = [...current.values()].filter(({ source }) => source?.name === options.source);
  const keep = whyNotPruned(
    { wanted: wanted.length, gone: gone.length, owned: owned.length },
    options,
  );
  for (const unit of gone) {
    if (keep === undefined) steps.push({ type: "destroy", unit });
    else refused.push({ unit, reason: keep });
  }
  return { steps, refused, unchanged };
}

function planUnit(
  unit: TreeUnit,
  current: UnitView | undefined,
  { source, adopt }: PlanSyncOptions,
): SyncStep | "unchanged" | { readonly reason: SyncRefusal } {
  const { name, desired } = unit;
  if (current === undefined) return { type: "create", unit: name, desired };
  const owner = current.source?.name;
  if (owner !== source && !adopt) {
    const reason: SyncRefusal =
      owner === undefined
        ? { type: "owned-by-person" }
        : { type: "owned-by-source", source: owner };
    return { reason };
  }
  if (current.manifest !== unit.hash) {
    return { type: "replace", unit: name, desired, held: current.assigned.length > 0 };
  }
  if (current.desired !== desired) {
    return { type: VERBS[desired], unit: name, from: current.desired, desired };
  }
  const isOwn = owner === source && current.source?.path === unit.path;
  return isOwn ? "unchanged" : { type: "own", unit: name, desired };
}

const VERBS = { launched: "start", loaded: "load", inactive: "unload" } as const;

function whyNotPruned(
  counts: { readonly wanted: number; readonly gone: number; readonly owned: number },
  { prune, pruneLimit }: PlanSyncOptions,
): SyncRefusal | undefined {
  const { wanted, gone, owned } = counts;
  if (gone === 0) return undefined;
  if (!prune) return { type: "not-pruned" };
  // An empty tree is a mount that is away or a mistake, never a wish.
  if (wanted === 0) return { type: "tree-empty" };
  return gone > Math.max(PRUNE_ALWAYS, Math.floor(owned * pruneLimit))
    ? { type: "prune-limit", wanted: gone, owned }
    : undefined;
}

/** Instances before their template. */
function byPruneOrder(one: string, other: string): number {
  const rank = Number(isTemplate(one)) - Number(isTemplate(other));
  return rank !== 0 ? rank : one < other ? -1 : 1;
}

/** Templates before their instances; what others are ordered after, or are to be with, before those others; else by name. */
export function inOrder(units: readonly TreeUnit[]): readonly TreeUnit[] {
  const byName = new Map(units.map((unit) => [unit.name, unit]));
  const sorted: TreeUnit[] = [];
  const state = new Map<string, "open" | "done">();
  const visit = (first: TreeUnit) => {
    // No recursion: a chain may be as long as the tree has units.
    const stack: { readonly unit: TreeUnit; readonly next: string[] }[] = [];
    const enter = (unit: TreeUnit) => {
      state.set(unit.name, "open");
      stack.push({ unit, next: [...unit.after] });
    };
    enter(first);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const name = top.next.shift();
      if (name === undefined) {
        state.set(top.unit.name, "done");
        sorted.push(top.unit);
        stack.pop();
        continue;
      }
      const before = byName.get(name);
      // A circle is systemd's to judge; any order is as good as another.
      if (before !== undefined && !state.has(before.name)) enter(before);
    }
  };
  for (const unit of [...units].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (!state.has(unit.name)) visit(unit);
  }
  return sorted;
}
