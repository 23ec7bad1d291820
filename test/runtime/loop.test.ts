import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, it } from "node:test";
import { FleetError } from "../../src/runtime/errors.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { Loop } from "../../src/runtime/loop.ts";
import { settle, VirtualClock } from "../../src/runtime/virtual-clock.ts";

interface World {
  readonly clock: VirtualClock;
  readonly loop: Loop;
  readonly controller: AbortController;
  /** When each pass began. */
  readonly passesMs: number[];
  /** Settles when the loop has ended. */
  readonly running: Promise<void>;
}

function run(pass: (count: number, signal: AbortSignal) => Promise<number | undefined>): World {
  const clock = new VirtualClock();
  const controller = new AbortController();
  const passesMs: number[] = [];
  const loop = new Loop({
    name: "test",
    clock,
    random: { id: () => "", fraction: () => 0 },
    logger: silentLogger,
    backoff: { firstMs: 100, maxMs: 350 },
    async pass(signal) {
      passesMs.push(clock.monotonicMs());
      return await pass(passesMs.length, signal);
    },
  });
  return { clock, loop, controller, passesMs, running: loop.run(controller.signal) };
}

describe("Loop", () => {
  it("runs at once, then when woken or when the pass asked to", async () => {
    const world = run(async (count) => (count === 2 ? 500 : undefined));
    await world.clock.advance(1_000);
    assert.deepEqual(world.passesMs, [0]);
    world.loop.wake();
    await world.clock.advance(1_000);
    assert.deepEqual(world.passesMs, [0, 1_000, 1_500]);
    world.controller.abort();
    await world.running;
    assert.equal(world.clock.nextDueMs(), undefined);
    assert.deepEqual(getEventListeners(world.controller.signal, "abort"), []);
  });

  it("runs one pass at a time; any number of wake-ups meanwhile lead to one more", async () => {
    let end: (() => void) | undefined;
    let underWay = 0;
    const world = run(async () => {
      underWay += 1;
      assert.equal(underWay, 1);
      await new Promise<void>((resolve) => {
        end = resolve;
      });
      underWay -= 1;
      return undefined;
    });
    for (let wake = 0; wake < 5; wake += 1) world.loop.wake();
    await settle();
    assert.equal(world.passesMs.length, 1);
    end?.();
    await settle();
    assert.equal(world.passesMs.length, 2);
    end?.();
    await settle();
    assert.equal(world.passesMs.length, 2);
    world.controller.abort();
    await world.running;
  });

  it("forgets an appointment when it is woken before", async () => {
    const world = run(async (count) => (count === 1 ? 500 : undefined));
    await world.clock.advance(300);
    world.loop.wake();
    await world.clock.advance(1_000);
    assert.deepEqual(world.passesMs, [0, 300]);
    world.controller.abort();
    await world.running;
  });

  it("retries a failed pass with backoff that wake-ups do not shorten", async () => {
    const world = run(async (count) => {
      if (count !== 5) throw new FleetError("store-unavailable", "cannot reach it");
      return undefined;
    });
    await world.clock.advance(50);
    world.loop.wake();
    await world.clock.advance(950);
    assert.deepEqual(world.passesMs, [0, 100, 300, 650, 1_000], "100, 200, then at most 350");
    world.loop.wake();
    await world.clock.advance(100);
    assert.deepEqual(world.passesMs.slice(5), [1_000, 1_100], "a good pass starts it anew");
    world.controller.abort();
    await world.running;
  });

  it("ends after the pass under way, without waiting for its backoff", async () => {
    const world = run(async () => {
      throw new FleetError("store-unavailable", "cannot reach it");
    });
    await world.clock.advance(250);
    world.controller.abort();
    await world.running;
    assert.equal(world.clock.nextDueMs(), undefined);

    const cooperative = run(async (_, signal) => {
      await new Promise((_, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason)),
      );
      return undefined;
    });
    await settle();
    cooperative.controller.abort();
    await cooperative.running;
  });

  it("does not begin when it is ended before", async () => {
    const clock = new VirtualClock();
    const loop = new Loop({
      name: "test",
      clock,
      random: { id: () => "", fraction: () => 0 },
      logger: silentLogger,
      backoff: { firstMs: 1, maxMs: 1 },
      pass: async () => assert.fail("it was ended before"),
    });
    await loop.run(AbortSignal.abort());
  });

  it("ends with a bug, also while it is ending", async () => {
    const bug = run(async () => assert.fail("a bug"));
    await assert.rejects(bug.running, { name: "AssertionError" });
    const late = run(async (_, signal) => {
      await settle();
      assert.ok(!signal.aborted, "a bug while it ends");
      return undefined;
    });
    late.controller.abort();
    await assert.rejects(late.running, { message: "a bug while it ends" });
  });
});
