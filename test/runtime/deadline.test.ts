import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, it } from "node:test";
import { withDeadline } from "../../src/runtime/deadline.ts";
import { FleetError } from "../../src/runtime/errors.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";

const onDeadline = () => new FleetError("store-deadline", "too late", { retriable: true });

describe("withDeadline()", () => {
  it("gives what the work gives and leaves no timer and no listener", async () => {
    const clock = new VirtualClock();
    const { signal } = new AbortController();
    const options = { deadlineMs: 100, signal, onDeadline };
    assert.equal(await withDeadline(clock, options, async () => "done"), "done");
    const failing = withDeadline(clock, options, async () => {
      throw new Error("failed");
    });
    await assert.rejects(failing, { message: "failed" });
    assert.equal(clock.nextDueMs(), undefined);
    assert.deepEqual(getEventListeners(signal, "abort"), []);
  });

  it("ends work that does not listen at the deadline, not before", async () => {
    const clock = new VirtualClock();
    let workSignal: AbortSignal | undefined;
    let ended = false;
    const call = withDeadline(clock, { deadlineMs: 100, onDeadline }, (signal) => {
      workSignal = signal;
      return new Promise<never>(() => {});
    });
    const rejected = assert.rejects(call, { code: "store-deadline" }).then(() => {
      ended = true;
    });
    await clock.advance(99);
    assert.equal(ended, false);
    assert.equal(workSignal?.aborted, false);
    await clock.advance(1);
    await rejected;
    assert.equal(workSignal?.aborted, true);
    assert.equal(clock.nextDueMs(), undefined);
  });

  it("ends with the caller's reason, and does not begin when that is there before", async () => {
    const clock = new VirtualClock();
    const controller = new AbortController();
    const reason = new Error("enough");
    const { signal } = controller;
    const call = withDeadline(clock, { deadlineMs: 100, signal, onDeadline }, async () => {
      return await new Promise<never>(() => {});
    });
    controller.abort(reason);
    await assert.rejects(call, (error) => error === reason);
    const work = async () => assert.fail("it must not begin");
    const again = withDeadline(clock, { deadlineMs: 100, signal, onDeadline }, work);
    await assert.rejects(again, (error) => error === reason);
    assert.equal(clock.nextDueMs(), undefined);
  });

  it("is silent about work that fails after it was given up", async () => {
    const clock = new VirtualClock();
    let fail: ((error: Error) => void) | undefined;
    const call = withDeadline(clock, { deadlineMs: 100, onDeadline }, () => {
      return new Promise<never>((_, reject) => {
        fail = reject;
      });
    });
    const rejected = assert.rejects(call, { code: "store-deadline" });
    await clock.advance(100);
    await rejected;
    fail?.(new Error("late"));
    // An unhandled rejection would end the test run by the next turn.
    await clock.advance(0);
  });
});
