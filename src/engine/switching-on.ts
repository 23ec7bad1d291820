import type { ClusterState } from "../cluster/cluster-state.ts";
import { isPresent, type MachineEntry } from "../cluster/entries.ts";

export interface SwitchingOn {
  /** The leader's own machine and process. */
  readonly machineId: string;
  readonly nonce: string;
  /** When it took the lead (monotonic). */
  readonly leadsSinceMs: number;
  readonly bootGraceMs: number;
  readonly now: { readonly monotonicMs: number; readonly wallMs: number };
}

/** How often a leader looks whether its own machine is present by now. */
const SELF_RECHECK_MS = 1_000;

/**
 * Until when (monotonic) no absence counts because the whole cluster is being switched on, and not all machines boot equally fast; in the past where it is not.
 * It is while the leader's machine has just booted, nobody else is known to have been up for longer, and somebody who had units has not been seen since.
 */
export function switchingOnUntilMs(cluster: ClusterState, options: SwitchingOn): number {
  const { machineId, nonce, leadsSinceMs, bootGraceMs, now } = options;
  const hasJustBooted = ({ lastBootMs }: MachineEntry) =>
    lastBootMs !== undefined && Math.abs(now.wallMs - lastBootMs) < bootGraceMs;
  let isSomebodyMissing = false;
  let isSomebodyOlder = false;
  for (const id of cluster.machineIds) {
    const machine = cluster.machine(id);
    if (machine === undefined || id === machineId || hasJustBooted(machine)) continue;
    if (isPresent(machine)) isSomebodyOlder = true;
    else if (machine.placed.size > 0) isSomebodyMissing = true;
  }
  if (!isSomebodyMissing) return Number.NEGATIVE_INFINITY;
  const self = cluster.machine(machineId);
  // Its record of the last boot has to end first, and those of others are as old: they tell nothing.
  if (self?.presence?.record.nonce !== nonce) {
    return Math.min(leadsSinceMs + bootGraceMs, now.monotonicMs + SELF_RECHECK_MS);
  }
  if (self.lastBootMs === undefined || !hasJustBooted(self)) return Number.NEGATIVE_INFINITY;
  const forMs = isSomebodyOlder ? (self.presence.record.ttlMs ?? 0) : bootGraceMs;
  return now.monotonicMs + self.lastBootMs + forMs - now.wallMs;
}
