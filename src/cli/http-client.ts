import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { isIP } from "node:net";
import { type Duplex, PassThrough } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { ErrorBody } from "../api/protocol.ts";
import type { Clock } from "../runtime/clock.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import { type Endpoint, parseEndpoint, type TlsFiles, unreachable } from "./endpoint.ts";
import { type Answer, plainRequest } from "./plain-request.ts";
import type { TunnelTarget } from "./remote.ts";

/** The API refused, in its own words. */
export class ApiError extends FleetError {
  readonly status: number;
  readonly body: ErrorBody["error"];

  constructor(status: number, body: ErrorBody["error"]) {
    super("api-refused", body.message);
    this.name = "ApiError";
    this.status = status;
    this.body = body;
  }
}

export interface HttpClientOptions {
  readonly clock: Clock;
  /** One or several, comma separated: the first that answers is used. */
  readonly endpoint: string;
  /** From the call to the head of the answer; with JSON answers, to their end. */
  readonly deadlineMs: number;
  readonly tls: TlsFiles;
  /** In place of an own connection to the endpoint: through a tunnel. */
  readonly connect?: ((target: TunnelTarget) => Promise<Duplex>) | undefined;
  readonly debug?: (text: string) => void;
}

export interface HttpCall {
  readonly method: "GET" | "POST" | "PUT";
  /** With the query, below the endpoint. */
  readonly path: string;
  readonly body?: unknown;
  /** More than the client's own, for calls whose work grows with what is asked. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** HTTP over a unix socket or TCP, with a deadline on everything and errors that say what to do. */
export class HttpClient {
  readonly #options: HttpClientOptions;
  #endpoints: readonly Endpoint[];

  constructor(options: HttpClientOptions) {
    this.#options = options;
    this.#endpoints = options.endpoint
      .split(",")
      .map((text) => parseEndpoint(text.trim(), options.tls));
  }

  async json<T>(call: HttpCall): Promise<T> {
    return this.#limited(call, async (signal) => {
      const answer = await this.#open(call, signal, (endpoint, limits) =>
        this.#isPlain(endpoint)
          ? this.#sendPlain(endpoint, call, limits)
          : this.#send(endpoint, call, limits),
      );
      return parseJson<T>(await answer.text());
    });
  }

  /** The answer as it comes in; the deadline ends with its head. `signal` cuts it off. */
  async stream(call: HttpCall): Promise<IncomingMessage> {
    const cut = new AbortController();
    const { response } = await this.#limited(call, (signal) => {
      signal.addEventListener("abort", () => cut.abort(signal.reason), { once: true });
      return this.#open(call, cut.signal, (endpoint, limits) => this.#send(endpoint, call, limits));
    });
    const onAbort = () => cut.abort(call.signal?.reason);
    call.signal?.addEventListener("abort", onAbort, { once: true });
    response.once("close", () => call.signal?.removeEventListener("abort", onAbort));
    return response;
  }

  /** Newline-delimited JSON, without empty lines. Ends when `signal` aborts; `api-unavailable` when the connection is cut. */
  async *lines<T>(call: HttpCall): AsyncGenerator<T> {
    for await (const line of this.textLines(call)) if (line !== "") yield parseJson<T>(line);
  }

  /** Lines as they are; ends as `lines` does. */
  async *textLines(call: HttpCall): AsyncGenerator<string> {
    const response = await this.stream(call);
    response.setEncoding("utf8");
    let rest = "";
    try {
      for await (const chunk of response) {
        const parts = `${rest}${chunk}`.split("\n");
        rest = parts.pop() ?? "";
        yield* parts;
      }
    } catch (error) {
      if (call.signal?.aborted === true) return;
      if (isFleetError(error)) throw error;
      throw new FleetError("api-unavailable", `the connection was cut: ${errorMessage(error)}`, {
        cause: error,
        retriable: true,
      });
    }
  }

  #limited<T>(call: HttpCall, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const deadlineMs = Math.max(call.deadlineMs ?? 0, this.#options.deadlineMs);
    const where = this.#endpoints.map(({ text }) => text).join(", ");
    const onDeadline = () =>
      new FleetError(
        "api-unavailable",
        `no answer from ${where} within ${deadlineMs / 1000} s: look at fleetd-ts there (systemctl status fleetd-ts), or allow more with --request-timeout`,
        { retriable: true },
      );
    return withDeadline(this.#options.clock, { deadlineMs, signal: call.signal, onDeadline }, work);
  }

  /** The head of the answer of the first endpoint that can be connected to; that one is used from then on. */
  async #open<A extends Answer>(
    call: HttpCall,
    signal: AbortSignal,
    send: (endpoint: Endpoint, limits: Limits) => Promise<A>,
  ): Promise<A> {
    const errors: FleetError[] = [];
    const shareMs = this.#options.deadlineMs / this.#endpoints.length;
    for (const endpoint of this.#endpoints) {
      try {
        const answer = await send(endpoint, { signal, connectMs: shareMs });
        this.#endpoints = [endpoint];
        this.#options.debug?.(`${call.method} ${endpoint.text} ${call.path} ${answer.status}`);
        if (answer.status < 400) return answer;
        throw await apiError(answer);
      } catch (error) {
        if (!isFleetError(error, "api-unavailable") || signal.aborted) throw error;
        errors.push(error);
      }
    }
    const [first] = errors;
    if (errors.length === 1 && first !== undefined) throw first;
    throw new FleetError("api-unavailable", errors.map(({ message }) => message).join("\n"), {
      retriable: true,
    });
  }

  #isPlain({ secure }: Endpoint): boolean {
    return !secure && this.#options.connect === undefined;
  }

  async #sendPlain(endpoint: Endpoint, call: HttpCall, limits: Limits): Promise<Answer> {
    const { socketPath, options } = endpoint;
    const to =
      socketPath === undefined
        ? { host: String(options.host), port: Number(options.port) }
        : { path: socketPath };
    const connecting = new AbortController();
    const cancel = this.#options.clock.setTimer(limits.connectMs, () => connecting.abort());
    try {
      return await plainRequest(to, {
        method: call.method,
        path: `${options.path ?? ""}${call.path}`,
        body: call.body === undefined ? undefined : JSON.stringify(call.body),
        signal: AbortSignal.any([limits.signal, connecting.signal]),
        onConnected: cancel,
      });
    } catch (error) {
      if (limits.signal.aborted) throw limits.signal.reason;
      if (connecting.signal.aborted) throw await unreachable(endpoint, noConnection(limits));
      throw await unreachable(endpoint, error instanceof Error ? error : new Error(String(error)));
    } finally {
      cancel();
    }
  }

  #send(endpoint: Endpoint, call: HttpCall, limits: Limits): Promise<StreamedAnswer> {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    return new Promise((resolve, reject) => {
      const options: RequestOptions = {
        ...endpoint.options,
        path: `${endpoint.options.path ?? ""}${call.path}`,
        method: call.method,
        signal: limits.signal,
        // One connection per call: an idle one would keep the process from ending.
        ...(this.#options.connect === undefined
          ? { agent: false }
          : { createConnection: tunnelled(endpoint, this.#options.connect) }),
        headers: { ...(call.method !== "GET" ? { "content-type": "application/json" } : {}) },
      };
      const request: ClientRequest = endpoint.secure ? httpsRequest(options) : httpRequest(options);
      // A tunnel has a time-out of its own, and may ask the user first.
      const cancel =
        this.#options.connect !== undefined
          ? () => {}
          : this.#options.clock.setTimer(limits.connectMs, () =>
              request.destroy(noConnection(limits)),
            );
      request.once("socket", (socket) =>
        socket.once(endpoint.secure ? "secureConnect" : "connect", cancel),
      );
      request.once("response", (response) => {
        const text = () => readText(response);
        resolve({ status: response.statusCode ?? 500, text, response });
      });
      request.once("close", cancel);
      request.on("error", (error) => {
        if (limits.signal.aborted) reject(limits.signal.reason);
        else if (isFleetError(error)) reject(error);
        else unreachable(endpoint, error).then(reject, reject);
      });
      request.end(body);
    });
  }
}

function tunnelled(
  endpoint: Endpoint,
  connect: (target: TunnelTarget) => Promise<Duplex>,
): NonNullable<RequestOptions["createConnection"]> {
  const { options, secure, socketPath } = endpoint;
  const host = String(options.host);
  const target =
    socketPath === undefined ? { host, port: Number(options.port) } : { path: socketPath };
  return (_options, done) => {
    connect(target).then(
      (socket) => {
        const { ca, cert, key } = options;
        const servername = isIP(host) === 0 ? host : "";
        done(null, secure ? connectTls({ socket, servername, host, ca, cert, key }) : socket);
      },
      (error: Error) => done(error, new PassThrough()),
    );
    return undefined;
  };
}

interface Limits {
  readonly signal: AbortSignal;
  readonly connectMs: number;
}

interface StreamedAnswer extends Answer {
  readonly response: IncomingMessage;
}

function noConnection({ connectMs }: Limits): Error {
  return new Error(`no connection within ${connectMs / 1000} s`);
}

async function apiError(answer: Answer): Promise<ApiError> {
  const { status } = answer;
  const text = await answer.text();
  try {
    const { error } = parseJson<Partial<ErrorBody>>(text);
    if (error !== undefined) return new ApiError(status, error);
  } catch {
    // Not from fleetd-ts: its text is all there is.
  }
  const message = `HTTP ${status} from something that is not the API of fleetd-ts: ${text.slice(0, 200).trim()}`;
  return new ApiError(status, { code: "internal", message });
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson<T>(text: string): T {
  try {
    const value: T = JSON.parse(text);
    return value;
  } catch (error) {
    throw new FleetError(
      "api-refused",
      `the answer is not JSON, so it is not the API of fleetd-ts: ${text.slice(0, 200)}`,
      { cause: error },
    );
  }
}
