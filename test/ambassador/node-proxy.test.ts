import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { findHandles, type Handles } from "../../src/ambassador/node-handles.ts";
import { nodeProxy } from "../../src/ambassador/node-proxy.ts";
import type { LinkOptions, LinkStats, ProxyLink } from "../../src/ambassador/proxy.ts";
import { type Clock, repeat } from "../../src/runtime/clock.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import {
  askUdp,
  backendAt,
  Client,
  freePort,
  listenHere,
  NamedServer,
  namedUdpServer,
  portOf,
  reached,
  udpClient,
} from "../support/proxy-ends.ts";
import { waitFor } from "../support/wait-for.ts";

const TCP = { type: "tcp", host: "127.0.0.1", port: 0 } as const;
const LONG_MS = 3_600_000;
const handles = findHandles(process.version);

function linkOpener(carriers: Handles | undefined) {
  return async (t: TestContext, more: Partial<LinkOptions> = {}, clock: Clock = systemClock) => {
    const plane = nodeProxy({ clock, logger: silentLogger, handles: carriers });
    t.after(() => plane.close());
    return plane.open({ name: "db", endpoints: [TCP], ...more });
  };
}

/** It takes no connection and refuses none: the queue of a process that is stopped is full. */
async function silentPort(t: TestContext): Promise<number> {
  const program = `const server = require("net").createServer();
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
      process.stdout.write(String(server.address().port));
      process.kill(process.pid, "SIGSTOP");
    })`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const [text]: unknown[] = await once(child.stdout, "data");
  const port = Number(text);
  for (let filled = 0; filled < 2; filled++) {
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    t.after(() => void socket.destroy());
    await once(socket, "connect");
  }
  return port;
}

function untilStats(link: ProxyLink, what: string, until: (stats: LinkStats) => boolean) {
  return waitFor({ what, deadlineMs: 30_000, everyMs: 5, look: () => link.stats(), until });
}

for (const [by, carriers] of [
  ["handles", handles],
  ["sockets", undefined],
] as const) {
  describe(`a link in this process, by ${by}`, () => {
    const openLink = linkOpener(carriers);

    it("tries the next backend when one refuses, and ejects that after the second time", async (t) => {
      const good = await NamedServer.start(t, "good");
      const bad = backendAt("bad", await freePort());
      const db = await openLink(t, { tuning: { ejectFirstMs: LONG_MS, ejectMaxMs: LONG_MS } });
      await db.setBackends([bad, good.backend()]);
      for (let index = 0; index < 6; index++)
        assert.equal(await reached(t, db.addresses[0]), "good");
      const [stats] = (await db.stats()).backends;
      assert.equal(stats?.connectFailures, 2);
      assert((stats?.ejectedMs ?? 0) > 0);
    });

    it("uses an ejected backend rather than none, and trusts it again once it answers", async (t) => {
      const port = await freePort();
      const db = await openLink(t, { tuning: { holdMs: 0, ejectAfter: 1, ejectFirstMs: LONG_MS } });
      await db.setBackends([backendAt("a", port)]);
      assert.equal(await reached(t, db.addresses[0]), "ECONNRESET");
      assert.equal((await db.stats()).refused["connect-failed"], 1);
      await NamedServer.start(t, "a", port);
      assert.equal(await reached(t, db.addresses[0]), "a");
      assert.equal((await db.stats()).backends[0]?.ejectedMs, 0);
    });

    it("drops a suspect backend at its first failure", async (t) => {
      const port = await freePort();
      const db = await openLink(t, { tuning: { holdMs: 0 } });
      const suspect = backendAt("a", port, { presence: "suspect" });
      await db.setBackends([suspect]);
      assert.equal(await reached(t, db.addresses[0]), "ECONNRESET");
      await NamedServer.start(t, "a", port);
      assert.equal(await reached(t, db.addresses[0]), "ECONNRESET");
      await db.setBackends([{ ...suspect, presence: "present" }]);
      assert.equal(await reached(t, db.addresses[0]), "a");
    });

    it("gives up on a backend that does not answer the connect in time", async (t) => {
      const clock = new VirtualClock();
      const silent = backendAt("silent", await silentPort(t));
      const good = await NamedServer.start(t, "good");
      const db = await openLink(t, {}, clock);
      await db.setBackends([silent, { ...good.backend(), priority: 11 }]);
      const client = new Client(t, db.addresses[0]);
      await untilStats(
        db,
        "it connects",
        ({ backends }) => (backends[0]?.open ?? 0) + (backends[1]?.open ?? 0) > 0,
      );
      await clock.advance(2_000);
      assert.equal(await client.got(4), "good");
    });

    it("holds new connections while there is no backend, as many as it may", async (t) => {
      const server = await NamedServer.start(t, "a");
      const db = await openLink(t, { tuning: { holdMs: LONG_MS, heldMax: 2 } });
      const held = [new Client(t, db.addresses[0]), new Client(t, db.addresses[0])];
      held[0]?.socket.write("-early");
      await untilStats(db, "two are held", (stats) => stats.held === 2);
      assert.equal(await reached(t, db.addresses[0]), "ECONNRESET");
      assert.equal((await db.stats()).refused["too-many-held"], 1);
      await db.setBackends([server.backend()]);
      assert.equal(await held[0]?.got(7), "a-early");
      assert.equal(await held[1]?.got(1), "a");
      assert.equal((await db.stats()).held, 0);
    });

    it("refuses a held connection when its time is over", async (t) => {
      const clock = new VirtualClock();
      const db = await openLink(t, { tuning: { holdMs: 5_000 } }, clock);
      const client = new Client(t, db.addresses[0]);
      await untilStats(db, "it is held", (stats) => stats.held === 1);
      await clock.advance(4_999);
      assert.equal((await db.stats()).held, 1);
      await clock.advance(1);
      assert.equal(await client.ended, "ECONNRESET");
      assert.equal((await db.stats()).refused["no-backend"], 1);
    });

    it("keeps a connection waiting while every backend refuses, until one takes it", async (t) => {
      const port = await freePort();
      const db = await openLink(t, { tuning: { holdMs: LONG_MS } });
      await db.setBackends([backendAt("a", port)]);
      const client = new Client(t, db.addresses[0]);
      await untilStats(
        db,
        "it was refused",
        ({ backends }) => (backends[0]?.connectFailures ?? 0) > 0,
      );
      await NamedServer.start(t, "a", port);
      assert.equal(await client.got(1), "a");
    });

    it("refuses connections over its limit, and passes by backends over theirs", async (t) => {
      const [a, b] = [await NamedServer.start(t, "a"), await NamedServer.start(t, "b")];
      const tuning = {
        connectionsMax: 2,
        backendConnectionsMax: 1,
        balance: "least-connections",
      } as const;
      const db = await openLink(t, { tuning });
      await db.setBackends([a.backend({ weight: 9 }), b.backend()]);
      const clients = [new Client(t, db.addresses[0]), new Client(t, db.addresses[0])];
      const names = [];
      for (const client of clients) names.push(await client.got(1));
      assert.deepEqual(names.sort(), ["a", "b"]);
      assert.equal(await reached(t, db.addresses[0]), "ECONNRESET");
      assert.equal((await db.stats()).refused["too-many-connections"], 1);
      await db.setTuning({ ...tuning, connectionsMax: 3, backendConnectionsMax: 2 });
      assert.equal(await reached(t, db.addresses[0]), "a");
    });

    it("sends who the client is ahead of its bytes, by the PROXY protocol", async (t) => {
      const heard: Buffer[] = [];
      const server = createServer((socket) => {
        socket.on("data", (bytes: Buffer) => heard.push(bytes));
        socket.on("error", () => {});
      });
      t.after(() => void server.close());
      await listenHere(server);
      const db = await openLink(t, { tuning: { proxyProtocol: true } });
      await db.setBackends([backendAt("a", portOf(server))]);
      const client = new Client(t, db.addresses[0]);
      client.socket.write("hello");
      await waitFor({
        what: "all was heard",
        deadlineMs: 30_000,
        look: () => Buffer.concat(heard).length,
        until: (length) => length === 33,
      });
      const port = (number = 0) => number.toString(16).padStart(4, "0");
      assert.equal(
        Buffer.concat(heard).toString("hex"),
        `0d0a0d0a000d0a515549540a2111000c7f0000017f000001${port(client.socket.localPort)}` +
          `${port(db.addresses[0]?.port)}${Buffer.from("hello").toString("hex")}`,
      );
    });

    it("passes a broken connection on as broken, both ways, and forgets it", async (t) => {
      const accepted: Socket[] = [];
      const server = createServer((socket) => accepted.push(socket.on("error", () => {})));
      t.after(() => void server.close());
      await listenHere(server);
      const db = await openLink(t);
      await db.setBackends([backendAt("a", portOf(server))]);
      const client = new Client(t, db.addresses[0]);
      await once(server, "connection");
      await untilStats(db, "it is connected", ({ backends }) => backends[0]?.connect.count === 1);
      accepted[0]?.resetAndDestroy();
      assert.equal(await client.ended, "ECONNRESET");
      const other = new Client(t, db.addresses[0]);
      const [socket]: Socket[] = await once(server, "connection");
      await untilStats(db, "it is connected", ({ backends }) => backends[0]?.connect.count === 2);
      const hadError = new Promise((resolve) => socket?.once("close", resolve));
      other.socket.resetAndDestroy();
      assert.equal(await hadError, true);
      const stats = await untilStats(db, "both are gone", ({ open }) => open === 0);
      assert.equal(stats.backends[0]?.errors, 1);
      assert.equal(stats.backends[0]?.open, 0);
    });

    it("keeps count of bytes and of the time that connects take", async (t) => {
      const server = await NamedServer.start(t, "name");
      const db = await openLink(t);
      await db.setBackends([server.backend()]);
      const client = new Client(t, db.addresses[0]);
      client.socket.end("12345");
      await client.ended;
      assert.equal(client.received, "name12345");
      const stats = await untilStats(db, "it has ended", ({ open }) => open === 0);
      const [backend] = stats.backends;
      assert.deepEqual(
        [backend?.bytesToBackend, backend?.bytesToClient, backend?.total],
        [5, 9, 1],
      );
      assert.equal(backend?.connect.count, 1);
    });

    it("close() lets established connections end within the drain time, then cuts them", async (t) => {
      const server = await NamedServer.start(t, "a");
      const clock = new VirtualClock();
      const db = await openLink(t, {}, clock);
      await db.setBackends([server.backend()]);
      const [ending, staying] = [new Client(t, db.addresses[0]), new Client(t, db.addresses[0])];
      await Promise.all([ending.got(1), staying.got(1)]);
      const closed = db.close({ drainMs: 5_000 });
      assert.equal(await reached(t, db.addresses[0]), "ECONNREFUSED");
      ending.socket.end("-done");
      assert.equal(await ending.ended, "end");
      assert.equal(ending.received, "a-done");
      staying.socket.write("-on");
      assert.equal(await staying.got(4), "a-on");
      await clock.advance(5_000);
      await closed;
      assert.equal(await staying.ended, "ECONNRESET");
    });

    it("close() cuts a connection too of which one side has said everything", async (t) => {
      const server = createServer({ allowHalfOpen: true });
      t.after(() => void server.close());
      await listenHere(server);
      const db = await openLink(t);
      await db.setBackends([backendAt("a", portOf(server))]);
      const client = new Client(t, db.addresses[0]);
      const [socket]: Socket[] = await once(server, "connection");
      assert(socket !== undefined);
      client.socket.end("all");
      await once(socket.resume(), "end");
      await db.close();
      assert.equal(await client.ended, "ECONNRESET");
      const broken = once(socket, "error");
      const stop = repeat(systemClock, 5, () => socket.write("anybody there?"));
      t.after(stop);
      await broken;
    });

    it("close() is over at once when its signal aborts", async (t) => {
      const server = await NamedServer.start(t, "a");
      const db = await openLink(t);
      await db.setBackends([server.backend()]);
      const client = new Client(t, db.addresses[0]);
      await client.got(1);
      const controller = new AbortController();
      const closed = db.close({ drainMs: LONG_MS, signal: controller.signal });
      controller.abort();
      await closed;
      assert.equal(await client.ended, "ECONNRESET");
    });
  });
}

describe("endpoints in this process", () => {
  const openLink = linkOpener(handles);

  it("a unix socket takes the place of one that nobody listens behind, not of one in use", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "fleet-ts-proxy-"));
    t.after(() => rm(folder, { recursive: true }));
    const path = join(folder, "db.sock");
    const stale = `require("net").createServer().listen("${path}", () => process.kill(process.pid, "SIGKILL"))`;
    await once(spawn(process.execPath, ["-e", stale]), "close");
    assert((await stat(path)).isSocket());
    const server = await NamedServer.start(t, "a");
    const db = await openLink(t, { endpoints: [{ type: "unix", path, mode: 0o600 }] });
    await db.setBackends([server.backend()]);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(db.addresses, [{ type: "unix", host: path, port: 0 }]);
    assert.equal(await reached(t, db.addresses[0]), "a");
    await assert.rejects(openLink(t, { endpoints: [{ type: "unix", path }] }), /cannot listen/);
    await writeFile(join(folder, "file"), "");
    const file = { type: "unix", path: join(folder, "file") } as const;
    await assert.rejects(openLink(t, { endpoints: [file] }), /cannot listen/);
  });

  it("sockets that systemd hands over are served, streams and datagrams", async (t) => {
    const [server, udp] = [await NamedServer.start(t, "a"), await namedUdpServer(t, "u")];
    const [stream, datagram] = [await freePort(), await freePort()];
    const program = `${import.meta.dirname}/handed-over.inside.ts`;
    const activate = (args: readonly string[], port: number) => {
      const child = spawn(
        "systemd-socket-activate",
        [...args, process.execPath, program, String(port)],
        {
          stdio: "ignore",
        },
      );
      t.after(async () => {
        child.kill();
        await once(child, "close");
      });
    };
    activate(["-l", `127.0.0.1:${stream}`, "--fdname=db"], server.port);
    activate(["-d", "-l", `127.0.0.1:${datagram}`, "--fdname=db"], udp.address().port);
    await waitFor({
      what: "the handed over stream is served",
      deadlineMs: 60_000,
      look: () => reached(t, { type: "tcp", host: "127.0.0.1", port: stream }),
      until: (name) => name === "a",
    });
    const client = await udpClient(t);
    const answer = await askUdp(client, { type: "udp", host: "127.0.0.1", port: datagram }, "1");
    assert.equal(answer, "u:1");
  });

  it("UDP sessions end when idle, and the one idle longest gives way to a new client", async (t) => {
    const server = await namedUdpServer(t, "u");
    const clock = new VirtualClock();
    const endpoints = [{ ...TCP, type: "udp" }] as const;
    const tuning = { connectionsMax: 2, sessionIdleMs: 1_000 };
    const dns = await openLink(t, { endpoints, tuning }, clock);
    await dns.setBackends([backendAt("u", server.address().port)]);
    for (let index = 0; index < 3; index++) {
      assert.equal(await askUdp(await udpClient(t), dns.addresses[0], "1"), "u:1");
      await clock.advance(1);
    }
    const stats = await dns.stats();
    assert.deepEqual([stats.open, stats.refused["too-many-connections"]], [2, 1]);
    assert.equal(stats.backends[0]?.open, 2);
    await clock.advance(2_000);
    assert.equal((await dns.stats()).open, 0);
  });

  it("a UDP backend that refuses counts as a failure, and the client goes to the next", async (t) => {
    const server = await namedUdpServer(t, "u");
    const dns = await openLink(t, {
      endpoints: [{ ...TCP, type: "udp" }],
      tuning: { ejectAfter: 1 },
    });
    await dns.setBackends([
      backendAt("bad", await freePort()),
      backendAt("good", server.address().port),
    ]);
    assert.equal(await askUdp(await udpClient(t), dns.addresses[0], "1"), "u:1");
    assert.equal((await dns.stats()).backends[0]?.connectFailures, 1);
  });
});
