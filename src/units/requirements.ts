/** What a unit asks of the scheduler: its [X-Fleet] section and the limits it sets itself, specifiers resolved for the unit's name. */
export interface Requirements {
  /** One copy on every machine that fits, instead of one copy in the cluster. */
  readonly global: boolean;
  /** Full machine id or its first eight characters. */
  readonly machineId: string | undefined;
  /** Machines it must not be on, written as `machineId` is. */
  readonly notMachineIds: readonly string[];
  /** Units that have to be on the same machine. */
  readonly machineOf: readonly string[];
  /** All have to hold. */
  readonly metadata: readonly MetadataRequirement[];
  /** As many as possible should hold, the first counting most. */
  readonly preferredMetadata: readonly MetadataRequirement[];
  /** Metadata key over whose values the instances of the template are spread. */
  readonly spreadBy: string | undefined;
  /** How many instances of the template one machine takes. */
  readonly maxPerMachine: number | undefined;
  /** How much of a machine the unit counts for when the least loaded one is looked for. */
  readonly weight: number;
  /** Glob patterns (Go `path.Match`) of units that may not be on the same machine. */
  readonly conflicts: readonly string[];
  /** Glob patterns of units that have to make room on the machine this one goes to. */
  readonly replaces: readonly string[];
  /** What has to be free on the machine; undefined: it sets no limits. */
  readonly reservation: Reservation | undefined;
  /** OnFailure=move; undefined: it stays where it failed. */
  readonly moveOnFailure: MoveOnFailure | undefined;
  /** Fencing=strict. */
  readonly fencing: Fencing | undefined;
  /** Of a global unit: on how many machines a change of it may be under way at once. */
  readonly maxUnavailable: number;
}

/** Of a unit that says Fencing=strict: it never runs while its machine does not hold its lease. */
export interface Fencing {
  /** How long its stop takes at the most, by its own text. */
  readonly stopMs: number;
}

/** A unit that failed for good is moved at most `limit` times within the interval. */
export interface MoveOnFailure {
  readonly limit: number;
  readonly intervalMs: number;
}

/**
 * `in`: the machine's value of `key` has to be one of `values`. `not-in`: it must be none of them, which a machine without the key
 * meets. Values may hold `%H` and `%m`, which the machine asked about fills in (specifiers.ts).
 */
export interface MetadataRequirement {
  readonly key: string;
  readonly operator: "in" | "not-in";
  readonly values: readonly string[];
}

/** What a unit may use at most, as systemd's own options say it, and so takes of a machine's capacity. */
export interface Reservation {
  /** MemoryMax=, else MemoryHigh=, else MemoryMin=. Bytes. */
  readonly memory: Amount | undefined;
  /** CPUQuota=, in cores: 150% is 1.5. */
  readonly cores: number | undefined;
  /** TasksMax=. */
  readonly tasks: Amount | undefined;
}

/** `share`: of what the whole machine has; 0.5 is half of it. */
export type Amount =
  | { readonly type: "absolute"; readonly amount: number }
  | { readonly type: "share"; readonly ratio: number };

export const NO_REQUIREMENTS: Requirements = {
  global: false,
  machineId: undefined,
  notMachineIds: [],
  machineOf: [],
  metadata: [],
  preferredMetadata: [],
  spreadBy: undefined,
  maxPerMachine: undefined,
  weight: 1,
  conflicts: [],
  replaces: [],
  reservation: undefined,
  moveOnFailure: undefined,
  fencing: undefined,
  maxUnavailable: 1,
};
