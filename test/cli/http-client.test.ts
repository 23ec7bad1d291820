import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer, type RequestListener } from "node:http";
import { createServer as createNetServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parseEndpoint, unreachable } from "../../src/cli/endpoint.ts";
import { ApiError, HttpClient } from "../../src/cli/http-client.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";

async function socketPath(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "fleet-http-client-"));
  context.after(() => rm(directory, { recursive: true }));
  return join(directory, "api.sock");
}

async function listen(context: TestContext, server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve) => server.listen(path, resolve));
  context.after(() => new Promise((resolve) => server.close(resolve)));
}

async function serve(context: TestContext, answer: RequestListener): Promise<string> {
  const path = await socketPath(context);
  await listen(context, createHttpServer(answer), path);
  return `unix://${path}`;
}

function client(endpoint: string, deadlineMs = 5_000): HttpClient {
  return new HttpClient({ clock: systemClock, endpoint, deadlineMs, tls: {} });
}

const GET = { method: "GET", path: "/x" } as const;

test("a daemon that takes connections but never answers is reported at the deadline", async (context) => {
  const path = await socketPath(context);
  const open = new Set<{ destroy(): void }>();
  const silent = createNetServer((socket) => open.add(socket));
  await listen(context, silent, path);
  await assert.rejects(client(`unix://${path}`, 50).json(GET), (error) => {
    assert.ok(isFleetError(error, "api-unavailable"));
    assert.match(error.message, /no answer from unix:.* within 0\.05 s.*--request-timeout/);
    return true;
  });
  for (const socket of open) socket.destroy();
});

test("no socket means that the daemon is not running", async (context) => {
  const path = await socketPath(context);
  await assert.rejects(client(`unix://${path}`).json(GET), /systemctl status fleetd-ts/);
});

test("whoever may not use the socket hears who may", async (context) => {
  const path = await socketPath(context);
  for (const [mode, expected] of [
    [0o600, /permission denied: use sudo, or name a group of yours as api_group in fleet\.conf$/],
    [0o660, /permission denied: use sudo, or join the group [\w-]+$/],
  ] as const) {
    // Root may use any, so the refusal is made here.
    await writeFile(path, "", { mode });
    await chmod(path, mode);
    const refusal = Object.assign(new Error("connect EACCES"), { code: "EACCES" });
    const error = await unreachable(parseEndpoint(`unix://${path}`, {}), refusal);
    assert.match(error.message, expected);
  }
});

test("the first endpoint that answers is used, also for the calls after it", async (context) => {
  let calls = 0;
  const endpoint = await serve(context, (_, response) => {
    calls += 1;
    response.end("{}");
  });
  const several = client(`unix:///nonexistent/a.sock, ${endpoint}`);
  await several.json(GET);
  await several.json(GET);
  assert.equal(calls, 2);
});

test("when no endpoint answers, each is named", async () => {
  await assert.rejects(
    client("unix:///nonexistent/a.sock,http://127.0.0.1:1").json(GET),
    /a\.sock.*\n.*127\.0\.0\.1:1/,
  );
});

test("an error of the API keeps its code, machine and words", async (context) => {
  const body = { error: { code: "no-api-address", message: "use ssh", address: "10.0.0.9" } };
  const endpoint = await serve(context, (_, response) => {
    response.writeHead(409, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
  await assert.rejects(client(endpoint).json(GET), (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.body], [409, body.error]);
    return true;
  });
});

test("something that is not the API is told by its answer", async (context) => {
  const endpoint = await serve(context, (_, response) =>
    response.writeHead(502).end("Bad Gateway"),
  );
  await assert.rejects(
    client(endpoint).json(GET),
    /HTTP 502 .* not the API of fleetd-ts: Bad Gateway/,
  );
  const html = await serve(context, (_, response) => response.end("<html>"));
  await assert.rejects(client(html).json(GET), /not JSON/);
});

test("the path of an endpoint comes before that of the call; POST says it is JSON", async (context) => {
  const server = createHttpServer((request, response) => {
    const { url, headers } = request;
    response.end(JSON.stringify({ url, type: headers["content-type"] }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const over = client(`http://127.0.0.1:${address.port}/proxy/`);
  assert.deepEqual(await over.json({ method: "POST", path: "/x" }), {
    url: "/proxy/x",
    type: "application/json",
  });
});

test("lines() puts lines together from any pieces, and ends when its signal aborts", async (context) => {
  const endpoint = await serve(context, (_, response) => {
    response.write('{"n":1}\n{"n"');
    setImmediate(() => response.write(':2}\n\n{"n":3}\n'));
  });
  const controller = new AbortController();
  const got: number[] = [];
  for await (const { n } of client(endpoint).lines<{ n: number }>({
    ...GET,
    signal: controller.signal,
  })) {
    got.push(n);
    if (n === 3) controller.abort();
  }
  assert.deepEqual(got, [1, 2, 3]);
});

test("lines() reports a connection that is cut", async (context) => {
  const endpoint = await serve(context, (_, response) => {
    response.write('{"n":1}\n');
    setImmediate(() => response.destroy());
  });
  await assert.rejects(
    async () => {
      for await (const _ of client(endpoint).lines(GET));
    },
    (error) => isFleetError(error, "api-unavailable"),
  );
});
