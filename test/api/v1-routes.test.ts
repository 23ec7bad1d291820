import assert from "node:assert/strict";
import { test } from "node:test";
import { HERE, openApiWorld, putMachine, reportState } from "./api-world.ts";

const ONLY_GET = "only GET supported against this resource";

const ROUTES: readonly (readonly [
  method: string,
  path: string,
  status: number,
  message?: string,
])[] = [
  ["GET", "/discovery", 200],
  ["GET", "/discovery?alt=json", 200],
  ["POST", "/discovery", 400, "only HTTP GET supported against this resource"],
  ["PUT", "/discovery", 400, "only HTTP GET supported against this resource"],
  ["DELETE", "/discovery", 400, "only HTTP GET supported against this resource"],
  ["HEAD", "/discovery", 400],
  ["OPTIONS", "/discovery", 400, "only HTTP GET supported against this resource"],
  ["GET", "/machines", 200],
  ["GET", "/machines?alt=json", 200],
  ["HEAD", "/machines", 405],
  ["OPTIONS", "/machines", 405, "only GET and PATCH supported against this resource"],
  ["DELETE", "/machines", 405, "only GET and PATCH supported against this resource"],
  ["PATCH", "/machines", 415, "expected 1 Content-Type, got 0"],
  ["GET", "/units?alt=json", 200],
  ["OPTIONS", "/units", 405, ONLY_GET],
  ["POST", "/units", 405, ONLY_GET],
  ["GET", "/units?nextPageToken=zz", 400, "illegal base64 data at input byte 0"],
  ["GET", "/machines?nextPageToken=EwBMLg==", 400, "token limit must be 100"],
  ["GET", "/state?nextPageToken=ZAAAAA==", 400, "token page must be greater than zero"],
  ["HEAD", "/units/a.service", 405],
  ["PATCH", "/units/a.service", 405, "only GET, PUT and DELETE supported against this resource"],
  ["GET", "/state/", 404, ""],
  ["GET", "/state/a/b", 404, ""],
  ["HEAD", "/state/a.service", 405],
  ["POST", "/machines", 405, "only GET and PATCH supported against this resource"],
  ["GET", "/machines/", 404, ""],
  ["GET", "/machines/aaaa", 404, ""],
  ["GET", "/units", 200],
  ["HEAD", "/units", 405],
  ["PUT", "/units", 405, ONLY_GET],
  ["GET", "/units/a.service", 404, "unit does not exist"],
  ["DELETE", "/units/a.service", 404, "unit does not exist"],
  ["POST", "/units/a.service", 405, "only GET, PUT and DELETE supported against this resource"],
  ["GET", "/units/", 404, ""],
  ["GET", "/units/a/b", 404, ""],
  ["GET", "/units/a%2Fb.service", 404, ""],
  ["GET", "/units/%ff", 404, ""],
  ["GET", "/state", 200],
  ["DELETE", "/state", 405, ONLY_GET],
  ["GET", "/state/a.service", 404, "unit state does not exist"],
  ["PUT", "/state/a.service", 405, ONLY_GET],
  ["GET", "", 405, ""],
  ["GET", "/", 404, ""],
  ["GET", "/nothing", 404, ""],
];

test("routes of v1 answer as fleet's, below both base paths", async (t) => {
  const world = await openApiWorld(t);
  for (const base of ["/fleet/v1", "/v1-alpha"]) {
    for (const [method, path, status, message] of ROUTES) {
      const answer = await world.call(method, `${base}${path}`);
      assert.equal(answer.status, status, `${method} ${base}${path}: ${answer.text}`);
      assert.equal(answer.headers["server"], "fleetd/1.2.3");
      assert.equal(answer.headers["content-type"], "application/json");
      if (message === undefined) continue;
      assert.deepEqual(JSON.parse(answer.text), { error: { code: status, message } });
    }
  }
  assert.equal((await world.call("GET", "/")).status, 405);
  assert.equal((await world.call("HEAD", "/fleet/v1/units")).text, "");
  assert.equal((await world.call("GET", "/anything")).status, 404);
});

test("an empty page is {}", async (t) => {
  const world = await openApiWorld(t);
  for (const path of ["machines", "units", "state"]) {
    assert.equal((await world.call("GET", `/fleet/v1/${path}`)).text, "{}");
  }
});

test("GET /discovery describes every listed method", async (t) => {
  const world = await openApiWorld(t);
  const document = JSON.parse((await world.call("GET", "/fleet/v1/discovery")).text);
  assert.equal(document.kind, "discovery#restDescription");
  assert.equal(document.id, "fleet:v1");
  assert.equal(document.rootUrl, "$ENDPOINT/");
  assert.deepEqual(
    Object.entries<{ methods: object }>(document.resources).map(([name, { methods }]) => [
      name,
      Object.keys(methods),
    ]),
    [
      ["Machines", ["List"]],
      ["UnitState", ["Get", "List"]],
      ["Units", ["Delete", "Get", "List", "Set"]],
    ],
  );
});

test("GET /machines lists present machines with all their metadata", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, "YYY", {
    address: "1.2.3.4",
    automatic: { arch: "x86-64" },
    metadata: { ping: "pong" },
  });
  await putMachine(world, "XXX", { address: "" });
  assert.equal(
    (await world.call("GET", "/fleet/v1/machines")).text,
    '{"machines":[{"id":"XXX"},{"id":"YYY","metadata":{"arch":"x86-64","ping":"pong"},"primaryIP":"1.2.3.4"}]}',
  );
});

const patchPath = "/AAA/metadata/disk";

const PATCHES: readonly (readonly [body: unknown, status: number, message: string | undefined])[] =
  [
    [[{ op: "add", path: patchPath, value: { value: "ssd" } }], 204, undefined],
    [[{ op: "replace", path: patchPath, value: "ssd" }], 204, undefined],
    [[{ op: "remove", path: patchPath }], 204, undefined],
    [[{ op: "add", path: "/unknown-machine/metadata/a", value: "1" }], 204, undefined],
    [[], 204, undefined],
    [
      [{ op: "test", path: patchPath, value: "x" }],
      400,
      "invalid op: expect add, remove, or replace",
    ],
    [[{ op: "add", path: "/AAA/disk", value: "x" }], 400, "machine metadata path invalid"],
    [[{ op: "add", path: "/AAA/metadata/a b", value: "x" }], 400, "machine metadata path invalid"],
    [
      [{ op: "add", path: patchPath, value: { value: "" } }],
      400,
      "invalid value: add and replace require a value",
    ],
    [[{ op: "replace", path: patchPath }], 400, "invalid value: add and replace require a value"],
    [[null], 400, undefined],
    [{}, 400, undefined],
    ["", 400, "unable to decode body: EOF"],
  ];

test("PATCH /machines takes both shapes of values and refuses all else", async (t) => {
  const world = await openApiWorld(t);
  for (const [body, status, message] of PATCHES) {
    const headers = { "content-type": "application/json" };
    const answer = await world.call("PATCH", "/fleet/v1/machines", { body, headers });
    assert.equal(answer.status, status, `${JSON.stringify(body)}: ${answer.text}`);
    if (message !== undefined) assert.equal(JSON.parse(answer.text).error.message, message);
  }
  const plain = await world.call("PATCH", "/fleet/v1/machines", {
    body: "[]",
    headers: { "content-type": "text/plain" },
  });
  assert.equal(plain.status, 415);
});

test("PATCH /machines applies all operations or none", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, "AAA", { metadata: { disk: "hdd", rack: "7" } });
  const metadata = async () =>
    JSON.parse((await world.call("GET", "/fleet/v1/machines")).text).machines[0].metadata;
  const good = { op: "add", path: patchPath, value: { value: "ssd" } };
  const bad = { op: "add", path: "/AAA/metadata/rack" };
  assert.equal(
    (await world.call("PATCH", "/fleet/v1/machines", { body: [good, bad] })).status,
    400,
  );
  assert.deepEqual(await metadata(), { disk: "hdd", rack: "7" });
  const hide = { op: "remove", path: "/AAA/metadata/rack" };
  assert.equal(
    (await world.call("PATCH", "/fleet/v1/machines", { body: [good, hide] })).status,
    204,
  );
  assert.deepEqual(await metadata(), { disk: "ssd" });
});

test("GET /state lists by unit and machine, filtered by exact match", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, "zzz");
  await putMachine(world, HERE);
  for (const [unit, machine] of [
    ["def.service", HERE],
    ["abc.service", "zzz"],
    ["abc.service", HERE],
    ["away.service", "gone"],
  ] as const) {
    await reportState(world, unit, machine);
  }
  const states = async (query: string): Promise<string[]> => {
    const body = JSON.parse((await world.call("GET", `/fleet/v1/state${query}`)).text);
    return (body.states ?? []).map(
      (state: { name: string; machineID: string }) => `${state.name} ${state.machineID}`,
    );
  };
  assert.deepEqual(await states(""), [
    `abc.service ${HERE}`,
    "abc.service zzz",
    `def.service ${HERE}`,
  ]);
  assert.deepEqual(await states("?unitName=abc.service"), [
    `abc.service ${HERE}`,
    "abc.service zzz",
  ]);
  assert.deepEqual(await states("?machineID=zzz"), ["abc.service zzz"]);
  assert.deepEqual(await states("?machineID=zzz&unitName=def.service"), []);
  assert.equal(
    (await world.call("GET", "/fleet/v1/state/def.service")).text,
    `{"hash":"93e855a2c82547a14055df04539d78215be81327","machineID":"${HERE}","name":"def.service","systemdActiveState":"active","systemdLoadState":"loaded","systemdSubState":"running"}`,
  );
});
