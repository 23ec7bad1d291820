import assert from "node:assert/strict";
import { FleetError } from "../runtime/errors.ts";
import { compareKeys, SortedKeys } from "./embedded-sorted-keys.ts";
import {
  type Change,
  type Comparison,
  type KeyValue,
  type Operation,
  type Range,
  READ_PAGE_MAX,
  type ReadRequest,
  type Revision,
} from "./store.ts";

export interface HistoryLimits {
  readonly revisionsMax: number;
  /** UTF-16 units of values, roughly the memory history may take besides the current state. */
  readonly unitsMax: number;
}

/**
 * Keys with their past: every key has its versions since the last compaction, the newest last. Pure memory, nothing waits.
 * The log of changes by revision and the versions share their entries.
 */
export class MvccMap {
  #revision: Revision;
  #compacted: Revision;
  #historyUnits = 0;
  readonly #sorted = new SortedKeys();
  readonly #versions = new Map<string, Change[]>();
  readonly #log = new Map<Revision, readonly Change[]>();
  readonly #keysByLease = new Map<string, Set<string>>();

  /** Begins with this state; what was before it counts as compacted. */
  constructor(state: { readonly revision: Revision; readonly items: readonly KeyValue[] }) {
    this.#revision = state.revision;
    this.#compacted = state.revision;
    for (const item of state.items) this.#push({ type: "put", item });
  }

  get revision(): Revision {
    return this.#revision;
  }

  /** The oldest revision that can be read. Changes are known from the one after it. */
  get compacted(): Revision {
    return this.#compacted;
  }

  get(key: string): KeyValue | undefined {
    return itemOf(this.#versions.get(key)?.at(-1));
  }

  holds(comparison: Comparison): boolean {
    const item = this.get(comparison.key);
    switch (comparison.type) {
      case "created-at":
        return (item?.createRevision ?? 0) === comparison.revision;
      case "modified-at":
        return (item?.modRevision ?? 0) === comparison.revision;
      case "value-is":
        return item !== undefined && item.value === comparison.value;
    }
  }

  /** Applies the operations as one revision, or none when nothing changes. */
  write(operations: readonly Operation[]): void {
    const revision = this.#revision + 1;
    const changes: Change[] = [];
    for (const operation of operations) {
      const before = this.get(operation.key);
      if (operation.type === "put") {
        changes.push({ type: "put", item: newItem(operation, before, revision) });
      } else if (before !== undefined) {
        changes.push({ type: "delete", key: operation.key, modRevision: revision });
      }
    }
    if (changes.length === 0) return;
    this.#revision = revision;
    this.#log.set(revision, changes);
    for (const change of changes) {
      this.#push(change);
      this.#historyUnits += unitsOf(change);
    }
  }

  /** Takes back every write after `revision`, which must not be compacted. */
  rollBack(revision: Revision): void {
    assert.ok(revision >= this.#compacted);
    for (; this.#revision > revision; this.#revision -= 1) {
      for (const change of this.changesAt(this.#revision)) {
        this.#pop(keyOf(change));
        this.#historyUnits -= unitsOf(change);
      }
      this.#log.delete(this.#revision);
    }
  }

  changesAt(revision: Revision): readonly Change[] {
    return this.#log.get(revision) ?? [];
  }

  /** In key order. */
  keysOfLease(leaseId: string): readonly string[] {
    return [...(this.#keysByLease.get(leaseId) ?? [])].sort(compareKeys);
  }

  items(): readonly KeyValue[] {
    return [...this.#sorted.from("")].flatMap((key) => this.get(key) ?? []);
  }

  read(request: ReadRequest): { readonly items: readonly KeyValue[]; readonly more: boolean } {
    const revision = request.revision ?? this.#revision;
    this.#assertReadable(revision);
    const limit = Math.min(request.limit ?? READ_PAGE_MAX, READ_PAGE_MAX);
    assert.ok(limit >= 1, "a page holds at least one key");
    const items: KeyValue[] = [];
    for (const key of this.#keysIn(request.range, request.after)) {
      const item = this.#itemAt(key, revision);
      if (item === undefined) continue;
      if (items.length === limit) return { items, more: true };
      items.push(request.keysOnly === true ? { ...item, value: "" } : item);
    }
    return { items, more: false };
  }

  /** Forgets what was before `revision`, which stays readable. */
  compact(revision: Revision): void {
    assert.ok(revision <= this.#revision, "only what was written can be compacted");
    for (; this.#compacted < revision; this.#compacted += 1) {
      for (const change of this.changesAt(this.#compacted + 1)) this.#forgetBefore(change);
      this.#log.delete(this.#compacted + 1);
    }
  }

  /** Compacts as far as the limits ask for. */
  trim(limits: HistoryLimits): void {
    while (this.#log.size > limits.revisionsMax || this.#historyUnits > limits.unitsMax) {
      this.compact(this.#compacted + 1);
    }
  }

  #assertReadable(revision: Revision): void {
    if (revision < this.#compacted) {
      const known = `the oldest known is ${this.#compacted}`;
      throw new FleetError("store-compacted", `revision ${revision} is compacted: ${known}`);
    }
    if (revision > this.#revision) {
      const known = `the newest is ${this.#revision}`;
      throw new FleetError("store-future-revision", `there is no revision ${revision}: ${known}`);
    }
  }

  *#keysIn(range: Range, after: string | undefined): Generator<string> {
    if ("key" in range) {
      if (after === undefined || compareKeys(range.key, after) > 0) yield range.key;
      return;
    }
    const { prefix } = range;
    const start = after !== undefined && compareKeys(after, prefix) > 0 ? after : prefix;
    for (const key of this.#sorted.from(start)) {
      if (!key.startsWith(prefix)) return;
      if (key !== after) yield key;
    }
  }

  #itemAt(key: string, revision: Revision): KeyValue | undefined {
    const versions = this.#versions.get(key) ?? [];
    // Readers ask for the newest states: a search from the end is short.
    for (let index = versions.length - 1; index >= 0; index -= 1) {
      const change = versions[index];
      if (change !== undefined && revisionOf(change) <= revision) return itemOf(change);
    }
    return undefined;
  }

  #push(change: Change): void {
    const key = keyOf(change);
    const versions = this.#versions.get(key);
    this.#bind(key, itemOf(versions?.at(-1)), itemOf(change));
    if (versions !== undefined) {
      versions.push(change);
      return;
    }
    this.#versions.set(key, [change]);
    this.#sorted.add(key);
  }

  #pop(key: string): void {
    const versions = this.#versions.get(key) ?? [];
    const taken = versions.pop();
    this.#bind(key, itemOf(taken), itemOf(versions.at(-1)));
    if (versions.length === 0) this.#drop(key);
  }

  /** Drops what the key was before this change; a deletion goes itself. Changes come in order of revision. */
  #forgetBefore(change: Change): void {
    const key = keyOf(change);
    const versions = this.#versions.get(key) ?? [];
    versions.splice(0, versions.indexOf(change) + (change.type === "delete" ? 1 : 0));
    this.#historyUnits -= unitsOf(change);
    if (versions.length === 0) this.#drop(key);
  }

  #drop(key: string): void {
    this.#versions.delete(key);
    this.#sorted.remove(key);
  }

  #bind(key: string, before: KeyValue | undefined, after: KeyValue | undefined): void {
    if (before?.leaseId === after?.leaseId) return;
    if (before?.leaseId !== undefined) {
      const keys = this.#keysByLease.get(before.leaseId);
      keys?.delete(key);
      if (keys?.size === 0) this.#keysByLease.delete(before.leaseId);
    }
    if (after?.leaseId !== undefined) {
      const keys = this.#keysByLease.get(after.leaseId) ?? new Set();
      this.#keysByLease.set(after.leaseId, keys.add(key));
    }
  }
}

export function keyOf(change: Change): string {
  return change.type === "put" ? change.item.key : change.key;
}

function revisionOf(change: Change): Revision {
  return change.type === "put" ? change.item.modRevision : change.modRevision;
}

function itemOf(change: Change | undefined): KeyValue | undefined {
  return change?.type === "put" ? change.item : undefined;
}

function unitsOf(change: Change): number {
  return change.type === "put" ? change.item.value.length : 0;
}

function newItem(
  put: Extract<Operation, { readonly type: "put" }>,
  before: KeyValue | undefined,
  revision: Revision,
): KeyValue {
  const { key, value, leaseId } = put;
  const createRevision = before?.createRevision ?? revision;
  const item = { key, value, createRevision, modRevision: revision };
  return leaseId === undefined ? item : { ...item, leaseId };
}
