import type { WatchLine } from "../api/protocol.ts";
import type { Goal } from "../cluster/progress.ts";
import type { MachineLegend } from "../cluster/reason-text.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { type CancelTimer, sleep } from "../runtime/clock.ts";
import { FleetError, isFleetError } from "../runtime/errors.ts";
import type { Context } from "./context.ts";
import { ApiError } from "./http-client.ts";
import { waitText } from "./progress-text.ts";
import { type Tracked, WaitTracker } from "./wait-tracker.ts";

/** The API says `alive` every 5 s. */
const SILENCE_MAX_MS = 15_000;
/** A restart of the daemon takes about a second. */
const RECONNECTS_MAX = 8;
const RECONNECTS_OF_RESTART = 4;
const RECONNECT_BACKOFF = { firstMs: 100, maxMs: 2_000 };
const REDRAW_MS = 250;

export interface WaitOptions {
  readonly limitMs: number | undefined;
  readonly awayEnds: boolean;
  readonly legend: MachineLegend;
  readonly onReached: (unit: Tracked) => void;
  readonly onStuck: (unit: Tracked) => void;
}

export interface WaitResult {
  /** Not reached, in the order of the goals. */
  readonly pending: readonly Tracked[];
  readonly timedOut: boolean;
}

/**
 * Waits on one watch of all the units, until each has got to its goal or is stuck, or the limit is over.
 * A daemon that restarts meanwhile is waited for too.
 */
export async function waitFor(
  context: Context,
  goals: readonly Goal[],
  options: WaitOptions,
): Promise<WaitResult> {
  const { clock } = context;
  if (goals.length === 0) return { pending: [], timedOut: false };
  const tracker = new WaitTracker(goals, { ...options, nowMs: clock.monotonicMs() });
  const end = new AbortController();
  let cancelStep: CancelTimer | undefined;
  const step = () => {
    cancelStep?.();
    const { reached, stuck, done, againMs } = tracker.step(clock.monotonicMs());
    for (const unit of reached) options.onReached(unit);
    for (const unit of stuck) options.onStuck(unit);
    if (done) end.abort();
    else if (againMs !== undefined) cancelStep = clock.setTimer(againMs, step);
  };
  const stopRedrawing = redraw(context, tracker, options.legend);
  try {
    step();
    const onLine = (line: WatchLine) => {
      tracker.line(line, clock.monotonicMs());
      step();
    };
    await followWatch(context, {
      names: goals.map(({ name }) => name),
      onLine,
      signal: end.signal,
    });
  } finally {
    cancelStep?.();
    stopRedrawing();
    context.waitingLine.clear();
  }
  return { pending: tracker.pending, timedOut: tracker.isOver(clock.monotonicMs()) };
}

/** Tells of every line until `signal` aborts; a daemon that restarts meanwhile is waited for. */
export async function followWatch(
  context: Context,
  options: {
    readonly names: readonly string[];
    readonly onLine: (line: WatchLine) => void;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { clock, client } = context;
  const { signal, names, onLine } = options;
  let isSaid = false;
  for (let failures = 0; !signal.aborted; ) {
    const connection = new AbortController();
    const cut = () => connection.abort();
    signal.addEventListener("abort", cut, { once: true });
    let cancelSilence = clock.setTimer(SILENCE_MAX_MS, cut);
    try {
      for await (const line of client.watch(names, connection.signal)) {
        cancelSilence();
        cancelSilence = clock.setTimer(SILENCE_MAX_MS, cut);
        failures = 0;
        onLine(line);
        if (signal.aborted) break;
      }
    } catch (error) {
      if (!signal.aborted && !connection.signal.aborted && !passes(error)) throw error;
    } finally {
      cancelSilence();
      signal.removeEventListener("abort", cut);
    }
    if (signal.aborted) return;
    failures += 1;
    if (!isSaid && (connection.signal.aborted || failures > RECONNECTS_OF_RESTART)) {
      context.err("no word from fleetd-ts while waiting: trying again");
      isSaid = true;
    }
    if (failures > RECONNECTS_MAX) throw connectionLost();
    try {
      await sleep(clock, backoffMs(failures, RECONNECT_BACKOFF), signal);
    } catch {
      // Done while waiting: the loop ends.
    }
  }
}

/** The daemon is being restarted, or has lost its registry for a while. */
function passes(error: unknown): boolean {
  if (error instanceof ApiError) return error.status >= 500;
  return isFleetError(error, "api-unavailable");
}

function connectionLost(): FleetError {
  return new FleetError(
    "api-unavailable",
    "lost fleetd-ts while waiting; what was asked for stays recorded: look with fleetctl-ts list-unit-files",
  );
}

function redraw(context: Context, tracker: WaitTracker, legend: MachineLegend): () => void {
  let cancel: CancelTimer;
  const draw = () => {
    cancel = context.clock.setTimer(REDRAW_MS, draw);
    const { pending } = tracker;
    const [first] = pending;
    if (first === undefined) return;
    const rest = pending.length === 1 ? "" : `, and ${pending.length - 1} more`;
    context.waitingLine.show(pendingText(first, legend) + rest);
  };
  cancel = context.clock.setTimer(REDRAW_MS, draw);
  return () => cancel();
}

/** What is stuck is told in full once it has stood for a while; here a word does. */
function pendingText({ goal, progress }: Tracked, legend: MachineLegend): string {
  const what = progress.type === "waiting" ? waitText(progress.on, legend) : progress.type;
  return `${goal.name}: ${what}`;
}
