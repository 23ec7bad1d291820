import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { UnitChange } from "../../src/cluster/unit-change.ts";
import { checkChanges } from "../../src/registry/change-check.ts";
import {
  GROUP_BYTES_MAX,
  GROUP_CHANGES_MAX,
  splitChanges,
} from "../../src/registry/change-groups.ts";
import { Registry } from "../../src/registry/registry.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { SwitchedStore } from "../api/switched-store.ts";
import { deleteKey, openVirtualWorld, putRecord, readRecord } from "../support/virtual-world.ts";

const CONTENT = "[Service]\nExecStart=/bin/sleep 1\n";

function openRegistry() {
  const { clock, random, store: inner, keys } = openVirtualWorld();
  const store = new SwitchedStore(inner);
  return {
    store,
    keys,
    registry: new Registry({ store, keys, clock, random, logger: silentLogger }),
  };
}

type World = ReturnType<typeof openRegistry>;

async function apply({ registry }: World, ...changes: readonly UnitChange[]) {
  const outcome = await registry.apply(changes);
  assert(outcome.type === "applied");
  return outcome.results;
}

async function restartsOf({ store, keys }: World, name: string): Promise<unknown> {
  return (await readRecord(store, keys.unit(name)))?.["restarts"];
}

async function launched(world: World, ...names: readonly string[]): Promise<void> {
  await apply(
    world,
    ...names.map(
      (name) => ({ type: "submit", name, content: CONTENT, desired: "launched" }) as const,
    ),
  );
}

test("three hundred units of one content are six transactions and one file", async () => {
  const world = openRegistry();
  const names = Array.from({ length: 300 }, (_, index) => `u${index}.service`);
  const results = await apply(
    world,
    ...names.map((name) => ({ type: "submit", name, content: CONTENT }) as const),
  );
  assert.deepEqual(
    results.map(({ type, name }) => [type, name]),
    names.map((name) => ["created", name]),
  );
  assert.equal(world.store.transactions, 6);
  const { store, keys } = world;
  const files = await store.read({ range: { prefix: keys.all("files") } });
  assert.equal(files.items.length, 1);
  assert.equal(files.items[0]?.createRevision, files.items[0]?.modRevision, "written once");
});

test("a file and the unit that names it appear in one revision", async () => {
  const world = openRegistry();
  await apply(world, { type: "submit", name: "a.service", content: CONTENT });
  const { store, keys } = world;
  const [file] = (await store.read({ range: { prefix: keys.all("files") } })).items;
  const [unit] = (await store.read({ range: { key: keys.unit("a.service") } })).items;
  assert.equal(file?.createRevision, unit?.createRevision);
});

test("a file that is collected in the worst moment is written again", async () => {
  const world = openRegistry();
  await apply(world, { type: "submit", name: "a.service", content: CONTENT });
  const { store, keys } = world;
  const [file] = (await store.read({ range: { prefix: keys.all("files") } })).items;
  assert(file !== undefined);
  store.beforeTransact = async () => {
    store.beforeTransact = undefined;
    await deleteKey(store, file.key);
  };
  const [result] = await apply(world, { type: "submit", name: "b.service", content: CONTENT });
  assert.equal(result?.type, "created");
  assert.notEqual(await readRecord(store, file.key), undefined);
});

test("a restart whose answer is lost happens once", async () => {
  const world = openRegistry();
  await launched(world, "a.service");
  world.store.answersToLose = 1;
  const [result] = await apply(world, { type: "restart", name: "a.service" });
  assert.deepEqual(result?.type === "changed" && result.restarts, 1);
  assert.equal(await restartsOf(world, "a.service"), 1);
});

test("a restart whose write is lost is done again", async () => {
  const world = openRegistry();
  await launched(world, "a.service");
  world.store.writesToLose = 2;
  const [result] = await apply(world, { type: "restart", name: "a.service" });
  assert.equal(result?.type, "changed");
  assert.equal(await restartsOf(world, "a.service"), 1);
});

test("a destroy whose answer is lost is reported as done", async () => {
  const world = openRegistry();
  await launched(world, "a.service");
  world.store.answersToLose = 1;
  const [result] = await apply(world, { type: "destroy", name: "a.service" });
  assert.equal(result?.type, "destroyed");
  assert.equal(await readRecord(world.store, world.keys.unit("a.service")), undefined);
});

test("a batch whose answer is lost is not applied twice", async () => {
  const world = openRegistry();
  await launched(world, "a.service", "b.service", "c.service");
  world.store.answersToLose = 1;
  const results = await apply(
    world,
    { type: "restart", name: "a.service" },
    { type: "destroy", name: "b.service" },
    { type: "restart", name: "c.service" },
    { type: "submit", name: "d.service", content: CONTENT },
  );
  assert.deepEqual(
    results.map(({ type }) => type),
    ["changed", "destroyed", "changed", "created"],
  );
  assert.deepEqual(
    [await restartsOf(world, "a.service"), await restartsOf(world, "c.service")],
    [1, 1],
  );
});

test("one change that loses its race does not hold up the others of its batch", async () => {
  const world = openRegistry();
  await launched(world, "a.service", "b.service");
  const { store, keys } = world;
  store.beforeTransact = async () => {
    store.beforeTransact = undefined;
    const record = await readRecord(store, keys.unit("a.service"));
    await putRecord(store, keys.unit("a.service"), { ...record, restarts: 7, unknownField: true });
  };
  const results = await apply(
    world,
    { type: "restart", name: "a.service" },
    { type: "desire", name: "b.service", desired: "loaded" },
  );
  assert.deepEqual(
    results.map((result) => "restarts" in result && result.restarts),
    [8, 0],
  );
  const record = await readRecord(store, keys.unit("a.service"));
  assert.equal(record?.["unknownField"], true, "fields of newer versions are kept");
});

test("a race that is lost again and again is refused, and nothing is left half done", async () => {
  const world = openRegistry();
  await launched(world, "a.service");
  const { store, keys } = world;
  store.beforeTransact = async () => {
    const again = store.beforeTransact;
    store.beforeTransact = undefined;
    const record = await readRecord(store, keys.unit("a.service"));
    await putRecord(store, keys.unit("a.service"), { ...record });
    store.beforeTransact = again;
  };
  const [result] = await apply(world, { type: "restart", name: "a.service" });
  assert.equal(result?.type, "refused");
  assert.equal(await restartsOf(world, "a.service"), 0);
});

test("a registry that goes away half-way leaves the rest refused, not the whole unknown", async () => {
  const world = openRegistry();
  const { store } = world;
  let transactions = 0;
  store.beforeTransact = async () => {
    transactions += 1;
    store.away = transactions === 1;
  };
  const results = await apply(
    world,
    { type: "submit", name: "t@.service", content: CONTENT },
    { type: "submit", name: "t@1.service" },
  );
  assert.deepEqual(
    results.map(({ type }) => type),
    ["created", "refused"],
  );
  await assert.rejects(apply(world, { type: "restart", name: "t@.service" }), {
    code: "store-unavailable",
  });
});

test("a unit whose record is unreadable is left out of lists and can be destroyed", async () => {
  const world = openRegistry();
  await launched(world, "a.service");
  await putRecord(world.store, world.keys.unit("bad.service"), { desired: "running" });
  const { units } = await world.registry.read.units();
  assert.deepEqual(
    units.map(({ name }) => name),
    ["a.service"],
  );
  const results = await apply(
    world,
    { type: "restart", name: "bad.service" },
    { type: "destroy", name: "bad.service" },
  );
  assert.deepEqual(
    results.map(({ type }) => type),
    ["refused", "destroyed"],
  );
});

test("splitChanges() keeps order and limits, no unit twice, no instance beside its template", () => {
  const name = fc.constantFrom(
    "a.service",
    "t@.service",
    "t@1.service",
    "t@2.service",
    "b.service",
  );
  const size = fc.constantFrom(10, 1_000, 400_000, 900_000);
  const submits = fc.array(
    fc.record({ name, size }).map(
      ({ name, size }): UnitChange => ({
        type: "submit",
        name,
        content: `[Unit]\n#${"x".repeat(size)}\n`,
      }),
    ),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(submits, (changes) => {
      const check = checkChanges(changes);
      assert(check.type === "ok");
      const groups = splitChanges(check.checked);
      assert.deepEqual(groups.flat(), check.checked);
      for (const group of groups) {
        const names = group.map(({ change }) => change.name);
        assert.equal(new Set(names).size, names.length);
        assert(group.length > 0 && group.length <= GROUP_CHANGES_MAX);
        const template = names.indexOf("t@.service");
        assert(template === -1 || !names.slice(template).some((one) => /^t@\d/.test(one)));
        const files = new Map(group.map(({ manifest }) => [manifest?.hash, manifest?.encoded]));
        const bytes = [...files.values()].reduce((sum, text) => sum + (text?.length ?? 0), 0);
        assert(bytes <= GROUP_BYTES_MAX);
      }
    }),
    { numRuns: 30, seed: 1 },
  );
});
