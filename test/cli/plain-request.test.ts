import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { plainRequest } from "../../src/cli/plain-request.ts";

const BODY = '{"name":"ünit.service"}';
const LENGTH = `content-length: ${Buffer.byteLength(BODY)}`;

/** Somebody who answers any request with these pieces, and then hangs up or stays. */
async function answering(
  t: TestContext,
  pieces: readonly Buffer[],
  hangsUp = true,
): Promise<{ readonly path: string; readonly asked: () => string }> {
  const directory = await mkdtemp(join(tmpdir(), "fleet-plain-"));
  let asked = "";
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    socket.once("data", async (chunk) => {
      asked += chunk;
      for (const piece of pieces) {
        socket.write(piece);
        await turn();
      }
      if (hangsUp) socket.end();
    });
  });
  const path = join(directory, "api.sock");
  server.listen(path);
  await once(server, "listening");
  t.after(async () => {
    server.close();
    await rm(directory, { recursive: true });
  });
  return { path, asked: () => asked };
}

function ask(path: string, body?: string, signal: AbortSignal = new AbortController().signal) {
  const method = body === undefined ? "GET" : "POST";
  return plainRequest({ path }, { method, path: "/x", body, signal, onConnected: () => {} });
}

test("an answer is the same however it comes in", async (t) => {
  const heads = ["", `${LENGTH}\r\n`, `X: y\r\n${LENGTH.toUpperCase()}\r\n`];
  const cuts = fc.array(fc.nat({ max: 120 }), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...heads), cuts, async (head, places) => {
      const whole = Buffer.from(`HTTP/1.1 201 Created\r\n${head}\r\n${BODY}`);
      const ends = [...places.toSorted((a, b) => a - b), whole.length];
      const pieces = ends.map((end, index) => whole.subarray(ends[index - 1] ?? 0, end));
      const { path } = await answering(t, pieces);
      const answer = await ask(path);
      assert.deepEqual([answer.status, await answer.text()], [201, BODY]);
    }),
    { numRuns: 40 },
  );
});

test("an answer that says its length ends there", async (t) => {
  const { path } = await answering(
    t,
    [Buffer.from(`HTTP/1.0 200 OK\r\n${LENGTH}\r\n\r\n${BODY}`)],
    false,
  );
  assert.equal(await (await ask(path)).text(), BODY);
});

test("a body goes out whole, with its length in bytes", async (t) => {
  const { path, asked } = await answering(t, [Buffer.from("HTTP/1.1 204 No Content\r\n\r\n")]);
  assert.equal((await ask(path, BODY)).status, 204);
  const head = "POST /x HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n";
  assert.equal(asked(), `${head}Content-Length: ${Buffer.byteLength(BODY)}\r\n\r\n${BODY}`);
});

test("an answer that is cut, or none, is an error", async (t) => {
  for (const text of [
    "",
    "HTTP/1.1 20",
    `HTTP/1.1 200 OK\r\n${LENGTH}\r\n\r\n{`,
    "SSH-2.0-x\r\n\r\n",
  ]) {
    const { path } = await answering(t, [Buffer.from(text)]);
    await assert.rejects(ask(path), /socket hang up|not HTTP/, text);
  }
});

test("an abort ends it before the connection, and after", async (t) => {
  const { path } = await answering(t, [], false);
  await assert.rejects(ask(path, undefined, AbortSignal.abort()), /aborted/);
  const cut = new AbortController();
  const asking = ask(path, undefined, cut.signal);
  setImmediate(() => cut.abort());
  await assert.rejects(asking, /aborted/);
});
