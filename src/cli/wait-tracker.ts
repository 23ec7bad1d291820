import assert from "node:assert/strict";
import type { Notice, WatchLine } from "../api/protocol.ts";
import { type Failure, type Goal, type Progress, progress } from "../cluster/progress.ts";
import type { UnitView } from "../cluster/views.ts";

/** A reason has to stand this long: the engine may be about to change it. */
const BLOCKED_STANDS_MS = 700;
const AWAY_STANDS_MS = 1_000;
/** What somebody else did shows in views of any age; a lagging one has caught up by then. */
const FAILING_STANDS_MS = 3_000;
/** systemd was out of the agent's reach, which is no answer to what was asked of it: by then the agent has tried five times. */
const OUTAGE_STANDS_MS = 30_000;
const OUTAGES: readonly string[] = ["systemd-unavailable", "systemd-deadline"];
/** Longer than another engine takes to take over. */
const NO_ENGINE_STANDS_MS = 10_000;

export interface TrackerOptions {
  /** Milliseconds from the start of waiting; undefined: for as long as progress is possible. */
  readonly limitMs: number | undefined;
  /** Whether a machine that is away ends the waiting: nothing can be stopped there, but a start may still move. */
  readonly awayEnds: boolean;
}

export interface Tracked {
  readonly goal: Goal;
  readonly view: UnitView | undefined;
  readonly progress: Progress;
}

export interface Step {
  /** Newly reached. */
  readonly reached: readonly Tracked[];
  /** Newly found to be stuck: it failed, is blocked, or nobody can act on it. */
  readonly stuck: readonly Tracked[];
  readonly done: boolean;
  /** When to look again although nothing was heard. */
  readonly againMs: number | undefined;
}

interface Entry {
  readonly goal: Goal;
  view: UnitView | undefined;
  heard: boolean;
  progress: Progress;
  kind: string;
  sinceMs: number;
  reached: boolean;
  told: string | undefined;
}

/**
 * Follows the units of one command to where they were to get. A unit that has got there stays there, whatever happens later; one that is
 * stuck is told once its state has stood for a while, and ends the waiting unless a limit was given.
 */
export class WaitTracker {
  readonly #options: TrackerOptions;
  readonly #startedMs: number;
  readonly #entries: ReadonlyMap<string, Entry>;
  #engineMissing = false;

  constructor(goals: readonly Goal[], options: TrackerOptions & { readonly nowMs: number }) {
    this.#options = options;
    this.#startedMs = options.nowMs;
    this.#entries = new Map(goals.map((goal) => [goal.name, newEntry(goal, options.nowMs)]));
  }

  /** In the order of the goals. Those that were reached are left out. */
  get pending(): readonly Tracked[] {
    return [...this.#entries.values()].filter(({ reached }) => !reached);
  }

  line(line: WatchLine, nowMs: number): void {
    switch (line.type) {
      case "unit":
        this.#update(line.unit.name, line.unit, nowMs);
        break;
      case "gone":
        this.#update(line.name, undefined, nowMs);
        break;
      case "synced":
      case "notices":
        this.#notices(line.notices, nowMs);
        break;
      case "machines":
      case "alive":
        break;
    }
  }

  #update(name: string, view: UnitView | undefined, nowMs: number): void {
    const entry = this.#entries.get(name);
    if (entry === undefined || entry.reached) return;
    entry.view = view;
    entry.heard = true;
    entry.progress = progress(view, entry.goal);
    const kind = kindOf(entry.progress);
    if (kind !== entry.kind) entry.sinceMs = nowMs;
    entry.kind = kind;
  }

  #notices(notices: readonly Notice[], nowMs: number): void {
    const missing = notices.some(({ code }) => code === "no-engine");
    if (missing && !this.#engineMissing) {
      for (const entry of this.#entries.values()) {
        if (needsEngine(entry.progress)) entry.sinceMs = nowMs;
      }
    }
    this.#engineMissing = missing;
  }

  step(nowMs: number): Step {
    const reached: Tracked[] = [];
    const stuck: Tracked[] = [];
    const dueMs: number[] = [];
    let open = 0;
    for (const entry of this.#entries.values()) {
      if (entry.reached) continue;
      if (entry.heard && entry.progress.type === "reached") {
        entry.reached = true;
        reached.push({ ...entry });
        continue;
      }
      const standsMs = entry.heard ? this.#standsMs(entry.progress) : undefined;
      const settledMs = standsMs === undefined ? undefined : entry.sinceMs + standsMs;
      if (settledMs === undefined || settledMs > nowMs) {
        open += 1;
        if (settledMs !== undefined) dueMs.push(settledMs);
        continue;
      }
      if (entry.told !== entry.kind) stuck.push({ ...entry });
      entry.told = entry.kind;
      const final = entry.progress.type === "failed" && entry.progress.final;
      if (this.#options.limitMs !== undefined && !final) open += 1;
    }
    const endMs = this.#endMs();
    if (endMs !== undefined) dueMs.push(endMs);
    const done = open === 0 || (endMs !== undefined && endMs <= nowMs);
    return {
      reached,
      stuck,
      done,
      againMs: dueMs.length === 0 ? undefined : Math.max(0, Math.min(...dueMs) - nowMs),
    };
  }

  /** Whether the limit is over. */
  isOver(nowMs: number): boolean {
    const endMs = this.#endMs();
    return endMs !== undefined && endMs <= nowMs;
  }

  #endMs(): number | undefined {
    const { limitMs } = this.#options;
    return limitMs === undefined ? undefined : this.#startedMs + limitMs;
  }

  /** How long this has to last until it counts as the end of the matter; undefined: for ever. */
  #standsMs(state: Progress): number | undefined {
    switch (state.type) {
      case "failed":
        if (state.final) return 0;
        return isOutage(state.failure) ? OUTAGE_STANDS_MS : FAILING_STANDS_MS;
      case "blocked":
        return BLOCKED_STANDS_MS;
      case "away":
        return this.#options.awayEnds ? AWAY_STANDS_MS : undefined;
      case "waiting":
        return this.#engineMissing && needsEngine(state) ? NO_ENGINE_STANDS_MS : undefined;
      case "reached":
        return assert.fail("what is reached does not stand any more");
    }
  }
}

function newEntry(goal: Goal, nowMs: number): Entry {
  const first: Progress = { type: "waiting", on: { type: "registry" } };
  return {
    goal,
    view: undefined,
    heard: false,
    progress: first,
    kind: kindOf(first),
    sinceMs: nowMs,
    reached: false,
    told: undefined,
  };
}

function isOutage(failure: Failure): boolean {
  return failure.type === "task" && OUTAGES.includes(failure.error.code);
}

function needsEngine(state: Progress): boolean {
  return state.type === "waiting" && (state.on.type === "engine" || state.on.type === "room");
}

/** A change of kind begins the time anew; a change of detail (attempts, counts) does not. */
function kindOf(state: Progress): string {
  switch (state.type) {
    case "waiting":
      return `waiting ${state.on.type}`;
    case "failed":
      return `failed ${state.failure.type}`;
    default:
      return state.type;
  }
}
