import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import { Server as TlsServer } from "node:https";
import { TLSSocket } from "node:tls";
import type { Registry } from "../registry/registry.ts";
import type { Clock } from "../runtime/clock.ts";
import { errorMessage } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { ApiContext, DaemonPort, PeerAccess, PreviewPlan } from "./context.ts";
import { type ApiErrorBody, toErrorBody } from "./error-body.ts";
import { type Entrance, guard } from "./guard.ts";
import { type ApiRequest, type Handler, Refusal, type Reply, readBody } from "./http.ts";
import {
  type ApiAddress,
  type ClientLimits,
  type ListenSpec,
  listen,
  makeServer,
  type TlsTexts,
} from "./listen.ts";
import { matchRoute, type Route, type RouteGroup } from "./router.ts";
import type { UnitLogs } from "./unit-logs.ts";
import { v1DiscoveryRoutes } from "./v1-discovery.ts";
import { v1Error, v1Json } from "./v1-format.ts";
import { v1MachineRoutes } from "./v1-machines.ts";
import { v1StateRoutes } from "./v1-state.ts";
import { v1UnitRoutes } from "./v1-units.ts";
import { v2ActionRoutes } from "./v2-actions.ts";
import { v2ClusterRoutes } from "./v2-cluster.ts";
import { v2DocumentRoutes } from "./v2-document.ts";
import { v2ExplainRoutes } from "./v2-explain.ts";
import { v2LogRoutes } from "./v2-logs.ts";
import { v2MoveRoutes } from "./v2-moves.ts";
import { v2OperatorRoutes } from "./v2-operators.ts";
import { v2ServiceRoutes } from "./v2-services.ts";
import { v2SourceRoutes } from "./v2-sources.ts";
import { v2UnitRoutes } from "./v2-units.ts";
import { v2WatchRoutes } from "./v2-watch.ts";

export interface ApiOptions {
  readonly registry: Registry;
  readonly daemon: DaemonPort;
  readonly logs: UnitLogs;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly listen: readonly ListenSpec[];
  /** Names and addresses of this machine that requests on TCP may be addressed to, besides localhost and the addresses listened on. */
  readonly hosts?: readonly string[];
  readonly previewPlan: PreviewPlan;
  /** How to reach the API of other machines; plain HTTP without. */
  readonly peers?: PeerAccess;
  readonly syncSecret?: string | undefined;
  /** fleet's `token_limit`. Default 100. */
  readonly pageLimit?: number;
  readonly limits?: ClientLimits | undefined;
}

export interface Api {
  readonly addresses: readonly ApiAddress[];
  /** For connections from now on. Throws when the texts do not fit together. */
  setTls(tls: TlsTexts): void;
  /** Ends watches and journals at once, lets other requests finish for a second. */
  close(): Promise<void>;
}

/** One call of the registry; leaves time to say within 3 s that it does not answer. */
const REGISTRY_CALL_MS = 2_500;
const CLOSE_MS = 1_000;
const V1_BASES = ["/fleet/v1", "/v1-alpha"];
const V2_BASE = "/fleet/v2";
/** They change nothing in the registry, or are what a detached machine waits for. */
const HARMLESS_POSTS: readonly string[] = [
  `${V2_BASE}/watch`,
  `${V2_BASE}/watch-services`,
  `${V2_BASE}/plan`,
  `${V2_BASE}/rejoin`,
];

/** Everything below /fleet/v2. */
export function v2Routes(context: ApiContext): readonly Route[] {
  return [
    ...v2ClusterRoutes(context),
    ...v2UnitRoutes(context),
    ...v2WatchRoutes(context),
    ...v2LogRoutes(context),
    ...v2ServiceRoutes(context),
    ...v2ActionRoutes(context),
    ...v2MoveRoutes(context),
    ...v2SourceRoutes(context),
    ...v2OperatorRoutes(context),
    ...v2ExplainRoutes(context),
    ...v2DocumentRoutes(context),
  ];
}

/** Serves /fleet/v1 (fleet's API), its old name /v1-alpha, and /fleet/v2. Ends what it opened when it cannot open all. */
export async function startApi(options: ApiOptions): Promise<Api> {
  const { pageLimit = 100, peers = { tls: undefined }, syncSecret, limits } = options;
  const server = new ApiServer({ ...options, pageLimit, peers, syncSecret }, limits);
  try {
    for (const spec of options.listen) await server.listen(spec, options.hosts ?? []);
  } catch (error) {
    await server.close();
    throw error;
  }
  return {
    addresses: server.addresses,
    setTls: (tls) => server.setTls(tls),
    close: () => server.close(),
  };
}

class ApiServer {
  readonly addresses: ApiAddress[] = [];
  readonly #context: ApiContext;
  readonly #groups: readonly RouteGroup[];
  readonly #servers: Server[] = [];
  readonly #closing = new AbortController();
  readonly #limits: ClientLimits | undefined;

  constructor(context: ApiContext, limits: ClientLimits | undefined) {
    this.#context = context;
    this.#limits = limits;
    this.#groups = [
      {
        bases: V1_BASES,
        routes: [
          ...v1DiscoveryRoutes(),
          ...v1MachineRoutes(context),
          ...v1UnitRoutes(context),
          ...v1StateRoutes(context),
        ],
      },
      {
        bases: [V2_BASE],
        routes: v2Routes(context),
      },
    ];
  }

  async listen(spec: ListenSpec, hosts: readonly string[]): Promise<void> {
    const own = spec.type === "tcp" ? [spec.host] : [];
    const entrance: Entrance = {
      type: spec.type === "fd" ? spec.entrance : spec.type,
      hosts: new Set(
        ["localhost", "127.0.0.1", "::1", ...own, ...hosts].map((host) => host.toLowerCase()),
      ),
    };
    const onRequest: RequestListener = (request, response) => {
      void this.#serve(entrance, request, response);
    };
    const server = makeServer(spec, onRequest, this.#limits);
    server.on("clientError", (error, socket) => {
      // An answer that is on its way must not get another one into its middle.
      const isFresh = "bytesWritten" in socket && socket.bytesWritten === 0;
      if (socket.writable && isFresh) {
        socket.end(answerToNoRequest("code" in error ? error.code : undefined));
      } else socket.destroy();
    });
    this.addresses.push(await listen(server, spec));
    this.#servers.push(server);
  }

  setTls(tls: TlsTexts): void {
    for (const server of this.#servers) {
      if (server instanceof TlsServer) server.setSecureContext(tls);
    }
  }

  /** A detached machine writes nothing (I5), nor does anybody through it. */
  #refuseWhileDetached(method: string, path: string): void {
    if (method === "GET" || method === "HEAD" || HARMLESS_POSTS.includes(path)) return;
    const detached = this.#context.daemon.notices().find(({ code }) => code === "detached");
    if (detached !== undefined) throw new Refusal(409, "detached", detached.message);
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the API is closing"));
    this.#context.registry.kept.release();
    await Promise.all(this.#servers.map((server) => this.#closeServer(server)));
  }

  async #closeServer(server: Server): Promise<void> {
    const closed = Promise.withResolvers<void>();
    server.close(() => closed.resolve());
    server.closeIdleConnections();
    const cancel = this.#context.clock.setTimer(CLOSE_MS, () => server.closeAllConnections());
    await closed.promise;
    cancel();
  }

  async #serve(
    entrance: Entrance,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { daemon, logger } = this.#context;
    const gone = new AbortController();
    response.once("close", () => gone.abort(new Error("the client went away")));
    response.on("error", (error) => logger.debug("client-lost", { error: errorMessage(error) }));
    response.setHeader("Server", `fleetd/${daemon.version}`);
    const signal = AbortSignal.any([gone.signal, this.#closing.signal]);
    const [path = ""] = (request.url ?? "").split("?");
    const v1 = !path.startsWith(`${V2_BASE}/`);
    try {
      const reply = await this.#reply(entrance, request, { path, signal });
      await send(response, reply, v1);
    } catch (error) {
      if (signal.aborted || response.headersSent) {
        response.destroy();
        return;
      }
      const body = toErrorBody(error, this.#context.registry.description);
      if (body.status >= 500) {
        const fields = { method: request.method, path, error: errorMessage(error) };
        logger.warn("request-failed", fields);
      }
      sendError(request, response, body, v1);
    }
  }

  async #reply(
    entrance: Entrance,
    incoming: IncomingMessage,
    { path, signal }: { readonly path: string; readonly signal: AbortSignal },
  ): Promise<Reply> {
    const method = incoming.method ?? "";
    const handler = this.#handler(method, path);
    const contentTypes = incoming.headersDistinct["content-type"] ?? [];
    const { headers } = incoming;
    const hasBody =
      headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
    const { socket } = incoming;
    const isCertified = (name: string) =>
      socket instanceof TLSSocket && socket.getX509Certificate()?.checkHost(name) !== undefined;
    const asked = { method, host: headers.host, contentTypes, hasBody, isCertified };
    const refusal = guard(entrance, asked);
    if (refusal !== undefined) throw refusal;
    this.#refuseWhileDetached(method, path);
    const request: ApiRequest = {
      method,
      path,
      params: handler.params,
      query: new URLSearchParams((incoming.url ?? "").slice(path.length)),
      headers,
      body: () => readBody(incoming),
      signal,
      call: { signal, deadlineMs: REGISTRY_CALL_MS },
    };
    return await handler.handle(request);
  }

  #handler(
    method: string,
    path: string,
  ): { readonly handle: Handler; readonly params: ApiRequest["params"] } {
    if (path === "/" || V1_BASES.includes(path)) throw new Refusal(405, "method-not-allowed", "");
    const match = matchRoute(this.#groups, path);
    if (match === undefined) {
      const v2 = path.startsWith(`${V2_BASE}/`);
      throw new Refusal(404, "not-found", v2 ? `there is nothing at ${path}` : "");
    }
    const { methods, otherwise } = match.route;
    const handle = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (handle !== undefined) return { handle, params: match.params };
    const only = Object.keys(methods).join(", ");
    throw new Refusal(
      otherwise?.status ?? 405,
      "method-not-allowed",
      otherwise?.message ?? `only ${only} supported against this resource`,
    );
  }
}

async function send(response: ServerResponse, reply: Reply, v1: boolean): Promise<void> {
  switch (reply.type) {
    case "json": {
      const text = v1 ? v1Json(reply.body) : JSON.stringify(reply.body);
      response.writeHead(reply.status, jsonHeaders(text));
      response.end(text);
      return;
    }
    case "empty":
      response.writeHead(reply.status, { "Content-Type": "application/json" });
      response.end();
      return;
    case "stream":
      if (response.destroyed) {
        reply.cancel();
        return;
      }
      // It may be silent for hours.
      response.setTimeout(0);
      response.writeHead(reply.status, reply.headers);
      response.flushHeaders();
      await reply.write(response);
      if (!response.writableEnded) response.end();
      return;
  }
}

function sendError(
  request: IncomingMessage,
  response: ServerResponse,
  { status, code, message, machine }: ApiErrorBody,
  v1: boolean,
): void {
  // What the client still sends is thrown away, so that it comes to reading the answer.
  if (!request.complete) {
    response.setHeader("Connection", "close");
    request.resume();
  }
  const text = v1
    ? v1Error(status, message)
    : JSON.stringify({ error: { code, message, ...machine } });
  response.writeHead(status, jsonHeaders(text));
  response.end(request.method === "HEAD" ? undefined : text);
}

/** To what Node could not make a request of, as it goes over the wire. */
function answerToNoRequest(code: unknown): string {
  const [status, reason, word, message] =
    code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? [408, "Request Timeout", "timed-out", "the request took too long to come"]
      : code === "HPE_HEADER_OVERFLOW"
        ? [431, "Request Header Fields Too Large", "too-large", "the head is larger than 16 KiB"]
        : [400, "Bad Request", "bad-request", "this is not HTTP"];
  const text = JSON.stringify({ error: { code: word, message } });
  const headers = Object.entries(jsonHeaders(text)).map(([name, value]) => `${name}: ${value}`);
  return [`HTTP/1.1 ${status} ${reason}`, "Connection: close", ...headers, "", text].join("\r\n");
}

function jsonHeaders(text: string): Record<string, string | number> {
  return { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) };
}
