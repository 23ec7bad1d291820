import type { WatchLine } from "../api/protocol.ts";
import type { UnitView } from "../cluster/views.ts";
import { isUpOn, type Leaving, leavingOf } from "./leaving.ts";

/** What is final only if it lasts: the engine may be about to change it. */
const STANDS_MS = { stuck: 1_500, failed: 3_000, idle: 3_000, noEngine: 10_000 } as const;

export interface Leaver {
  readonly name: string;
  readonly global: boolean;
  readonly view: UnitView | undefined;
  readonly leaving: Leaving;
  /** How long it was down; undefined when it was not up before or is not yet again. */
  readonly downMs: number | undefined;
  /** It was never seen down, as changes that are close come as one: `downMs` is the most it can have been. */
  readonly isDownUnseen: boolean;
}

/** How a wait for units to leave ends, if it does. */
export type LeaveEnd = "done" | "failed" | "stuck" | "no-engine";

export interface LeaveStep {
  /** Units that have left since the last step. */
  readonly left: readonly Leaver[];
  readonly end: LeaveEnd | undefined;
  /** Nothing is on its way although units wait for their turn: somebody may have ended the drain. */
  readonly isIdle: boolean;
  /** When to look again although nothing was heard. */
  readonly againMs: number | undefined;
}

interface Entry {
  readonly name: string;
  global: boolean;
  view: UnitView | undefined;
  leaving: Leaving;
  isHeard: boolean;
  isTold: boolean;
  /** When it was last told to be up on the machine that it leaves. */
  upMs: number | undefined;
  downSinceMs: number | undefined;
  downMs: number | undefined;
  isDownUnseen: boolean;
}

/** Follows the units of one machine until they have left it. */
export class LeaveTracker {
  readonly #machineId: string;
  readonly #entries: ReadonlyMap<string, Entry>;
  #isEngineMissing = false;
  #kind = "";
  #kindSinceMs: number;

  constructor(
    machineId: string,
    { units, nowMs }: { readonly units: readonly UnitView[]; readonly nowMs: number },
  ) {
    this.#machineId = machineId;
    this.#kindSinceMs = nowMs;
    this.#entries = new Map(units.map((view) => [view.name, newEntry(view, { machineId, nowMs })]));
  }

  get units(): readonly Leaver[] {
    return [...this.#entries.values()];
  }

  line(line: WatchLine, nowMs: number): void {
    if (line.type === "unit") this.#update(line.unit.name, line.unit, nowMs);
    if (line.type === "gone") this.#update(line.name, undefined, nowMs);
    if (line.type === "synced" || line.type === "notices") {
      this.#isEngineMissing = line.notices.some(({ code }) => code === "no-engine");
    }
  }

  #update(name: string, view: UnitView | undefined, nowMs: number): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    entry.isHeard = true;
    entry.view = view;
    entry.leaving = leavingOf(view, this.#machineId);
    if (isUpOn(view, this.#machineId)) {
      entry.upMs = nowMs;
      entry.downSinceMs = undefined;
    } else if (view?.machineId !== undefined && isUpOn(view, view.machineId)) {
      entry.isDownUnseen = entry.downSinceMs === undefined;
      const sinceMs = entry.downSinceMs ?? entry.upMs;
      if (sinceMs !== undefined) entry.downMs ??= Math.round(nowMs - sinceMs);
    } else if (entry.upMs !== undefined) {
      entry.downSinceMs ??= nowMs;
    }
  }

  step(nowMs: number): LeaveStep {
    const left: Leaver[] = [];
    for (const entry of this.#entries.values()) {
      const isLeft = entry.leaving.type === "moved" || entry.leaving.type === "gone";
      if (!entry.isHeard || entry.isTold || !isLeft) continue;
      entry.isTold = true;
      left.push({ ...entry });
    }
    const kind = this.#kindNow();
    if (kind !== this.#kind) this.#kindSinceMs = nowMs;
    this.#kind = kind;
    const standsMs = kind === "busy" || kind === "done" ? 0 : STANDS_MS[kind];
    const leftMs = this.#kindSinceMs + standsMs - nowMs;
    const isFinal = leftMs <= 0;
    return {
      left,
      end: !isFinal || kind === "busy" || kind === "idle" ? undefined : endOf(kind),
      isIdle: isFinal && kind === "idle",
      againMs: kind === "busy" ? undefined : isFinal ? STANDS_MS.idle : leftMs,
    };
  }

  #kindNow(): "done" | "busy" | keyof typeof STANDS_MS {
    const entries = [...this.#entries.values()];
    if (entries.some(({ isHeard }) => !isHeard)) return "busy";
    const has = (type: Leaving["type"]) => entries.some(({ leaving }) => leaving.type === type);
    if (!has("waits") && !has("moves") && !has("stuck") && !has("failed")) return "done";
    if (this.#isEngineMissing) return "noEngine";
    if (has("failed")) return "failed";
    if (has("moves")) return "busy";
    // Global units wait for those that are stuck.
    const isWaiting = entries.some(({ leaving, global }) => leaving.type === "waits" && !global);
    return !isWaiting && has("stuck") ? "stuck" : "idle";
  }
}

function endOf(kind: "done" | "stuck" | "failed" | "noEngine"): LeaveEnd {
  return kind === "noEngine" ? "no-engine" : kind;
}

function newEntry(
  view: UnitView,
  { machineId, nowMs }: { readonly machineId: string; readonly nowMs: number },
): Entry {
  return {
    name: view.name,
    global: view.global,
    view,
    leaving: leavingOf(view, machineId),
    isHeard: false,
    isTold: false,
    upMs: isUpOn(view, machineId) ? nowMs : undefined,
    downSinceMs: undefined,
    downMs: undefined,
    isDownUnseen: false,
  };
}
