import { LOSS_RULES, type LossRules } from "../cluster/presence.ts";

export interface EngineTuning {
  /** Within this time another engine takes over from one that died. */
  readonly leaderTtlMs: number;
  /** How long nobody counts as lost for a leader that is alone or had lost the store. */
  readonly bootGraceMs: number;
  readonly loss: Omit<LossRules, "graceUntilMs">;
}

/** What may be set from outside; all of it has defaults. */
export interface EngineLimits {
  readonly leaderTtlMs?: number | undefined;
  readonly bootGraceMs?: number | undefined;
  /** Machines that go within this time of one another went at once. */
  readonly lossWindowMs?: number | undefined;
  /** How long a loss is watched before it is believed, from three machines on: others may follow. */
  readonly lossSettleMs?: number | undefined;
  readonly massHoldMs?: number | undefined;
}

const LEADER_TTL_MS = 5_000;
const BOOT_GRACE_MS = 60_000;

export function engineTuning(limits: EngineLimits = {}): EngineTuning {
  return {
    leaderTtlMs: limits.leaderTtlMs ?? LEADER_TTL_MS,
    bootGraceMs: limits.bootGraceMs ?? BOOT_GRACE_MS,
    loss: {
      ...LOSS_RULES,
      massWindowMs: limits.lossWindowMs ?? LOSS_RULES.massWindowMs,
      settleMs: limits.lossSettleMs ?? LOSS_RULES.settleMs,
      massHoldMs: limits.massHoldMs ?? LOSS_RULES.massHoldMs,
    },
  };
}
