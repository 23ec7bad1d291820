/** What a unit's [X-Fleet] section asks of the scheduler, specifiers resolved for the unit's name. */
export interface Requirements {
  /** One copy on every machine that fits, instead of one copy in the cluster. */
  readonly global: boolean;
  /** Full machine id or its first eight characters. */
  readonly machineId: string | undefined;
  /** Units that have to be on the same machine. */
  readonly machineOf: readonly string[];
  /** All have to hold. */
  readonly metadata: readonly MetadataRequirement[];
  /** Glob patterns (Go `path.Match`) of units that may not be on the same machine. */
  readonly conflicts: readonly string[];
  /** Glob patterns of units that have to make room on the machine this one goes to. */
  readonly replaces: readonly string[];
}

/** The machine's value of `key` has to be one of `values`. */
export interface MetadataRequirement {
  readonly key: string;
  readonly values: readonly string[];
}

export const NO_REQUIREMENTS: Requirements = {
  global: false,
  machineId: undefined,
  machineOf: [],
  metadata: [],
  conflicts: [],
  replaces: [],
};
