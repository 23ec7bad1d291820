import type { StateRecord } from "../registry/records.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { AgentTask, DesiredUnit } from "./reconcile.ts";
import type { Claim, StatePublisher } from "./state-publisher.ts";

export interface UnheldUnitsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly publisher: StatePublisher;
  /** Its state may have changed: publish. */
  readonly onState: (unit: string) => void;
}

/** A task of a pass, and what the unit is to be like after it. */
export interface Step {
  readonly task: AgentTask;
  /** Undefined: the unit is not wanted here. */
  readonly desired: DesiredUnit | undefined;
}

/** How long a refused name stays refused, so that a unit is not sent back and forth. */
const TAKEN_MS = 60_000;

/** Units that are not on the machine and yet have a state: claimed before they are touched, or refused because their name is taken (I11). */
export class UnheldUnits {
  readonly #options: UnheldUnitsOptions;
  /** Claimed in the registry and not yet on disk, with their state as claimed. */
  readonly #claims = new Map<string, StateRecord>();
  readonly #taken = new Map<string, { readonly state: StateRecord; readonly untilMs: number }>();

  constructor(options: UnheldUnitsOptions) {
    this.#options = options;
  }

  state(unit: string): StateRecord | undefined {
    return this.#claims.get(unit) ?? this.#taken.get(unit)?.state;
  }

  /** True if there was a claim. */
  forgetClaim(unit: string): boolean {
    return this.#claims.delete(unit);
  }

  forgetClaims(): void {
    this.#claims.clear();
  }

  /** What is said of a unit whose name is taken. */
  taken(unit: string): StateRecord | undefined {
    return this.#taken.get(unit)?.state;
  }

  forgetTaken(unit: string): void {
    this.#taken.delete(unit);
  }

  /** In how many milliseconds each refusal ends. */
  takenForMs(nowMs: number): readonly number[] {
    return [...this.#taken.values()].map(({ untilMs }) => Math.max(0, untilMs - nowMs));
  }

  /** Forgets refusals that are over; gives their units. */
  endTaken(nowMs: number): readonly string[] {
    const over = [...this.#taken].filter(([, { untilMs }]) => untilMs <= nowMs);
    for (const [unit] of over) this.#taken.delete(unit);
    return over.map(([unit]) => unit);
  }

  /** Keeps the steps that may be done: what comes new to this machine has to be claimed first. */
  async claim(steps: readonly Step[], signal: AbortSignal): Promise<readonly Step[]> {
    const { publisher, onState } = this.#options;
    const unclaimed = steps.filter(
      ({ task, desired }) =>
        desired !== undefined &&
        (task.type === "write" || task.type === "start") &&
        !publisher.isPublished(task.unit),
    );
    if (unclaimed.length === 0) return steps;
    const claims = unclaimed.flatMap(({ task, desired }) =>
      desired === undefined
        ? []
        : [{ unit: task.unit, assignmentRevision: desired.revision, state: claimedState(desired) }],
    );
    const refused = new Set(claims.map(({ unit }) => unit));
    const onClaimed = ({ unit, state }: Claim) => {
      this.#claims.set(unit, state);
      refused.delete(unit);
    };
    try {
      await publisher.claim(claims, onClaimed, signal);
    } finally {
      // The answer to a claim may be lost: it is taken back, or made again.
      for (const unit of refused) onState(unit);
    }
    return steps.filter(({ task }) => !refused.has(task.unit));
  }

  refuse(desired: DesiredUnit, path: string): void {
    const { clock, logger } = this.#options;
    const from = path === "" ? "a unit without a file" : path;
    const message = `the machine has ${desired.unit} from elsewhere (${from}): submit the unit under another name`;
    const state = {
      ...claimedState(desired),
      error: { task: "write", code: "name-taken", message, attempts: 1 },
    };
    this.#taken.set(desired.unit, { state, untilMs: clock.monotonicMs() + TAKEN_MS });
    logger.warn("name-taken", { unit: desired.unit, path });
  }
}

function claimedState(desired: DesiredUnit): StateRecord {
  return {
    identity: desired.identity,
    manifest: desired.manifest,
    hash: "",
    current: "inactive",
    load: "",
    active: "inactive",
    sub: "dead",
    result: "",
    mainPid: 0,
    sinceMs: 0,
  };
}
