import type { Keys } from "../registry/keys.ts";
import { type AssignmentRecord, assignmentRecord, decodeRecord } from "../registry/records.ts";
import type { Change, KeyValue } from "../registry/store.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";

export interface Assignment extends AssignmentRecord {
  readonly unit: string;
  /** Mod revision of the record. */
  readonly revision: number;
  /** Create revision of the record: a unit that comes to another machine, or comes back, has a greater one. */
  readonly fencingToken: number;
}

/** What the machine is to hold, from its own prefix alone. */
export class Assignments {
  readonly #prefix: string;
  readonly #logger: Logger;
  readonly #byUnit = new Map<string, Assignment | "unreadable">();
  /** Units that were assigned here while this process watched: what is missing of them has been withdrawn. */
  readonly #seen = new Set<string>();

  constructor(options: { keys: Keys; machineId: string; logger: Logger }) {
    this.#prefix = options.keys.assignmentsOf(options.machineId);
    this.#logger = options.logger;
  }

  get prefix(): string {
    return this.#prefix;
  }

  get(unit: string): Assignment | undefined {
    const found = this.#byUnit.get(unit);
    return found === "unreadable" ? undefined : found;
  }

  /** A record of a newer format, say: the unit is wanted in some way that is not understood, so it is left alone. */
  isUnreadable(unit: string): boolean {
    return this.#byUnit.get(unit) === "unreadable";
  }

  /** Whether the unit was assigned here and no longer is, rather than not (yet) known to the registry. */
  wasWithdrawn(unit: string): boolean {
    return this.#seen.has(unit) && !this.#byUnit.has(unit);
  }

  /** The unit is off the machine. */
  forget(unit: string): void {
    if (!this.#byUnit.has(unit)) this.#seen.delete(unit);
  }

  /** Another registry: what the last one said means nothing. */
  forgetAll(): void {
    this.#byUnit.clear();
    this.#seen.clear();
  }

  /** Gives back every unit that was or is assigned. */
  replaceAll(items: readonly KeyValue[]): readonly string[] {
    const before = [...this.#byUnit.keys()];
    this.#byUnit.clear();
    for (const item of items) this.#put(item);
    return [...new Set([...before, ...this.#byUnit.keys()])].sort();
  }

  /** Gives back the units concerned. */
  apply(changes: readonly Change[]): readonly string[] {
    return changes.map((change) => {
      if (change.type === "put") return this.#put(change.item);
      const unit = change.key.slice(this.#prefix.length);
      this.#byUnit.delete(unit);
      return unit;
    });
  }

  #put(item: KeyValue): string {
    const unit = item.key.slice(this.#prefix.length);
    this.#seen.add(unit);
    try {
      const record = decodeRecord(assignmentRecord, item.key, item.value);
      const { modRevision: revision, createRevision: fencingToken } = item;
      this.#byUnit.set(unit, { ...record, unit, revision, fencingToken });
    } catch (error) {
      if (!isFleetError(error, "record-unreadable")) throw error;
      this.#logger.error("record-unreadable", { key: item.key, error: error.message });
      this.#byUnit.set(unit, "unreadable");
    }
    return unit;
  }
}
