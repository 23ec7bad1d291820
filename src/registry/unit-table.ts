import type { UnitFacts } from "../cluster/unit-view.ts";
import { errorMessage, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Keys } from "./keys.ts";
import {
  type AssignmentRecord,
  assignmentRecord,
  type BlockedRecord,
  blockedRecord,
  decodeRecord,
  type PlacementRecord,
  placementRecord,
  type StateRecord,
  stateRecord,
  type UnitRecord,
  unitRecord,
} from "./records.ts";
import type { Change, KeyValue } from "./store.ts";

/** The unit a key tells of, or undefined for keys that tell of none (history is shown by itself). */
export function unitOfKey(keys: Keys, key: string): string | undefined {
  const parsed = keys.parse(key);
  switch (parsed?.kind) {
    case "units":
    case "placements":
    case "blocked":
    case "assignments":
    case "states":
      return parsed.unit;
    default:
      return undefined;
  }
}

interface Entry {
  unit: { readonly identity: number; readonly record: UnitRecord } | undefined;
  placement: PlacementRecord | undefined;
  blocked: BlockedRecord | undefined;
  readonly assignments: Map<string, AssignmentRecord>;
  readonly states: Map<string, StateRecord>;
}

/** Decoded records of units, fed with keys as they are read or watched. A record that cannot be read counts as absent and is logged. */
export class UnitTable {
  readonly #keys: Keys;
  readonly #logger: Logger;
  readonly #entries = new Map<string, Entry>();

  constructor(options: { readonly keys: Keys; readonly logger: Logger }) {
    this.#keys = options.keys;
    this.#logger = options.logger;
  }

  put(item: KeyValue): void {
    this.#set(item.key, item);
  }

  apply(change: Change): void {
    if (change.type === "put") this.#set(change.item.key, change.item);
    else this.#set(change.key, undefined);
  }

  forget(unit: string): void {
    this.#entries.delete(unit);
  }

  /** Nothing is left of the unit, nor of where it was. */
  isEmpty(unit: string): boolean {
    const entry = this.#entries.get(unit);
    if (entry === undefined) return true;
    const { unit: record, placement, blocked, assignments, states } = entry;
    const isAnywhere = assignments.size > 0 || states.size > 0;
    return !isAnywhere && [record, placement, blocked].every((one) => one === undefined);
  }

  /** Takes over all that `from` has of a unit, instead of what is here. */
  move(unit: string, from: UnitTable): void {
    const entry = from.#entries.get(unit);
    if (entry === undefined) this.#entries.delete(unit);
    else this.#entries.set(unit, entry);
  }

  /** Undefined without a unit record: what is left of a destroyed unit is not a unit. */
  facts(unit: string): UnitFacts | undefined {
    const entry = this.#entries.get(unit);
    if (entry?.unit === undefined) return undefined;
    const { identity, record } = entry.unit;
    const { placement, assignments, states, blocked } = entry;
    return { name: unit, identity, unit: record, placement, assignments, states, blocked };
  }

  /** Names of units that exist, sorted. */
  names(): string[] {
    return [...this.#entries]
      .filter(([, entry]) => entry.unit !== undefined)
      .map(([unit]) => unit)
      .sort();
  }

  /** Whether any record of the unit names the machine. */
  concerns(unit: string, machineId: string): boolean {
    const entry = this.#entries.get(unit);
    return (
      entry !== undefined &&
      (entry.placement?.machine === machineId ||
        entry.assignments.has(machineId) ||
        entry.states.has(machineId))
    );
  }

  #set(key: string, item: KeyValue | undefined): void {
    const parsed = this.#keys.parse(key);
    switch (parsed?.kind) {
      case "units": {
        const record = this.#decode(unitRecord, item);
        this.#entry(parsed.unit).unit =
          item === undefined || record === undefined
            ? undefined
            : { identity: item.createRevision, record };
        return;
      }
      case "placements":
        this.#entry(parsed.unit).placement = this.#decode(placementRecord, item);
        return;
      case "blocked":
        this.#entry(parsed.unit).blocked = this.#decode(blockedRecord, item);
        return;
      case "assignments":
        setOrDelete(
          this.#entry(parsed.unit).assignments,
          parsed.machineId,
          this.#decode(assignmentRecord, item),
        );
        return;
      case "states":
        setOrDelete(
          this.#entry(parsed.unit).states,
          parsed.machineId,
          this.#decode(stateRecord, item),
        );
        return;
      default:
        return;
    }
  }

  #decode<S extends Parameters<typeof decodeRecord>[0]>(
    schema: S,
    item: KeyValue | undefined,
  ): ReturnType<typeof decodeRecord<S>> | undefined {
    if (item === undefined) return undefined;
    try {
      return decodeRecord(schema, item.key, item.value);
    } catch (error) {
      if (!isFleetError(error, "record-unreadable")) throw error;
      this.#logger.warn("record-unreadable", { key: item.key, error: errorMessage(error) });
      return undefined;
    }
  }

  #entry(unit: string): Entry {
    let entry = this.#entries.get(unit);
    if (entry === undefined) {
      entry = {
        unit: undefined,
        placement: undefined,
        blocked: undefined,
        assignments: new Map(),
        states: new Map(),
      };
      this.#entries.set(unit, entry);
    }
    return entry;
  }
}

function setOrDelete<V>(map: Map<string, V>, key: string, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
