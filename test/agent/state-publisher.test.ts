import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { StatePublisher } from "../../src/agent/state-publisher.ts";
import { grantLease } from "../../src/registry/lease.ts";
import type { StateRecord } from "../../src/registry/records.ts";
import { FleetError } from "../../src/runtime/errors.ts";
import { openVirtualWorld, putRecord } from "../support/virtual-world.ts";

const UNIT = "web.service";
/** Comes to this machine. */
const OTHER = "other.service";
const NEVER = new AbortController().signal;
const RUNNING: StateRecord = {
  ...{ manifest: "m", hash: "h", current: "launched", load: "loaded", result: "success" },
  ...{ active: "active", sub: "running", mainPid: 7, sinceMs: 1 },
};
const LOADED: StateRecord = { ...RUNNING, current: "loaded", active: "inactive", sub: "dead" };

/** `next` makes a state true and tells of it; what wants to be launched and is not passes. */
async function openPublisher(first: StateRecord) {
  const { store, keys, clock } = openVirtualWorld();
  let losesAnswers = false;
  const transact = store.transact.bind(store);
  store.transact = async (...call) => {
    const result = await transact(...call);
    if (!losesAnswers) return result;
    throw new FleetError("store-deadline", "no answer", { retriable: true });
  };
  let state: StateRecord | undefined = first;
  let looks = 0;
  const publisher = new StatePublisher({
    ...{ store, keys, clock, machineId: "here" },
    stateOf: (unit) => {
      looks += 1;
      return unit === UNIT ? state : undefined;
    },
    isPassing: (_, { current, start }) => current !== "launched" || start?.outcome === "pending",
  });
  const lease = await grantLease(store, clock, 600_000);
  publisher.begin(
    { lease, revision: await putRecord(store, keys.machine("here"), {}) },
    [],
    [UNIT],
  );
  const flush = () => publisher.flush(NEVER);
  const revision = await putRecord(store, keys.assignment("here", OTHER), {});
  const claim = () =>
    publisher.claim(
      [{ unit: OTHER, assignmentRevision: revision, state: LOADED }],
      () => {},
      NEVER,
    );
  /** Units that the registry has a state of. */
  const occupying = async () => {
    const prefix = keys.statesOf("here");
    const { items } = await store.read({ range: { prefix } });
    return items.map(({ key }) => key.slice(prefix.length));
  };
  const next = async (now: StateRecord | undefined) => {
    state = now;
    publisher.mark(UNIT);
    return await flush();
  };
  const told = async () => {
    const { items } = await store.read({ range: { key: keys.state("here", UNIT) } });
    return items[0] && (JSON.parse(items[0].value) as StateRecord);
  };
  await flush();
  await clock.advance(1_000);
  /** The store takes what is written meanwhile, and nobody hears of it. */
  const unheard = async (work: () => Promise<unknown>) => {
    await clock.advance(1_000);
    losesAnswers = true;
    await assert.rejects(work(), { code: "store-deadline" });
    losesAnswers = false;
    await clock.advance(1_000);
  };
  return {
    clock,
    store,
    publisher,
    flush,
    next,
    claim,
    told,
    occupying,
    unheard,
    looks: () => looks,
  };
}

describe("StatePublisher", () => {
  test("tells at once what nobody was told of, also when it is but a step", async () => {
    const { told } = await openPublisher(LOADED);
    assert.deepEqual(await told(), LOADED);
  });

  test("tells the truth after a write without an answer, also where that is what it was before the write", async () => {
    const { next, told, unheard } = await openPublisher(RUNNING);
    await unheard(() => next({ ...RUNNING, sub: "reloading" }));
    assert.equal((await told())?.sub, "reloading");
    await next(RUNNING);
    assert.deepEqual(await told(), RUNNING);
    await unheard(() => next(undefined));
    assert.equal(await told(), undefined);
    await next(RUNNING);
    assert.deepEqual(await told(), RUNNING);
  });

  test("does not hold a restart back that a write without an answer may have hidden", async () => {
    const restarted = { ...RUNNING, active: "activating", sub: "auto-restart", mainPid: 0 };
    const { next, told, unheard } = await openPublisher(restarted);
    await unheard(() => next(RUNNING));
    assert.deepEqual(await told(), RUNNING);
    await next(restarted);
    assert.deepEqual(await told(), restarted);
  });

  test("takes a claim back that nobody heard the answer of, once it is not wanted any more", async () => {
    const { publisher, claim, flush, occupying, unheard } = await openPublisher(RUNNING);
    await unheard(claim);
    assert.deepEqual(await occupying(), [OTHER, UNIT]);
    publisher.mark(OTHER);
    await flush();
    assert.deepEqual(await occupying(), [UNIT]);
  });

  test("claims a unit when what is just written of it is, so that this does not undo it", async () => {
    const { store, publisher, claim, flush, occupying, unheard } = await openPublisher(RUNNING);
    await unheard(claim);
    const held = Promise.withResolvers<void>();
    const transact = store.transact.bind(store);
    let underWay = 0;
    store.transact = async (...call) => {
      underWay += 1;
      await held.promise;
      assert.equal(underWay, 1);
      underWay -= 1;
      return await transact(...call);
    };
    publisher.mark(OTHER);
    const written = flush();
    const claimed = claim();
    held.resolve();
    await Promise.all([written, claimed]);
    assert.deepEqual(await occupying(), [OTHER, UNIT]);
    assert.ok(publisher.isPublished(OTHER));
  });

  test("tells a start that is over soon with one write, and one that is not after half a second", async () => {
    const pending: StateRecord = {
      ...{ ...RUNNING, active: "activating", sub: "start" },
      start: { restarts: 0, outcome: "pending" },
    };
    const { clock, flush, next, told } = await openPublisher(LOADED);
    assert.equal(await next(pending), 500);
    assert.deepEqual(await told(), LOADED);
    await clock.advance(499);
    assert.equal(await flush(), 1);
    await clock.advance(1);
    assert.equal(await flush(), undefined);
    assert.deepEqual(await told(), pending);
    assert.equal(await next(RUNNING), 10);
    await clock.advance(10);
    await flush();
    assert.deepEqual(await told(), RUNNING);
  });

  test("looks at what waits only when that is over or it has changed, however often others are told", async () => {
    const { clock, flush, next, told, looks } = await openPublisher(LOADED);
    const pending: StateRecord = { ...RUNNING, start: { restarts: 0, outcome: "pending" } };
    await next(pending);
    const before = looks();
    await clock.advance(100);
    assert.equal(await flush(), 400);
    assert.equal(looks(), before);
    await next(RUNNING);
    assert.deepEqual(await told(), RUNNING);
  });

  test("tells for two seconds nothing of what is as inactive as it was", async () => {
    const { next, told } = await openPublisher(LOADED);
    assert.equal(await next({ ...LOADED, hash: "other" }), 2_000);
    assert.deepEqual(await told(), LOADED);
  });

  test("tells a restart at once and those that follow it once a minute", async () => {
    const restarted: StateRecord = {
      ...RUNNING,
      active: "activating",
      sub: "auto-restart",
      mainPid: 0,
    };
    const { clock, flush, next, told } = await openPublisher(RUNNING);
    await next(restarted);
    assert.deepEqual(await told(), restarted);
    await clock.advance(5_000);
    assert.equal(await next({ ...restarted, sinceMs: 2 }), 60_000);
    await clock.advance(59_000);
    assert.equal(await next({ ...restarted, sinceMs: 3 }), 1_000);
    assert.equal((await told())?.sinceMs, 1);
    await clock.advance(1_000);
    await flush();
    assert.equal((await told())?.sinceMs, 3);
    assert.equal(await next(RUNNING), 10);
    await clock.advance(10);
    await flush();
    assert.deepEqual(await told(), RUNNING);
  });
});
