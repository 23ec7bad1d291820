import type { DesiredState, StartOutcome } from "../units/unit-state.ts";
import type { Reason } from "./reason.ts";

/** What the API shows of a unit: everything the registry knows of it, as of one revision. */
export interface UnitView {
  readonly name: string;
  /** Create revision of its record: destroy and submit make another unit. */
  readonly identity: number;
  readonly desired: DesiredState;
  readonly restarts: number;
  readonly global: boolean;
  /** SHA-256 of its files. */
  readonly manifest: string;
  /** fleet's SHA-1 of the unit file. */
  readonly hash: string;
  /** First Description= of [Unit], empty without one. */
  readonly description: string;
  /** Undefined: a person submitted it. */
  readonly source?: UnitSourceView;
  /** Where a non-global unit is placed. */
  readonly machineId?: string;
  /** It moves: from this machine, until its start on the new one has come to an end. */
  readonly movingFrom?: string;
  /** Of a non-global unit: what its machine has done (fleet's STATE column). */
  readonly current?: DesiredState;
  /** What machines report of it, by machine id. Only machines that are present. */
  readonly states: readonly UnitStateView[];
  /** Machines that should hold it (placement or, global, assignments), by machine id. */
  readonly assigned: readonly AssignedView[];
  /** Why it is not where it should be. */
  readonly blocked: readonly BlockedReasonView[];
}

/** Where a unit that no person submitted comes from. */
export interface UnitSourceView {
  /** Name of the sync source. */
  readonly name: string;
  /** Of its file in the tree. */
  readonly path: string;
  /** Version of the tree that last changed it. */
  readonly version: string;
  readonly author: string;
}

export interface AssignedView {
  readonly machineId: string;
  readonly target: "loaded" | "launched";
  /** False: the machine is away, so nothing is known of the unit there. */
  readonly present: boolean;
}

export interface BlockedReasonView {
  readonly reason: Reason;
  /** How many machines it holds for; 0: the unit itself. */
  readonly machines: number;
  readonly examples: readonly string[];
  /** On other machines it is another reason of the same kind: a conflict with another unit, say. */
  readonly varied?: boolean;
}

export interface UnitStateView {
  readonly machineId: string;
  readonly identity?: number;
  readonly manifest: string;
  /** What runs is older than `manifest`: it is being brought to it, or (`kept`) goes on so until its next start. */
  readonly update?: "pending" | "kept";
  readonly hash: string;
  readonly current: DesiredState;
  readonly load: string;
  readonly active: string;
  readonly sub: string;
  readonly result: string;
  readonly mainPid: number;
  readonly sinceMs: number;
  readonly start?: { readonly restarts: number; readonly outcome: StartOutcome };
  readonly error?: {
    readonly task: string;
    readonly code: string;
    readonly message: string;
    readonly attempts: number;
  };
}

export interface MachineView {
  readonly id: string;
  readonly present: boolean;
  readonly address: string;
  /** Automatic, then fleet.conf's, then what operators set; a value hidden by an operator is left out. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly version: string;
  readonly leaving: boolean;
  readonly cordoned: boolean;
  readonly draining: boolean;
  /** `host:port` of its API where it listens on TCP. */
  readonly api?: string;
  /** It holds the engine lease. */
  readonly leader: boolean;
}

/** Machines that a unit was placed on, the last one last; kept when the unit is destroyed. Global units have none. */
export interface UnitHistory {
  readonly name: string;
  readonly entries: readonly {
    readonly machineId: string;
    /** Unix milliseconds. */
    readonly fromMs: number;
    readonly untilMs?: number;
    readonly why?: string;
  }[];
}
