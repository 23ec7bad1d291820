import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import type { DataPlane, Endpoint, LinkOptions, ProxyLink } from "../../src/ambassador/proxy.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import { CleanupList } from "../support/cleanup.ts";
import {
  askUdp,
  backendAt,
  Client,
  freePort,
  NamedServer,
  namedUdpServer,
  portOf,
  reached,
  udpClient,
} from "../support/proxy-ends.ts";
import { waitFor } from "../support/wait-for.ts";

const TCP = { type: "tcp", host: "127.0.0.1", port: 0 } as const satisfies Endpoint;
const UDP = { type: "udp", host: "127.0.0.1", port: 0 } as const satisfies Endpoint;

interface World {
  readonly plane: DataPlane;
  /** Closed after the test, as everything made with it. */
  readonly t: CleanupList;
  link(more?: Partial<LinkOptions>): Promise<ProxyLink>;
}

/** What every data plane must do with TCP and UDP. */
export function describeProxyContract(name: string, open: () => Promise<DataPlane>): void {
  const check = (title: string, body: (world: World) => Promise<void>) =>
    it(title, async () => {
      const t = new CleanupList();
      const plane = await open();
      t.after(() => plane.close());
      const link = (more: Partial<LinkOptions> = {}) =>
        plane.open({ name: "db", endpoints: [TCP], tuning: { holdMs: 0 }, ...more });
      try {
        await body({ plane, t, link });
      } finally {
        await t.run();
      }
    });

  describe(`proxy contract: ${name}`, () => {
    describeConnections(check);
    describeChoice(check);
    describeLife(check);
    describeUdp(check);
  });
}

type Check = (title: string, body: (world: World) => Promise<void>) => void;

function describeConnections(check: Check): void {
  check("8 MiB go to the backend and come back unchanged", async ({ t, link }) => {
    const server = await NamedServer.start(t, "");
    const db = await link();
    await db.setBackends([backendAt("a", server.port)]);
    const sent = Buffer.alloc(8 * 2 ** 20, "payload that does not divide evenly ");
    const client = new Client(t, db.addresses[0]);
    client.socket.end(sent);
    assert.equal(await client.ended, "end");
    assert(Buffer.from(client.received, "latin1").equals(sent));
  });

  check("a side that has said everything still hears the other", async ({ t, link }) => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      let heard = "";
      socket.on("data", (bytes: Buffer) => {
        heard += bytes;
      });
      socket.on("end", () => socket.end(`heard ${heard}`));
    }).listen(0, "127.0.0.1");
    t.after(() => void server.close());
    await once(server, "listening");
    const db = await link();
    await db.setBackends([backendAt("a", portOf(server))]);
    const client = new Client(t, db.addresses[0]);
    client.socket.end("all");
    assert.equal(await client.ended, "end");
    assert.equal(client.received, "heard all");
  });

  check("a sender is held back while its reader reads nothing", async ({ t, link }) => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.pause();
    }).listen(0, "127.0.0.1");
    t.after(() => void server.close());
    await once(server, "listening");
    const db = await link();
    await db.setBackends([backendAt("a", portOf(server))]);
    const client = new Client(t, db.addresses[0]);
    client.socket.write(Buffer.alloc(64 * 2 ** 20));
    let before = -1;
    await waitFor({
      what: "no more bytes are taken",
      deadlineMs: 60_000,
      everyMs: 300,
      look: () => {
        const left = client.socket.writableLength;
        const isStill = left === before;
        before = left;
        return isStill;
      },
      until: (isStill) => isStill,
    });
    assert(client.socket.writableLength > 0, "the client has bytes left that nobody takes");
    client.socket.destroy();
  });
}

function describeChoice(check: Check): void {
  const servers = async (t: CleanupList) => ({
    a: await NamedServer.start(t, "a"),
    b: await NamedServer.start(t, "b"),
  });
  const six = async (t: CleanupList, db: ProxyLink) => {
    const names = [];
    for (let index = 0; index < 6; index++) names.push(await reached(t, db.addresses[0]));
    return names.sort().join("");
  };

  check("backends share new connections by their weights", async ({ t, link }) => {
    const { a, b } = await servers(t);
    const db = await link();
    await db.setBackends([a.backend({ weight: 2 }), b.backend()]);
    assert.equal(await six(t, db), "aaaabb");
  });

  for (const [title, worse] of [
    ["a higher number of priority", { priority: 11 }],
    ["a suspect one", { presence: "suspect" }],
    ["one of another machine", { sameMachine: false }],
  ] as const) {
    check(`${title} is used only when there is no other`, async ({ t, link }) => {
      const { a, b } = await servers(t);
      const db = await link();
      await db.setBackends([a.backend(worse), b.backend()]);
      assert.equal(await six(t, db), "bbbbbb");
      await db.setBackends([a.backend(worse)]);
      assert.equal(await six(t, db), "aaaaaa");
    });
  }

  for (const [title, unusable] of [
    ["one that fails its checks", { health: "failing" }],
    ["one that drains", { presence: "draining" }],
    ["one of weight 0", { weight: 0 }],
  ] as const) {
    check(`${title} gets no new connection and keeps those it has`, async ({ t, link }) => {
      const { a, b } = await servers(t);
      const db = await link();
      await db.setBackends([a.backend()]);
      const before = new Client(t, db.addresses[0]);
      await before.got(1);
      await db.setBackends([a.backend(unusable), b.backend()]);
      assert.equal(await six(t, db), "bbbbbb");
      await db.setBackends([a.backend(unusable)]);
      assert.equal(await reached(t, db.addresses[0]), "ECONNRESET");
      before.socket.write("-still here");
      assert.equal(await before.got(12), "a-still here");
    });
  }
}

function describeLife(check: Check): void {
  check("a connection outlives its backend's place in the set", async ({ t, link }) => {
    const server = await NamedServer.start(t, "a");
    const db = await link();
    await db.setBackends([server.backend()]);
    const client = new Client(t, db.addresses[0]);
    await client.got(1);
    await db.setBackends([]);
    client.socket.write("-on");
    assert.equal(await client.got(4), "a-on");
  });

  check("without a backend new connections are refused", async ({ t, link }) => {
    const db = await link();
    assert.equal(await reached(t, db.addresses[0]), "ECONNRESET");
    assert.equal((await db.stats()).refused["no-backend"], 1);
  });

  check("statistics count connections by backend, over changes of the set", async ({ t, link }) => {
    const [a, b] = [await NamedServer.start(t, "a"), await NamedServer.start(t, "b")];
    const db = await link();
    await db.setBackends([a.backend(), b.backend({ weight: 0 })]);
    for (let index = 0; index < 2; index++) await reached(t, db.addresses[0]);
    await db.setBackends([a.backend()]);
    await reached(t, db.addresses[0]);
    await db.setBackends([a.backend(), b.backend({ weight: 0 })]);
    const stats = await db.stats();
    assert.equal(stats.name, "db");
    assert.equal(stats.accepted >= 3, true);
    assert.deepEqual(stats.backends.map(({ id, total }) => [id, total]).slice(0, 1), [["a", 3]]);
  });

  check("an address that is taken is an error, and leaves nothing open", async ({ plane, t }) => {
    const server = await NamedServer.start(t, "a");
    const free = await freePort();
    const endpoints: Endpoint[] = [
      { ...TCP, port: free },
      { ...TCP, port: server.port },
    ];
    await assert.rejects(plane.open({ name: "db", endpoints }), (error) =>
      isFleetError(error, "proxy-address"),
    );
    await NamedServer.start(t, "b", free);
  });

  check("two links of one name are an error", async ({ link }) => {
    await link();
    await assert.rejects(link(), (error) => isFleetError(error, "proxy-address"));
  });

  check(
    "a link that is closed takes nothing, and its name and port are free",
    async ({ t, link }) => {
      const server = await NamedServer.start(t, "a");
      const db = await link();
      const [address] = db.addresses;
      await db.setBackends([server.backend()]);
      assert.equal(await reached(t, address), "a");
      await db.close();
      assert.equal(await reached(t, address), "ECONNREFUSED");
      const again = await link({ endpoints: [{ ...TCP, port: address?.port ?? 0 }] });
      await again.setBackends([server.backend()]);
      assert.equal(await reached(t, again.addresses[0]), "a");
    },
  );

  check("links do not mix", async ({ plane, t, link }) => {
    const [a, b] = [await NamedServer.start(t, "a"), await NamedServer.start(t, "b")];
    const db = await link();
    const cache = await plane.open({ name: "cache.x", endpoints: [TCP, TCP] });
    await Promise.all([db.setBackends([a.backend()]), cache.setBackends([b.backend()])]);
    assert.equal(await reached(t, db.addresses[0]), "a");
    for (const address of cache.addresses) assert.equal(await reached(t, address), "b");
    await db.close();
    assert.equal(await reached(t, cache.addresses[0]), "b");
  });
}

function describeUdp(check: Check): void {
  check("datagrams of a client go to one backend, answers come back", async ({ t, link }) => {
    const servers = [await namedUdpServer(t, "a"), await namedUdpServer(t, "b")];
    const dns = await link({ endpoints: [UDP] });
    const [a, b] = servers.map((server, index) => backendAt(`${index}`, server.address().port));
    assert(a !== undefined && b !== undefined);
    await dns.setBackends([a, b]);
    const [first, second] = [await udpClient(t), await udpClient(t)];
    const answers = [];
    for (const question of ["1", "2", "3"]) {
      answers.push(await askUdp(first, dns.addresses[0], question));
      answers.push(await askUdp(second, dns.addresses[0], question));
    }
    assert.deepEqual(answers.sort(), ["a:1", "a:2", "a:3", "b:1", "b:2", "b:3"]);
  });

  check(
    "a client whose backend has left goes to another with its next datagram",
    async ({ t, link }) => {
      const [a, b] = [await namedUdpServer(t, "a"), await namedUdpServer(t, "b")];
      const dns = await link({ endpoints: [UDP] });
      const client = await udpClient(t);
      client.send("into the void", dns.addresses[0]?.port ?? 0, "127.0.0.1");
      await dns.setBackends([backendAt("a", a.address().port)]);
      assert.equal(await askUdp(client, dns.addresses[0], "1"), "a:1");
      await dns.setBackends([backendAt("b", b.address().port)]);
      assert.equal(await askUdp(client, dns.addresses[0], "2"), "b:2");
    },
  );
}
