import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { grantLease } from "../../src/registry/lease.ts";
import type { Store } from "../../src/registry/store.ts";
import { sleep } from "../../src/runtime/clock.ts";
import { FleetError } from "../../src/runtime/errors.ts";
import type { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { openVirtualWorld } from "../support/virtual-world.ts";

const TTL_MS = 10_000;

type KeepAlive = Store["keepLeaseAlive"];

/** A lease of a store whose keep-alives go through `between`, kept from now on. */
async function keepOne(between: (clock: VirtualClock, pass: KeepAlive) => KeepAlive) {
  const { clock, store } = openVirtualWorld();
  const pass = store.keepLeaseAlive.bind(store);
  const calls = { begun: 0, pending: 0, mostPending: 0 };
  const keepAlive = between(clock, pass);
  store.keepLeaseAlive = async (leaseId, options) => {
    calls.begun += 1;
    calls.pending += 1;
    calls.mostPending = Math.max(calls.mostPending, calls.pending);
    return keepAlive(leaseId, options).finally(() => {
      calls.pending -= 1;
    });
  };
  const lease = await grantLease(store, clock, TTL_MS);
  const stop = new AbortController();
  const renewedMs: number[] = [];
  let ended: string | undefined;
  const keeping = lease
    .keep(stop.signal, () => renewedMs.push(clock.monotonicMs()))
    .then((how) => {
      ended = how;
    });
  return { clock, store, lease, calls, renewedMs, stop, keeping, ended: () => ended };
}

/** As a call ends whose answer never comes. */
async function unanswered(
  clock: VirtualClock,
  options: Parameters<KeepAlive>[1],
): Promise<undefined> {
  await sleep(clock, options?.deadlineMs ?? 5_000, options?.signal);
  throw new FleetError("store-deadline", "no answer", { retriable: true });
}

describe("HeldLease.keep()", () => {
  it("renews every third of the ttl with one call", async () => {
    const kept = await keepOne((_, pass) => pass);
    await kept.clock.advance(20_100);
    assert.equal(kept.renewedMs.length, 6);
    assert.equal(kept.calls.begun, 6);
    kept.stop.abort(new Error("enough"));
    await assert.rejects(kept.keeping, { message: "enough" });
    assert.equal(kept.calls.pending, 0);
  });

  it("is answered as soon as anybody answers again, though what was sent before never is", async () => {
    // A keep-alive goes to a member that has just lost its leader, one moment before each next.
    const outage = { fromMs: 3_300, untilMs: 7_300 };
    const kept = await keepOne((clock, pass) => async (leaseId, options) => {
      const nowMs = clock.monotonicMs();
      const isLost = nowMs >= outage.fromMs && nowMs < outage.untilMs;
      return isLost ? unanswered(clock, options) : pass(leaseId, options);
    });
    await kept.clock.advance(9_000);
    const [first = Number.POSITIVE_INFINITY] = kept.renewedMs;
    assert.ok(first <= outage.untilMs + TTL_MS / 8, `renewed first after ${first} ms`);
    assert.ok(kept.calls.mostPending <= 4, `${kept.calls.mostPending} calls at once`);
    assert.equal(kept.ended(), undefined);
  });

  it("is kept by a store that takes a third of the ttl for each answer", async () => {
    const kept = await keepOne((clock, pass) => async (leaseId, options) => {
      await sleep(clock, TTL_MS / 3 - 10, options?.signal);
      return pass(leaseId, options);
    });
    await kept.clock.advance(60_000);
    assert.equal(kept.ended(), undefined);
    assert.ok(kept.lease.isValid());
    assert.ok(kept.calls.mostPending <= 4, `${kept.calls.mostPending} calls at once`);
  });

  it("tells a lease that is gone from one that nobody renewed in time", async () => {
    const gone = await keepOne((_, pass) => pass);
    await gone.store.revokeLease(gone.lease.leaseId);
    await gone.clock.advance(4_000);
    assert.equal(gone.ended(), "gone");

    const expired = await keepOne((clock) => (_, options) => unanswered(clock, options));
    await expired.clock.advance(TTL_MS - 1);
    assert.equal(expired.ended(), undefined);
    await expired.clock.advance(1);
    assert.equal(expired.ended(), "expired");
    assert.equal(expired.calls.pending, 0);
  });

  it("asks again where it is refused, without asking in a circle", async () => {
    const kept = await keepOne((clock, pass) => async (leaseId, options) => {
      if (clock.monotonicMs() < 8_000) {
        throw new FleetError("store-unavailable", "connection refused", { retriable: true });
      }
      return pass(leaseId, options);
    });
    await kept.clock.advance(9_900);
    assert.equal(kept.ended(), undefined);
    assert.ok(kept.lease.validUntilMs > 18_000);
    assert.ok(kept.calls.begun <= 9, `${kept.calls.begun} calls`);
  });
});
