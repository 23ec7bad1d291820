import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Answer,
  type ApiWorld,
  type CallOptions,
  HERE,
  openApiWorld,
  placeUnit,
  putMachine,
  reportState,
} from "./api-world.ts";

const OPTIONS = [{ section: "Service", name: "ExecStart", value: "/bin/sleep 1" }];
const OTHER = [{ section: "Service", name: "ExecStart", value: "/bin/sleep 2" }];

function errorText(answer: Answer): string {
  const body: { error: { code: number; message: string } } = JSON.parse(answer.text);
  assert.equal(body.error.code, answer.status);
  assert.equal(answer.headers["content-type"], "application/json");
  return body.error.message;
}

async function put(world: ApiWorld, name: string, body: unknown): Promise<Answer> {
  return await world.call("PUT", `/fleet/v1/units/${name}`, { body });
}

interface PutCase {
  readonly name: string;
  /** Units that are there before, with OPTIONS. */
  readonly present?: Readonly<Record<string, string>>;
  readonly unit?: string;
  readonly call: CallOptions;
  readonly status: number;
  readonly message?: string;
  /** Desired state afterwards. */
  readonly desired?: string;
}

const PUT_CASES: readonly PutCase[] = [
  {
    name: "no Content-Type",
    call: { body: "{}", headers: {} },
    status: 415,
    message: "expected 1 Content-Type, got 0",
  },
  {
    name: "two Content-Types",
    call: { body: "{}", headers: { "content-type": ["application/json", "application/json"] } },
    status: 415,
    message: "expected 1 Content-Type, got 2",
  },
  {
    name: "Content-Type XML",
    call: { body: "{}", headers: { "content-type": "application/xml; q=1" } },
    status: 415,
    message: "only acceptable Content-Type is application/json",
  },
  {
    name: "Content-Type with parameters",
    call: {
      body: JSON.stringify({ options: OPTIONS }),
      headers: { "content-type": "application/json; quality=0.9" },
    },
    status: 201,
    desired: "inactive",
  },
  {
    name: "empty body",
    call: { body: "", headers: { "content-type": "application/json" } },
    status: 400,
    message: "unable to decode body: EOF",
  },
  { name: "broken JSON", call: { body: "{" }, status: 400 },
  { name: "a list", call: { body: "[]" }, status: 400 },
  { name: "options that are no list", call: { body: { options: 7 } }, status: 400 },
  { name: "a null option", call: { body: { options: [null] } }, status: 400 },
  {
    name: "another name in the body",
    call: { body: { name: "b.service", options: OPTIONS } },
    status: 400,
    message: 'name in URL "a.service" differs from unit name in request body "b.service"',
  },
  {
    name: "an invalid name",
    unit: "a.cerveza",
    call: { body: { options: OPTIONS } },
    status: 400,
    message: 'invalid unit type: ".cerveza"',
  },
  {
    name: "a reserved name",
    unit: "dbus.service",
    call: { body: { options: OPTIONS } },
    status: 400,
  },
  {
    name: "absent, no options",
    call: { body: { desiredState: "launched" } },
    status: 409,
    message: "unit does not exist and options field empty",
  },
  {
    name: "absent, options that exclude each other",
    call: {
      body: {
        options: [
          ...OPTIONS,
          { section: "X-Fleet", name: "MachineID", value: "x" },
          { section: "X-Fleet", name: "Global", value: "true" },
        ],
      },
    },
    status: 400,
    message: "MachineID cannot be used with Global",
  },
  {
    name: "absent, an option that would begin another",
    call: {
      body: {
        options: [{ section: "Service", name: "A", value: "1\n[Service]\nExecStart=/bin/sh" }],
      },
    },
    status: 400,
  },
  {
    name: "absent, valid options",
    call: { body: { name: "a.service", options: OPTIONS } },
    status: 201,
    desired: "inactive",
  },
  {
    name: "absent, valid options and a state",
    call: { body: { options: OPTIONS, desiredState: "launched" } },
    status: 201,
    desired: "launched",
  },
  {
    name: "absent, an unknown state",
    call: { body: { options: OPTIONS, desiredState: "running" } },
    status: 400,
  },
  {
    name: "absent template, active state",
    unit: "t@.service",
    call: { body: { options: OPTIONS, desiredState: "launched" } },
    status: 400,
    message: 'cannot activate template "t@.service"',
  },
  {
    name: "present, other options",
    present: { "a.service": "launched" },
    call: { body: { options: OTHER } },
    status: 201,
    desired: "inactive",
  },
  {
    name: "present, other options and a state",
    present: { "a.service": "loaded" },
    call: { body: { options: OTHER, desiredState: "launched" } },
    status: 201,
    desired: "launched",
  },
  {
    name: "present, other options that are invalid",
    present: { "a.service": "launched" },
    call: { body: { options: [{ section: "X-Fleet", name: "Global", value: "maybe" }] } },
    status: 400,
    desired: "launched",
  },
  {
    name: "present, nothing said",
    present: { "a.service": "launched" },
    call: { body: {} },
    status: 409,
    message: "must provide DesiredState to update existing unit",
    desired: "launched",
  },
  {
    name: "present, same options, no state",
    present: { "a.service": "loaded" },
    call: { body: { options: OPTIONS } },
    status: 409,
    message: "must provide DesiredState to update existing unit",
    desired: "loaded",
  },
  {
    name: "present, same options and a state",
    present: { "a.service": "inactive" },
    call: { body: { options: OPTIONS, desiredState: "launched" } },
    status: 204,
    desired: "launched",
  },
  {
    name: "present, a state",
    present: { "a.service": "launched" },
    call: { body: { desiredState: "loaded", currentState: "launched", machineID: "x" } },
    status: 204,
    desired: "loaded",
  },
  {
    name: "present, an unknown state",
    present: { "a.service": "launched" },
    call: { body: { desiredState: "running" } },
    status: 400,
    desired: "launched",
  },
  {
    name: "present template, active state",
    unit: "t@.service",
    present: { "t@.service": "inactive" },
    call: { body: { desiredState: "loaded" } },
    status: 400,
    message: 'cannot activate template "t@.service"',
    desired: "inactive",
  },
];

for (const row of PUT_CASES) {
  test(`PUT /units/NAME: ${row.name}`, async (t) => {
    const world = await openApiWorld(t);
    const unit = row.unit ?? "a.service";
    for (const [name, desiredState] of Object.entries(row.present ?? {})) {
      assert.equal((await put(world, name, { options: OPTIONS, desiredState })).status, 201);
    }
    const answer = await world.call("PUT", `/fleet/v1/units/${unit}`, row.call);
    assert.equal(answer.status, row.status, answer.text);
    if (answer.status < 300) assert.equal(answer.text, "");
    else if (row.message === undefined) assert.notEqual(errorText(answer), "");
    else assert.equal(errorText(answer), row.message);
    const after = await world.call("GET", `/fleet/v1/units/${unit}`);
    const desired: unknown = after.status === 200 ? JSON.parse(after.text).desiredState : undefined;
    assert.equal(desired, row.desired);
  });
}

test("GET /units/NAME gives the entity in fleet's form", async (t) => {
  const world = await openApiWorld(t);
  await put(world, "foo.service", { options: [{ section: "Service", name: "A", value: "1" }] });
  const answer = await world.call("GET", "/v1-alpha/units/foo.service");
  assert.equal(answer.headers["server"], "fleetd/1.2.3");
  assert.equal(
    answer.text,
    '{"currentState":"inactive","desiredState":"inactive","name":"foo.service","options":[{"name":"A","section":"Service","value":"1"}]}',
  );
});

test("GET /units/NAME shows where a unit is and how far it has come", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  await put(world, "a.service", { options: OPTIONS, desiredState: "launched" });
  await placeUnit(world, "a.service", HERE);
  const before = JSON.parse((await world.call("GET", "/fleet/v1/units/a.service")).text);
  assert.deepEqual([before.currentState, before.machineID], ["inactive", HERE]);
  await reportState(world, "a.service", HERE);
  const after = JSON.parse((await world.call("GET", "/fleet/v1/units/a.service")).text);
  assert.deepEqual([after.currentState, after.machineID], ["launched", HERE]);
});

test("a global unit has a current state in the list and none by itself, as in fleet", async (t) => {
  const world = await openApiWorld(t);
  const options = [...OPTIONS, { section: "X-Fleet", name: "Global", value: "true" }];
  await put(world, "g.service", { options });
  const one = JSON.parse((await world.call("GET", "/fleet/v1/units/g.service")).text);
  assert.equal("currentState" in one, false);
  const list = JSON.parse((await world.call("GET", "/fleet/v1/units")).text);
  assert.equal(list.units[0].currentState, "inactive");
});

test("DELETE /units/NAME destroys once", async (t) => {
  const world = await openApiWorld(t);
  await put(world, "a.service", { options: OPTIONS });
  assert.equal((await world.call("DELETE", "/fleet/v1/units/a.service")).status, 204);
  const again = await world.call("DELETE", "/fleet/v1/units/a.service");
  assert.equal(again.status, 404);
  assert.equal(errorText(again), "unit does not exist");
});

test("replacing over v1 keeps drop-ins, which fleet's clients cannot know", async (t) => {
  const world = await openApiWorld(t);
  const dropIns = [{ name: "10-env.conf", content: "[Service]\nEnvironment=A=1\n" }];
  await world.registry.apply([
    { type: "submit", name: "a.service", content: "[Service]\nExecStart=/bin/true\n", dropIns },
  ]);
  assert.equal((await put(world, "a.service", { options: OTHER })).status, 201);
  const manifest = await world.registry.manifest("a.service");
  assert.deepEqual(manifest?.dropIns, dropIns);
  assert.match(manifest?.content ?? "", /sleep 2/);
});

test("thirty PUTs at once are all done, also of one unit, and through two daemons", async (t) => {
  const first = await openApiWorld(t);
  const second = await openApiWorld(t, { store: first.store });
  await putMachine(first, HERE);
  const body = { desiredState: "loaded", options: OPTIONS };
  const names = Array.from({ length: 30 }, (_, index) => `u${index}.service`);
  const both = (name: string) => [put(first, name, body), put(second, name, body)];
  const answers = await Promise.all([...names, ...names].flatMap(both));
  for (const { status, text } of answers) assert.ok(status === 201 || status === 204, text);
  assert.equal(answers.filter(({ status }) => status === 201).length, names.length);
  const { units } = await first.registry.read.units(names);
  assert.deepEqual(
    units.map((unit) => unit?.desired),
    names.map(() => "loaded"),
  );
});
