import type { RequestListener } from "node:http";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import { BACKLOG_MAX, listenUnix, type UnixSocketSpec } from "../runtime/unix-socket.ts";

/** Where to listen. */
export type ListenSpec =
  | ({ readonly type: "unix" } & UnixSocketSpec)
  | ({ readonly type: "tcp"; readonly host: string; readonly port: number } & Access)
  /** A listening socket that systemd passed on. `entrance`: what kind it is; on TCP the same holds as above. */
  | ({ readonly type: "fd"; readonly fd: number; readonly entrance: "unix" | "tcp" } & Access);

/** Clients need a certificate of `ca`. Without `tls`, `insecure` has to be said. */
interface Access {
  readonly tls?: TlsTexts | undefined;
  readonly insecure?: boolean | undefined;
}

/** PEM, not paths. */
export interface TlsTexts {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export type ApiAddress =
  | { readonly type: "unix"; readonly path: string }
  | { readonly type: "tcp"; readonly host: string; readonly port: number; readonly secure: boolean }
  | { readonly type: "fd"; readonly fd: number };

/** Of one address. Watches hold theirs for as long as somebody waits. */
const CONNECTIONS_MAX = 4_096;

/** What slow clients may take, in real time. */
export interface ClientLimits {
  readonly headersMs: number;
  /** Until the whole request has come. */
  readonly requestMs: number;
  readonly checkEveryMs: number;
  /** A connection on which nothing moves; streams are exempt. */
  readonly idleMs: number;
}

const LIMITS: ClientLimits = {
  ...{ headersMs: 10_000, requestMs: 30_000, checkEveryMs: 5_000, idleMs: 120_000 },
};

/** A server for one address, with limits for clients that are slow, many or gone. */
export function makeServer(
  spec: ListenSpec,
  onRequest: RequestListener,
  limits: ClientLimits = LIMITS,
): Server {
  const options = {
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    connectionsCheckingInterval: limits.checkEveryMs,
    keepAliveTimeout: 60_000,
    // The other end may vanish without a word while a journal is silent.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  };
  const isTcp = spec.type === "tcp" || (spec.type === "fd" && spec.entrance === "tcp");
  const tls = isTcp ? spec.tls : undefined;
  if (isTcp && tls === undefined && spec.insecure !== true) {
    throw new FleetError(
      "config-invalid",
      `the API would listen on ${placeOf(spec)} for everybody: give certificates, or say insecure=true`,
    );
  }
  const server =
    tls === undefined
      ? createServer(options, onRequest)
      : makeTlsServer(
          { ...options, ...tls, requestCert: true, rejectUnauthorized: true },
          onRequest,
        );
  server.maxConnections = CONNECTIONS_MAX;
  server.setTimeout(limits.idleMs);
  return server;
}

function makeTlsServer(options: ServerOptions, onRequest: RequestListener): Server {
  try {
    return createTlsServer(options, onRequest);
  } catch (error) {
    throw new FleetError(
      "config-invalid",
      `the files of tls_cafile, tls_certfile and tls_keyfile cannot be used together: ${errorMessage(error)}`,
      { cause: error },
    );
  }
}

function placeOf(spec: Exclude<ListenSpec, { type: "unix" }>): string {
  return spec.type === "tcp" ? `${spec.host}:${spec.port}` : `file descriptor ${spec.fd}`;
}

export async function listen(server: Server, spec: ListenSpec): Promise<ApiAddress> {
  if (spec.type === "unix") {
    await listenUnix(server, spec, "the API");
    return { type: "unix", path: spec.path };
  }
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error) => {
      const message = `the API cannot listen on ${placeOf(spec)}: ${error.message}`;
      reject(new FleetError("config-invalid", message, { cause: error }));
    };
    server.once("error", onError);
    const onListening = () => {
      server.removeListener("error", onError);
      resolve();
    };
    if (spec.type === "fd") server.listen({ fd: spec.fd }, onListening);
    else server.listen({ host: spec.host, port: spec.port, backlog: BACKLOG_MAX }, onListening);
  });
  if (spec.type === "fd") return { type: "fd", fd: spec.fd };
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : spec.port;
  return { type: "tcp", host: spec.host, port, secure: spec.tls !== undefined };
}
