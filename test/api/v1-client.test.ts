import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type ApiWorld,
  HERE,
  openApiWorld,
  placeUnit,
  putMachine,
  reportState,
} from "./api-world.ts";

interface Parameter {
  readonly type: string;
  readonly location: "path" | "query";
  readonly required?: boolean;
}

interface Method {
  readonly id: string;
  readonly httpMethod: string;
  readonly path: string;
  readonly parameters?: Readonly<Record<string, Parameter>>;
  readonly parameterOrder?: readonly string[];
  readonly request?: Reference;
  readonly response?: Reference;
}

interface Reference {
  readonly $ref: string;
}

interface Schema extends Partial<Reference> {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema & { readonly required?: boolean }>>;
  readonly additionalProperties?: Schema;
}

interface Discovery {
  readonly basePath: string;
  readonly schemas: Readonly<Record<string, Schema>>;
  readonly resources: Readonly<
    Record<string, { readonly methods: Readonly<Record<string, Method>> }>
  >;
}

/** Knows nothing but the document: what Google's generators would make of it, and `alt=json` on every request as they have it. */
class DiscoveredClient {
  readonly used = new Set<string>();
  readonly #world: ApiWorld;
  readonly #document: Discovery;

  constructor(world: ApiWorld, document: Discovery) {
    this.#world = world;
    this.#document = document;
  }

  get methods(): readonly Method[] {
    return Object.values(this.#document.resources).flatMap(({ methods }) => Object.values(methods));
  }

  async call(
    id: string,
    values: Readonly<Record<string, string>> = {},
    body?: object,
  ): Promise<{ readonly status: number; readonly body: Readonly<Record<string, unknown>> }> {
    const method = this.methods.find((one) => one.id === `fleet.${id}`);
    assert(method !== undefined, `the document has no ${id}`);
    const { parameters = {}, parameterOrder = [] } = method;
    for (const name of parameterOrder) assert(parameters[name]?.required, name);
    let path = method.path;
    const query = new URLSearchParams({ alt: "json" });
    for (const [name, { location, required }] of Object.entries(parameters)) {
      const value = values[name];
      assert(value !== undefined || required !== true, `${id} wants ${name}`);
      if (location === "path") path = path.replace(`{${name}}`, encodeURIComponent(value ?? ""));
      else if (value !== undefined) query.set(name, value);
    }
    if (method.request !== undefined) this.#check(method.request, body);
    const url = `${this.#document.basePath}${path}?${query}`;
    const answer = await this.#world.call(
      method.httpMethod,
      url,
      body === undefined ? {} : { body },
    );
    this.used.add(method.id);
    assert.equal(answer.headers["content-type"], "application/json");
    const parsed = answer.text === "" ? {} : JSON.parse(answer.text);
    if (answer.status === 200 && method.response !== undefined)
      this.#check(method.response, parsed);
    return { status: answer.status, body: parsed };
  }

  /** Every page of a list. */
  async all(
    id: string,
    list: string,
    values: Readonly<Record<string, string>> = {},
  ): Promise<readonly unknown[]> {
    const found: unknown[] = [];
    let token: string | undefined;
    do {
      const page = await this.call(
        id,
        token === undefined ? values : { ...values, nextPageToken: token },
      );
      assert.equal(page.status, 200);
      found.push(...((page.body[list] ?? []) as unknown[]));
      token = page.body["nextPageToken"] as string | undefined;
    } while (token !== undefined);
    return found;
  }

  #check(given: Schema, value: unknown): void {
    const schema = given.$ref === undefined ? given : this.#document.schemas[given.$ref];
    assert(schema !== undefined, `the document has no schema ${given.$ref}`);
    if (schema.type === "array") {
      assert(Array.isArray(value));
      for (const item of value) this.#check(schema.items ?? {}, item);
    } else if (schema.type === "object") {
      assert(typeof value === "object" && value !== null);
      const { properties = {}, additionalProperties } = schema;
      for (const [name, property] of Object.entries(properties)) {
        assert(property.required !== true || name in value, `${name} is missing`);
      }
      for (const [name, part] of Object.entries(value)) {
        const property = properties[name] ?? additionalProperties;
        assert(property !== undefined, `${name} is not in the document`);
        this.#check(property, part);
      }
    } else {
      assert.equal(typeof value, schema.type);
      if (schema.enum !== undefined) assert(schema.enum.includes(String(value)), String(value));
    }
  }
}

const OPTIONS = [{ section: "Service", name: "ExecStart", value: "/bin/sleep 1" }];

test("a client that knows the discovery document alone can do everything", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE, { metadata: { ping: "pong" } });
  const document: Discovery = JSON.parse((await world.call("GET", "/fleet/v1/discovery")).text);
  const client = new DiscoveredClient(world, document);
  const named = (name: string) => ({ unitName: name });

  assert.deepEqual(await client.all("Machine.List", "machines"), [
    { id: HERE, primaryIP: "10.0.0.1", metadata: { ping: "pong" } },
  ]);
  assert.equal((await client.call("Unit.Get", named("a.service"))).status, 404);
  const unit = { name: "a.service", options: OPTIONS, desiredState: "launched" };
  // The document asks for it in no field, so it may be left out.
  assert.equal((await client.call("Unit.Set", named("a.service"), unit)).status, 201);
  await placeUnit(world, "a.service", HERE);
  await reportState(world, "a.service", HERE);
  assert.deepEqual((await client.call("Unit.Get", named("a.service"))).body, {
    ...unit,
    currentState: "launched",
    machineID: HERE,
  });
  const states = await client.all("UnitState.List", "states", {
    unitName: "a.service",
    machineID: HERE,
  });
  const { body } = await client.call("UnitState.Get", named("a.service"));
  assert.deepEqual(states, [body]);
  assert.equal(
    (await client.call("Unit.Set", named("a.service"), { desiredState: "loaded" })).status,
    204,
  );

  const many = Array.from({ length: 120 }, (_, index) => `u${index}@x.service`);
  for (const name of many) await client.call("Unit.Set", named(name), { options: OPTIONS });
  const listed = (await client.all("Unit.List", "units")) as { name: string }[];
  assert.deepEqual(
    listed.map(({ name }) => name),
    [...many, "a.service"].sort(),
  );
  for (const name of [...many, "a.service"]) {
    assert.equal((await client.call("Unit.Delete", named(name))).status, 204);
  }
  assert.deepEqual(await client.all("Unit.List", "units"), []);
  assert.deepEqual([...client.used].sort(), client.methods.map(({ id }) => id).sort());
});
