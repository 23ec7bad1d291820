import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type Absences,
  judgeLosses,
  LOSS_RULES,
  type LossRules,
  trackAbsences,
} from "../../src/cluster/presence.ts";

function now(present: readonly string[], absent: readonly string[]) {
  return {
    present: new Set(present),
    absent: new Map(absent.map((id) => [id, { holdsUnits: true }])),
  };
}

function judge(absences: Absences, nowMs: number, rules: Partial<LossRules> = {}, confirmed = "") {
  const { lost, held, againAtMs } = judgeLosses(absences, {
    nowMs,
    rules: { ...LOSS_RULES, settleMs: 1_000, ...rules },
    isConfirmed: (id) => id === confirmed,
  });
  return { lost: [...lost].sort(), held: Object.fromEntries(held), againAtMs };
}

describe("judgeLosses()", () => {
  test("believes the loss of one of two at once, of one of three after a moment", () => {
    const two = trackAbsences(
      trackAbsences(undefined, now(["a", "b"], []), 0),
      now(["a"], ["b"]),
      10,
    );
    assert.deepEqual(judge(two, 10), { lost: ["b"], held: {}, againAtMs: undefined });
    const before = trackAbsences(undefined, now(["a", "b", "c"], []), 0);
    const three = trackAbsences(before, now(["a", "b"], ["c"]), 10);
    assert.deepEqual(judge(three, 10), { lost: [], held: {}, againAtMs: 1_010 });
    assert.deepEqual(judge(three, 1_010).lost, ["c"]);
  });

  test("holds two of three that go at once for a minute", () => {
    let absences = trackAbsences(undefined, now(["a", "b", "c"], []), 0);
    absences = trackAbsences(absences, now(["a", "b"], ["c"]), 1_000);
    absences = trackAbsences(absences, now(["a"], ["b", "c"]), 1_500);
    assert.deepEqual(judge(absences, 2_500), {
      lost: [],
      held: { b: "mass-loss", c: "mass-loss" },
      againAtMs: 61_500,
    });
    assert.deepEqual(judge(absences, 61_500).lost, ["b", "c"]);
    const back = trackAbsences(absences, now(["a", "b"], ["c"]), 3_000);
    assert.deepEqual(judge(back, 3_000).lost, ["c"]);
    const stillHeld = judgeLosses(back, {
      nowMs: 3_000,
      rules: LOSS_RULES,
      isConfirmed: () => false,
      heldUntilMs: new Map([["c", 62_500]]),
    });
    assert.deepEqual(Object.fromEntries(stillHeld.held), { c: "mass-loss" });
    assert.equal(stillHeld.againAtMs, 62_500);
  });

  test("does not hold losses that come one after the other", () => {
    let absences = trackAbsences(undefined, now(["a", "b", "c"], []), 0);
    absences = trackAbsences(absences, now(["a", "b"], ["c"]), 1_000);
    absences = trackAbsences(absences, now(["a"], ["b", "c"]), 101_000);
    assert.deepEqual(judge(absences, 102_000).lost, ["b", "c"]);
  });

  test("waits for operators from five machines on, machine by machine", () => {
    const before = trackAbsences(undefined, now(["a", "b", "c", "d", "e"], []), 0);
    const absences = trackAbsences(before, now(["a", "b"], ["c", "d", "e"]), 10);
    const much = 1e9;
    assert.deepEqual(judge(absences, much).lost, []);
    assert.deepEqual(judge(absences, much).againAtMs, undefined);
    assert.deepEqual(judge(absences, much, {}, "d").lost, ["d"]);
  });

  test("half of the machines is not most of them", () => {
    const before = trackAbsences(undefined, now(["a", "b", "c", "d"], []), 0);
    const absences = trackAbsences(before, now(["a", "b"], ["c", "d"]), 10);
    assert.deepEqual(judge(absences, 1_010).lost, ["c", "d"]);
  });

  test("a fresh leader takes those that hold units as gone just now, others as gone long ago", () => {
    const presence = {
      present: new Set(["a"]),
      absent: new Map([
        ["b", { holdsUnits: true }],
        ["c", { holdsUnits: true }],
        ["old1", { holdsUnits: false }],
        ["old2", { holdsUnits: false }],
      ]),
    };
    const absences = trackAbsences(undefined, presence, 10);
    const { lost, held } = judge(absences, 10);
    assert.deepEqual(lost, ["old1", "old2"]);
    assert.deepEqual(held, { b: "mass-loss", c: "mass-loss" });
  });

  test("no absence counts during the grace", () => {
    const before = trackAbsences(undefined, now(["a", "b"], []), 0);
    const absences = trackAbsences(before, now(["a"], ["b"]), 10);
    assert.deepEqual(judge(absences, 20, { graceUntilMs: 60_000 }), {
      lost: [],
      held: { b: "boot-grace" },
      againAtMs: 60_000,
    });
    assert.deepEqual(judge(absences, 60_000, { graceUntilMs: 60_000 }).lost, ["b"]);
  });
});
