import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { movedText } from "../../src/cli/leave-text.ts";
import { LeaveTracker } from "../../src/cli/leave-tracker.ts";
import { leavingOf } from "../../src/cli/leaving.ts";
import type { UnitView } from "../../src/cluster/views.ts";
import { M1, M2, state, unit } from "./views.ts";

const on = (machineId: string) => ({ machineId, assigned: [place(machineId)] });
const place = (machineId: string) => ({ machineId, target: "launched" as const, present: true });

const RUNS = unit({ ...on(M1), states: [state()] });
const STOPPING = unit({
  ...on(M2),
  movingFrom: M1,
  states: [state({ active: "deactivating", sub: "stop" })],
  blocked: [{ reason: { type: "stopping", machineId: M1 }, machines: 0, examples: [] }],
});
const STARTING = unit({ ...on(M2), movingFrom: M1 });
const MOVED = unit({ ...on(M2), movingFrom: M1, states: [state({ machineId: M2 })] });
const FAILED = unit({
  ...on(M2),
  movingFrom: M1,
  states: [
    state({
      ...{ machineId: M2, active: "failed", sub: "failed", result: "exit-code" },
      start: { restarts: 0, outcome: "failed" },
    }),
  ],
});
const blocked = (type: "drain-stuck" | "drain-pinned") =>
  unit({
    ...RUNS,
    blocked: [{ reason: { type, machineId: M1 }, machines: 0, examples: [] }],
  });
const FINISHED = unit({ ...RUNS, states: [state({ active: "inactive", sub: "dead" })] });
const GLOBAL = unit({ name: "g.service", global: true, assigned: [place(M1)], states: [state()] });

describe("leavingOf()", () => {
  const rows: readonly [string, UnitView | undefined, string][] = [
    ["a unit that was destroyed", undefined, "gone"],
    ["one that runs there", RUNS, "waits"],
    ["one that stops there", STOPPING, "moves"],
    ["one that starts elsewhere", STARTING, "moves"],
    ["one that is up elsewhere", MOVED, "moved"],
    ["one that does not start elsewhere", FAILED, "failed"],
    ["one that did not run before either", { ...FAILED, movingFrom: M2 }, "moved"],
    ["one that nobody takes", blocked("drain-stuck"), "stuck"],
    ["one that is bound to the machine", blocked("drain-pinned"), "stays"],
    ["a oneshot that has finished", FINISHED, "stays"],
    ["a global one", GLOBAL, "waits"],
    ["a global one that was taken off", { ...GLOBAL, assigned: [], states: [] }, "gone"],
  ];
  for (const [name, view, expected] of rows) {
    test(`${name}: ${expected}`, () => assert.equal(leavingOf(view, M1).type, expected));
  }
});

describe("LeaveTracker", () => {
  const open = (...units: UnitView[]) => {
    const tracker = new LeaveTracker(M1, { units, nowMs: 0 });
    const tell = (view: UnitView, nowMs: number) => {
      tracker.line({ type: "unit", unit: view }, nowMs);
      return tracker.step(nowMs);
    };
    return { tracker, tell };
  };

  test("tells of each unit once, with how long it was down", () => {
    const { tell } = open(RUNS);
    assert.deepEqual(tell(RUNS, 10).left, []);
    tell(STOPPING, 100);
    tell(STARTING, 300);
    const step = tell(MOVED, 450);
    assert.deepEqual(
      step.left.map(({ name, downMs }) => [name, downMs]),
      [["a.service", 350]],
    );
    assert.equal(step.end, "done");
    assert.deepEqual(tell(MOVED, 500).left, []);
  });

  test("tells the most that a unit can have been down when its stop and start came as one", () => {
    const { tell } = open(RUNS);
    tell(RUNS, 100);
    const [unit] = tell(MOVED, 300).left;
    assert(unit !== undefined);
    assert.deepEqual([unit.downMs, unit.isDownUnseen], [200, true]);
    const text = movedText(
      unit,
      { type: "moved", to: M2, wasAlreadyDown: false },
      { from: M1, legend: (id) => id },
    );
    assert.match(text, /, down for at most 0\.2 s$/);
  });

  test("does not end before it has heard of every unit", () => {
    const { tracker, tell } = open(blocked("drain-pinned"), { ...RUNS, name: "b.service" });
    assert.equal(tell(blocked("drain-pinned"), 10).end, undefined);
    tracker.line({ type: "gone", name: "b.service" }, 20);
    assert.equal(tracker.step(20).end, "done");
  });

  test("takes a failure, or that nobody takes a unit, for final when it lasts", () => {
    for (const [view, end, afterMs] of [
      [FAILED, "failed", 3_000],
      [blocked("drain-stuck"), "stuck", 1_500],
    ] as const) {
      const { tracker, tell } = open(RUNS, GLOBAL);
      tell(GLOBAL, 0);
      const first = tell(view, 100);
      assert.deepEqual([first.end, first.againMs], [undefined, afterMs]);
      assert.equal(tracker.step(99 + afterMs).end, undefined);
      assert.equal(tracker.step(100 + afterMs).end, end);
      assert.equal(tell(MOVED, 5_000).end, undefined, "only the global unit is left");
    }
  });

  test("says when nothing is on its way although units wait", () => {
    const { tracker, tell } = open(RUNS);
    assert.equal(tell(RUNS, 0).isIdle, false);
    assert.equal(tracker.step(3_000).isIdle, true);
    tracker.line({ type: "notices", notices: [{ code: "no-engine", message: "" }] }, 4_000);
    tracker.step(4_000);
    assert.equal(tracker.step(14_000).end, "no-engine");
  });
});
