import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import type { RequestOptions } from "node:https";
import { createSecureContext } from "node:tls";
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
  if ((cert === undefined) !== (key === undefined)) {
    throw new FleetError("usage", "--cert-file and --key-file have to be given together");
  }
  const files = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  if (Object.keys(files).length > 0) checkTls(files);
  return files;
}

/** Connecting with files that do not fit would throw where nobody catches it. */
function checkTls(files: RequestOptions): void {
  try {
    createSecureContext(files);
  } catch (error) {
    throw new FleetError("usage", `the TLS files cannot be used: ${errorMessage(error)}`);
  }
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
  if (socketPath === undefined) return addressAdvice(endpoint, String(code), errorMessage(error));
  switch (code) {
    case "ENOENT":
      return "there is no such socket, so the daemon is not running: systemctl status fleetd-ts (or name another with --endpoint)";
    case "ECONNREFUSED":
      return "nobody listens on the socket, so the daemon is not running: systemctl status fleetd-ts";
    case "EACCES":
    case "EPERM":
      return `permission denied: ${await permissionAdvice(socketPath)}`;
    default:
      return `${errorMessage(error)}: systemctl status fleetd-ts`;
  }
}

/** OpenSSL's own words are for those who know its sources. */
function addressAdvice({ secure }: Endpoint, code: string, said: string): string {
  if (/alert/i.test(code + said)) {
    return "it wants a certificate: --cert-file and --key-file, signed by whom its tls_cafile names";
  }
  if (code === "EPROTO") return "no TLS is spoken there: http://?";
  if (/CERT|LEAF_SIGNATURE/.test(code)) {
    const advice = /EXPIRED|ALTNAME/.test(code) ? "" : ": --ca-file names who has signed it";
    return `its certificate is not accepted: ${said}${advice}`;
  }
  if (code === "ECONNRESET" || said === "socket hang up") {
    return `${said}: ${secure ? "does it know who has signed --cert-file?" : "does it want https://?"}`;
  }
  return `${said || code}: is it running there, and listening on that address?`;
}

/** A group that may use the socket, which is that of `api_group`. */
async function permissionAdvice(socketPath: string): Promise<string> {
  const { gid, mode } = await stat(socketPath).catch(() => ({ gid: 0, mode: 0 }));
  if ((mode & 0o020) === 0) return "use sudo, or name a group of yours as api_group in fleet.conf";
  const line = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((entry) => entry.split(":")[2] === String(gid));
  return `use sudo, or join the group ${line?.split(":")[0] ?? gid}`;
}
