import assert from "node:assert/strict";

/** The part of JSON Schema that the OpenAPI document uses. */
export interface JsonSchema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema | boolean;
  readonly propertyNames?: JsonSchema;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly pattern?: string;
  readonly $schema?: string;
  readonly description?: string;
}

const KEYWORDS = new Set([
  ...["$ref", "type", "const", "enum", "properties", "required", "additionalProperties"],
  ...["propertyNames", "items", "anyOf", "oneOf", "minimum", "maximum", "minLength", "maxLength"],
  ...["minItems", "maxItems", "maxProperties", "pattern", "$schema", "description"],
]);

export interface OpenApi {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
}

export interface OpenApiOperation {
  readonly operationId: string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: "path" | "query" | "header";
    readonly required?: boolean;
    readonly schema: JsonSchema;
  }[];
  readonly requestBody?: {
    readonly content: Readonly<Record<string, { readonly schema: JsonSchema }>>;
  };
  readonly responses: Readonly<Record<string, OpenApiResponse>>;
}

interface OpenApiResponse {
  readonly content?: Readonly<Record<string, { readonly schema?: JsonSchema }>>;
}

export function resolve(document: OpenApi, schema: JsonSchema): JsonSchema {
  const { $ref } = schema;
  if ($ref === undefined) return schema;
  const found = document.components.schemas[$ref.replace("#/components/schemas/", "")];
  assert(found !== undefined, `the document has no ${$ref}`);
  return found;
}

/**
 * What is wrong with a value; undefined: nothing. An object is held to the fields that the document names although clients have to bear
 * others: a field that the server sends and the document lacks is a mistake of ours.
 */
export function problemOf(
  document: OpenApi,
  given: JsonSchema,
  value: unknown,
): string | undefined {
  const schema = resolve(document, given);
  for (const keyword of Object.keys(schema)) assert(KEYWORDS.has(keyword), `unknown ${keyword}`);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) {
    const problems = choices.map((choice) => problemOf(document, choice, value));
    if (problems.includes(undefined)) return undefined;
    return `none of ${choices.length}: ${problems.join("; ")}`;
  }
  if ("const" in schema && schema.const !== value) return `${value} is not ${schema.const}`;
  if (schema.enum !== undefined && !schema.enum.includes(value))
    return `${value} is none of ${schema.enum}`;
  const types = [schema.type ?? []].flat();
  if (types.length > 0 && !types.some((type) => isOf(type, value)))
    return `${value} is no ${types}`;
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      const problem = problemOf(document, schema.items ?? {}, item);
      if (problem !== undefined) return `[${index}]: ${problem}`;
    }
    return undefined;
  }
  return typeof value === "object" && value !== null
    ? problemOfObject(document, schema, value)
    : undefined;
}

function problemOfObject(document: OpenApi, schema: JsonSchema, value: object): string | undefined {
  const missing = (schema.required ?? []).find((name) => !(name in value));
  if (missing !== undefined) return `${missing} is missing`;
  for (const [name, part] of Object.entries(value)) {
    const more = schema.additionalProperties;
    const own = schema.properties?.[name] ?? (typeof more === "object" ? more : undefined);
    // A loose object may have more; one whose fields are all named may not.
    if (own === undefined && schema.properties !== undefined) {
      return `${name} is not in the document`;
    }
    const problem = own && problemOf(document, own, part);
    if (problem !== undefined) return `${name}: ${problem}`;
  }
  return undefined;
}

function isOf(type: string, value: unknown): boolean {
  switch (type) {
    case "integer":
      return Number.isInteger(value);
    case "array":
      return Array.isArray(value);
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "null":
      return value === null;
    default:
      return typeof value === type;
  }
}

/** The operation that a request is one of, and what its path has in place of names. */
export function operationOf(
  document: OpenApi,
  method: string,
  path: string,
): OpenApiOperation | undefined {
  const parts = path.split("/");
  const matches = ([template]: readonly [string, unknown]) => {
    const names = template.split("/");
    const fits = (name: string, index: number) => name.startsWith("{") || name === parts[index];
    return names.length === parts.length && names.every(fits);
  };
  // A path without open parts comes first.
  const found = Object.entries(document.paths)
    .filter(matches)
    .sort(([a], [b]) => a.split("{").length - b.split("{").length)[0];
  return found?.[1][method.toLowerCase()];
}

/** Holds an answer to the document. */
export function checkAnswer(
  document: OpenApi,
  request: { readonly method: string; readonly path: string },
  answer: { readonly status: number; readonly type: string | undefined; readonly text: string },
): void {
  const [path = ""] = request.path.split("?");
  const operation = operationOf(document, request.method, path);
  if (operation === undefined) return;
  const { status, type = "", text } = answer;
  const what = `${request.method} ${path}: ${status} ${text.slice(0, 300)}`;
  const response =
    operation.responses[status] ?? (status >= 400 ? operation.responses["default"] : undefined);
  assert(response !== undefined, `not in the document: ${what}`);
  if (response.content === undefined) {
    assert.equal(text, "", what);
    return;
  }
  const [mediaType = ""] = type.split(";");
  const content = response.content[mediaType];
  assert(content !== undefined, `${mediaType} is not in the document: ${what}`);
  if (content.schema === undefined) return;
  const values =
    mediaType === "application/x-ndjson" ? text.split("\n").filter((line) => line !== "") : [text];
  // Of a journal, and of a stream that was cut, only whole lines of JSON count.
  for (const one of values) {
    if (mediaType === "application/x-ndjson" && !one.startsWith("{")) continue;
    const problem = problemOf(document, content.schema, JSON.parse(one));
    assert.equal(problem, undefined, `${problem} in ${what}`);
  }
}
