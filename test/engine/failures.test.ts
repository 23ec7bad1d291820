import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assignmentOn } from "../../src/cluster/entries.ts";
import { Fixture, summary } from "./fixture.ts";

const UNIT = "a.service";
const MOVES = ["OnFailure=move", "MoveLimit=2", "MoveIntervalSec=600"];

function running(xFleet: readonly string[], machines = ["m1", "m2", "m3", "m4"]): Fixture {
  const f = new Fixture();
  f.machines(...machines);
  f.unit(UNIT, xFleet);
  f.settle({ agents: true });
  return f;
}

/** It fails where it is; whoever it is then given to runs it no better. */
function fail(f: Fixture): void {
  const from = f.placedOn(UNIT) ?? "";
  f.started(from, UNIT, "failed");
  f.settle();
  if (f.placedOn(UNIT) === from) return;
  f.stopped(from, UNIT);
  f.settle();
}

describe("plan() of a unit that has failed for good", () => {
  test("leaves it where it is without OnFailure=move, and when a oneshot is merely over", () => {
    for (const [xFleet, result] of [
      [[], "failed"],
      [MOVES, "finished"],
    ] as const) {
      const f = running(xFleet);
      f.started("m1", UNIT, result);
      assert.deepEqual(f.settle(), []);
    }
  });

  test("moves it to machines where it has not failed, up to the limit, and then says so", () => {
    const f = running(MOVES);
    fail(f);
    assert.equal(f.placedOn(UNIT), "m2");
    fail(f);
    assert.equal(f.placedOn(UNIT), "m3");
    fail(f);
    assert.equal(f.placedOn(UNIT), "m3");
    assert.deepEqual(f.reasons(UNIT), ["move-limit"]);
    assert.deepEqual(f.planAll(), [], "the same for another engine");
  });

  test("waits until it has stopped where it failed, and starts elsewhere only then (I8)", () => {
    const f = running(MOVES);
    f.started("m1", UNIT, "failed");
    assert.deepEqual(summary(f.settle()), [
      "place a.service on m2 from m1 waiting (failed)",
      "block a.service (stopping)",
    ]);
    assert.deepEqual(f.assignedTo(UNIT), []);
    f.stopped("m1", UNIT);
    f.settle();
    assert.deepEqual(f.assignedTo(UNIT), ["m2"]);
  });

  test("leaves it, with the reasons, when no other machine takes it, and moves it when one does", () => {
    const f = running(MOVES, ["m1", "m2"]);
    fail(f);
    fail(f);
    assert.equal(f.placedOn(UNIT), "m2");
    assert.deepEqual(f.reasons(UNIT), ["failed", "failed-there"]);
    f.machine("m3");
    f.settle();
    assert.equal(f.placedOn(UNIT), "m3");
  });

  test("counts anew after an operator's restart, and forgets what is long ago", () => {
    const f = running(MOVES);
    fail(f);
    fail(f);
    f.unit(UNIT, MOVES, { restarts: 1 });
    f.settle({ agents: true });
    fail(f);
    assert.equal(f.placedOn(UNIT), "m1", "where it has not failed since");
    const state = f.cluster.machine("m1")?.states.get(UNIT);
    assert.equal(state, undefined);
    f.nowMs += 700_000;
    f.started("m1", UNIT);
    f.settle();
    f.started("m1", UNIT, "failed");
    f.state("m1", UNIT, {
      ...f.cluster.machine("m1")?.states.get(UNIT)?.record,
      sinceMs: f.nowMs,
    });
    f.settle();
    assert.equal(f.placedOn(UNIT), "m2", "failures of more than ten minutes ago do not count");
  });

  test("keeps to the limit when a machine's clock is far ahead of the engine's", () => {
    const f = running(MOVES);
    for (const from of ["m1", "m2", "m3"]) {
      assert.equal(f.placedOn(UNIT), from);
      f.started(from, UNIT, "failed");
      const state = f.cluster.machine(from)?.states.get(UNIT)?.record;
      f.state(from, UNIT, { ...state, sinceMs: f.nowMs + 700_000 });
      f.settle();
      if (f.placedOn(UNIT) === from) break;
      f.stopped(from, UNIT);
      f.settle();
    }
    assert.deepEqual(f.reasons(UNIT), ["move-limit"]);
    f.nowMs += 650_000;
    assert.deepEqual(f.planAll(), [], "time alone changes nothing");
    assert.equal(f.placedOn(UNIT), "m3");
  });

  test("takes those tied to it along, and stays where one of them has to stay", () => {
    const f = running(MOVES);
    f.unit("b.service", ["MachineOf=a.service"]);
    f.settle({ agents: true });
    fail(f);
    f.stopped("m1", "b.service");
    f.settle();
    assert.equal(f.placedOn(UNIT), f.placedOn("b.service"));
    assert.notEqual(f.placedOn(UNIT), "m1");
  });
});

describe("plan() of a changed global unit", () => {
  const CHANGED = ["Global=true", "MaxUnavailable=2"];

  function changed(xFleet: readonly string[]): Fixture {
    const f = running(["Global=true"], ["m1", "m2", "m3", "m4", "m5"]);
    f.unit(UNIT, xFleet);
    return f;
  }

  function updated(f: Fixture): string[] {
    const manifest = f.cluster.unit(UNIT)?.unit?.record.manifest;
    return f.assignedTo(UNIT).filter((id) => {
      const assignment = assignmentOn(f.cluster.unit(UNIT), id);
      return assignment?.record.manifest === manifest;
    });
  }

  test("reaches MaxUnavailable= machines at a time, the next when it runs there", () => {
    const f = changed(CHANGED);
    f.settle();
    assert.deepEqual(updated(f), ["m1", "m2"]);
    assert.deepEqual(f.blocked(UNIT)[0]?.reason, { type: "rolling", done: 0, of: 5 });
    f.started("m2", UNIT);
    f.settle();
    assert.deepEqual(updated(f), ["m1", "m2", "m3"]);
    f.settle({ agents: true });
    assert.deepEqual(updated(f), ["m1", "m2", "m3", "m4", "m5"]);
    assert.deepEqual(f.reasons(UNIT), []);
  });

  test("does not go on from machines where it fails", () => {
    const f = changed([...CHANGED, "Conflicts=nobody.service"]);
    f.settle();
    f.started("m1", UNIT, "failed");
    f.started("m2", UNIT, "failed");
    f.settle();
    assert.deepEqual(updated(f), ["m1", "m2"]);
    assert.deepEqual(f.reasons(UNIT), ["rolling"]);
    assert.deepEqual(f.planAll(), [], "the same for another engine");
  });

  test("reaches first where it does not run, and at once who is away", () => {
    const f = changed(["Global=true", "Conflicts=nobody.service"]);
    f.started("m4", UNIT, "failed");
    f.lose("m5");
    f.settle();
    assert.deepEqual(updated(f), ["m4", "m5"]);
  });

  test("a restart rolls too, one machine at a time by default", () => {
    const f = running(["Global=true"], ["m1", "m2", "m3"]);
    f.unit(UNIT, ["Global=true"], { restarts: 1 });
    const tasks = summary(f.settle());
    assert.equal(tasks.filter((task) => task.startsWith("assign")).length, 1, tasks.join("\n"));
    f.settle({ agents: true });
    assert.deepEqual(f.reasons(UNIT), []);
  });
});

describe("plan() of a fenced unit", () => {
  const FENCED = ["Fencing=strict", "[Service]", "TimeoutStopSec=5s"];

  test("takes only machines whose lease leaves time for its stop", () => {
    const f = new Fixture();
    f.machine("m1", { ttlMs: 10_000 });
    f.unit(UNIT, FENCED);
    f.settle();
    assert.deepEqual(f.blocked(UNIT)[0]?.reason, {
      type: "fencing-too-slow",
      stopMs: 5_000,
      fitsMs: 4_000,
    });
    f.machine("m2", { ttlMs: 15_000 });
    f.settle();
    assert.equal(f.placedOn(UNIT), "m2");
  });
});
