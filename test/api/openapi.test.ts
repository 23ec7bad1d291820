import assert from "node:assert/strict";
import { test } from "node:test";
import type { Route } from "../../src/api/router.ts";
import { v2Routes } from "../../src/api/server.ts";
import { ANSWERS } from "../../src/api/v2-schemas.ts";
import { openApiWorld } from "./api-world.ts";
import { type OpenApi, problemOf } from "./json-schema.ts";

/** `GET /fleet/v2/units/{}` */
function routeNames(routes: readonly Route[]): readonly string[] {
  return routes
    .flatMap(({ path, methods }) =>
      Object.keys(methods).map((method) => `${method} /fleet/v2/${path.replaceAll(/:\w+/g, "{}")}`),
    )
    .sort();
}

test("the document that is served has every route of the router, and no other", async (t) => {
  const world = await openApiWorld(t);
  const answer = await world.call("GET", "/fleet/v2/openapi.json");
  assert.equal(answer.status, 200);
  const document: OpenApi = JSON.parse(answer.text);
  assert.equal(document.openapi, "3.1.0");
  const described = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map(
      (method) => `${method.toUpperCase()} ${path.replaceAll(/\{\w+\}/g, "{}")}`,
    ),
  );
  assert.deepEqual(described.sort(), routeNames(v2Routes(world.context)));
});

test("every schema of the document is named once, referred to, and resolves", async (t) => {
  const world = await openApiWorld(t);
  const { text } = await world.call("GET", "/fleet/v2/openapi.json");
  const document: OpenApi = JSON.parse(text);
  const references = [...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name);
  const names = Object.keys(document.components.schemas).sort();
  assert.deepEqual([...new Set(references)].sort(), names);
  for (const name of Object.keys(ANSWERS)) assert(names.includes(name), name);
  const ids = Object.values(document.paths).flatMap((operations) =>
    Object.values(operations).map(({ operationId }) => operationId),
  );
  assert.equal(new Set(ids).size, ids.length);
});

test("an answer that the document does not describe is seen", async (t) => {
  const world = await openApiWorld(t);
  const document: OpenApi = JSON.parse((await world.call("GET", "/fleet/v2/openapi.json")).text);
  const schema = { $ref: "#/components/schemas/Notice" };
  const good = { code: "no-engine", message: "" };
  const problem = (value: unknown) => problemOf(document, schema, value);
  assert.equal(problem(good), undefined);
  assert.match(problem({ code: "no-engine" }) ?? "", /message is missing/);
  assert.match(problem({ ...good, code: "fine" }) ?? "", /fine is none of/);
  assert.match(problem({ ...good, more: 1 }) ?? "", /more is not in the document/);
});
