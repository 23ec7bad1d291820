import assert from "node:assert/strict";
import { test } from "node:test";
import type { ExplainBody, PlanBody, UnitChange } from "../../src/api/protocol.ts";
import { readAll } from "../../src/registry/store.ts";
import { putRecord } from "../support/virtual-world.ts";
import { type ApiWorld, openApiWorld, placeUnit, putMachine, reportState } from "./api-world.ts";

const SERVICE = "[Service]\nExecStart=/bin/sleep 1\n";
const KNOWN = { firstSeenMs: 0, lastBootMs: 0, bootId: "b", address: "10.0.0.1" };

async function openWorld(
  t: Parameters<typeof openApiWorld>[0],
  machines: Readonly<Record<string, Readonly<Record<string, string>>>>,
): Promise<ApiWorld> {
  const world = await openApiWorld(t);
  for (const [id, metadata] of Object.entries(machines)) {
    await putRecord(world.store, world.keys.roster(id), KNOWN);
    await putMachine(world, id, { metadata });
  }
  return world;
}

function submit(name: string, xFleet = "", more: object = {}): UnitChange {
  const content = `${SERVICE}[X-Fleet]\n${xFleet}\n`;
  return { type: "submit", name, content, desired: "launched", ...more };
}

/** As engine and agent would leave it. */
async function run(world: ApiWorld, machine: string, change: UnitChange): Promise<void> {
  await world.registry.apply([change]);
  await placeUnit(world, change.name, machine);
  const [unit] = (await world.registry.read.units([change.name])).units;
  const { identity, manifest } = unit ?? {};
  await reportState(world, change.name, machine, { identity, manifest });
}

async function plan(world: ApiWorld, ...changes: readonly UnitChange[]): Promise<PlanBody> {
  const before = await readAll(world.store, { prefix: "" });
  const { status, text } = await world.call("POST", "/fleet/v2/plan", { body: { changes } });
  assert.equal(status, 200, text);
  const after = await readAll(world.store, { prefix: "" });
  assert.equal(after.header.revision, before.header.revision, "nothing is written");
  return JSON.parse(text);
}

test("explain speaks of every machine, as of one revision", async (t) => {
  const world = await openWorld(t, { m1: { disk: "ssd" }, m2: {}, m3: { disk: "ssd" } });
  await run(world, "m1", submit("a.service"));
  await world.registry.changeOperator("m3", { cordoned: true });
  const b = submit("b.service", "Conflicts=a.service\nMachineMetadata=disk=ssd");
  await world.registry.apply([b]);
  const { status, text } = await world.call("GET", "/fleet/v2/units/b.service/explain");
  assert.equal(status, 200, text);
  const body: ExplainBody = JSON.parse(text);
  assert.deepEqual(
    body.machines.map(({ machineId, verdict, reason }) => [machineId, verdict, reason]),
    [
      ["m1", "impossible", { type: "conflict", unit: "a.service" }],
      ["m2", "impossible", { type: "metadata-differs", requirement: "disk=ssd" }],
      ["m3", "impossible", { type: "cordoned" }],
    ],
  );
  assert.ok(body.remedies.length >= 3);
  assert.ok(body.revision > 0);
  assert.deepEqual(
    body.notices.map(({ code }) => code),
    ["no-engine"],
  );
  assert.equal((await world.call("GET", "/fleet/v2/units/c.service/explain")).status, 404);
});

test("explain says within its time that the registry is away", async (t) => {
  const world = await openWorld(t, { m1: {} });
  await world.registry.apply([submit("a.service")]);
  world.store.away = true;
  const answer = await world.call("GET", "/fleet/v2/units/a.service/explain");
  assert.equal(answer.status, 503);
  assert.match(answer.text, /registry-away/);
});

test("more questions at once than may wait are sent away, the others answered", async (t) => {
  const world = await openWorld(t, { m1: {} });
  await world.registry.apply([submit("a.service")]);
  const answers = await Promise.all(
    Array.from({ length: 30 }, () => world.call("GET", "/fleet/v2/units/a.service/explain")),
  );
  const statuses = answers.map(({ status }) => status);
  assert.ok(statuses.every((status) => status === 200 || status === 503));
  assert.ok(statuses.filter((status) => status === 200).length >= 9);
  assert.equal((await world.call("GET", "/fleet/v2/units/a.service/explain")).status, 200);
});

test("plan says where a start would go, and writes nothing", async (t) => {
  const world = await openWorld(t, { m1: { disk: "ssd" }, m2: {} });
  await run(world, "m1", submit("old.service"));
  const body = await plan(
    world,
    submit("new.service"),
    submit("ssd.service", "MachineMetadata=disk=ssd"),
  );
  assert.deepEqual(
    body.results.map(({ type, name }) => [type, name]),
    [
      ["created", "new.service"],
      ["created", "ssd.service"],
    ],
  );
  assert.deepEqual(body.outlooks, [
    { unit: "new.service", before: [], after: ["m2"], blocked: [] },
    { unit: "ssd.service", before: [], after: ["m1"], blocked: [] },
  ]);
});

test("plan shows the units that others would push aside", async (t) => {
  const world = await openWorld(t, { m1: { disk: "ssd" }, m2: {} });
  await run(world, "m1", submit("old.service"));
  await run(world, "m1", submit("rest.service"));
  const requirements = "Replaces=old.service\nMachineMetadata=disk=ssd";
  const body = await plan(world, submit("new.service", requirements));
  assert.equal(body.outlooks.length, 2);
  const moved = body.outlooks.find(({ unit }) => unit === "old.service");
  assert.deepEqual(moved, {
    unit: "old.service",
    before: ["m1"],
    after: ["m2"],
    why: "replaced",
    blocked: [],
  });
});

test("plan gives the typed reason of what would not be placed", async (t) => {
  const world = await openWorld(t, { m1: {} });
  await run(world, "m1", submit("a.service"));
  const { outlooks } = await plan(world, submit("b.service", "Conflicts=a.service"));
  assert.deepEqual(outlooks, [
    {
      unit: "b.service",
      before: [],
      after: [],
      blocked: [{ reason: { type: "conflict", unit: "a.service" }, machines: 1, examples: ["m1"] }],
    },
  ]);
});

test("plan follows templates, repeated names and refusals as apply does", async (t) => {
  const world = await openWorld(t, { m1: {} });
  const changes: readonly UnitChange[] = [
    { type: "submit", name: "t@1.service" },
    submit("t@.service", "", { desired: "inactive" }),
    { type: "submit", name: "t@1.service", desired: "launched" },
    { type: "restart", name: "t@1.service" },
    { type: "destroy", name: "t@1.service" },
    { type: "submit", name: "t@1.service", desired: "loaded" },
    submit("t@1.service", "Weight=2"),
    { type: "desire", name: "none.service", desired: "loaded" },
  ];
  const planned = await plan(world, ...changes);
  const applied = await world.registry.apply(changes);
  assert.ok(applied.type === "applied");
  const types = (results: PlanBody["results"]) => results.map(({ type }) => type);
  assert.deepEqual(types(planned.results), types(applied.results));
  assert.deepEqual(planned.outlooks.find(({ unit }) => unit === "t@1.service")?.after, ["m1"]);
});

test("plan refuses what apply refuses", async (t) => {
  const world = await openWorld(t, {});
  const changes = [{ type: "submit", name: "a.service", content: "[Service" }];
  const { status, text } = await world.call("POST", "/fleet/v2/plan", { body: { changes } });
  assert.equal(status, 400);
  assert.match(text, /a\.service:1/);
});
