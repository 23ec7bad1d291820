import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import type { EngineTask, PlaceTask } from "../../src/engine/tasks.ts";
import { writeTasks } from "../../src/engine/write-tasks.ts";
import { type EmbeddedStore, openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { makeKeys } from "../../src/registry/keys.ts";
import { type Operation, readAll, type Transaction } from "../../src/registry/store.ts";
import { FleetError } from "../../src/runtime/errors.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";

const keys = makeKeys("/t/");
let store: EmbeddedStore;
let token: number;
let sent: Transaction[];
let unavailable = false;

beforeEach(async () => {
  const inner = openEmbeddedStore({ clock: new VirtualClock(), random: new SeededRandom(1) });
  sent = [];
  unavailable = false;
  token = await put(inner, keys.leader);
  store = new Proxy(inner, {
    get(target, name) {
      if (name !== "transact") return Reflect.get(target, name).bind(target);
      return async (transaction: Transaction) => {
        sent.push(transaction);
        if (unavailable) throw new FleetError("store-unavailable", "cut", { retriable: true });
        return await target.transact(transaction);
      };
    },
  });
});

async function put(to: EmbeddedStore, key: string): Promise<number> {
  const operations: Operation[] = [{ type: "put", key, value: "{}" }];
  return (await to.transact({ comparisons: [], operations })).header.revision;
}

async function unitAndTask(name: string, options: Partial<PlaceTask> = {}): Promise<EngineTask> {
  const identity = await put(store, keys.unit(name));
  return {
    type: "place",
    unit: name,
    machineId: "m1",
    placement: { machine: "m1", identity },
    placementRevision: 0,
    assignment: { identity, manifest: "", target: "launched", restarts: 0, global: false },
    from: undefined,
    fromLost: false,
    absentAt: [],
    history: { entries: [] },
    why: { type: "wanted" },
    bundle: undefined,
    moveRevision: undefined,
    ...options,
  };
}

function write(tasks: readonly EngineTask[], fence = token) {
  sent = [];
  return writeTasks(tasks, { store, keys, token: fence, call: {}, onApplied: () => undefined });
}

async function placed(): Promise<string[]> {
  const { items } = await readAll(store, { prefix: keys.all("placements") });
  return items.map(({ key }) => key.slice(keys.all("placements").length));
}

describe("writeTasks()", () => {
  test("writes up to a hundred operations at a time, each time fenced", async () => {
    const tasks: EngineTask[] = [];
    for (let n = 100; n < 200; n += 1) tasks.push(await unitAndTask(`u${n}.service`));
    assert.deepEqual(await write(tasks), { refused: [] });
    assert.equal((await placed()).length, 100);
    assert.equal(sent.length, 4);
    for (const { comparisons, operations } of sent) {
      assert.ok(operations.length <= 100 && comparisons.length <= 100);
      const fences = comparisons.filter(({ key }) => key === keys.leader);
      assert.deepEqual(fences, [{ type: "created-at", key: keys.leader, revision: token }]);
    }
  });

  test("writes nothing once another leads (I2)", async () => {
    const task = await unitAndTask("a.service");
    assert.deepEqual(await write([task], token - 1), { refused: [task] });
    assert.deepEqual(await placed(), []);
  });

  test("writes one by one what was refused together, and drops what is refused again", async () => {
    const tasks = [
      await unitAndTask("a.service"),
      await unitAndTask("b.service"),
      await unitAndTask("c.service"),
    ];
    await put(store, keys.placement("b.service"));
    assert.deepEqual(await write(tasks), { refused: [tasks[1]] });
    assert.deepEqual(await placed(), ["a.service", "b.service", "c.service"]);
    assert.equal(sent.length, 4);
  });

  test("places nothing while a machine still holds the unit (I8)", async () => {
    await put(store, keys.state("m2", "a.service"));
    const task = await unitAndTask("a.service", { absentAt: ["m2"] });
    assert.deepEqual((await write([task])).refused, [task]);
  });

  test("moves nothing off a lost machine that has come back", async () => {
    await put(store, keys.machine("m2"));
    const placementRevision = await put(store, keys.placement("a.service"));
    const moves = { placementRevision, from: "m2", fromLost: true };
    const task = await unitAndTask("a.service", moves);
    assert.deepEqual((await write([task])).refused, [task]);
  });

  test("writes a bundle as a whole or not at all", async () => {
    const tasks = [
      await unitAndTask("a.service", { bundle: "g" }),
      await unitAndTask("c.service"),
      await unitAndTask("b.service", { bundle: "g" }),
    ];
    await put(store, keys.placement("b.service"));
    assert.deepEqual(await write(tasks), { refused: [tasks[0], tasks[2]] });
    assert.deepEqual(await placed(), ["b.service", "c.service"]);
  });

  test("does not collect a manifest that was submitted again", async () => {
    const modRevision = await put(store, keys.file("h"));
    await put(store, keys.file("h"));
    const task: EngineTask = { type: "collect", manifest: "h", modRevision };
    assert.deepEqual((await write([task])).refused, [task]);
  });

  test("throws when the store does not answer, and sends no more", async () => {
    const tasks: EngineTask[] = [];
    for (let n = 100; n < 400; n += 1) tasks.push(await unitAndTask(`u${n}.service`));
    unavailable = true;
    await assert.rejects(write(tasks), { code: "store-unavailable" });
    assert.ok(sent.length <= 4);
  });
});
