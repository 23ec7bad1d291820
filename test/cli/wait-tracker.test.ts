import assert from "node:assert/strict";
import { test } from "node:test";
import type { Notice } from "../../src/api/protocol.ts";
import { type Tracked, WaitTracker } from "../../src/cli/wait-tracker.ts";
import type { Goal } from "../../src/cluster/progress.ts";
import { M1, state, unit } from "./views.ts";

const GOAL: Goal = { name: "a.service", state: "launched", identity: 7, restarts: 0 };
const ASSIGNED = [{ machineId: M1, target: "launched" as const, present: true }];
const STARTING = unit({ assigned: ASSIGNED, states: [] });
const RUNNING = unit({ assigned: ASSIGNED, states: [state()] });
const BLOCKED = unit({
  blocked: [{ reason: { type: "no-machines" }, machines: 0, examples: [] }],
});
const FAILED = unit({
  assigned: ASSIGNED,
  states: [state({ active: "failed", start: { restarts: 0, outcome: "failed" } })],
});
const AWAY = unit({ assigned: [{ machineId: M1, target: "launched", present: false }] });
const NO_ENGINE: readonly Notice[] = [{ code: "no-engine", message: "No engine is running" }];

function tracker(
  goals: readonly Goal[] = [GOAL],
  options: { limitMs?: number; awayEnds?: boolean } = {},
): WaitTracker {
  const { limitMs, awayEnds = false } = options;
  return new WaitTracker(goals, { limitMs, awayEnds, nowMs: 0 });
}

const names = (units: readonly Tracked[]) => units.map(({ goal }) => goal.name);

test("waiting ends when the unit is there, told once", () => {
  const waiting = tracker();
  assert.deepEqual(waiting.step(0), { reached: [], stuck: [], done: false, againMs: undefined });
  waiting.line({ type: "unit", unit: STARTING }, 10);
  assert.equal(waiting.step(10).done, false);
  waiting.line({ type: "unit", unit: RUNNING }, 20);
  const step = waiting.step(20);
  assert.deepEqual([names(step.reached), step.done], [["a.service"], true]);
  assert.deepEqual(names(waiting.step(30).reached), []);
});

test("what was reached stays reached while others are waited for", () => {
  const waiting = tracker([GOAL, { ...GOAL, name: "b.service" }]);
  waiting.line({ type: "unit", unit: RUNNING }, 0);
  waiting.line({ type: "unit", unit: { ...STARTING, name: "b.service" } }, 0);
  assert.deepEqual(names(waiting.step(0).reached), ["a.service"]);
  waiting.line({ type: "unit", unit: FAILED }, 10);
  const step = waiting.step(10);
  assert.deepEqual([step.done, names(waiting.pending)], [false, ["b.service"]]);
});

test("a reason ends the waiting once it has stood for a while", () => {
  const waiting = tracker();
  waiting.line({ type: "unit", unit: BLOCKED }, 100);
  const first = waiting.step(100);
  assert.deepEqual([first.done, first.againMs], [false, 700]);
  const second = waiting.step(800);
  assert.deepEqual([second.done, names(second.stuck)], [true, ["a.service"]]);
});

test("a reason that goes away in time is not told", () => {
  const waiting = tracker();
  waiting.line({ type: "unit", unit: BLOCKED }, 0);
  waiting.line({ type: "unit", unit: STARTING }, 600);
  assert.deepEqual(waiting.step(900), { reached: [], stuck: [], done: false, againMs: undefined });
});

test("counts that change do not begin the time of a reason anew", () => {
  const waiting = tracker();
  waiting.line({ type: "unit", unit: BLOCKED }, 0);
  const [first] = BLOCKED.blocked;
  assert.ok(first);
  waiting.line({ type: "unit", unit: { ...BLOCKED, blocked: [{ ...first, machines: 3 }] } }, 600);
  assert.equal(waiting.step(700).done, true);
});

test("with a limit the reason is told once and waited on until the limit", () => {
  const waiting = tracker([GOAL], { limitMs: 5_000 });
  waiting.line({ type: "unit", unit: BLOCKED }, 0);
  const told = waiting.step(700);
  assert.deepEqual([names(told.stuck), told.done, told.againMs], [["a.service"], false, 4_300]);
  assert.deepEqual(names(waiting.step(800).stuck), []);
  assert.equal(waiting.isOver(4_999), false);
  assert.deepEqual([waiting.step(5_000).done, waiting.isOver(5_000)], [true, true]);
});

test("a failed start ends the waiting at once, with or without a limit", () => {
  for (const limits of [{}, { limitMs: 5_000 }]) {
    const waiting = tracker([GOAL], limits);
    waiting.line({ type: "unit", unit: FAILED }, 10);
    const step = waiting.step(10);
    assert.deepEqual([names(step.stuck), step.done], [["a.service"], true]);
  }
});

test("a task that fails ends the waiting soon, and one that systemd was away for only when its return has been waited for", () => {
  for (const [code, standsMs] of [
    ["systemd-refused", 3_000],
    ["systemd-unavailable", 30_000],
    ["systemd-deadline", 30_000],
  ] as const) {
    const failing = (attempts: number) => {
      const error = { task: "stop", code, message: "cannot stop it", attempts };
      return unit({ assigned: ASSIGNED, states: [state({ error })] });
    };
    const waiting = tracker();
    waiting.line({ type: "unit", unit: failing(1) }, 0);
    waiting.line({ type: "unit", unit: failing(2) }, 1_000);
    assert.deepEqual([waiting.step(1_000).done, waiting.step(standsMs - 1).done], [false, false]);
    assert.deepEqual(names(waiting.step(standsMs).stuck), ["a.service"], code);
    const late = tracker();
    late.line({ type: "unit", unit: failing(2) }, 0);
    late.line({ type: "unit", unit: RUNNING }, standsMs - 1);
    assert.deepEqual(names(late.step(standsMs).reached), ["a.service"], code);
  }
});

test("a unit that vanishes from a lagging view is waited for before it counts as destroyed", () => {
  const waiting = tracker();
  waiting.line({ type: "gone", name: "a.service" }, 0);
  assert.deepEqual([waiting.step(0).done, waiting.step(0).againMs], [false, 3_000]);
  waiting.line({ type: "unit", unit: RUNNING }, 1_000);
  assert.deepEqual(names(waiting.step(1_000).reached), ["a.service"]);
});

test("a machine that is away ends a stop, but not a start", () => {
  const stop = tracker([GOAL], { awayEnds: true });
  stop.line({ type: "unit", unit: AWAY }, 0);
  assert.deepEqual([stop.step(0).done, stop.step(1_000).done], [false, true]);
  const start = tracker();
  start.line({ type: "unit", unit: AWAY }, 0);
  assert.deepEqual([start.step(60_000).done, start.step(60_000).againMs], [false, undefined]);
});

test("without an engine for ten seconds a unit that needs one is stuck", () => {
  const waiting = tracker();
  waiting.line({ type: "unit", unit: unit() }, 0);
  waiting.line({ type: "synced", notices: NO_ENGINE }, 5_000);
  assert.deepEqual([waiting.step(5_000).done, waiting.step(5_000).againMs], [false, 10_000]);
  assert.equal(waiting.step(15_000).done, true);
});

test("an engine that takes over in time is waited for", () => {
  const waiting = tracker();
  waiting.line({ type: "unit", unit: unit() }, 0);
  waiting.line({ type: "notices", notices: NO_ENGINE }, 0);
  waiting.line({ type: "notices", notices: [] }, 6_000);
  assert.equal(waiting.step(20_000).done, false);
});

test("units nobody asked for and signs of life change nothing", () => {
  const waiting = tracker();
  waiting.line({ type: "unit", unit: { ...RUNNING, name: "other.service" } }, 0);
  waiting.line({ type: "alive" }, 0);
  assert.deepEqual(waiting.step(0), { reached: [], stuck: [], done: false, againMs: undefined });
});
