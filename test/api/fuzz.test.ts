import assert from "node:assert/strict";
import { request } from "node:http";
import { test } from "node:test";
import fc from "fast-check";
import { codePoint } from "../support/code-point.ts";
import { quick } from "../support/quick.ts";
import { type ApiWorld, HERE, openApiWorld, putMachine, send } from "./api-world.ts";
import {
  checkAnswer,
  type JsonSchema,
  type OpenApi,
  type OpenApiOperation,
  resolve,
} from "./json-schema.ts";

/** No answer for so long is a hang. */
const HANG_MS = 30_000;
/** Answers when something happens, which nothing does here. */
const WAITS = new Set(["getSource after"]);
const JSON_TYPE = "application/json";

const TEXTS = fc.oneof(
  fc.constantFrom("a.service", "t@.service", "t@1.service", "dbus.service", HERE, "db", "launched"),
  fc.constantFrom("", ".", "..", "/", "../../etc/passwd", "\0", "a\nb", "%00", "__proto__"),
  fc.constantFrom("[Service]\nExecStart=/bin/true\n", "[X-Fleet]\nGlobal=true\nMachineID=x\n", "["),
  fc.string({ unit: "grapheme", maxLength: 30 }),
  fc.string({ unit: codePoint, maxLength: 10 }),
  fc.constant("x".repeat(5_000)),
);

/** Mostly what the schema allows. */
function anyOf(document: OpenApi, given: JsonSchema): fc.Arbitrary<unknown> {
  const valid = validOf(document, resolve(document, given));
  return fc.oneof({ weight: 12, arbitrary: valid }, { weight: 1, arbitrary: fc.jsonValue() });
}

function validOf(document: OpenApi, schema: JsonSchema): fc.Arbitrary<unknown> {
  if ("const" in schema) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return fc.oneof(...choices.map((one) => anyOf(document, one)));
  switch ([schema.type ?? []].flat()[0]) {
    case "string":
      if (schema.pattern === undefined) return TEXTS;
      return fc.oneof(TEXTS, fc.stringMatching(new RegExp(schema.pattern)));
    case "integer": {
      const { minimum: min = -5, maximum: max = 70_000 } = schema;
      return fc.oneof(fc.integer({ min, max }), fc.maxSafeInteger());
    }
    case "number":
      return fc.oneof(fc.double(), fc.nat());
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return fc.array(anyOf(document, schema.items ?? {}), { maxLength: 4 });
    case "object":
      return objectOf(document, schema);
    default:
      return fc.jsonValue();
  }
}

function objectOf(document: OpenApi, schema: JsonSchema): fc.Arbitrary<unknown> {
  const { properties, required = [], additionalProperties } = schema;
  if (properties === undefined) {
    const value = typeof additionalProperties === "object" ? additionalProperties : {};
    return fc.dictionary(TEXTS, anyOf(document, value), { maxKeys: 4 });
  }
  const entries = Object.entries(properties);
  const model = Object.fromEntries(entries.map(([name, one]) => [name, anyOf(document, one)]));
  return fc.oneof(
    { weight: 12, arbitrary: fc.record(model, { requiredKeys: [...required] }) },
    { weight: 1, arbitrary: fc.record(model, { requiredKeys: [] }) },
  );
}

interface Call {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

function calls(document: OpenApi): fc.Arbitrary<Call> {
  const all = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) =>
      callOf(document, { path, method, operation }),
    ),
  );
  return fc.oneof(...all);
}

function callOf(
  document: OpenApi,
  asked: { path: string; method: string; operation: OpenApiOperation },
): fc.Arbitrary<Call> {
  const { operationId: id, parameters = [], requestBody } = asked.operation;
  const given = parameters.filter(({ name }) => !WAITS.has(`${id} ${name}`));
  const models = given.map(({ name, schema }) => [name, anyOf(document, schema)] as const);
  const requiredKeys = given.filter((one) => one.required === true).map(({ name }) => name);
  const values = fc.record(Object.fromEntries(models), { requiredKeys });
  const schema = requestBody?.content[JSON_TYPE]?.schema;
  const json =
    schema === undefined
      ? fc.constant(undefined)
      : anyOf(document, schema).map((value) => JSON.stringify(value));
  const garbage = fc.string({ unit: codePoint });
  const body = fc.oneof({ weight: 10, arbitrary: json }, { weight: 1, arbitrary: garbage });
  const type = fc.oneof(
    { weight: 10, arbitrary: fc.constant(JSON_TYPE) },
    { weight: 1, arbitrary: fc.constant("text/plain") },
  );
  return fc.tuple(values, body, type).map(([filled, text, contentType]) => {
    let path = asked.path;
    const query = new URLSearchParams();
    const headers: Record<string, string> = { "content-type": contentType };
    for (const { name, in: where } of given) {
      const value: unknown = Object.hasOwn(filled, name) ? filled[name] : undefined;
      if (value === undefined) continue;
      const parts = [value]
        .flat()
        .map((part) => (typeof part === "string" ? part : JSON.stringify(part)));
      const whole = parts.join("").toWellFormed();
      if (where === "path") path = path.replace(`{${name}}`, encodeURIComponent(whole));
      else if (where === "header") headers[name] = whole.replaceAll(/[^ -~]/g, "?");
      else for (const part of parts) query.append(name, part.toWellFormed());
    }
    const suffix = query.size === 0 ? "" : `?${query}`;
    return { id, method: asked.method.toUpperCase(), path: path + suffix, headers, body: text };
  });
}

interface Received {
  readonly status: number;
  readonly type: string | undefined;
  readonly text: string;
  readonly isStream: boolean;
}

/** The answer; of a stream, its head. */
async function answerTo(world: ApiWorld, call: Call): Promise<Received> {
  const { method, path, body } = call;
  // Node's client leaves that out where a body is unusual, and the server takes it for another request.
  const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
  const headers = { ...call.headers, ...length };
  return await new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(HANG_MS);
    const target = {
      socketPath: world.socket,
      method,
      path,
      headers,
      agent: false as const,
      signal,
    };
    const outgoing = request(target, (response) => {
      const type = response.headers["content-type"];
      const isStream = ["application/x-ndjson", "text/event-stream"].includes(type ?? "");
      const status = response.statusCode ?? 0;
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => {
        text += chunk;
      });
      const done = () => resolve({ status, type, text: isStream ? "" : text, isStream });
      if (isStream) {
        response.destroy();
        done();
      } else response.once("end", done);
    });
    outgoing.once("error", reject);
    outgoing.end(body);
  });
}

test("whatever is asked of v2 gets an answer that the document describes, never an error of ours", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  const document: OpenApi = JSON.parse((await world.call("GET", "/fleet/v2/openapi.json")).text);
  const statuses = new Map<string, Set<number>>();
  await fc.assert(
    fc.asyncProperty(calls(document), async (call) => {
      const answer = await answerTo(world, call);
      assert(answer.status < 500, `${answer.status} ${answer.text}`);
      if (!answer.isStream) checkAnswer(document, call, answer);
      statuses.set(call.id, (statuses.get(call.id) ?? new Set()).add(answer.status));
    }),
    { numRuns: quick(1_000), seed: 1 },
  );
  assert.equal((await world.call("GET", "/fleet/v2/cluster")).status, 200);
  const operations = Object.values(document.paths).flatMap((one) => Object.values(one));
  const ids = operations.map(({ operationId }) => operationId);
  assert.deepEqual([...statuses.keys()].sort(), ids.sort());
  // The questions were not all nonsense.
  const answered = [...statuses.values()].filter((seen) => seen.has(200) || seen.has(204));
  assert(answered.length >= 15, `only ${answered.length} operations ever succeeded`);
});

const encoded = TEXTS.map((text) => encodeURIComponent(text.toWellFormed()));
const V1_PATHS = fc.oneof(
  fc.constantFrom("discovery", "machines", "units", "state", "units/a.service", "state/a.service"),
  encoded.map((text) => `units/${text}`),
  encoded.map((text) => `state?unitName=${text}`),
  encoded.map((text) => `units?nextPageToken=${text}`),
  fc
    .uint8Array({ maxLength: 12 })
    .map((bytes) => `machines?nextPageToken=${Buffer.from(bytes).toString("base64url")}`),
);
const option = fc.record({ section: TEXTS, name: TEXTS, value: TEXTS }, { requiredKeys: [] });
const unitBody = fc.record(
  {
    name: TEXTS,
    options: fc.array(fc.oneof(option, fc.constant(null))),
    desiredState: TEXTS,
    machineID: TEXTS,
  },
  { requiredKeys: [] },
);
const patch = fc.record(
  {
    op: fc.constantFrom("add", "remove", "replace", "test"),
    path: fc.oneof(
      TEXTS,
      TEXTS.map((key) => `/${HERE}/metadata/${key}`),
    ),
    value: fc.oneof(TEXTS, fc.record({ value: TEXTS }), fc.jsonValue()),
  },
  { requiredKeys: [] },
);
const V1_BODIES = fc.oneof(unitBody, fc.array(patch), fc.jsonValue());

test("whatever is asked of v1 gets an answer in its form, never an error of ours", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  const methods = fc.constantFrom("GET", "PUT", "PATCH", "DELETE", "POST", "HEAD", "OPTIONS");
  await fc.assert(
    fc.asyncProperty(methods, V1_PATHS, V1_BODIES, async (method, path, value) => {
      const headers = { "content-type": JSON_TYPE };
      const body = JSON.stringify(value);
      const call = { id: path, method, path: `/fleet/v1/${path}`, headers, body };
      const { status, text, type } = await answerTo(world, call);
      assert(status < 500, `${status} ${text}`);
      assert.equal(type, JSON_TYPE);
      if (status >= 400 && method !== "HEAD") assert.equal(JSON.parse(text).error.code, status);
    }),
    { numRuns: quick(700), seed: 1 },
  );
  assert.equal((await world.call("GET", "/fleet/v1/units")).status, 200);
});

function filledIn(path: string): string {
  return path.replaceAll(/\{\w+\}/g, path.includes("/services/") ? "db" : "a.service");
}

test("every route refuses a body of more than 4 MiB, said or not, and goes on serving", async (t) => {
  const world = await openApiWorld(t);
  const document: OpenApi = JSON.parse((await world.call("GET", "/fleet/v2/openapi.json")).text);
  const described = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations)
      .filter(([, { requestBody }]) => requestBody !== undefined)
      .map(([method]) => [method.toUpperCase(), filledIn(path)] as const),
  );
  const targets = [
    ...described,
    ["PUT", "/fleet/v1/units/a.service"],
    ["PATCH", "/fleet/v1/machines"],
  ] as const;
  const body = "x".repeat(4 * 1024 * 1024 + 1);
  const lengths = [{ "content-length": String(body.length) }, { "transfer-encoding": "chunked" }];
  for (const [method, path] of targets) {
    for (const length of lengths) {
      const headers: Record<string, string> = { "content-type": JSON_TYPE, ...length };
      const answer = await send({ socketPath: world.socket, method, path }, { body, headers });
      assert.equal(answer.status, 413, `${method} ${path}: ${answer.text}`);
    }
  }
});
