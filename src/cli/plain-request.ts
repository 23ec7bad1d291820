import { connect, type NetConnectOpts } from "node:net";

export interface PlainRequest {
  readonly method: string;
  readonly path: string;
  /** JSON. */
  readonly body: string | undefined;
  readonly signal: AbortSignal;
  readonly onConnected: () => void;
}

export interface Answer {
  readonly status: number;
  text(): Promise<string>;
}

/**
 * A request and its whole answer, by HTTP/1.0 on a connection of its own, without TLS: no answer comes in chunks then. Node's HTTP client, which
 * does all the rest, takes as long to load as the daemon to answer. Rejects with what the socket says.
 */
export function plainRequest(to: NetConnectOpts, request: PlainRequest): Promise<Answer> {
  const { signal, onConnected } = request;
  return new Promise((resolve, reject) => {
    const socket = connect(to);
    const chunks: Buffer[] = [];
    let received = 0;
    let expected: number | undefined;
    const abort = () => socket.destroy(new Error("aborted"));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    const take = () => {
      const answer = parseAnswer(Buffer.concat(chunks));
      if (answer === undefined) socket.destroy(new Error("the answer is not HTTP"));
      else resolve(answer);
    };
    socket.once("connect", onConnected);
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      received += chunk.length;
      expected ??= wholeLength(Buffer.concat(chunks));
      if (received < (expected ?? Number.POSITIVE_INFINITY)) return;
      take();
      socket.destroy();
    });
    socket.once("end", () => {
      const isCut = Number.isFinite(expected) || received === 0;
      if (isCut) socket.destroy(new Error("socket hang up"));
      else take();
    });
    socket.on("error", reject);
    socket.once("close", () => {
      signal.removeEventListener("abort", abort);
      // Nothing else is left to say after an end or an error.
      reject(new Error("socket hang up"));
    });
    socket.write(requestText(to, request));
  });
}

function requestText(to: NetConnectOpts, { method, path, body }: PlainRequest): string {
  const head = [`${method} ${path} HTTP/1.0`, `Host: ${hostOf(to)}`];
  if (method !== "GET") head.push("Content-Type: application/json");
  if (body !== undefined) head.push(`Content-Length: ${Buffer.byteLength(body)}`);
  return `${head.join("\r\n")}\r\n\r\n${body ?? ""}`;
}

function hostOf(to: NetConnectOpts): string {
  if (!("port" in to)) return "localhost";
  const { host = "localhost", port } = to;
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

const HEAD_END = "\r\n\r\n";

/** Of head and body; undefined until the head is there. Infinite without a Content-Length: the end of the connection tells then. */
function wholeLength(received: Buffer): number | undefined {
  const end = received.indexOf(HEAD_END);
  if (end === -1) return undefined;
  const [, length] = /^content-length: *(\d+) *$/im.exec(received.toString("latin1", 0, end)) ?? [];
  return length === undefined ? Number.POSITIVE_INFINITY : end + HEAD_END.length + Number(length);
}

function parseAnswer(received: Buffer): Answer | undefined {
  const end = received.indexOf(HEAD_END);
  const [, status] = /^HTTP\/1\.[01] (\d{3})\b/.exec(received.toString("latin1", 0, 20)) ?? [];
  if (end === -1 || status === undefined) return undefined;
  const body = received.toString("utf8", end + HEAD_END.length);
  return { status: Number(status), text: async () => body };
}
