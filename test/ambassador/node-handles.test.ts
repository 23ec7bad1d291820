import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { findHandles } from "../../src/ambassador/node-handles.ts";
import { nodeProxy } from "../../src/ambassador/node-proxy.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { backendAt, Client, NamedServer, reached } from "../support/proxy-ends.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
const parts = {
  clock: systemClock,
  logger: silentLogger,
  handles: findHandles(process.version),
} as const;

describe("findHandles()", () => {
  it("knows the release of Node that this project pins", () => {
    const file = new URL("../../node_modules/node/package.json", import.meta.url);
    const { version }: { readonly version: string } = JSON.parse(readFileSync(file, "utf8"));
    assert(findHandles(`v${version}`), "try it by these tests, then name it in node-handles.ts");
  });

  it("leaves the handles of other releases alone", () => {
    assert.equal(findHandles("v26.10.0-other"), undefined);
    assert.equal(findHandles("v27.0.0"), undefined);
  });
});

describe("connections by handles", () => {
  for (const [bytes, title] of [
    [4_096, "one buffer that all share"],
    [100_000, "large ones of their own"],
  ] as const) {
    it(`keep their bytes apart while readers hold them back, in ${title}`, async (t) => {
      const plane = nodeProxy(parts);
      t.after(() => plane.close());
      const server = await NamedServer.start(t, "");
      const endpoints = [{ type: "tcp", host: "127.0.0.1", port: 0 }] as const;
      const db = await plane.open({ name: "db", endpoints, tuning: { bufferBytes: bytes } });
      await db.setBackends([server.backend()]);
      const talks = [0, 1, 2].map((index) => {
        const client = new Client(t, db.addresses[0]);
        const sent = Buffer.alloc(16 * MIB, `bytes of client ${index}, `);
        client.socket.pause();
        client.socket.end(sent);
        return { client, sent: sent.toString("latin1") };
      });
      let before = -1;
      const [backend] = await waitFor({
        what: "nothing moves any more",
        deadlineMs: 60_000,
        everyMs: 300,
        look: async () => (await db.stats()).backends,
        until: ([{ bytesToClient = 0 } = {}]) => {
          const isStill = bytesToClient > 0 && bytesToClient === before;
          before = bytesToClient;
          return isStill;
        },
      });
      assert((backend?.bytesToClient ?? 0) < 48 * MIB, "readers hold back");
      for (const { client } of talks) client.socket.resume();
      for (const { client, sent } of talks) {
        assert.equal(await client.ended, "end");
        assert(client.received === sent);
      }
    });
  }

  it("reach backends by IPv6 and by name too", async (t) => {
    const plane = nodeProxy(parts);
    t.after(() => plane.close());
    const server = await NamedServer.start(t, "a");
    const endpoints = [{ type: "tcp", host: "::1", port: 0 }] as const;
    const db = await plane.open({ name: "db", endpoints });
    await db.setBackends([backendAt("by name", server.port, { host: "localhost" })]);
    assert.equal(await reached(t, db.addresses[0]), "a");
    const front = await plane.open({ name: "front", endpoints });
    const { host = "", port = 0 } = db.addresses[0] ?? {};
    await front.setBackends([backendAt("by IPv6", port, { host })]);
    assert.equal(await reached(t, front.addresses[0]), "a");
  });
});
