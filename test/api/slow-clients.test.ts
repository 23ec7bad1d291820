import assert from "node:assert/strict";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { PassThrough } from "node:stream";
import { type TestContext, test } from "node:test";
import { repeat } from "../../src/runtime/clock.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { waitFor } from "../support/wait-for.ts";
import { type ApiWorld, HERE, openApiWorld, openWatch, placeUnit } from "./api-world.ts";

const DEADLINE_MS = 30_000;
const LIMITS = { headersMs: 150, requestMs: 300, checkEveryMs: 50, idleMs: 60_000 };
const CONTENT = "[Service]\nExecStart=/bin/true\n";

/** All that came until the server closed the connection. */
async function untilCut(t: TestContext, socket: Socket): Promise<string> {
  t.after(() => socket.destroy());
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk;
  });
  const closed = Promise.withResolvers<void>();
  socket.once("close", closed.resolve);
  socket.on("error", () => undefined);
  const timer = AbortSignal.timeout(DEADLINE_MS);
  timer.addEventListener("abort", () => closed.reject(new Error(`not cut off, got: ${text}`)));
  await closed.promise;
  return text;
}

const HEAD = "POST /fleet/v2/apply HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

const SLOW: readonly (readonly [name: string, sent: string, drip: string])[] = [
  ["a head that does not end", HEAD, "X-A: b\r\n"],
  ["a body that does not come", `${HEAD}Content-Length: 1000\r\n\r\n{"changes":`, " "],
  ["a chunked body that does not end", `${HEAD}Transfer-Encoding: chunked\r\n\r\n`, "1\r\n \r\n"],
];

for (const [name, sent, drip] of SLOW) {
  test(`a client is cut off for ${name}, however often it sends a little`, async (t) => {
    const world = await openApiWorld(t, { limits: LIMITS });
    const socket = connect(world.socket);
    socket.write(sent);
    t.after(repeat(systemClock, 20, () => socket.write(drip)));
    assert.match(await untilCut(t, socket), /^HTTP\/1.1 408 .*timed-out/s);
    assert.equal((await world.call("GET", "/fleet/v2/cluster")).status, 200);
  });
}

test("what is no HTTP, or has too long a head, is told so in JSON", async (t) => {
  const world = await openApiWorld(t);
  for (const [sent, status] of [
    ["\x16\x03\x01 not HTTP\r\n\r\n", 400],
    [`GET / HTTP/1.1\r\nHost: x\r\nX-A: ${"x".repeat(20_000)}\r\n\r\n`, 431],
  ] as const) {
    const socket = connect(world.socket);
    socket.write(sent);
    const text = await untilCut(t, socket);
    assert.match(text, new RegExp(`^HTTP/1.1 ${status} `));
    const [, body = ""] = text.split("\r\n\r\n");
    assert(JSON.parse(body).error.message.length > 0);
  }
});

/** A request whose answer nobody reads. */
async function openUnread(t: TestContext, world: ApiWorld, path: string, body?: object) {
  const method = body === undefined ? "GET" : "POST";
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const target = { socketPath: world.socket, path, method, headers, agent: false as const };
  return await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing: ClientRequest = request(target, (response) => {
      response.on("error", () => undefined);
      t.after(() => response.destroy());
      resolve(response);
    });
    outgoing.once("error", reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

test("whoever does not read a watch is cut off after half a minute", async (t) => {
  const clock = new VirtualClock();
  const world = await openApiWorld(t, { clock });
  const watches = [
    await openUnread(t, world, "/fleet/v2/watch?all=1"),
    await openUnread(t, world, "/fleet/v2/watch", { all: true }),
  ];
  const filler = "#".repeat(500_000);
  let changes = 0;
  await waitFor({
    what: "both are cut off",
    deadlineMs: DEADLINE_MS,
    everyMs: 1,
    look: async () => {
      changes += 1;
      const name = `u${changes}.service`;
      const description = `[Unit]\nDescription=${filler.slice(0, 200_000)}\n`;
      await world.registry.apply([{ type: "submit", name, content: `${description}${CONTENT}` }]);
      await clock.advance(5_000);
      return world.registry.watch.listenerCount;
    },
    until: (count) => count === 0,
  });
  assert(changes >= 6, `cut off after ${changes * 5} s`);
  for (const watch of watches) watch.destroy();
});

test("whoever does not read a journal is cut off too, and its process ended", async (t) => {
  const clock = new VirtualClock();
  let stopped = 0;
  const world = await openApiWorld(t, {
    clock,
    logs: {
      journal: () => {
        const output = new PassThrough();
        const exit = Promise.withResolvers<number>();
        const line = `${JSON.stringify({ MESSAGE: "x".repeat(100_000) })}\n`;
        for (let count = 0; count < 100; count += 1) output.write(line);
        return {
          output,
          exitStatus: exit.promise,
          stop: () => {
            stopped += 1;
            output.destroy();
            exit.resolve(143);
          },
        };
      },
      status: () => assert.fail("not asked"),
    },
  });
  await world.registry.apply([
    { type: "submit", name: "a.service", content: CONTENT, desired: "launched" },
  ]);
  await placeUnit(world, "a.service", HERE);
  await openUnread(t, world, "/fleet/v2/journal?unit=a.service&follow=1");
  await openUnread(t, world, "/fleet/v2/units/a.service/journal?follow=1");
  await waitFor({
    what: "both processes were stopped",
    deadlineMs: DEADLINE_MS,
    look: async () => {
      await clock.advance(5_000);
      return stopped;
    },
    until: (count) => count >= 2,
  });
});

test("a thousand idle watchers cost one watch of the registry, and requests beside them are served", async (t) => {
  const world = await openApiWorld(t);
  const names = Array.from({ length: 100 }, (_, index) => `u${index}.service`);
  await world.registry.apply(names.map((name) => ({ type: "submit", name, content: CONTENT })));
  const watchers = await Promise.all(
    Array.from({ length: 1_000 }, (_, index) => openWatch(world, [names[index % 100] ?? ""])),
  );
  t.after(() => {
    for (const watcher of watchers) watcher.close();
  });
  for (const watcher of watchers) {
    assert.deepEqual(
      [(await watcher.next())?.type, (await watcher.next())?.type],
      ["unit", "synced"],
    );
  }
  assert.equal(world.store.watches, 1);
  assert.equal(world.registry.watch.listenerCount, 1_000);

  const readsBefore = world.store.reads;
  const told = watchers.map((watcher) => watcher.next());
  const path = "/fleet/v2/units?unit=u7.service";
  const answers = Promise.all(Array.from({ length: 200 }, () => world.call("GET", path)));
  const change = world.registry.apply([{ type: "desire", name: "u7.service", desired: "loaded" }]);
  assert((await answers).every(({ status }) => status === 200));
  await change;
  const lines = await Promise.all(told.filter((_, index) => index % 100 === 7));
  assert.deepEqual(
    lines.map((line) => line?.type === "unit" && line.unit.desired),
    Array.from({ length: 10 }, () => "loaded"),
  );
  // Nobody else was told anything, and watchers made the registry read nothing more.
  const others = told.filter((_, index) => index % 100 !== 7);
  const isSilent = await Promise.race([...others, Promise.resolve("silent")]);
  assert.equal(isSilent, "silent");
  assert.equal(world.store.watches, 1);
  const readsPerRequest = (world.store.reads - readsBefore) / 200;
  assert(readsPerRequest < 10, `${readsPerRequest} reads for each request`);
});
