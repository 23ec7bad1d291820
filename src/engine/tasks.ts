import type { ReplaceableFact } from "../cluster/cluster-state.ts";
import type {
  AssignmentSpec,
  BlockedSpec,
  ClusterFact,
  HistorySpec,
  PlacementSpec,
} from "../cluster/facts.ts";
import type { MachineReason, UnitReason } from "../cluster/reason.ts";
import type { Keys } from "../registry/keys.ts";
import { encodeRecord } from "../registry/records.ts";
import type { Comparison, Operation } from "../registry/store.ts";

/** Why the engine does something. */
export type TaskReason =
  | MachineReason
  | UnitReason
  | { readonly type: "wanted" }
  | { readonly type: "not-wanted" }
  /** The machine holds it already: the registry was restored, or the machine has come back. */
  | { readonly type: "held-there" }
  /** Destroyed and submitted anew: another unit of the same name. */
  | { readonly type: "unit-is-another" }
  /** A record that contradicts the placement. */
  | { readonly type: "stray" }
  /** Target state, manifest or restart counter differ from what was assigned. */
  | { readonly type: "changed" }
  /** The machine was forgotten by an operator. */
  | { readonly type: "forgotten" }
  /** An operator asked for it, so that machines are equally loaded. */
  | { readonly type: "rebalance" }
  /** It has stopped where it comes from. */
  | { readonly type: "moved" };

/** One step of the engine. Tasks of one `bundle` are written by one transaction. */
export type EngineTask =
  | PlaceTask
  | UnplaceTask
  | {
      readonly type: "assign";
      readonly unit: string;
      readonly machineId: string;
      readonly assignment: AssignmentSpec;
      /** Mod revision of the unit's record that the assignment was made from. */
      readonly unitRevision: number;
      readonly why: TaskReason;
    }
  | {
      readonly type: "unassign";
      readonly unit: string;
      readonly machineId: string;
      readonly why: TaskReason;
    }
  /** A move has come to its end: the unit belongs to its machine like any other. */
  | {
      readonly type: "arrive";
      readonly unit: string;
      readonly machineId: string;
      readonly placement: PlacementSpec;
      readonly placementRevision: number;
    }
  /** What an operator asked for is done or cannot be done. */
  | { readonly type: "drop-move"; readonly unit: string; readonly moveRevision: number }
  | { readonly type: "block"; readonly unit: string; readonly record: BlockedSpec }
  | { readonly type: "unblock"; readonly unit: string }
  | { readonly type: "collect"; readonly manifest: string; readonly modRevision: number };

/** Places a unit, or moves it: then the old placement and assignment go in the same transaction (I1). */
export interface PlaceTask {
  readonly type: "place";
  readonly unit: string;
  readonly machineId: string;
  readonly placement: PlacementSpec;
  /** Mod revision of the placement it replaces; 0: there is none. */
  readonly placementRevision: number;
  /** Undefined: the unit has to wait for room there, or stops where it comes from. */
  readonly assignment: AssignmentSpec | undefined;
  readonly from: string | undefined;
  /** The machine it moves from is lost: it must not have come back. */
  readonly fromLost: boolean;
  /** Machines that may still hold it: their state of it has to be absent (I8). */
  readonly absentAt: readonly string[];
  readonly history: HistorySpec;
  readonly why: TaskReason;
  readonly bundle: string | undefined;
  /** Mod revision of the move that an operator asked for: it is used up by this transaction. */
  readonly moveRevision: number | undefined;
}

export interface UnplaceTask {
  readonly type: "unplace";
  readonly unit: string;
  readonly machineId: string;
  readonly placementRevision: number;
  readonly isAssigned: boolean;
  readonly history: HistorySpec;
  readonly why: TaskReason;
}

export interface TaskWrites {
  readonly comparisons: readonly Comparison[];
  readonly operations: readonly Operation[];
}

/** What a task writes and what has to hold for it, the leader's fence apart. */
export function taskWrites(keys: Keys, task: EngineTask): TaskWrites {
  switch (task.type) {
    case "place":
      return placeWrites(keys, task);
    case "unplace":
      return unplaceWrites(keys, task);
    case "assign":
      return {
        comparisons: [modifiedAt(keys.unit(task.unit), task.unitRevision)],
        operations: [put(keys.assignment(task.machineId, task.unit), task.assignment)],
      };
    case "unassign":
      return { comparisons: [], operations: [remove(keys.assignment(task.machineId, task.unit))] };
    case "arrive":
      return {
        comparisons: [modifiedAt(keys.placement(task.unit), task.placementRevision)],
        operations: [put(keys.placement(task.unit), task.placement)],
      };
    case "drop-move": {
      const key = keys.move(task.unit);
      return { comparisons: [modifiedAt(key, task.moveRevision)], operations: [remove(key)] };
    }
    case "block":
      return {
        comparisons: [createdAt(keys.unit(task.unit), task.record.identity)],
        operations: [put(keys.blocked(task.unit), task.record)],
      };
    case "unblock":
      return { comparisons: [], operations: [remove(keys.blocked(task.unit))] };
    case "collect": {
      // A submit of the same content puts the file again: its revision tells.
      const key = keys.file(task.manifest);
      return { comparisons: [modifiedAt(key, task.modRevision)], operations: [remove(key)] };
    }
  }
}

function placeWrites(keys: Keys, task: PlaceTask): TaskWrites {
  const { unit, machineId, from } = task;
  const placementKey = keys.placement(unit);
  const comparisons = [
    task.placementRevision === 0
      ? createdAt(placementKey, 0)
      : modifiedAt(placementKey, task.placementRevision),
    createdAt(keys.unit(unit), task.placement.identity),
    ...task.absentAt.map((holder) => createdAt(keys.state(holder, unit), 0)),
  ];
  if (from !== undefined && task.fromLost) comparisons.push(createdAt(keys.machine(from), 0));
  const operations = [put(placementKey, task.placement), put(keys.history(unit), task.history)];
  if (task.moveRevision !== undefined) {
    comparisons.push(modifiedAt(keys.move(unit), task.moveRevision));
    operations.push(remove(keys.move(unit)));
  }
  if (task.assignment !== undefined) {
    operations.push(put(keys.assignment(machineId, unit), task.assignment));
  }
  if (from !== undefined && from !== machineId) {
    operations.push(remove(keys.assignment(from, unit)));
  }
  return { comparisons, operations };
}

function unplaceWrites(keys: Keys, task: UnplaceTask): TaskWrites {
  const operations = [
    remove(keys.placement(task.unit)),
    put(keys.history(task.unit), task.history),
  ];
  if (task.isAssigned) operations.push(remove(keys.assignment(task.machineId, task.unit)));
  return {
    comparisons: [modifiedAt(keys.placement(task.unit), task.placementRevision)],
    operations,
  };
}

/** A task that concerns a unit, as all that are planned do. */
export type UnitTask = Exclude<EngineTask, { type: "collect" }>;

/** What a task will have changed, as facts. */
export function taskEffects(task: EngineTask): readonly ClusterFact[] {
  return task.type === "collect"
    ? [{ kind: "file", manifest: task.manifest, value: undefined }]
    : unitEffects(task);
}

/** The planner goes on from there. */
export function unitEffects(task: UnitTask): readonly ReplaceableFact[] {
  switch (task.type) {
    case "place":
      return placeEffects(task);
    case "unplace": {
      const { unit, machineId } = task;
      return [
        { kind: "placement", unit, value: undefined },
        { kind: "assignment", machineId, unit, value: undefined },
      ];
    }
    case "assign":
      return [
        {
          kind: "assignment",
          machineId: task.machineId,
          unit: task.unit,
          value: assumed(task.assignment),
        },
      ];
    case "unassign":
      return [{ kind: "assignment", machineId: task.machineId, unit: task.unit, value: undefined }];
    case "arrive":
      return [{ kind: "placement", unit: task.unit, value: assumed(task.placement) }];
    case "drop-move":
      return [{ kind: "move", unit: task.unit, value: undefined }];
    case "block":
      return [{ kind: "blocked", unit: task.unit, value: assumed(task.record) }];
    case "unblock":
      return [{ kind: "blocked", unit: task.unit, value: undefined }];
  }
}

function placeEffects(task: PlaceTask): readonly ReplaceableFact[] {
  const { unit, machineId, from, assignment } = task;
  const placed: ReplaceableFact = { kind: "placement", unit, value: assumed(task.placement) };
  const facts: ReplaceableFact[] =
    assignment === undefined
      ? [placed]
      : [placed, { kind: "assignment", machineId, unit, value: assumed(assignment) }];
  if (from !== undefined && from !== machineId) {
    facts.push({ kind: "assignment", machineId: from, unit, value: undefined });
  }
  if (task.moveRevision !== undefined) facts.push({ kind: "move", unit, value: undefined });
  return facts;
}

/** Of a fact that nobody has seen yet. */
export function assumed<T>(record: T) {
  return { record, createRevision: 0, modRevision: 0 };
}

function createdAt(key: string, revision: number): Comparison {
  return { type: "created-at", key, revision };
}

function modifiedAt(key: string, revision: number): Comparison {
  return { type: "modified-at", key, revision };
}

function put(key: string, record: object): Operation {
  return { type: "put", key, value: encodeRecord(record) };
}

function remove(key: string): Operation {
  return { type: "delete", key };
}
