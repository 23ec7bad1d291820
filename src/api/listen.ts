import type { RequestListener } from "node:http";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { FleetError } from "../runtime/errors.ts";
import { listenUnix, type UnixSocketSpec } from "../runtime/unix-socket.ts";

/** Where to listen. PEM texts, not paths. */
export type ListenSpec =
  | ({ readonly type: "unix" } & UnixSocketSpec)
  | {
      readonly type: "tcp";
      readonly host: string;
      readonly port: number;
      /** Clients need a certificate of `ca`. Without `tls`, `insecure` has to be said. */
      readonly tls?:
        | { readonly ca: string; readonly cert: string; readonly key: string }
        | undefined;
      readonly insecure?: boolean | undefined;
    }
  /** A listening socket that systemd passed on. `entrance`: what kind it is. */
  | { readonly type: "fd"; readonly fd: number; readonly entrance: "unix" | "tcp" };

export type ApiAddress =
  | { readonly type: "unix"; readonly path: string }
  | { readonly type: "tcp"; readonly host: string; readonly port: number; readonly secure: boolean }
  | { readonly type: "fd"; readonly fd: number };

const CONNECTIONS_MAX = 1_024;
const HEADERS_MS = 10_000;
/** Until the whole request has come. */
const REQUEST_MS = 30_000;
/** A connection on which nothing moves; streams are exempt. */
const IDLE_MS = 120_000;

/** A server for one address, with limits for clients that are slow, many or gone. */
export function makeServer(spec: ListenSpec, onRequest: RequestListener): Server {
  const options = {
    headersTimeout: HEADERS_MS,
    requestTimeout: REQUEST_MS,
    connectionsCheckingInterval: 5_000,
    keepAliveTimeout: 60_000,
    // The other end may vanish without a word while a journal is silent.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
  };
  const tls = spec.type === "tcp" ? spec.tls : undefined;
  if (spec.type === "tcp" && tls === undefined && spec.insecure !== true) {
    throw new FleetError(
      "config-invalid",
      `the API would listen on ${spec.host}:${spec.port} for everybody: give certificates, or say insecure=true`,
    );
  }
  const server =
    tls === undefined
      ? createServer(options, onRequest)
      : createTlsServer(
          { ...options, ...tls, requestCert: true, rejectUnauthorized: true },
          onRequest,
        );
  server.maxConnections = CONNECTIONS_MAX;
  server.setTimeout(IDLE_MS);
  return server;
}

export async function listen(server: Server, spec: ListenSpec): Promise<ApiAddress> {
  if (spec.type === "unix") {
    await listenUnix(server, spec, "the API");
    return { type: "unix", path: spec.path };
  }
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error) => {
      const where =
        spec.type === "tcp" ? `${spec.host}:${spec.port}` : `file descriptor ${spec.fd}`;
      reject(
        new FleetError("config-invalid", `the API cannot listen on ${where}: ${error.message}`, {
          cause: error,
        }),
      );
    };
    server.once("error", onError);
    const onListening = () => {
      server.removeListener("error", onError);
      resolve();
    };
    if (spec.type === "tcp") server.listen({ host: spec.host, port: spec.port }, onListening);
    else server.listen({ fd: spec.fd }, onListening);
  });
  if (spec.type === "fd") return { type: "fd", fd: spec.fd };
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : spec.port;
  return { type: "tcp", host: spec.host, port, secure: spec.tls !== undefined };
}
