import type { ClusterFact, FactValue, Versioned } from "../cluster/facts.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { Keys } from "./keys.ts";
import {
  assignmentRecord,
  blockedRecord,
  decodeRecord,
  historyRecord,
  machineRecord,
  manifestRecord,
  moveRecord,
  operatorRecord,
  placementRecord,
  rosterRecord,
  stateRecord,
  unitRecord,
} from "./records.ts";
import { sharedText, shareTexts } from "./shared-texts.ts";
import type { Change, KeyValue } from "./store.ts";

/** Called with each key whose record cannot be read. */
export type OnUnreadable = (key: string, error: Error) => void;

/** What a change says of the cluster; undefined for keys that decide nothing there. */
export function changeFact(
  keys: Keys,
  change: Change,
  onUnreadable: OnUnreadable,
): ClusterFact | undefined {
  return change.type === "put"
    ? itemFact(keys, change.item, onUnreadable)
    : keyFact(keys, change.key, undefined, onUnreadable);
}

export function itemFact(
  keys: Keys,
  item: KeyValue,
  onUnreadable: OnUnreadable,
): ClusterFact | undefined {
  return keyFact(keys, item.key, item, onUnreadable);
}

function keyFact(
  keys: Keys,
  key: string,
  item: KeyValue | undefined,
  onUnreadable: OnUnreadable,
): ClusterFact | undefined {
  const parsed = keys.parse(key);
  const read = <S extends Parameters<typeof decodeRecord>[0]>(schema: S) =>
    readValue(schema, item, onUnreadable);
  switch (parsed?.kind) {
    case "units":
      return { kind: "unit", unit: parsed.unit, value: read(unitRecord) };
    case "files":
      return { kind: "file", manifest: parsed.manifestHash, value: read(manifestRecord) };
    case "machines":
      return { kind: "machine", machineId: parsed.machineId, value: read(machineRecord) };
    case "roster":
      return { kind: "roster", machineId: parsed.machineId, value: read(rosterRecord) };
    case "operators":
      return { kind: "operator", machineId: parsed.machineId, value: read(operatorRecord) };
    case "placements":
      return { kind: "placement", unit: parsed.unit, value: read(placementRecord) };
    case "assignments": {
      const unit = parsed.unit;
      const machineId = sharedText(parsed.machineId);
      return { kind: "assignment", machineId, unit, value: read(assignmentRecord) };
    }
    case "states": {
      const unit = parsed.unit;
      const machineId = sharedText(parsed.machineId);
      return { kind: "state", machineId, unit, value: read(stateRecord) };
    }
    case "blocked":
      return { kind: "blocked", unit: parsed.unit, value: read(blockedRecord) };
    case "history":
      return { kind: "history", unit: parsed.unit, value: read(historyRecord) };
    case "moves":
      return { kind: "move", unit: parsed.unit, value: read(moveRecord) };
    default:
      return undefined;
  }
}

function readValue<S extends Parameters<typeof decodeRecord>[0]>(
  schema: S,
  item: KeyValue | undefined,
  onUnreadable: OnUnreadable,
): FactValue<ReturnType<typeof decodeRecord<S>>> {
  if (item === undefined) return undefined;
  try {
    const record = decodeRecord(schema, item.key, item.value);
    shareTexts(record);
    const { createRevision, modRevision } = item;
    const value: Versioned<ReturnType<typeof decodeRecord<S>>> = {
      record,
      createRevision,
      modRevision,
    };
    return value;
  } catch (error) {
    if (!isFleetError(error, "record-unreadable")) throw error;
    onUnreadable(item.key, error);
    return "unreadable";
  }
}
