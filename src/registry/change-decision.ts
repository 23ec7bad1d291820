import assert from "node:assert/strict";
import type { ApplyResult, UnitChange } from "../cluster/unit-change.ts";
import type { UnitSourceView } from "../cluster/views.ts";
import { templateOf } from "../units/unit-name.ts";
import type { CheckedManifest } from "./manifest-check.ts";
import type { UnitRecord } from "./records.ts";
import type { Revision } from "./store.ts";

/** A unit's record as read, and when it was written. */
export interface CurrentUnit {
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** Undefined: unreadable. It can be destroyed and nothing else. */
  readonly record: UnitRecord | undefined;
}

export type Decision =
  | { readonly type: "done"; readonly result: ApplyResult }
  | {
      readonly type: "put";
      readonly result: "created" | "replaced" | "changed";
      readonly record: UnitRecord;
      /** Named by the record and not known to be in the registry. */
      readonly manifest: CheckedManifest | undefined;
    }
  | { readonly type: "delete" };

/**
 * What a change means for the unit as it is now. Pure. `manifest` is the content given or, for an instance without, its template's;
 * undefined when there is neither.
 */
export function decideChange(
  change: UnitChange,
  current: CurrentUnit | undefined,
  manifest: CheckedManifest | undefined,
): Decision {
  if (current === undefined) {
    return change.type === "submit"
      ? decideCreate(change, manifest)
      : { type: "done", result: { type: "not-found", name: change.name } };
  }
  const { record } = current;
  if (record === undefined && change.type === "destroy") return { type: "delete" };
  if (record === undefined) {
    return refused(change.name, `the record of ${change.name} is not readable: destroy it first`);
  }
  const owner = whyNotOwner(change, record);
  if (owner !== undefined) return refused(change.name, owner);
  switch (change.type) {
    case "submit":
      return decideSubmit(change, { ...current, record }, manifest);
    case "desire":
      if (record.desired === change.desired) return unchanged(change.name, current, record);
      return changed({ ...record, desired: change.desired });
    case "restart":
      if (record.desired !== "launched") {
        return refused(
          change.name,
          `cannot restart ${change.name}: its desired state is ${record.desired}, start it instead`,
        );
      }
      return changed({ ...record, restarts: record.restarts + 1 });
    case "destroy":
      return { type: "delete" };
  }
}

type Submit = Extract<UnitChange, { readonly type: "submit" }>;

function decideCreate(change: Submit, manifest: CheckedManifest | undefined): Decision {
  if (manifest === undefined) {
    const template = templateOf(change.name);
    if (template === undefined) {
      return { type: "done", result: { type: "not-found", name: change.name } };
    }
    return refused(
      change.name,
      `cannot make ${change.name}: its template ${template} is not in the registry`,
    );
  }
  const record: UnitRecord = {
    desired: change.desired ?? "inactive",
    manifest: manifest.hash,
    restarts: 0,
    global: manifest.global,
    ...sourceOf(change),
  };
  return { type: "put", result: "created", record, manifest };
}

/** A sync touches nothing that is not its own; a person may change everything. */
function whyNotOwner(change: UnitChange, { source }: UnitRecord): string | undefined {
  const asking =
    change.type === "submit" && change.adopt !== true
      ? change.source?.name
      : change.type === "destroy"
        ? change.ifSource
        : undefined;
  if (asking === undefined || asking === source?.name) return undefined;
  const owner = source === undefined ? "a person" : `the source ${source.name}`;
  return `${change.name} was submitted by ${owner}`;
}

function sourceOf({ source }: Submit): Pick<UnitRecord, "source"> {
  return source === undefined ? {} : { source: { ...source } };
}

function decideSubmit(
  change: Submit,
  current: CurrentUnit & { readonly record: UnitRecord },
  manifest: CheckedManifest | undefined,
): Decision {
  const { record } = current;
  const desired = change.desired ?? record.desired;
  // Neither content nor a template to compare with: all that is asked is that the unit exists.
  if (manifest === undefined || manifest.hash === record.manifest) {
    const moved = change.source !== undefined && !isSameOrigin(change.source, record.source);
    if (desired === record.desired && !moved) return unchanged(change.name, current, record);
    return changed({ ...record, desired, ...sourceOf(change) });
  }
  if (change.replace !== true) {
    return {
      type: "done",
      result: { type: "differs", name: change.name, identity: current.createRevision },
    };
  }
  return {
    type: "put",
    result: "replaced",
    record: {
      ...record,
      desired,
      manifest: manifest.hash,
      global: manifest.global,
      ...sourceOf(change),
    },
    manifest,
  };
}

/** The version is no part of it: a commit does not touch what it does not change. */
function isSameOrigin(one: UnitSourceView, other: UnitRecord["source"]): boolean {
  return one.name === other?.name && one.path === other.path;
}

function changed(record: UnitRecord): Decision {
  return { type: "put", result: "changed", record, manifest: undefined };
}

function unchanged(name: string, current: CurrentUnit, record: UnitRecord): Decision {
  const { restarts } = record;
  return {
    type: "done",
    result: { type: "unchanged", name, identity: current.createRevision, restarts },
  };
}

export function refused(name: string, message: string): Decision {
  return { type: "done", result: { type: "refused", name, message } };
}

/** The result of a decision that was written at `revision`. */
export function appliedResult(
  name: string,
  decision: Exclude<Decision, { readonly type: "done" }>,
  current: CurrentUnit | undefined,
  revision: Revision,
): ApplyResult {
  if (decision.type === "put") {
    const { restarts } = decision.record;
    return {
      type: decision.result,
      name,
      identity: current?.createRevision ?? revision,
      restarts,
    };
  }
  assert(current !== undefined, "only a unit that is there is destroyed");
  return {
    type: "destroyed",
    name,
    identity: current.createRevision,
    restarts: current.record?.restarts ?? 0,
  };
}
