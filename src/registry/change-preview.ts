import type { ClusterState } from "../cluster/cluster-state.ts";
import { type Dirty, newDirty } from "../cluster/dirty.ts";
import type { ApplyResult } from "../cluster/unit-change.ts";
import type { Manifest } from "../units/manifest.ts";
import { templateOf } from "../units/unit-name.ts";
import type { CheckedChange } from "./change-check.ts";
import {
  appliedResult,
  type CurrentUnit,
  type Decision,
  decideChange,
  refused,
} from "./change-decision.ts";
import { type CheckedManifest, checkManifest } from "./manifest-check.ts";
import type { Revision } from "./store.ts";

export interface ChangePreview {
  /** What applying the changes would have answered, in their order. */
  readonly results: readonly ApplyResult[];
  /** What that concerns. */
  readonly dirty: Dirty;
}

/** Applies changes to a cluster state instead of the registry, with the same rules. `revision`: of what the state was read from. */
export async function previewChanges(
  changes: readonly CheckedChange[],
  options: {
    readonly cluster: ClusterState;
    readonly revision: Revision;
    /** By hash; manifests never change, so it matters not when they are read. */
    readonly readManifest: (hash: string) => Promise<Manifest | undefined>;
  },
): Promise<ChangePreview> {
  const { cluster } = options;
  const revision = options.revision + 1;
  const dirty = newDirty();
  const given = new Map<string, Manifest>();
  const readTemplate = async (template: string): Promise<Manifest | undefined> => {
    const hash = cluster.unit(template)?.unit?.record.manifest;
    return hash === undefined ? undefined : (given.get(hash) ?? (await options.readManifest(hash)));
  };
  const results: ApplyResult[] = [];
  for (const checked of changes) {
    const { name } = checked.change;
    // Also what stays as it is: the asker wants to know where.
    dirty.units.add(name);
    const current = currentUnit(cluster, name);
    const decision = await decide(checked, current, readTemplate);
    if (decision.type === "done") {
      results.push(decision.result);
      continue;
    }
    results.push(appliedResult(name, decision, current, revision));
    if (decision.type === "delete") {
      cluster.apply({ kind: "unit", unit: name, value: undefined }, dirty);
      continue;
    }
    const { manifest, record } = decision;
    const createRevision = current?.createRevision ?? revision;
    if (manifest !== undefined) {
      given.set(manifest.hash, manifest.manifest);
      const value = { record: manifest.manifest, createRevision: revision, modRevision: revision };
      cluster.apply({ kind: "file", manifest: manifest.hash, value }, dirty);
    }
    const value = { record, createRevision, modRevision: revision };
    cluster.apply({ kind: "unit", unit: name, value }, dirty);
  }
  return { results, dirty };
}

async function decide(
  { change, manifest }: CheckedChange,
  current: CurrentUnit | undefined,
  readTemplate: (template: string) => Promise<Manifest | undefined>,
): Promise<Decision> {
  const { name } = change;
  const template = change.type === "submit" ? templateOf(name) : undefined;
  if (manifest !== undefined || template === undefined || template === name) {
    return decideChange(change, current, manifest);
  }
  const found = await readTemplate(template);
  const own = found && checkManifest(name, found);
  return own?.type === "invalid"
    ? refused(name, `template ${template}: ${own.message}`)
    : decideChange(change, current, own satisfies CheckedManifest | undefined);
}

function currentUnit(cluster: ClusterState, name: string): CurrentUnit | undefined {
  const entry = cluster.unit(name);
  if (entry?.unreadable.has("unit") === true) {
    return { createRevision: 0, modRevision: 0, record: undefined };
  }
  return entry?.unit && { ...entry.unit, record: { ...entry.unit.record } };
}
