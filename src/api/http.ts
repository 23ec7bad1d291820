import type { IncomingMessage, ServerResponse } from "node:http";
import type { CallOptions } from "../registry/store.ts";

/** Of a request's body. */
export const BODY_BYTES_MAX = 4 * 1024 * 1024;

/** One request on its way through a handler. */
export interface ApiRequest {
  readonly method: string;
  /** As it was asked for, without the query. */
  readonly path: string;
  /** Parts of the path that the route leaves open, decoded, by name. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  /** The whole body as text; refuses more than BODY_BYTES_MAX. */
  readonly body: () => Promise<string>;
  /** Aborts when the client goes away or the server closes. */
  readonly signal: AbortSignal;
  /** For every call of the registry: ends with `signal`, and early enough to answer within 3 s. */
  readonly call: CallOptions;
}

export type Handler = (request: ApiRequest) => Promise<Reply>;

export type Reply =
  | { readonly type: "json"; readonly status: number; readonly body: unknown }
  | { readonly type: "empty"; readonly status: number }
  /** `write` ends when all is written; the head is sent before it is called. */
  | {
      readonly type: "stream";
      readonly status: number;
      readonly headers: Readonly<Record<string, string>>;
      readonly write: (response: ServerResponse) => Promise<void>;
      /** When `write` is never called because the client went away first. */
      readonly cancel: () => void;
    };

/** The request cannot be served, and why; its status is the answer's. Not an error of the program. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly machine: { readonly machineId: string; readonly address: string } | undefined;

  constructor(
    status: number,
    code: string,
    message: string,
    machine?: { readonly machineId: string; readonly address: string },
  ) {
    super(message);
    this.name = "Refusal";
    this.status = status;
    this.code = code;
    this.machine = machine;
  }
}

export function badRequest(message: string): Refusal {
  return new Refusal(400, "bad-request", message);
}

/** Of a query; false without it. */
export function readFlag(query: URLSearchParams, name: string): boolean {
  const value = query.get(name) ?? "0";
  if (["1", "true"].includes(value)) return true;
  if (["0", "false"].includes(value)) return false;
  throw badRequest(`invalid ${name} "${value}": expect 1 or 0`);
}

export function json(status: number, body: unknown): Reply {
  return { type: "json", status, body };
}

export function empty(status: number): Reply {
  return { type: "empty", status };
}

/** Reads a body; a client that sends more than it may is cut off. */
export async function readBody(request: IncomingMessage): Promise<string> {
  const tooLarge = () =>
    new Refusal(413, "too-large", `the body is larger than ${BODY_BYTES_MAX / 1024 / 1024} MiB`);
  if (Number(request.headers["content-length"] ?? 0) > BODY_BYTES_MAX) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Not destroyed at the end of the loop: the refusal still has to be sent.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    const part: Buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
    bytes += part.length;
    if (bytes > BODY_BYTES_MAX) throw tooLarge();
    chunks.push(part);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch {
    throw badRequest("the body is not UTF-8 text");
  }
}
