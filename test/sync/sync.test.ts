import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { RegistrySyncCluster } from "../../src/daemon/registry-sync-cluster.ts";
import { Registry } from "../../src/registry/registry.ts";
import { readAll } from "../../src/registry/store.ts";
import { sleep } from "../../src/runtime/clock.ts";
import { FleetError } from "../../src/runtime/errors.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import {
  followSync,
  type SyncEvent,
  type SyncOptions,
  type SyncOutcome,
  syncOnce,
} from "../../src/sync/sync.ts";
import type { TreeSource } from "../../src/sync/tree.ts";
import { EngineFixture, keys } from "../engine/engine-fixture.ts";

const HERE = "m1";
const never = new AbortController().signal;
type Files = Readonly<Record<string, string>>;

let cluster: EngineFixture;
let registry: Registry;
/** By version: the last is the newest. */
let versions: [id: string, files: Files][];
let events: SyncEvent[];
let untrusted: Set<string>;
/** Why the tree is out of reach. */
let away: string | undefined;

beforeEach(async () => {
  cluster = new EngineFixture();
  await cluster.open();
  const { store, clock, random } = cluster;
  registry = new Registry({ store, keys, clock, random, logger: silentLogger });
  versions = [];
  events = [];
  untrusted = new Set();
  away = undefined;
});
afterEach(() => cluster.close());

const tree: TreeSource = {
  description: "a tree",
  newest: async () => {
    if (away !== undefined) throw new FleetError("tree-unavailable", away);
    return versionOf(versions.at(-1)?.[0] ?? "");
  },
  distrust: async ({ id }) => (untrusted.has(id) ? "no known key has signed it" : undefined),
  find: async (id) => (versions.some(([version]) => version === id) ? versionOf(id) : undefined),
  read: async ({ id }) => {
    const files = versions.find(([version]) => version === id)?.[1] ?? {};
    const read = Object.entries(files).map(([path, content]) => ({ path, content }));
    return { files: read, problems: [] };
  },
  stirred: async ({ signal }) => await sleep(cluster.clock, 3_600_000, signal).catch(() => {}),
};

function versionOf(id: string) {
  return { id, author: "Ada <ada@example.com>", subject: "", committedMs: 0 };
}

function options(more: Partial<SyncOptions> = {}): SyncOptions {
  return {
    ...{ tree, cluster: new RegistrySyncCluster({ registry, clock: cluster.clock }) },
    ...{ clock: cluster.clock, runner: "test", source: "main", heal: true, readyMs: 300_000 },
    ...{ adopt: false, prune: false, pruneLimit: 0.5, onEvent: (event) => events.push(event) },
    ...more,
  };
}

/** Virtual milliseconds it took, and what came of it. */
async function sync(more: Partial<SyncOptions> = {}): Promise<[SyncOutcome, tookMs: number]> {
  const beganMs = cluster.clock.monotonicMs();
  const work = syncOnce(options(more), never);
  const outcome = await passing(work);
  return [outcome, cluster.clock.monotonicMs() - beganMs];
}

/** Lets virtual time pass until it is done. */
async function passing<T>(work: Promise<T>): Promise<T> {
  let isDone = false;
  const done = () => {
    isDone = true;
  };
  work.then(done, done);
  while (!isDone) {
    await cluster.clock.advance(50);
    await playAgent();
  }
  return await work;
}

/** The machine does at once what it is told. */
async function playAgent(): Promise<void> {
  const prefix = keys.assignmentsOf(HERE);
  const { items } = await readAll(cluster.store, { prefix });
  const assigned = new Map(items.map(({ key, value }) => [key.slice(prefix.length), value]));
  for (const [unit, value] of assigned) {
    const { identity, manifest, target, restarts } = JSON.parse(value);
    await cluster.state(HERE, unit, {
      ...{ identity, manifest, current: target, start: { restarts, outcome: "done" } },
      active: target === "launched" ? "active" : "inactive",
    });
  }
  for (const unit of await cluster.keysBelow(keys.statesOf(HERE))) {
    if (!assigned.has(unit)) await cluster.delete(keys.state(HERE, unit));
  }
}

function service(xFleet = "", what = "/bin/true"): string {
  return `[Service]\nExecStart=${what}\n[X-Fleet]\n${xFleet}\n`;
}

const QUIET = service("State=inactive");
const ELSEWHERE = "MachineMetadata=disk=ssd";
const BROKEN = service("Replicas=some");

async function names(): Promise<readonly string[]> {
  return (await registry.read.units(undefined)).units.map(({ name }) => name);
}

test("syncOnce() does not wait for a unit that no machine takes, and gives back why", async () => {
  await cluster.machine(HERE);
  cluster.engine(HERE);
  versions.push(["one", { "a.service": service(), "b.service": service(ELSEWHERE) }]);
  const [outcome, tookMs] = await sync();
  assert(outcome.type === "synced");
  assert.match(outcome.waiting?.join() ?? "", /^b\.service: cannot be placed: .*disk=ssd/);
  assert.ok(tookMs >= 1_000 && tookMs < 3_000, `${tookMs} ms`);
  const steps = events.flatMap((event) => (event.type === "step" ? [event.event] : []));
  assert.deepEqual(
    steps.flatMap((step) => (step.type === "done" ? [] : [`${step.type} ${step.unit}`])),
    ["ready a.service", "waits b.service"],
  );
});

test("syncOnce() does not mind a reason that passes within the second", async () => {
  await cluster.machine(HERE);
  cluster.engine(HERE);
  versions.push(["one", { "b.service": service(ELSEWHERE) }]);
  cluster.clock.setTimer(600, () => void cluster.machine(HERE, { metadata: { disk: "ssd" } }));
  const [outcome] = await sync();
  assert(outcome.type === "synced");
  assert.deepEqual(outcome.waiting, []);
  assert.equal(await cluster.placedOn("b.service"), HERE);
});

test("syncOnce() takes a version back, whose first instance no machine takes any more, and leaves the others alone", async () => {
  await cluster.machine(HERE);
  cluster.engine(HERE);
  versions.push(["one", { "w@.service": service("Replicas=3") }]);
  await sync();
  versions.push(["two", { "w@.service": service(`Replicas=3\n${ELSEWHERE}`) }]);
  const [outcome, tookMs] = await sync();
  assert(outcome.type === "rejected");
  assert.match(outcome.problems.join(), /^w@1\.service: cannot be placed: .*disk=ssd.*$/);
  assert.equal(outcome.backTo?.id, "one");
  assert.ok(tookMs < 10_000, `${tookMs} ms`);
  const done = events.flatMap((event) =>
    event.type === "step" && event.event.type === "done" ? [event.event.step] : [],
  );
  assert.ok(!done.some(({ type, unit }) => type === "replace" && unit === "w@2.service"));
});

test("going back to the version before takes only what the failed one brought, without being asked to prune", async () => {
  await cluster.machine(HERE);
  cluster.engine(HERE);
  versions.push(["one", { "a.service": service(), "old.service": service() }]);
  await sync();
  versions.push(["two", { "a.service": service() }]);
  await sync();
  versions.push(["three", { "a.service": service(ELSEWHERE), "new.service": service() }]);
  const [outcome] = await sync();
  assert.equal(outcome.type, "rejected");
  assert.deepEqual(await names(), ["a.service", "old.service"]);
});

test("while a version stays rejected, a unit of the kept one that is destroyed by hand is back within seconds", async () => {
  const ending = new AbortController();
  versions.push(["one", { "a.service": QUIET }]);
  await sync();
  versions.push(["two", { "a.service": QUIET, "b.service": BROKEN }]);
  await sync();
  const following = followSync(options(), ending.signal);
  try {
    await passing(sleep(cluster.clock, 5_000));
    assert.deepEqual(outcomes(), ["rejected, known"], "it looks once, and waits");
    await registry.apply([{ type: "destroy", name: "a.service" }]);
    await passing(sleep(cluster.clock, 5_000));
    assert.deepEqual(await names(), ["a.service"]);
    assert.deepEqual(outcomes(), ["rejected, known", "rejected, known"]);
  } finally {
    ending.abort();
    await following;
  }
});

async function record() {
  return (await registry.sources.get("main"))?.record;
}

test("an untrusted version is rejected where all can see it, and applied as soon as it is trusted", async () => {
  versions.push(["one", { "a.service": QUIET }]);
  await sync();
  versions.push(["two", { "b.service": QUIET }]);
  untrusted.add("two");
  const [first] = await sync();
  assert(first.type === "rejected");
  assert.deepEqual([first.problems, first.known], [["no known key has signed it"], false]);
  const [second] = await sync();
  assert(second.type === "rejected");
  assert.equal(second.known, true);
  assert.deepEqual(await names(), ["a.service"]);
  const { rejected, running, wanted } = (await record()) ?? {};
  assert.deepEqual([running?.id, wanted?.id, rejected?.version.id], ["one", "two", "two"]);
  assert.deepEqual(rejected?.problems, ["no known key has signed it"]);
  untrusted.delete("two");
  const [third] = await sync();
  assert.equal(third.type, "synced");
  assert.deepEqual(await names(), ["a.service", "b.service"]);
});

test("a version that runs and is trusted no longer runs on, and is not healed to", async () => {
  versions.push(["one", { "a.service": QUIET }]);
  await sync();
  untrusted.add("one");
  await registry.apply([{ type: "destroy", name: "a.service" }]);
  const [outcome] = await sync();
  assert.equal(outcome.type, "rejected");
  assert.deepEqual(await names(), []);
});

test("while the tree is out of reach, its record says since when and why", async () => {
  versions.push(["one", { "a.service": QUIET }]);
  const ending = new AbortController();
  away = "cannot fetch it: no route to host";
  const following = followSync(options(), ending.signal);
  try {
    await passing(sleep(cluster.clock, 1_000));
    const sinceMs = (await record())?.away?.sinceMs;
    assert.equal((await record())?.away?.why, away);
    await passing(sleep(cluster.clock, 60_000));
    const { away: now, history } = (await record()) ?? {};
    assert.deepEqual([now, history], [{ sinceMs, why: away }, []]);
    away = undefined;
    await passing(sleep(cluster.clock, 31_000));
    assert.deepEqual([(await record())?.away, (await record())?.running?.id], [undefined, "one"]);
  } finally {
    ending.abort();
    await following;
  }
});

test("a version that runs, but for units that no machine takes, is not passed for all there", async () => {
  await cluster.machine(HERE);
  cluster.engine(HERE);
  versions.push(["one", { "a.service": service(), "b.service": service(ELSEWHERE) }]);
  await sync();
  const [outcome] = await sync();
  assert(outcome.type === "unchanged");
  assert.match(outcome.waiting?.join("\n") ?? "", /^b\.service: cannot be placed: .*disk=ssd.*$/);
});

function outcomes(): readonly string[] {
  return events.flatMap((event) =>
    event.type === "outcome"
      ? [
          event.outcome.type === "rejected" && event.outcome.known
            ? "rejected, known"
            : event.outcome.type,
        ]
      : [],
  );
}
