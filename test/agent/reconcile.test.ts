import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  type AgentTask,
  type CurrentUnit,
  type DesiredUnit,
  reconcile,
  type StartRecord,
} from "../../src/agent/reconcile.ts";
import type { UnitStatus } from "../../src/agent/systemd.ts";

const UNIT = "web.service";

function desiredUnit(change: Partial<DesiredUnit> = {}): DesiredUnit {
  return {
    unit: UNIT,
    identity: 7,
    manifest: "m1",
    effective: "e1",
    target: "launched",
    restarts: 0,
    global: false,
    revision: 9,
    ...change,
  };
}

function unitStatus(change: Partial<UnitStatus> = {}): UnitStatus {
  return {
    unit: UNIT,
    load: "loaded",
    active: "active",
    sub: "running",
    result: "success",
    mainPid: 100,
    sinceMs: 5,
    hasJob: false,
    ...change,
  };
}

const DEAD = unitStatus({ active: "inactive", sub: "dead", mainPid: 0, sinceMs: 0 });
const FILE = { manifest: "m1", effective: "e1" };

function startRecord(change: Partial<StartRecord> = {}): StartRecord {
  return {
    identity: 7,
    restarts: 0,
    effective: "e1",
    outcome: "done",
    sinceBeforeMs: 0,
    ...change,
  };
}

const RUNNING: CurrentUnit = { file: FILE, start: startRecord(), status: unitStatus() };
const LOADED: CurrentUnit = { file: FILE, start: undefined, status: DEAD };
const ABSENT: CurrentUnit = { file: undefined, start: undefined, status: DEAD };

function brief(tasks: readonly AgentTask[]): readonly string[] {
  return tasks.map((task) => `${task.type}: ${task.reason}`);
}

describe("reconcile()", () => {
  const cases: readonly {
    readonly name: string;
    readonly desired: DesiredUnit | undefined;
    readonly current: CurrentUnit;
    readonly tasks: readonly string[];
  }[] = [
    { name: "nothing wanted, nothing held", desired: undefined, current: ABSENT, tasks: [] },
    {
      name: "withdrawn while running",
      desired: undefined,
      current: RUNNING,
      tasks: ["stop: not-assigned", "remove: not-assigned"],
    },
    {
      name: "withdrawn while only loaded",
      desired: undefined,
      current: LOADED,
      tasks: ["remove: not-assigned"],
    },
    {
      name: "new and loaded",
      desired: desiredUnit({ target: "loaded" }),
      current: ABSENT,
      tasks: ["write: not-on-disk"],
    },
    {
      name: "new and launched",
      desired: desiredUnit(),
      current: ABSENT,
      tasks: ["write: not-on-disk", "start: wanted-launched"],
    },
    { name: "as wanted", desired: desiredUnit(), current: RUNNING, tasks: [] },
    {
      name: "loaded as wanted",
      desired: desiredUnit({ target: "loaded" }),
      current: LOADED,
      tasks: [],
    },
    {
      name: "launched is wanted loaded",
      desired: desiredUnit({ target: "loaded" }),
      current: RUNNING,
      tasks: ["stop: wanted-loaded"],
    },
    {
      name: "loaded is wanted launched",
      desired: desiredUnit(),
      current: LOADED,
      tasks: ["start: wanted-launched"],
    },
    {
      name: "a finished oneshot stays finished",
      desired: desiredUnit(),
      current: { ...RUNNING, status: DEAD },
      tasks: [],
    },
    {
      name: "a failed service is systemd's affair",
      desired: desiredUnit(),
      current: { ...RUNNING, status: unitStatus({ active: "failed", sub: "failed" }) },
      tasks: [],
    },
    {
      name: "a start that failed is not asked for again",
      desired: desiredUnit(),
      current: { ...LOADED, start: startRecord({ outcome: "failed" }) },
      tasks: [],
    },
    {
      name: "other content that matters",
      desired: desiredUnit({ manifest: "m2", effective: "e2" }),
      current: RUNNING,
      tasks: ["stop: content-changed", "write: content-changed", "start: content-changed"],
    },
    {
      name: "other content outside what matters",
      desired: desiredUnit({ manifest: "m2" }),
      current: RUNNING,
      tasks: ["write: content-changed"],
    },
    {
      name: "content that was written but not started with",
      desired: desiredUnit({ manifest: "m2", effective: "e2" }),
      current: { ...RUNNING, file: { manifest: "m2", effective: "e2" } },
      tasks: ["stop: content-changed", "start: content-changed"],
    },
    {
      name: "destroyed and submitted again with the same text",
      desired: desiredUnit({ identity: 8 }),
      current: RUNNING,
      tasks: ["stop: unit-is-another", "start: wanted-launched"],
    },
    {
      name: "restart asked for",
      desired: desiredUnit({ restarts: 1 }),
      current: RUNNING,
      tasks: ["stop: restart-asked", "start: restart-asked"],
    },
    {
      name: "start unconfirmed and the unit moved since",
      desired: desiredUnit(),
      current: { ...RUNNING, start: startRecord({ outcome: "pending" }) },
      tasks: ["confirm-start: start-unconfirmed"],
    },
    {
      name: "start unconfirmed, a oneshot ran meanwhile",
      desired: desiredUnit(),
      current: {
        ...LOADED,
        start: startRecord({ outcome: "pending" }),
        status: { ...DEAD, sinceMs: 44 },
      },
      tasks: ["confirm-start: start-unconfirmed"],
    },
    {
      name: "start unconfirmed and nothing has moved",
      desired: desiredUnit(),
      current: { ...LOADED, start: startRecord({ outcome: "pending" }) },
      tasks: ["start: start-unconfirmed"],
    },
    {
      name: "start unconfirmed, its job still runs",
      desired: desiredUnit(),
      current: {
        ...LOADED,
        start: startRecord({ outcome: "pending" }),
        status: { ...DEAD, hasJob: true },
      },
      tasks: [],
    },
    ...(["dependency", "canceled", "timeout"] as const).map((outcome) => ({
      name: `start ended with ${outcome}`,
      desired: desiredUnit(),
      current: { ...LOADED, start: startRecord({ outcome }) },
      tasks: ["start: start-retried"],
    })),
  ];
  for (const { name, desired, current, tasks } of cases) {
    test(name, () => assert.deepEqual(brief(reconcile(desired, current, UNIT)), tasks));
  }

  const outcome = fc.constantFrom(
    "pending",
    "done",
    "failed",
    "dependency",
    "canceled",
    "timeout",
    "skipped",
  );
  const anyStart = fc.option(
    fc.record({
      identity: fc.constantFrom(7, 8),
      restarts: fc.constantFrom(0, 1),
      effective: fc.constantFrom("e1", "e2"),
      outcome,
      sinceBeforeMs: fc.constantFrom(0, 5),
    }),
    { nil: undefined },
  );
  const anyFile = fc.constantFrom(
    undefined,
    { manifest: "m1", effective: "e1" },
    { manifest: "m2", effective: "e2" },
  );
  const anyCurrent = fc.record({
    file: anyFile,
    start: anyStart,
    status: fc.constantFrom(unitStatus(), DEAD),
  });
  const anyDesired = fc.constantFrom(
    undefined,
    desiredUnit(),
    desiredUnit({ target: "loaded" }),
    desiredUnit({ identity: 8, restarts: 1 }),
    desiredUnit({ manifest: "m2", effective: "e2" }),
    desiredUnit({ manifest: "m2", effective: "e2", update: "reload" }),
    desiredUnit({ manifest: "m2", effective: "e2", update: "none" }),
    desiredUnit({ manifest: "m2", effective: "e2", update: "cannot-reload" }),
  );

  for (const { update, active, types } of [
    { update: "restart", active: "active", types: ["stop", "write", "start"] },
    { update: "cannot-reload", active: "active", types: ["stop", "write", "start"] },
    { update: "reload", active: "active", types: ["write", "reload"] },
    { update: "none", active: "active", types: ["write", "keep"] },
    // What does not run has nothing to keep or to reload: its new content is started, as ever.
    { update: "reload", active: "failed", types: ["stop", "write", "start"] },
    { update: "none", active: "inactive", types: ["stop", "write", "start"] },
  ] as const) {
    test(`new content of a unit that is ${active} and says ${update}: ${types.join(", ")}`, () => {
      const desired = desiredUnit({ manifest: "m2", effective: "e2", update });
      const current = { ...RUNNING, status: unitStatus({ active }) };
      assert.deepEqual(
        reconcile(desired, current, UNIT).map(({ type }) => type),
        types,
      );
    });
  }

  test("reaches a fixed point: doing its tasks leaves nothing to do", () => {
    fc.assert(
      fc.property(anyDesired, anyCurrent, (desired, current) => {
        let now: CurrentUnit = current;
        for (const task of reconcile(desired, now, UNIT)) now = perform(task, desired, now);
        assert.deepEqual(reconcile(desired, now, UNIT), []);
      }),
    );
  });

  test("never writes or starts before what runs under another identity or content has stopped (I8)", () => {
    fc.assert(
      fc.property(anyDesired, anyCurrent, (desired, current) => {
        const { start } = current;
        if (desired === undefined || start === undefined) return;
        const goesOn = ["reload", "none"].includes(desired.update ?? "");
        const isSameContent = start.effective === desired.effective;
        const same =
          start.identity === desired.identity &&
          (isSameContent || (goesOn && current.status.active === "active"));
        const [first] = reconcile(desired, current, UNIT);
        if (!same) assert.equal(first?.type, "stop");
      }),
    );
  });
});

function perform(
  task: AgentTask,
  desired: DesiredUnit | undefined,
  current: CurrentUnit,
): CurrentUnit {
  switch (task.type) {
    case "stop":
      return { ...current, start: undefined, status: DEAD };
    case "remove":
      return { ...current, file: undefined };
    case "write":
      assert(desired !== undefined);
      return { ...current, file: { manifest: desired.manifest, effective: desired.effective } };
    case "start":
      assert(desired !== undefined && current.file !== undefined);
      return {
        ...current,
        start: startRecord({
          identity: desired.identity,
          restarts: desired.restarts,
          effective: current.file.effective,
        }),
        status: unitStatus(),
      };
    case "reload":
    case "keep":
      assert(current.start !== undefined && current.file !== undefined);
      return { ...current, start: { ...current.start, effective: current.file.effective } };
    case "confirm-start":
      assert(current.start !== undefined);
      return { ...current, start: { ...current.start, outcome: task.outcome } };
  }
}
