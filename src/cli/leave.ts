import type { UnitView } from "../cluster/views.ts";
import type { CancelTimer } from "../runtime/clock.ts";
import type { Context } from "./context.ts";
import { type LeaveEnd, type Leaver, LeaveTracker } from "./leave-tracker.ts";
import { followWatch } from "./wait.ts";

const REDRAW_MS = 250;

export interface LeaveOptions {
  readonly machineId: string;
  readonly units: readonly UnitView[];
  /** Undefined: for as long as something can happen. With a limit, what is stuck is waited for too. */
  readonly limitMs: number | undefined;
  readonly onLeft: (unit: Leaver) => void;
  readonly waitText: (units: readonly Leaver[]) => string;
  /** Called when nothing has been on its way for a while; false ends the waiting. */
  readonly isStillWanted: () => Promise<boolean>;
}

export interface LeaveResult {
  readonly end: LeaveEnd | "timed-out" | "called-off";
  readonly units: readonly Leaver[];
}

/** Waits on one watch until the units have left the machine, or cannot. */
export async function untilLeft(context: Context, options: LeaveOptions): Promise<LeaveResult> {
  const { clock } = context;
  const { machineId, units, limitMs, onLeft } = options;
  const startMs = clock.monotonicMs();
  const tracker = new LeaveTracker(machineId, { units, nowMs: startMs });
  if (units.length === 0) return { end: "done", units: [] };
  const over = new AbortController();
  let end: LeaveResult["end"] | undefined;
  let asking: Promise<void> | undefined;
  let cancelStep: CancelTimer | undefined;
  const finish = (how: LeaveResult["end"]) => {
    end ??= how;
    over.abort();
  };
  const ask = async () => {
    if (!(await options.isStillWanted())) finish("called-off");
    asking = undefined;
  };
  const step = () => {
    cancelStep?.();
    if (over.signal.aborted) return;
    const nowMs = clock.monotonicMs();
    const { left, end: reached, isIdle, againMs } = tracker.step(nowMs);
    for (const unit of left) onLeft(unit);
    const isOver = limitMs !== undefined && nowMs - startMs >= limitMs;
    if (reached === "done" || (reached !== undefined && (limitMs === undefined || isOver))) {
      finish(reached);
    } else if (isOver) {
      finish("timed-out");
    } else {
      if (isIdle) asking ??= ask().catch(() => undefined);
      const leftMs = limitMs === undefined ? undefined : startMs + limitMs - nowMs;
      const nextMs = Math.min(
        againMs ?? Number.POSITIVE_INFINITY,
        leftMs ?? Number.POSITIVE_INFINITY,
      );
      if (Number.isFinite(nextMs)) cancelStep = clock.setTimer(Math.max(1, nextMs), step);
    }
  };
  const stopRedrawing = redraw(context, () => options.waitText(tracker.units));
  const names = units.map(({ name }) => name);
  try {
    step();
    await followWatch(context, {
      names,
      onLine: (line) => {
        tracker.line(line, clock.monotonicMs());
        step();
      },
      signal: over.signal,
    });
  } finally {
    over.abort();
    cancelStep?.();
    stopRedrawing();
    context.waitingLine.clear();
  }
  await asking;
  return { end: end ?? "timed-out", units: tracker.units };
}

function redraw({ clock, waitingLine }: Context, text: () => string): () => void {
  let cancel: CancelTimer;
  const draw = () => {
    cancel = clock.setTimer(REDRAW_MS, draw);
    waitingLine.show(text());
  };
  cancel = clock.setTimer(REDRAW_MS, draw);
  return () => cancel();
}
