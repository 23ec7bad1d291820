import { toJsonSchemaDefs } from "@valibot/to-json-schema";
import { OPERATIONS, type Operation, type QueryParameter, REQUESTS } from "./v2-operations.ts";
import { ANSWERS } from "./v2-schemas.ts";

const BASE = "/fleet/v2/";
const schemaRef = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/** The OpenAPI 3.1 document of /fleet/v2. */
export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const operation of OPERATIONS) {
    const path = BASE + operation.path.replaceAll(/:(\w+)/g, "{$1}");
    paths[path] = { ...paths[path], [operation.method.toLowerCase()]: describe(operation) };
  }
  const convert = (schemas: typeof ANSWERS | typeof REQUESTS) =>
    toJsonSchemaDefs(schemas, {
      target: "draft-2020-12",
      typeMode: "input",
      overrideRef: ({ referenceId }) => schemaRef(referenceId).$ref,
    });
  return {
    openapi: "3.1.0",
    info: {
      title: "fleet-ts",
      version,
      description: "Answers may gain fields: clients pass over those that they do not know.",
    },
    servers: [{ url: "/", description: "a daemon: /run/fleet.sock, or TCP" }],
    paths,
    components: {
      schemas: { ...convert(REQUESTS), ...Object(opened(convert(ANSWERS))) },
    },
  };
}

function describe(operation: Operation): object {
  const { id, summary, path, query = {}, headers = {}, request } = operation;
  const parameters = [
    ...[...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
      name,
      in: "path",
      required: true,
      schema: { type: "string" },
    })),
    ...Object.entries(query).map(named("query")),
    ...Object.entries(headers).map(named("header")),
  ];
  return {
    operationId: id,
    summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(request === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: { "application/json": { schema: schemaRef(request) } },
          },
        }),
    responses: {
      ...success(operation),
      default: {
        description: "refused, and why",
        content: { "application/json": { schema: schemaRef("Error") } },
      },
    },
  };
}

function named(where: "query" | "header") {
  return ([name, { description, schema }]: readonly [string, QueryParameter]) => ({
    name,
    in: where,
    description,
    schema,
  });
}

function success({ answer }: Operation): object {
  if (answer === undefined) return { 204: { description: "done" } };
  const { type, schema, headers = {} } = answer;
  const ofEach = type === "application/x-ndjson" || type === "text/event-stream";
  const described = Object.entries(headers).map(([name, description]) => [
    name,
    { description, schema: { type: "string" } },
  ]);
  return {
    200: {
      description: ofEach ? "a stream; the schema is that of each line or event's data" : "done",
      ...(described.length === 0 ? {} : { headers: Object.fromEntries(described) }),
      content: { [type]: schema === undefined ? {} : { schema: schemaRef(schema) } },
    },
  };
}

/** Without what forbids further fields: a client made from the document must not fail on a newer daemon. */
function opened(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(opened);
  if (typeof schema !== "object" || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([key, value]) => key !== "additionalProperties" || value !== false)
      .map(([key, value]) => [key, opened(value)]),
  );
}
