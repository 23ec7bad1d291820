import * as v from "valibot";
import { sourceRecord } from "../registry/source-record.ts";
import type { ApiContext } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, empty, json, Refusal, type Reply } from "./http.ts";
import type { SourceBody, SourcesBody } from "./protocol.ts";
import type { Route } from "./router.ts";

export function v2SourceRoutes(context: ApiContext): readonly Route[] {
  return [
    { path: "sources", methods: { GET: (request) => getSources(context, request) } },
    {
      path: "sources/:name",
      methods: {
        GET: (request) => getSource(context, request),
        PUT: (request) => putSource(context, request),
        DELETE: (request) => removeSource(context, request),
      },
    },
  ];
}

/** Part of a key, and of names that people type. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/;

async function getSources({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const sources = await registry.sources.all(request.call);
  const body: SourcesBody = { sources };
  return json(200, body);
}

async function getSource({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const name = nameOf(request);
  const source = await registry.sources.get(name, request.call);
  if (source === undefined) throw notFound(name);
  const body: SourceBody = source;
  return json(200, body);
}

const putRequest = v.looseObject({
  revision: v.pipe(v.number(), v.integer(), v.minValue(0)),
  record: sourceRecord,
});

/** 409 when the record is not the one that the new one was made from. */
async function putSource({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const name = nameOf(request);
  const { revision, record } = decodeBody(putRequest, await request.body());
  const body: SourceBody = await registry.sources.put({ name, revision, record }, request.call);
  return json(200, body);
}

async function removeSource({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const name = nameOf(request);
  if (!(await registry.sources.remove(name, request.call))) throw notFound(name);
  return empty(204);
}

function nameOf(request: ApiRequest): string {
  const name = request.params["name"] ?? "";
  if (NAME.test(name)) return name;
  throw new Refusal(400, "bad-request", `${name}: a source is named by letters, digits, _ . -`);
}

function notFound(name: string): Refusal {
  return new Refusal(404, "not-found", `there is no source ${name}`);
}
