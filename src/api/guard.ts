import { isIP } from "node:net";
import { Refusal } from "./http.ts";

/** Where a request came in: what a browser can be tricked into reaching is checked more closely. */
export interface Entrance {
  readonly type: "unix" | "tcp";
  /** Names and addresses, lower case without port, that requests may be addressed to. */
  readonly hosts: ReadonlySet<string>;
}

export interface GuardedRequest {
  readonly method: string;
  readonly host: string | undefined;
  /** Every Content-Type header. */
  readonly contentTypes: readonly string[];
  readonly hasBody: boolean;
  /** Whether the certificate that was shown to the client is for that name. */
  readonly isCertified: (name: string) => boolean;
}

/**
 * What would let a web page see or change the cluster through an operator's browser is refused: a foreign Host (DNS rebinding) and the
 * content types that forms can send. Undefined: let it in.
 */
export function guard(entrance: Entrance, request: GuardedRequest): Refusal | undefined {
  const isRead = ["GET", "HEAD", "OPTIONS"].includes(request.method);
  // A browser always says whom it asks.
  const isForeign = request.host === undefined ? !isRead : !isOwnName(entrance, request);
  if (entrance.type === "tcp" && isForeign) {
    return new Refusal(
      403,
      "forbidden-host",
      `Host "${request.host ?? ""}" is not a name of this machine: use its address`,
    );
  }
  if (isRead) return undefined;
  // A DELETE says all in its path; browsers ask before they send one to another site.
  if (request.method === "DELETE" && !request.hasBody && request.contentTypes.length === 0) {
    return undefined;
  }
  return contentTypeProblem(request.contentTypes);
}

/** A page of a foreign site cannot have been loaded from an address of this machine, so addresses are as good as own names. */
function isOwnName({ hosts }: Entrance, { host = "", isCertified }: GuardedRequest): boolean {
  const name = hostName(host);
  return hosts.has(name) || isIP(name) !== 0 || isCertified(name);
}

function contentTypeProblem(contentTypes: readonly string[]): Refusal | undefined {
  const [contentType = ""] = contentTypes;
  if (contentTypes.length !== 1) {
    return unsupported(`expected 1 Content-Type, got ${contentTypes.length}`);
  }
  const [mediaType = ""] = contentType.split(";");
  return mediaType.trim().toLowerCase() === "application/json"
    ? undefined
    : unsupported("only acceptable Content-Type is application/json");
}

function unsupported(message: string): Refusal {
  return new Refusal(415, "unsupported-media-type", message);
}

/** `[::1]:49153` -> `::1` */
export function hostName(host: string): string {
  const lower = host.trim().toLowerCase();
  const bracketed = /^\[([^\]]*)\](:\d+)?$/.exec(lower);
  if (bracketed !== null) return bracketed[1] ?? "";
  return lower.replace(/:\d*$/, "").replace(/\.$/, "");
}
