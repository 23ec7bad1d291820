import type { ClusterState } from "../cluster/cluster-state.ts";
import { isConfirmedLost, isPresent } from "../cluster/entries.ts";
import {
  type Absences,
  judgeLosses,
  type LossJudgement,
  type LossRules,
  NOTHING_LOST,
  type PresenceNow,
  trackAbsences,
} from "../cluster/presence.ts";
import { type SwitchingOn, switchingOnUntilMs } from "./switching-on.ts";

/** The leader's view of who is away since when, and who of them is given up. */
export class LossTracker {
  readonly #rules: Omit<LossRules, "graceUntilMs">;
  readonly #leader: Omit<SwitchingOn, "now">;
  #graceUntilMs = Number.NEGATIVE_INFINITY;
  #bootGraceUntilMs = Number.NEGATIVE_INFINITY;
  readonly #heldUntilMs = new Map<string, number>();
  #absences: Absences | undefined;
  #judgement: LossJudgement = NOTHING_LOST;

  constructor(rules: Omit<LossRules, "graceUntilMs">, leader: Omit<SwitchingOn, "now">) {
    this.#rules = rules;
    this.#leader = leader;
  }

  get judgement(): LossJudgement {
    return this.#judgement;
  }

  /** The registry was out of reach: until then no absence counts, for whoever is late has the same reason. */
  holdUntil(graceUntilMs: number): void {
    this.#graceUntilMs = Math.max(this.#graceUntilMs, graceUntilMs);
  }

  /** Nobody else is there: until then no absence counts, or until every machine has been there. */
  holdUntilAllPresent(graceUntilMs: number): void {
    this.#bootGraceUntilMs = graceUntilMs;
  }

  /** Looks again; gives the machines of which something else is to be believed now. */
  update(cluster: ClusterState, now: SwitchingOn["now"]): readonly string[] {
    const nowMs = now.monotonicMs;
    const presence = presenceNow(cluster);
    if (presence.absent.size === 0) this.#bootGraceUntilMs = Number.NEGATIVE_INFINITY;
    this.#absences = trackAbsences(this.#absences, presence, nowMs);
    const graceUntilMs = Math.max(
      this.#graceUntilMs,
      this.#bootGraceUntilMs,
      switchingOnUntilMs(cluster, { ...this.#leader, now }),
    );
    const before = this.#judgement;
    const after = judgeLosses(this.#absences, {
      nowMs,
      rules: { ...this.#rules, graceUntilMs },
      isConfirmed: (id) => isConfirmedLost(cluster.machine(id)),
      heldUntilMs: this.#heldUntilMs,
    });
    this.#noteHeld(before, after, nowMs);
    this.#judgement = after;
    const concerned = new Set([...before.lost, ...before.held.keys()]);
    for (const id of [...after.lost, ...after.held.keys()]) concerned.add(id);
    return [...concerned].filter(
      (id) =>
        before.lost.has(id) !== after.lost.has(id) || before.held.get(id) !== after.held.get(id),
    );
  }

  /** When others of a mass loss return, whoever is still away stays held as long as a mass loss is held at most. */
  #noteHeld(before: LossJudgement, after: LossJudgement, nowMs: number): void {
    for (const id of [...this.#heldUntilMs.keys()]) {
      if (after.held.get(id) !== "mass-loss") this.#heldUntilMs.delete(id);
    }
    for (const [id, why] of after.held) {
      if (why === "mass-loss" && before.held.get(id) !== "mass-loss") {
        this.#heldUntilMs.set(id, nowMs + this.#rules.massHoldMs);
      }
    }
  }
}

function presenceNow(cluster: ClusterState): PresenceNow {
  const present = new Set<string>();
  const absent = new Map<string, { holdsUnits: boolean }>();
  for (const id of cluster.machineIds) {
    const machine = cluster.machine(id);
    if (machine === undefined) continue;
    if (isPresent(machine)) present.add(id);
    else absent.set(id, { holdsUnits: machine.placed.length > 0 });
  }
  return { present, absent };
}
