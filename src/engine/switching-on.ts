import type { ClusterState } from "../cluster/cluster-state.ts";
import { assignmentOn, isPresent, type MachineEntry } from "../cluster/entries.ts";

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
 * It is while the leader's machine has just booted, nobody else is known to have been up for longer, and somebody who has units has not been seen since.
 */
export function switchingOnUntilMs(cluster: ClusterState, options: SwitchingOn): number {
  const { machineId, nonce, leadsSinceMs, bootGraceMs, now } = options;
  const machines = cluster.machineIds.flatMap((id) => cluster.machine(id) ?? []);
  const absent = machines.filter((machine) => !isPresent(machine) && machine.placed.length > 0);
  const self = cluster.machine(machineId);
  // Its record of the last boot has to end first, and those of others are as old: they tell nothing.
  if (self?.presence?.record.nonce !== nonce) {
    if (absent.length === 0) return Number.NEGATIVE_INFINITY;
    return Math.min(leadsSinceMs + bootGraceMs, now.monotonicMs + SELF_RECHECK_MS);
  }
  const hasJustBooted = ({ lastBootMs }: MachineEntry) =>
    lastBootMs !== undefined && Math.abs(now.wallMs - lastBootMs) < bootGraceMs;
  const { lastBootMs } = self;
  if (lastBootMs === undefined || !hasJustBooted(self)) return Number.NEGATIVE_INFINITY;
  if (absent.every((machine) => wasSeenSince(cluster, machine, self.rosterRevision)))
    return Number.NEGATIVE_INFINITY;
  const isSomebodyOlder = machines.some((machine) => isPresent(machine) && !hasJustBooted(machine));
  const forMs = isSomebodyOlder ? (self.presence.record.ttlMs ?? 0) : bootGraceMs;
  return now.monotonicMs + lastBootMs + forMs - now.wallMs;
}

/** It has come, or was given a unit, after that revision. */
function wasSeenSince(
  cluster: ClusterState,
  { id, rosterRevision, occupants }: MachineEntry,
  revision: number,
): boolean {
  if (rosterRevision > revision) return true;
  return [...occupants.keys()].some(
    (name) => (assignmentOn(cluster.unit(name), id)?.createRevision ?? 0) > revision,
  );
}
