import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import type { RequestOptions } from "node:https";
import { errorMessage, FleetError } from "../runtime/errors.ts";

/** Paths of PEM files, for https. */
export interface TlsFiles {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export interface Endpoint {
  /** As given, for messages. */
  readonly text: string;
  readonly secure: boolean;
  readonly options: RequestOptions;
  readonly socketPath?: string;
}

/** `unix:///path`, `http://host:port[/path]`, `https://...`. */
export function parseEndpoint(text: string, tls: TlsFiles): Endpoint {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || text.startsWith("/")) {
    throw new FleetError(
      "usage",
      `--endpoint ${text}: URL scheme undefined: use unix:///run/fleet.sock, http://host:port or https://host:port`,
    );
  }
  switch (url.protocol) {
    case "unix:":
    case "file:":
      if (url.host !== "") {
        throw new FleetError(
          "usage",
          `--endpoint ${text}: unable to connect to host "${url.host}" with scheme "${url.protocol.slice(0, -1)}": use three slashes`,
        );
      }
      return {
        text,
        secure: false,
        options: { socketPath: url.pathname },
        socketPath: url.pathname,
      };
    case "http:":
    case "https:":
      return {
        text,
        secure: url.protocol === "https:",
        options: {
          host: url.hostname.replace(/^\[|\]$/g, ""),
          port: url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port),
          path: url.pathname.replace(/\/+$/, ""),
          ...readTls(tls),
        },
      };
    default:
      throw new FleetError("usage", `--endpoint ${text}: unknown scheme ${url.protocol}`);
  }
}

function readTls(tls: TlsFiles): RequestOptions {
  const read = (path: string | undefined) => {
    try {
      return path === undefined ? undefined : readFileSync(path);
    } catch (error) {
      throw new FleetError("usage", `cannot read the TLS file ${path}: ${errorMessage(error)}`);
    }
  };
  const [ca, cert, key] = [read(tls.caFile), read(tls.certFile), read(tls.keyFile)];
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

/** Why a connection failed and what to do, in one line. */
export async function unreachable(endpoint: Endpoint, error: Error): Promise<FleetError> {
  const code = "code" in error ? error.code : undefined;
  const what = await adviceFor(endpoint, code, error);
  return new FleetError("api-unavailable", `cannot reach fleetd-ts at ${endpoint.text}: ${what}`, {
    cause: error,
    retriable: true,
  });
}

async function adviceFor(endpoint: Endpoint, code: unknown, error: Error): Promise<string> {
  const { socketPath } = endpoint;
  if (socketPath === undefined) {
    return `${errorMessage(error) || code}: is it running there, and listening on that address?`;
  }
  switch (code) {
    case "ENOENT":
      return "there is no such socket, so the daemon is not running: systemctl status fleetd-ts (or name another with --endpoint)";
    case "ECONNREFUSED":
      return "nobody listens on the socket, so the daemon is not running: systemctl status fleetd-ts";
    case "EACCES":
    case "EPERM":
      return `permission denied: use sudo, or join the group ${await groupOf(socketPath)}`;
    default:
      return `${errorMessage(error)}: systemctl status fleetd-ts`;
  }
}

async function groupOf(path: string): Promise<string> {
  try {
    const { gid } = await stat(path);
    const line = readFileSync("/etc/group", "utf8")
      .split("\n")
      .find((entry) => entry.split(":")[2] === String(gid));
    return line?.split(":")[0] ?? String(gid);
  } catch {
    return "that owns it";
  }
}
