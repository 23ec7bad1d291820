import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, it } from "node:test";
import { sleep } from "../../src/runtime/clock.ts";
import { settle, VirtualClock } from "../../src/runtime/virtual-clock.ts";

describe("VirtualClock", () => {
  it("fires timers in order of time, then of setting, each at its own instant", async () => {
    const clock = new VirtualClock();
    const fired: string[] = [];
    const note = (name: string) => () => fired.push(`${name} at ${clock.monotonicMs()}`);
    clock.setTimer(20, note("c"));
    clock.setTimer(10, note("a"));
    clock.setTimer(10, note("b"));
    clock.setTimer(31, note("d"));
    await clock.advance(30);
    assert.deepEqual(fired, ["a at 10", "b at 10", "c at 20"]);
    assert.equal(clock.monotonicMs(), 30);
    assert.equal(clock.nextDueMs(), 31);
  });

  it("lets what a timer caused happen before the next one fires", async () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    clock.setTimer(1, () => {
      void (async () => {
        for (let step = 0; step < 10; step += 1) await undefined;
        seen.push("caused by the first");
        clock.setTimer(1, () => seen.push("set by the first"));
      })();
    });
    clock.setTimer(2, () => seen.push("second"));
    clock.setTimer(3, () => seen.push("third"));
    await clock.advance(10);
    assert.deepEqual(seen, ["caused by the first", "second", "set by the first", "third"]);
  });

  it("does not fire a timer that was taken back, even by one due at the same instant", async () => {
    const clock = new VirtualClock();
    const fired: string[] = [];
    clock.setTimer(5, () => cancelSecond());
    const cancelSecond = clock.setTimer(5, () => fired.push("second"));
    const cancelThird = clock.setTimer(5, () => fired.push("third"));
    await clock.advance(5);
    assert.deepEqual(fired, ["third"]);
    cancelThird();
    cancelThird();
    assert.equal(clock.nextDueMs(), undefined);
  });

  it("steps its wall clock without touching timers", async () => {
    const clock = new VirtualClock(1_000);
    let fired = false;
    clock.setTimer(10, () => {
      fired = true;
    });
    clock.stepWall(-5_000);
    assert.equal(clock.wallMs(), -4_000);
    await clock.advance(9);
    assert.equal(fired, false);
    await clock.advance(1);
    assert.equal(fired, true);
    assert.equal(clock.wallMs(), -3_990);
  });

  it("never goes back, even when it is moved from within a timer", async () => {
    const clock = new VirtualClock();
    clock.setTimer(5, () => void clock.advance(100));
    await clock.advance(10);
    const nowMs = clock.monotonicMs();
    assert.ok(nowMs >= 105, `it is ${nowMs}`);
  });

  it("refuses a delay that is not a number", () => {
    const setNaN = () => new VirtualClock().setTimer(Number.NaN, () => {});
    assert.throws(setNaN, { name: "AssertionError" });
  });
});

describe("sleep()", () => {
  it("ends after its time and leaves no listener and no timer", async () => {
    const clock = new VirtualClock();
    const { signal } = new AbortController();
    let awake = false;
    const sleeping = sleep(clock, 100, signal).then(() => {
      awake = true;
    });
    await clock.advance(99);
    assert.equal(awake, false);
    await clock.advance(1);
    await sleeping;
    assert.equal(awake, true);
    assert.deepEqual(getEventListeners(signal, "abort"), []);
  });

  it("ends with the signal's reason, before and while it sleeps", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const reason = new Error("enough");
    const sleeping = sleep(clock, 100, controller.signal);
    await settle();
    controller.abort(reason);
    await assert.rejects(sleeping, (error) => error === reason);
    assert.equal(clock.nextDueMs(), undefined);
    await assert.rejects(sleep(clock, 100, controller.signal), (error) => error === reason);
    assert.equal(clock.nextDueMs(), undefined);
  });
});
