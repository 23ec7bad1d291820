import type { ServerResponse } from "node:http";
import { isIP } from "node:net";
import * as v from "valibot";
import { EVERY_SERVICE } from "../registry/service-watch.ts";
import type { HandOutcome } from "../registry/services.ts";
import type { CancelTimer } from "../runtime/clock.ts";
import type { Endpoint } from "../services/endpoint.ts";
import { instanceProblem, serviceNameProblem } from "../services/service-name.ts";
import { type ApiContext, notices } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import { type ApiRequest, badRequest, empty, json, Refusal, type Reply } from "./http.ts";
import type { LinksBody, ServicesBody, ServicesLine } from "./protocol.ts";
import type { Route } from "./router.ts";

const ALIVE_MS = 2_000;
/** A client that takes nothing for so many `ALIVE_MS` is cut off. */
const STALLED_MAX = 15;

export function v2ServiceRoutes(context: ApiContext): readonly Route[] {
  const instance = "services/:service/:instance";
  return [
    { path: "services", methods: { GET: (request) => getServices(context, request) } },
    { path: "services/:service", methods: { GET: (request) => getServices(context, request) } },
    { path: `${instance}/register`, methods: { POST: (request) => register(context, request) } },
    { path: `${instance}/deregister`, methods: { POST: (request) => withdraw(context, request) } },
    { path: "watch-services", methods: { POST: (request) => watchServices(context, request) } },
    { path: "links", methods: { GET: (request) => getLinks(context, request) } },
  ];
}

async function getServices(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const service = request.params["service"];
  const endpoints = await context.registry.services.endpoints(service, request.call);
  const body: ServicesBody = { endpoints, notices: await noticesOf(context, request) };
  return json(200, body);
}

async function getLinks(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const { services } = context.registry;
  const [links, endpoints] = await Promise.all([
    services.links(request.call),
    services.endpoints(undefined, request.call),
  ]);
  const body: LinksBody = { links, endpoints, notices: await noticesOf(context, request) };
  return json(200, body);
}

async function noticesOf(context: ApiContext, { call }: ApiRequest) {
  const { leader } = await context.registry.read.cluster(call);
  return notices(context, { leader: leader !== undefined, reachable: true });
}

const share = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
export const handRequest = v.looseObject({
  host: v.string(),
  port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  protocol: v.optional(v.picklist(["tcp", "udp"]), "tcp"),
  weight: v.optional(share, 100),
  priority: v.optional(share, 0),
  tags: v.optional(v.record(v.string(), v.string()), {}),
});

async function register(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const named = nameOf(request);
  const { host, ...rest } = decodeBody(handRequest, await request.body());
  if (isIP(host) === 0 && !/^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$/.test(host))
    throw badRequest(`"${host}" is neither an address nor the name of a host`);
  const { port, protocol, weight, priority, tags } = rest;
  const outcome = await context.registry.services.register(
    {
      ...named,
      ...{ host, port, protocol, weight, priority, tags },
      health: "unknown",
      detail: "",
      sinceMs: context.clock.wallMs(),
    },
    request.call,
  );
  return answer(named, outcome);
}

async function withdraw(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const named = nameOf(request);
  return answer(named, await context.registry.services.deregister(named, request.call));
}

function nameOf({ params }: ApiRequest): Pick<Endpoint, "service" | "instance"> {
  const { service = "", instance = "" } = params;
  const problem = serviceNameProblem(service) ?? instanceProblem(instance);
  if (problem !== undefined) throw badRequest(problem);
  return { service, instance };
}

function answer(
  { service, instance }: Pick<Endpoint, "service" | "instance">,
  outcome: HandOutcome,
): Reply {
  const name = `${service}/${instance}`;
  switch (outcome.type) {
    case "done":
      return empty(204);
    case "not-found":
      throw new Refusal(404, "not-found", `${name} is not registered`);
    case "owned": {
      const message = `${name} is registered by a sidekick on machine ${outcome.machine}: it goes when that ends`;
      throw new Refusal(409, "conflict", message);
    }
  }
}

export const watchServicesRequest = v.looseObject({
  services: v.pipe(v.array(v.string()), v.maxLength(1_000)),
});

async function watchServices(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const { services } = decodeBody(watchServicesRequest, await request.body());
  // So that a registry that is away is a status and not a line.
  await context.registry.read.cluster(request.call);
  const asked = services.length === 0 ? [EVERY_SERVICE] : [...new Set(services)];
  return {
    type: "stream",
    status: 200,
    headers: { "content-type": "application/x-ndjson" },
    cancel: () => undefined,
    write: (response) => streamServices(context, { asked, response, signal: request.signal }),
  };
}

/** Newest sets only: what a slow client did not come to take is replaced by what came after it. */
async function streamServices(
  { registry, clock }: ApiContext,
  parts: {
    readonly asked: readonly string[];
    readonly response: ServerResponse;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { asked, response, signal } = parts;
  const unsent = new Map<string, readonly Endpoint[]>();
  const say = (line: ServicesLine) => response.write(`${JSON.stringify(line)}\n`);
  const flush = () => {
    for (const [service, endpoints] of unsent) {
      if (response.writableNeedDrain) return;
      unsent.delete(service);
      const named = service === EVERY_SERVICE ? {} : { service };
      say({ type: "services", ...named, endpoints });
    }
  };
  const closes = asked.map((service) =>
    registry.services.watch.open(service, (endpoints) => {
      unsent.set(service, endpoints);
      flush();
    }),
  );
  let cancel: CancelTimer = () => undefined;
  let stalled = 0;
  const tick = () => {
    cancel = clock.setTimer(ALIVE_MS, tick);
    stalled = response.writableNeedDrain ? stalled + 1 : 0;
    if (stalled === 0) say({ type: "alive" });
    else if (stalled > STALLED_MAX) response.destroy();
  };
  cancel = clock.setTimer(ALIVE_MS, tick);
  response.on("drain", flush);
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  cancel();
  response.off("drain", flush);
  for (const close of closes) close();
}
