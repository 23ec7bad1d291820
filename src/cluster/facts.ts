import type { Manifest } from "../units/manifest.ts";
import type { DesiredState, StartOutcome } from "../units/unit-state.ts";
import type { Reason } from "./reason.ts";

/**
 * What the registry says, as the core reads it: one fact per key. The records may carry more than these fields;
 * whoever writes one back spreads the one it read.
 */
export interface Versioned<T> {
  readonly record: T;
  readonly createRevision: number;
  readonly modRevision: number;
}

/** `unreadable`: there is a record, but this version cannot read it. It must never count as absent. */
export type FactValue<T> = Versioned<T> | "unreadable" | undefined;

export type ClusterFact =
  | { readonly kind: "unit"; readonly unit: string; readonly value: FactValue<UnitSpec> }
  | { readonly kind: "file"; readonly manifest: string; readonly value: FactValue<Manifest> }
  | { readonly kind: "machine"; readonly machineId: string; readonly value: FactValue<MachineSpec> }
  | { readonly kind: "roster"; readonly machineId: string; readonly value: FactValue<RosterSpec> }
  | {
      readonly kind: "operator";
      readonly machineId: string;
      readonly value: FactValue<OperatorSpec>;
    }
  | { readonly kind: "placement"; readonly unit: string; readonly value: FactValue<PlacementSpec> }
  | {
      readonly kind: "assignment";
      readonly machineId: string;
      readonly unit: string;
      readonly value: FactValue<AssignmentSpec>;
    }
  | {
      readonly kind: "state";
      readonly machineId: string;
      readonly unit: string;
      readonly value: FactValue<StateSpec>;
    }
  | { readonly kind: "blocked"; readonly unit: string; readonly value: FactValue<BlockedSpec> }
  | { readonly kind: "history"; readonly unit: string; readonly value: FactValue<HistorySpec> }
  | { readonly kind: "move"; readonly unit: string; readonly value: FactValue<MoveSpec> };

export interface UnitSpec {
  readonly desired: DesiredState;
  readonly manifest: string;
  readonly restarts: number;
  readonly global: boolean;
}

export interface RosterSpec {
  /** When the machine was present first since it was switched on, by its own clock (Unix milliseconds). */
  readonly lastBootMs?: number;
}

export interface MachineSpec {
  /** Names the daemon that holds the record. */
  readonly nonce?: string;
  readonly automatic: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly format: number;
  readonly leaving: boolean;
  /** How long its lease lasts. */
  readonly ttlMs?: number;
  /** 0: it does not know. */
  readonly capacity: {
    readonly cpus: number;
    readonly memoryBytes: number;
    readonly tasks: number;
  };
  /** How many times its capacity it gives away; undefined: once. */
  readonly overcommit?: Overcommit;
}

/** By resource. */
export interface Overcommit {
  readonly memory: number;
  readonly cpu: number;
  readonly tasks: number;
}

export interface OperatorSpec {
  readonly metadata: Readonly<Record<string, string | null>>;
  readonly cordoned: boolean;
  readonly draining: boolean;
  /** Confirms that the machine is lost although many vanished at once: mod revision of its roster record. Void once it has been back. */
  readonly evacuate?: number;
}

export interface PlacementSpec {
  readonly machine: string;
  readonly identity: number;
  /** On its way here from another machine, until its start here has come to an end. */
  readonly moving?: Moving;
}

export interface Moving {
  readonly from: string;
  /** It was as wanted there: if it is not here, the move has failed. */
  readonly wasWell: boolean;
}

export interface AssignmentSpec {
  readonly identity: number;
  readonly manifest: string;
  readonly target: "loaded" | "launched";
  readonly restarts: number;
  readonly global: boolean;
}

export interface StateSpec {
  readonly identity?: number;
  readonly manifest: string;
  /** What runs is older than that. */
  readonly update?: "pending" | "kept";
  readonly current: DesiredState;
  readonly active: string;
  readonly result: string;
  /** Since when `active` is so, by the machine's clock: Unix milliseconds. */
  readonly sinceMs?: number;
  readonly start?: { readonly restarts: number; readonly outcome: StartOutcome };
  readonly error?: { readonly code: string };
}

export interface BlockedSpec {
  readonly identity: number;
  readonly sinceMs: number;
  readonly reasons: readonly BlockedReason[];
}

export interface BlockedReason {
  readonly reason: Reason;
  /** How many machines it holds for; 0: the unit itself. */
  readonly machines: number;
  readonly examples: readonly string[];
  /** On other machines it is another reason of the same kind: a conflict with another unit, say. */
  readonly varied?: boolean;
}

/** An operator wants the unit, with those tied to it, on another machine. Good for a few seconds, and for one move. */
export interface MoveSpec {
  readonly from: string;
  readonly to: string;
  readonly identity: number;
}

export interface HistorySpec {
  readonly entries: readonly HistoryEntry[];
}

export interface HistoryEntry {
  readonly machine: string;
  readonly fromMs: number;
  readonly untilMs?: number;
  readonly why?: string;
  /** Of a stay that a failure ended: which start of which content it was. */
  readonly attempt?: string;
}

/** Orders by code units, the same everywhere. */
export function compareText(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
