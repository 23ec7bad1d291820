import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { nodeThreadsProxy } from "../../src/ambassador/node-threads.ts";
import type { LinkOptions, ProxyLink } from "../../src/ambassador/proxy.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { startPlaneThread } from "../support/plane-thread.ts";
import { Client, NamedServer, reached } from "../support/proxy-ends.ts";
import { IS_QUICK } from "../support/quick.ts";
import { waitFor } from "../support/wait-for.ts";

const TCP = { type: "tcp", host: "127.0.0.1", port: 0 } as const;
const LONG_MS = 3_600_000;

function planeOf(t: TestContext, threads: number) {
  const parts = { clock: systemClock, logger: silentLogger, startThread: startPlaneThread };
  const plane = nodeThreadsProxy({ ...parts, threads });
  t.after(() => plane.close());
  return plane;
}

/** With one backend, known to every thread. */
async function openLink(t: TestContext, threads: number, more: Partial<LinkOptions> = {}) {
  const server = await NamedServer.start(t, "a");
  const link = await planeOf(t, threads).open({ name: "db", endpoints: [TCP], ...more });
  await link.setBackends([server.backend()]);
  return { link, server };
}

function clientsOf(t: TestContext, count: number, link: ProxyLink): readonly Client[] {
  return Array.from({ length: count }, () => new Client(t, link.addresses[0]));
}

for (const threads of IS_QUICK ? [2] : [1, 2, 3]) {
  describe(`a link in ${threads} threads`, () => {
    it("has limits and numbers of its own, not of each thread", async (t) => {
      const { link } = await openLink(t, threads, { tuning: { connectionsMax: 8 } });
      const clients = clientsOf(t, 32, link);
      const ends = await Promise.all(
        clients.map((client) => client.got(1).catch(() => client.ended)),
      );
      assert.equal(ends.filter((got) => got === "a").length, 8);
      const stats = await link.stats();
      assert.deepEqual([stats.open, stats.accepted], [8, 32]);
      assert.equal(stats.refused["too-many-connections"], 24);
      assert.equal(stats.backends[0]?.connect.count, 8);
    });

    it("holds as many connections as it may, and no more", async (t) => {
      const { link, server } = await openLink(t, threads, {
        tuning: { holdMs: LONG_MS, heldMax: 3 },
      });
      await link.setBackends([]);
      const clients = clientsOf(t, 8, link);
      const stats = await waitFor({
        what: "all have been accepted",
        deadlineMs: 30_000,
        look: () => link.stats(),
        until: ({ accepted }) => accepted === 8,
      });
      assert.deepEqual([stats.held, stats.refused["too-many-held"]], [3, 5]);
      await link.setBackends([server.backend()]);
      const ends = await Promise.all(clients.map((client) => client.got(1).catch(() => "")));
      assert.equal(ends.join(""), "aaa");
      assert.equal((await link.stats()).held, 0);
    });

    it("is tuned anew under traffic, and nothing is cut", async (t) => {
      const { link } = await openLink(t, threads);
      const staying = clientsOf(t, 20, link);
      await Promise.all(staying.map((client) => client.got(1)));
      for (let round = 1; round <= 20; round++) {
        const balance = round % 2 === 0 ? "round-robin" : "least-connections";
        const asked = Promise.all(Array.from({ length: 10 }, () => reached(t, link.addresses[0])));
        await link.setTuning({ balance, connectionsMax: 100 + round, bufferBytes: 1_000 * round });
        for (const client of staying) client.socket.write("+");
        assert.deepEqual(new Set(await asked), new Set(["a"]));
      }
      const heard = await Promise.all(staying.map((client) => client.got(21)));
      assert.deepEqual(new Set(heard), new Set([`a${"+".repeat(20)}`]));
    });

    it("drains in all of them, until it is told to end", async (t) => {
      const { link } = await openLink(t, threads);
      const clients = clientsOf(t, 10, link);
      await Promise.all(clients.map((client) => client.got(1)));
      const controller = new AbortController();
      const closed = link.close({ drainMs: LONG_MS, signal: controller.signal });
      await waitFor({
        what: "nobody listens any more",
        deadlineMs: 30_000,
        look: () => reached(t, link.addresses[0]),
        until: (end) => end === "ECONNREFUSED",
      });
      for (const client of clients) client.socket.write("+");
      await Promise.all(clients.map((client) => client.got(2)));
      controller.abort();
      await closed;
      for (const client of clients) assert.equal(await client.ended, "ECONNRESET");
    });

    it("does not share its address with another ambassador", async (t) => {
      const { link } = await openLink(t, threads);
      const endpoints = [{ ...TCP, port: link.addresses[0]?.port ?? 0 }];
      await assert.rejects(planeOf(t, threads).open({ name: "db", endpoints }), (error) =>
        isFleetError(error, "proxy-address"),
      );
    });

    it("serves a unix socket beside TCP", async (t) => {
      const folder = await mkdtemp(join(tmpdir(), "fleet-ts-threads-"));
      t.after(() => rm(folder, { recursive: true }));
      const path = join(folder, "db.sock");
      const { link } = await openLink(t, threads, { endpoints: [{ type: "unix", path }, TCP] });
      for (const address of link.addresses) assert.equal(await reached(t, address), "a");
    });
  });
}
