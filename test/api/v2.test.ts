import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import type { UnitChange } from "../../src/api/protocol.ts";
import { putRecord } from "../support/virtual-world.ts";
import { type ApiWorld, HERE, openApiWorld, putMachine } from "./api-world.ts";

const CONTENT = "[Unit]\nDescription=Sleeps\n[Service]\nExecStart=/bin/sleep 1\n";

async function apply(world: ApiWorld, ...changes: readonly UnitChange[]) {
  const answer = await world.call("POST", "/fleet/v2/apply", { body: { changes } });
  assert.equal(answer.status, 200, answer.text);
  const results: { type: string; name: string; restarts?: number; message?: string }[] = JSON.parse(
    answer.text,
  ).results;
  return results;
}

async function types(world: ApiWorld, ...changes: readonly UnitChange[]): Promise<string[]> {
  return (await apply(world, ...changes)).map(({ type }) => type);
}

test("machines come with the units where they are asked for", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, "m1");
  await apply(world, { type: "submit", name: "a.service", content: CONTENT });
  const get = async (path: string) => JSON.parse((await world.call("GET", path)).text);
  const { machines } = await get("/fleet/v2/machines");
  assert.equal(machines.length, 1);
  for (const query of ["machines=1", "unit=a.service&machines=true"]) {
    const body = await get(`/fleet/v2/units?${query}`);
    assert.deepEqual([body.units.length, body.machines], [1, machines], query);
  }
  assert.equal((await get("/fleet/v2/units?machines=0")).machines, undefined);
});

test("apply reports what each change did", async (t) => {
  const world = await openApiWorld(t);
  const a = { name: "a.service" } as const;
  const submit = { type: "submit", ...a, content: CONTENT } as const;
  const other = { ...submit, content: `${CONTENT}# other\n` };
  assert.deepEqual(await types(world, submit), ["created"]);
  assert.deepEqual(await types(world, submit), ["unchanged"]);
  assert.deepEqual(await types(world, { ...submit, desired: "launched" }), ["changed"]);
  assert.deepEqual(await types(world, { ...other, desired: "inactive" }), ["differs"]);
  assert.deepEqual(await types(world, { type: "restart", ...a }), ["changed"]);
  assert.deepEqual(await types(world, { ...other, replace: true }), ["replaced"]);
  const body = JSON.parse((await world.call("GET", "/fleet/v2/units?unit=a.service")).text);
  const [unit] = body.units;
  assert.equal(unit.desired, "launched", "replace keeps the desired state");
  assert.equal(unit.restarts, 1);
  assert.equal(unit.description, "Sleeps");
  assert.deepEqual(await types(world, { type: "desire", ...a, desired: "loaded" }), ["changed"]);
  assert.deepEqual(await types(world, { type: "desire", ...a, desired: "loaded" }), ["unchanged"]);
  const [restart] = await apply(world, { type: "restart", ...a });
  assert.equal(restart?.type, "refused");
  assert.match(restart?.message ?? "", /desired state is loaded/);
  assert.deepEqual(await types(world, { type: "destroy", ...a }), ["destroyed"]);
  assert.deepEqual(
    await types(world, { type: "destroy", ...a }, { type: "desire", ...a, desired: "loaded" }),
    ["not-found", "not-found"],
  );
});

test("apply works through its list in order, units and templates repeated", async (t) => {
  const world = await openApiWorld(t);
  assert.deepEqual(
    await types(
      world,
      { type: "submit", name: "t@1.service" },
      { type: "submit", name: "t@.service", content: CONTENT },
      { type: "submit", name: "t@1.service", desired: "launched" },
      { type: "restart", name: "t@1.service" },
      { type: "destroy", name: "t@1.service" },
      { type: "submit", name: "t@1.service" },
    ),
    ["refused", "created", "created", "changed", "destroyed", "created"],
  );
});

test("an instance differs when its template has changed, until it is replaced", async (t) => {
  const world = await openApiWorld(t);
  const template = { type: "submit", name: "t@.service", content: CONTENT } as const;
  const instance = { type: "submit", name: "t@1.service" } as const;
  await apply(world, template, instance);
  await apply(world, { ...template, content: `${CONTENT}# 2\n`, replace: true });
  assert.deepEqual(await types(world, instance), ["differs"]);
  assert.deepEqual(await types(world, { ...instance, replace: true }), ["replaced"]);
  assert.deepEqual(await types(world, instance), ["unchanged"]);
  await apply(world, { type: "destroy", name: "t@.service" });
  assert.deepEqual(await types(world, instance), ["unchanged"]);
});

const INVALID: readonly (readonly [name: string, change: unknown, message: RegExp])[] = [
  ["bad name", { type: "submit", name: "a", content: CONTENT }, /^a: unit name must contain/],
  ["reserved name", { type: "submit", name: "dbus.service", content: CONTENT }, /reserved/],
  [
    "bad requirement",
    { type: "submit", name: "b.service", content: "[X-Fleet]\nGlobal=maybe\n" },
    /^b\.service:2/,
  ],
  [
    "active template",
    { type: "desire", name: "t@.service", desired: "launched" },
    /cannot activate template "t@\.service"/,
  ],
  ["bad state", { type: "desire", name: "b.service", desired: "running" }, /changes\.1\.desired/],
  ["unknown type", { type: "rename", name: "b.service" }, /changes\.1/],
  [
    "drop-ins alone",
    { type: "submit", name: "b.service", dropIns: [{ name: "a.conf", content: "" }] },
    /drop-ins are given without/,
  ],
  [
    "drop-in elsewhere",
    {
      type: "submit",
      name: "b.service",
      content: CONTENT,
      dropIns: [{ name: "../a.conf", content: "" }],
    },
    /drop-in "\.\.\/a\.conf": the name has to be/,
  ],
  [
    "too large",
    { type: "submit", name: "b.service", content: `[Unit]\n${"#x\n".repeat(400_000)}` },
    /more than 1048576/,
  ],
];

for (const [name, change, message] of INVALID) {
  test(`apply does nothing at all when one change is invalid: ${name}`, async (t) => {
    const world = await openApiWorld(t);
    const good = { type: "submit", name: "good.service", content: CONTENT };
    const answer = await world.call("POST", "/fleet/v2/apply", {
      body: { changes: [good, change] },
    });
    assert.equal(answer.status, 400, answer.text);
    assert.match(JSON.parse(answer.text).error.message, message);
    assert.deepEqual((await world.registry.read.units()).units, []);
  });
}

test("two applies at once never lose a change", async (t) => {
  const world = await openApiWorld(t);
  await apply(world, { type: "submit", name: "a.service", content: CONTENT, desired: "launched" });
  const restarts = await Promise.all(
    [1, 2, 3, 4].map(() => apply(world, { type: "restart", name: "a.service" })),
  );
  assert.deepEqual(restarts.map(([result]) => result?.restarts).sort(), [1, 2, 3, 4]);
  const contents = [1, 2].map((n) => `${CONTENT}# ${n}\n`);
  const submits = await Promise.all(
    contents.map((content) => types(world, { type: "submit", name: "b.service", content })),
  );
  assert.deepEqual(submits.flat().sort(), ["created", "differs"]);
});

test("bad requests to v2 are answered with 4xx and a code", async (t) => {
  const world = await openApiWorld(t);
  const cases: readonly (readonly [string, string, object, number, string])[] = [
    [
      "POST",
      "/fleet/v2/apply",
      { body: "{}", headers: { "content-type": "text/plain" } },
      415,
      "unsupported-media-type",
    ],
    ["POST", "/fleet/v2/apply", {}, 415, "unsupported-media-type"],
    ["POST", "/fleet/v2/apply", { body: "{" }, 400, "bad-request"],
    ["POST", "/fleet/v2/apply", { body: "null" }, 400, "bad-request"],
    ["POST", "/fleet/v2/apply", { body: { changes: 7 } }, 400, "bad-request"],
    ["POST", "/fleet/v2/apply", { body: "x".repeat(5 * 1024 * 1024) }, 413, "too-large"],
    ["GET", "/fleet/v2/apply", {}, 405, "method-not-allowed"],
    ["POST", "/fleet/v2/watch", { body: { units: [7] } }, 400, "bad-request"],
    ["POST", "/fleet/v2/rejoin", { body: { mode: "maybe" } }, 400, "bad-request"],
    ["GET", "/fleet/v2/units/a.service/manifest", {}, 404, "not-found"],
    ["GET", "/fleet/v2/nothing", {}, 404, "not-found"],
    ["GET", "/fleet/v2/units?machines=many", {}, 400, "bad-request"],
    ["GET", "/fleet/v2/units/a.service/journal?lines=-1", {}, 400, "bad-request"],
    ["GET", "/fleet/v2/units/a.service/journal?output=--file", {}, 400, "bad-request"],
  ];
  for (const [method, path, call, status, code] of cases) {
    const answer = await world.call(method, path, call);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
    const { error } = JSON.parse(answer.text);
    assert.equal(error.code, code);
    assert.notEqual(error.message, "");
  }
});

test("what is not HTTP is answered with 400 and closed", async (t) => {
  const world = await openApiWorld(t);
  const socket = connect(world.socket);
  socket.end("nonsense\r\n\r\n");
  let text = "";
  for await (const chunk of socket) text += chunk;
  assert.match(text, /^HTTP\/1\.1 400 /);
});

test("a registry that is away is a 503 that names it; /cluster answers all the same", async (t) => {
  const world = await openApiWorld(t);
  world.store.away = true;
  for (const path of ["/fleet/v1/units", "/fleet/v1/machines", "/fleet/v2/units"]) {
    const answer = await world.call("GET", path);
    assert.equal(answer.status, 503);
    assert.match(
      JSON.parse(answer.text).error.message,
      /^fleet server unable to communicate with etcd at http:\/\/10\.0\.0\.1:2379/,
    );
  }
  const watch = await world.call("POST", "/fleet/v2/watch", { body: { units: ["a.service"] } });
  assert.equal(watch.status, 503);
  const cluster = JSON.parse((await world.call("GET", "/fleet/v2/cluster")).text);
  assert.equal(cluster.registry, "etcd at http://10.0.0.1:2379");
  assert.deepEqual(
    cluster.notices.map(({ code }: { code: string }) => code),
    ["registry-away"],
  );
});

test("/cluster and /machines tell of leader, engine and what the daemon has to say", async (t) => {
  const world = await openApiWorld(t);
  await putRecord(world.store, world.keys.clusterId, { id: "c1" });
  await putMachine(world, HERE, { api: "10.0.0.1:49153" });
  await putRecord(world.store, world.keys.roster("away"), {
    firstSeenMs: 0,
    lastBootMs: 0,
    bootId: "b",
    address: "10.0.0.9",
  });
  const codes = async (path: string) =>
    JSON.parse((await world.call("GET", path)).text).notices.map(
      ({ code }: { code: string }) => code,
    );
  assert.deepEqual(await codes("/fleet/v2/cluster"), ["no-engine"]);
  world.notices.push({ code: "detached", message: "detached" });
  await putRecord(world.store, world.keys.leader, { machine: HERE, nonce: "n", format: 1 });
  assert.deepEqual(await codes("/fleet/v2/machines"), ["detached"]);
  const { machines } = JSON.parse((await world.call("GET", "/fleet/v2/machines")).text);
  assert.deepEqual(
    machines.map(({ id, present, leader, address }: Record<string, unknown>) => [
      id,
      present,
      leader,
      address,
    ]),
    [
      [HERE, true, true, "10.0.0.1"],
      ["away", false, false, "10.0.0.9"],
    ],
  );
});

test("forget takes a machine off the list only while it is away", async (t) => {
  const world = await openApiWorld(t);
  const roster = { firstSeenMs: 0, lastBootMs: 0, bootId: "b", address: "" };
  await putMachine(world, HERE);
  for (const id of [HERE, "away"]) await putRecord(world.store, world.keys.roster(id), roster);
  const forget = (id: string) =>
    world.call("POST", `/fleet/v2/machines/${id}/forget`, {
      headers: { "content-type": "application/json" },
    });
  assert.equal((await forget(HERE)).status, 409);
  assert.equal((await forget("away")).status, 204);
  assert.equal((await forget("away")).status, 404);
});

test("rejoin is handed to the daemon", async (t) => {
  const world = await openApiWorld(t);
  const answer = await world.call("POST", "/fleet/v2/rejoin", { body: { mode: "keep" } });
  assert.deepEqual(JSON.parse(answer.text), { units: ["keep.service"] });
});

test("nothing is changed through a machine that is detached, in either API", async (t) => {
  const world = await openApiWorld(t);
  await apply(world, { type: "submit", name: "a.service", content: CONTENT });
  world.notices.push({ code: "detached", message: "this machine is detached" });
  const changes = [{ type: "destroy", name: "a.service" }];
  const refused = [
    await world.call("POST", "/fleet/v2/apply", { body: { changes } }),
    await world.call("DELETE", "/fleet/v1/units/a.service"),
    await world.call("PUT", "/fleet/v1/units/a.service", { body: { desiredState: "launched" } }),
  ];
  for (const { status, text } of refused) {
    assert.equal(status, 409, text);
    assert.match(text, /this machine is detached/);
  }
  const { units } = JSON.parse((await world.call("GET", "/fleet/v2/units")).text);
  assert.equal(units[0].desired, "inactive");
  assert.equal(
    (await world.call("POST", "/fleet/v2/rejoin", { body: { mode: "keep" } })).status,
    200,
  );
});
