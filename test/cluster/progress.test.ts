import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Goal, type Progress, progress } from "../../src/cluster/progress.ts";
import type { Reason } from "../../src/cluster/reason.ts";
import type { UnitStateView, UnitView } from "../../src/cluster/views.ts";

const RUNNING: UnitStateView = {
  machineId: "m1",
  identity: 7,
  manifest: "new",
  hash: "",
  current: "launched",
  load: "loaded",
  active: "active",
  sub: "running",
  result: "success",
  mainPid: 42,
  sinceMs: 0,
  start: { restarts: 2, outcome: "done" },
};
const LOADED: UnitStateView = (({ start: _, ...rest }) => ({
  ...rest,
  current: "loaded" as const,
  active: "inactive",
  sub: "dead",
  mainPid: 0,
}))(RUNNING);
const VIEW: UnitView = {
  name: "a.service",
  identity: 7,
  desired: "launched",
  restarts: 2,
  global: false,
  manifest: "new",
  hash: "",
  description: "",
  machineId: "m1",
  states: [RUNNING],
  assigned: [{ machineId: "m1", target: "launched", present: true }],
  blocked: [],
};
const GOAL: Goal = {
  name: "a.service",
  state: "launched",
  identity: 7,
  restarts: 2,
  manifest: "new",
};

type Change = Partial<Omit<UnitView, "machineId">>;
const view = (change: Change) => ({ ...VIEW, ...change });
const state = (change: Partial<UnitStateView>, from = RUNNING): Change => ({
  states: [{ ...from, ...change }],
});
const start = (outcome: NonNullable<UnitStateView["start"]>["outcome"], restarts = 2) => ({
  start: { restarts, outcome },
});
const on = (machineId: string, target: "loaded" | "launched" = "launched", present = true) => ({
  machineId,
  target,
  present,
});
const blocked = (reason: Reason) => [{ reason, machines: 0, examples: [] }];
const ERROR = { task: "write", code: "systemd-refused", message: "bad", attempts: 1 };

/** What decides, in one word or two: `waiting start m1`, `failed start`, `blocked`. */
function inShort(result: Progress): string {
  switch (result.type) {
    case "reached":
    case "away":
      return [result.type, ...result.machines].join(" ");
    case "blocked":
      return result.type;
    case "failed":
      return `${result.final ? "failed" : "failing"} ${result.failure.type}${"by" in result.failure ? ` ${result.failure.by}` : ""}`;
    case "waiting": {
      const wait = result.on;
      if (wait.type === "engine") return `waiting engine ${wait.step}`;
      if (wait.type !== "machine") return `waiting ${wait.type}`;
      const detail = wait.detail === undefined ? "" : ` ${wait.detail}`;
      return `waiting ${wait.step} ${wait.machineId}${detail}`;
    }
  }
}

type Row = readonly [what: string, expected: string, view: UnitView | undefined];

function table(goal: Goal, rows: readonly Row[]): void {
  for (const [what, expected, given] of rows) {
    test(`progress() to ${goal.state}: ${what}`, () => {
      assert.equal(inShort(progress(given, goal)), expected);
    });
  }
}

describe("launched", () => {
  table(GOAL, [
    ["active is reached", "reached m1", view({})],
    ["reloading is up", "reached m1", view(state({ active: "reloading" }))],
    [
      "a finished oneshot is reached",
      "reached m1",
      view(state({ active: "inactive", sub: "dead" })),
    ],
    ["RemainAfterExit stays active", "reached m1", view(state({ sub: "exited" }))],
    [
      "a type without result that is over is reached",
      "reached m1",
      view(state({ active: "inactive", result: "" })),
    ],
    ["no placement yet", "waiting engine place", view({ states: [], assigned: [] })],
    [
      "still assigned as loaded",
      "waiting engine place",
      view({ ...state({}, LOADED), assigned: [on("m1", "loaded")] }),
    ],
    ["assigned, not taken up", "waiting load m1", view({ states: [] })],
    ["loaded, not started", "waiting start m1", view(state({}, LOADED))],
    [
      "its job runs",
      "waiting start m1 activating (start)",
      view(state({ active: "activating", sub: "start", ...start("pending") })),
    ],
    ["active while its job still runs", "waiting start m1", view(state(start("pending")))],
    [
      "it ended at once and systemd starts it again",
      "waiting start m1 activating (auto-restart)",
      view(state({ active: "activating", sub: "auto-restart", result: "exit-code" })),
    ],
    [
      "its start failed",
      "failed start",
      view(state({ active: "failed", sub: "failed", ...start("failed") })),
    ],
    [
      "it died after a good start",
      "failed start",
      view(state({ active: "failed", result: "exit-code" })),
    ],
    [
      "it ended with a bad result",
      "failed start",
      view(state({ active: "inactive", result: "exit-code" })),
    ],
    [
      "a dependency failed, tried again",
      "failing start",
      view(state({ active: "inactive", ...start("dependency") })),
    ],
    [
      "its start timed out, tried again",
      "failing start",
      view(state({ active: "failed", ...start("timeout") })),
    ],
    [
      "its start was cancelled, tried again",
      "failing start",
      view(state({ active: "inactive", ...start("canceled") })),
    ],
    [
      "the start was skipped and it is not up",
      "failed start",
      view(state({ active: "inactive", ...start("skipped") })),
    ],
    ["systemd brought it up after a failed start", "reached m1", view(state(start("failed")))],
    ["the start was skipped because it is up", "reached m1", view(state(start("skipped")))],
    ["systemd cannot load it", "failing load", view(state({ load: "bad-setting" }, LOADED))],
    ["the machine's task failed", "failing task", view(state({ error: ERROR }, LOADED))],
    // Views and states older than the command.
    ["a view before the restart was asked", "waiting registry", view({ restarts: 1 })],
    ["a view of the unit before this one", "waiting registry", view({ identity: 6 })],
    ["a state of the unit before this one", "waiting load m1", view(state({ identity: 6 }))],
    [
      "a state nobody knows the origin of",
      "waiting load m1",
      view({ states: [(({ identity: _, ...rest }) => rest)(RUNNING)] }),
    ],
    ["a state of older content", "waiting load m1", view(state({ manifest: "old" }))],
    ["the start before the restart", "waiting start m1", view(state(start("done", 1)))],
    [
      "the failed start before the restart",
      "waiting start m1",
      view(state({ active: "failed", ...start("failed", 1) })),
    ],
    ["a later restart by someone else counts", "reached m1", view(state(start("done", 3)))],
    // Somebody else's doing.
    ["destroyed meanwhile", "failing superseded destroyed", undefined],
    ["made anew meanwhile", "failing superseded another-unit", view({ identity: 9 })],
    ["replaced meanwhile", "failing superseded other-content", view({ manifest: "newer" })],
    ["stopped meanwhile", "failing superseded loaded", view({ desired: "loaded" })],
    // What the engine says.
    [
      "no machine fits",
      "blocked",
      view({ states: [], assigned: [], blocked: blocked({ type: "no-machines" }) }),
    ],
    [
      "its old place is still stopping it",
      "waiting room",
      view({
        states: [],
        assigned: [],
        blocked: blocked({ type: "stopping", machineId: "m2" }),
      }),
    ],
    [
      "placed, another has to leave first",
      "waiting room",
      view({
        states: [],
        blocked: blocked({ type: "waiting-for-room", machineId: "m1", unit: "b.service" }),
      }),
    ],
    [
      "too many machines lost at once",
      "blocked",
      view({
        states: [],
        assigned: [on("m1", "launched", false)],
        blocked: blocked({ type: "loss-held", machineId: "m1", why: "mass-loss" }),
      }),
    ],
    [
      "a fresh engine gives machines time",
      "waiting room",
      view({
        states: [],
        assigned: [on("m1", "launched", false)],
        blocked: blocked({ type: "loss-held", machineId: "m1", why: "boot-grace" }),
      }),
    ],
    [
      "reasons left over do not hide success",
      "reached m1",
      view({ blocked: blocked({ type: "no-machines" }) }),
    ],
    [
      "its machine is away",
      "away m1",
      view({ states: [], assigned: [on("m1", "launched", false)] }),
    ],
  ]);
});

describe("launched, global", () => {
  const onBoth = [on("m1"), on("m2")];
  const global = (change: Change) => view({ global: true, assigned: onBoth, ...change });
  const second = { ...RUNNING, machineId: "m2" };
  table(GOAL, [
    ["up everywhere", "reached m1 m2", global({ states: [RUNNING, second] })],
    ["one machine to go", "waiting load m2", global({ states: [RUNNING] })],
    [
      "one machine failed, another still starts",
      "failed start",
      global({ states: [{ ...RUNNING, active: "failed" }] }),
    ],
    [
      "machines that are away are not waited for",
      "reached m1",
      global({ assigned: [on("m1"), on("m3", "launched", false)] }),
    ],
    [
      "reasons speak of other machines",
      "reached m1 m2",
      global({ states: [RUNNING, second], blocked: blocked({ type: "cordoned" }) }),
    ],
    [
      "fits nowhere",
      "blocked",
      global({ states: [], assigned: [], blocked: blocked({ type: "cordoned" }) }),
    ],
    [
      "another restart reached one machine only",
      "waiting start m2",
      global({ states: [RUNNING, { ...second, ...start("done", 1) }] }),
    ],
  ]);
});

describe("loaded", () => {
  const loaded = (change: Change) =>
    view({ desired: "loaded", assigned: [on("m1", "loaded")], ...change });
  table({ ...GOAL, state: "loaded" }, [
    ["on the machine, not started", "reached m1", loaded(state({}, LOADED))],
    ["not taken up", "waiting load m1", loaded({ states: [] })],
    ["still running from before", "waiting stop m1", loaded({})],
    [
      "assigned as launched from before",
      "waiting engine withdraw",
      loaded({ assigned: [on("m1")] }),
    ],
    ["systemd cannot load it", "failing load", loaded(state({ load: "error" }, LOADED))],
    [
      "fits nowhere",
      "blocked",
      loaded({ states: [], assigned: [], blocked: blocked({ type: "no-machines" }) }),
    ],
  ]);
});

describe("stopped", () => {
  const stopped = (change: Change) =>
    view({ desired: "loaded", assigned: [on("m1", "loaded")], ...change });
  const { manifest: _, ...goal } = GOAL;
  table({ ...goal, state: "stopped" }, [
    ["loaded again", "reached m1", stopped(state({}, LOADED))],
    ["failed counts as stopped", "reached m1", stopped(state({ active: "failed" }, LOADED))],
    ["still running", "waiting stop m1", stopped({})],
    [
      "ExecStop runs",
      "waiting stop m1 deactivating (stop)",
      stopped(state({ active: "deactivating", sub: "stop" })),
    ],
    [
      "the engine has not told the machine",
      "waiting engine withdraw",
      stopped({ ...state({}, LOADED), assigned: [on("m1")] }),
    ],
    ["its stop failed", "failing task", stopped(state({ error: { ...ERROR, task: "stop" } }))],
    [
      "a unit that could not be placed is stopped",
      "reached",
      stopped({ states: [], assigned: [], blocked: blocked({ type: "no-machines" }) }),
    ],
    [
      "it still runs where it is leaving",
      "waiting stop m2",
      stopped({ states: [{ ...RUNNING, machineId: "m2" }] }),
    ],
    [
      "its machine is away",
      "away m1",
      stopped({ states: [], assigned: [on("m1", "loaded", false)] }),
    ],
    ["started again meanwhile", "failing superseded launched", stopped({ desired: "launched" })],
  ]);
});

describe("inactive", () => {
  const none = (change: Change) =>
    view({ desired: "inactive", states: [], assigned: [], ...change });
  const { manifest: _, ...goal } = GOAL;
  table({ ...goal, state: "inactive" }, [
    ["held nowhere", "reached", none({})],
    ["assigned as before", "waiting engine withdraw", none({ assigned: [on("m1")] })],
    ["still on the machine", "waiting unload m1", none(state({}, LOADED))],
    ["cannot be taken off", "failing task", none(state({ error: ERROR }, LOADED))],
    ["its machine is away", "away m1", none({ assigned: [on("m1", "loaded", false)] })],
  ]);
});
