import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { pipeline } from "node:stream/promises";
import type { Clock } from "../runtime/clock.ts";
import { errorMessage } from "../runtime/errors.ts";
import type { PeerAccess } from "./context.ts";
import { Refusal, type Reply } from "./http.ts";

/** Says that a request comes from another daemon, which must be served here or not at all. */
export const FORWARDED_HEADER = "fleet-forwarded";
/** What a forwarded answer keeps of its head. */
const KEPT_HEADERS = ["content-type", "fleet-exit-status"];

export interface ForwardOptions {
  readonly peers: PeerAccess;
  readonly clock: Clock;
  readonly machine: { readonly id: string; readonly address: string; readonly api: string };
  /** With the query. */
  readonly path: string;
  /** Until the head of the answer; connecting never takes more than 2.5 s of it. */
  readonly headMs: number;
  readonly signal: AbortSignal;
  /** JSON to POST; GET without. */
  readonly body?: string;
}

const CONNECT_MS = 2_500;

/** Asks another machine's daemon and passes its answer on as it comes. Either end closing closes the other. */
export async function forward(options: ForwardOptions): Promise<Reply> {
  const { id, address } = options.machine;
  const upstream = await openUpstream(options).catch((error: unknown) => {
    options.signal.throwIfAborted();
    const late = error instanceof HeadTimeout;
    throw new Refusal(
      late ? 504 : 502,
      "machine-unreachable",
      `cannot reach machine ${id} at ${options.machine.api}: ${errorMessage(error)}`,
      { machineId: id, address },
    );
  });
  const headers: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    const value = upstream.headers[name];
    if (typeof value === "string") headers[name] = value;
  }
  return {
    type: "stream",
    status: upstream.statusCode ?? 502,
    headers,
    cancel: () => upstream.destroy(),
    write: (response) => pipeline(upstream, response),
  };
}

class HeadTimeout extends Error {}

function openUpstream(options: ForwardOptions): Promise<IncomingMessage> {
  const { clock, machine, path, peers, signal, body } = options;
  const url = new URL(`${peers.tls === undefined ? "http" : "https"}://${machine.api}${path}`);
  return new Promise((resolve, reject) => {
    const settings = {
      // One connection per request: a stream may last for hours.
      agent: false as const,
      method: body === undefined ? "GET" : "POST",
      headers: {
        [FORWARDED_HEADER]: "1",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      signal,
    };
    const request: ClientRequest =
      peers.tls === undefined
        ? httpRequest(url, settings)
        : httpsRequest(url, { ...settings, ...peers.tls });
    const giveUp = (ms: number) => () => {
      request.destroy(new HeadTimeout(`no answer within ${ms / 1000} s`));
    };
    const cancelConnect = clock.setTimer(CONNECT_MS, giveUp(CONNECT_MS));
    const cancelHead = clock.setTimer(options.headMs, giveUp(options.headMs));
    const secured = peers.tls === undefined ? "connect" : "secureConnect";
    request.once("socket", (socket) => socket.once(secured, cancelConnect));
    request.once("response", (response) => {
      cancelHead();
      resolve(response);
    });
    request.once("close", () => {
      cancelConnect();
      cancelHead();
    });
    request.on("error", reject);
    request.end(body);
  });
}
