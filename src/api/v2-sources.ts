import { createHmac, timingSafeEqual } from "node:crypto";
import * as v from "valibot";
import { sourceRecord } from "../registry/source-record.ts";
import type { ApiContext } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, badRequest, empty, json, Refusal, type Reply } from "./http.ts";
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
    { path: "sync/:name", methods: { POST: (request) => tell(context, request) } },
  ];
}

/** Below what clients and those between them wait for an answer. */
const CHANGE_WAIT_MS = 20_000;

/** Part of a key, and of names that people type. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/;

async function getSources({ registry }: ApiContext, request: ApiRequest): Promise<Reply> {
  const sources = await registry.sources.all(request.call);
  const body: SourcesBody = { sources };
  return json(200, body);
}

/** With `after`, a revision, the answer waits until the record is another, at most a while. */
async function getSource(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const { registry, clock } = context;
  const name = nameOf(request);
  const after = request.query.get("after");
  if (after !== null) {
    if (!/^\d{1,16}$/.test(after)) throw badRequest("after: a revision, as GET gives it");
    const end = new AbortController();
    const cancel = clock.setTimer(CHANGE_WAIT_MS, () => end.abort());
    const signal = AbortSignal.any([request.signal, end.signal]);
    try {
      await registry.sources.changed(name, Number(after), signal);
    } catch (error) {
      if (!end.signal.aborted) throw error;
    } finally {
      cancel();
    }
  }
  const source = await registry.sources.get(name, request.call);
  if (source === undefined) throw notFound(name);
  const body: SourceBody = source;
  return json(200, body);
}

export const putRequest = v.looseObject({
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

/**
 * A forge tells of a push: whoever runs the sync looks at once. Signed as the field's forges do it: HMAC-SHA256 of the body in
 * `X-Hub-Signature-256`. What the body says does not matter.
 */
async function tell(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const { registry, syncSecret, clock } = context;
  const name = nameOf(request);
  if (syncSecret === undefined || syncSecret === "") {
    throw new Refusal(403, "forbidden", "no sync_secret_file is set in fleet.conf");
  }
  const expected = createHmac("sha256", syncSecret)
    .update(await request.body())
    .digest();
  const [given] = [request.headers["x-hub-signature-256"] ?? ""].flat();
  const signature = Buffer.from((given ?? "").replace(/^sha256=/, ""), "hex");
  if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
    throw new Refusal(403, "forbidden", "the signature in X-Hub-Signature-256 is not right");
  }
  const source = await registry.sources.get(name, request.call);
  if (source === undefined) throw notFound(name);
  const record = { ...source.record, toldMs: clock.wallMs() };
  await registry.sources.put({ ...source, record }, request.call);
  return empty(204);
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
