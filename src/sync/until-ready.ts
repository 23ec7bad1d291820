import { type Goal, progress } from "../cluster/progress.ts";
import { blockedPhrase } from "../cluster/reason-text.ts";
import type { BlockedReasonView, UnitView } from "../cluster/views.ts";
import type { CancelTimer, Clock } from "../runtime/clock.ts";
import type { UnitFollower } from "./unit-follower.ts";

/** A unit on its way to where a version wants it. */
export interface Awaited {
  readonly goal: Goal;
  /** Whether a machine held it before: if none takes it now, that is the new version's doing. */
  readonly held: boolean;
}

export type Arrival =
  | { readonly type: "ready"; readonly unit: string }
  /** `waits`: no machine takes it now, which the cluster decides and may change. */
  | { readonly type: "failed" | "waits"; readonly unit: string; readonly why: string };

/** A reason has to stand this long: the engine may be about to change it. */
const BLOCKED_STANDS_MS = 1_000;

/** Tells of each unit what has become of it, and resolves with the last. Those that are not there after `readyMs` have failed. */
export async function untilReady(
  units: readonly Awaited[],
  options: {
    readonly follower: UnitFollower;
    readonly clock: Clock;
    readonly readyMs: number;
    readonly onArrival: (arrival: Arrival) => void;
  },
): Promise<void> {
  const { follower, clock, readyMs, onArrival } = options;
  const open = new Map(units.map((unit) => [unit.goal.name, unit]));
  const blocked = new Map<string, CancelTimer>();
  const ended = new AbortController();
  const settle = (arrival: Arrival) => {
    forget(blocked, arrival.unit);
    if (!open.delete(arrival.unit)) return;
    onArrival(arrival);
    if (open.size === 0) ended.abort();
  };
  const look = ({ goal, held }: Awaited, view: UnitView | undefined) => {
    const unit = goal.name;
    const now = progress(view, goal);
    if (now.type !== "blocked") forget(blocked, unit);
    if (now.type === "reached") settle({ type: "ready", unit });
    else if (now.type === "failed" && now.final) {
      settle({ type: "failed", unit, why: failureText(now) });
    } else if (now.type === "blocked" && !blocked.has(unit)) {
      const settleBlocked = () => settle(blockedArrival(unit, { held, reasons: now.reasons }));
      blocked.set(unit, clock.setTimer(BLOCKED_STANDS_MS, settleBlocked));
    }
  };
  if (units.length === 0) return;
  try {
    await follower.until({
      names: units.map(({ goal }) => goal.name),
      clock,
      limitMs: readyMs,
      ended: ended.signal,
      look: (_, { name, view }) => {
        const unit = open.get(name);
        if (unit !== undefined) look(unit, view);
        return open.size === 0;
      },
    });
  } finally {
    for (const unit of [...blocked.keys()]) forget(blocked, unit);
  }
  for (const unit of [...open.keys()]) settle({ type: "failed", unit, why: "not ready in time" });
}

function forget(timers: Map<string, CancelTimer>, unit: string): void {
  timers.get(unit)?.();
  timers.delete(unit);
}

function blockedArrival(
  unit: string,
  { held, reasons }: { readonly held: boolean; readonly reasons: readonly BlockedReasonView[] },
): Arrival {
  return { type: held ? "failed" : "waits", unit, why: blockedPhrase(reasons) };
}

function failureText(failed: Extract<ReturnType<typeof progress>, { type: "failed" }>): string {
  const { failure } = failed;
  switch (failure.type) {
    case "start":
      return `its start ended in ${failure.state.result || failure.outcome} (${failure.state.active})`;
    case "load":
      return `systemd says ${failure.load}`;
    case "task":
      return failure.error.message;
    case "superseded":
      return "somebody changed it meanwhile";
  }
}
