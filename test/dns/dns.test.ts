import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { connect } from "node:net";
import { describe, test } from "node:test";
import type { MachineView, UnitView } from "../../src/cluster/views.ts";
import { REFUSAL } from "../../src/dns/answer.ts";
import { Dns } from "../../src/dns/dns.ts";
import { NameDirectory } from "../../src/dns/name-directory.ts";
import { parseAskedName } from "../../src/dns/names.ts";
import { listenDns } from "../../src/dns/socket-server.ts";
import { decodeQuery, encodeAnswer } from "../../src/dns/wire-message.ts";
import { encodeEndpoint } from "../../src/registry/service-records.ts";
import { ServiceWatch } from "../../src/registry/service-watch.ts";
import { FleetError } from "../../src/runtime/errors.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { deleteKey, openVirtualWorld, settled } from "../support/virtual-world.ts";
import { waitFor } from "../support/wait-for.ts";

const MACHINE = "0123456789abcdef0123456789abcdef";

/** A directory over a registry in memory, with the units and machines of a small cluster. */
function openDirectory() {
  const world = openVirtualWorld();
  const { clock, store, keys } = world;
  const services = new ServiceWatch({ store, keys, clock, logger: silentLogger });
  services.start(undefined);
  let reads = 0;
  let fails = false;
  const read = async <T>(value: T): Promise<T> => {
    reads += 1;
    if (fails) throw new FleetError("store-unavailable", "it is away");
    return value;
  };
  const machine = { id: MACHINE, address: "10.0.0.1", metadata: { hostname: "M1.lan" } };
  const other = { ...machine, id: `${MACHINE.slice(0, 9)}x`, address: "10.0.0.2", metadata: {} };
  const unit = { name: "web.service", states: [{ machineId: MACHINE, active: "active" }] };
  const directory = new NameDirectory({
    services,
    clock,
    logger: silentLogger,
    read: {
      machines: () =>
        read({ revision: 1, machines: [machine, other] as unknown as readonly MachineView[] }),
      units: (names) =>
        read({
          revision: 1,
          units: (names?.includes(unit.name) ? [unit] : []) as unknown as readonly UnitView[],
        }),
    },
  });
  return {
    world,
    services,
    directory,
    ask: (name: string) => directory.facts(parseAskedName(name)),
    reads: () => reads,
    fail: (now: boolean) => {
      fails = now;
    },
    put: async (instance: string, host: string) => {
      const endpoint = { service: "db", instance, host, port: 1, protocol: "tcp" } as const;
      const more = { health: "passing", detail: "", weight: 1, priority: 0, tags: {}, sinceMs: 0 };
      const value = encodeEndpoint({ ...endpoint, ...more, health: "passing" });
      const key = keys.service("db", instance);
      await store.transact({ comparisons: [], operations: [{ type: "put", key, value }] });
    },
  };
}

describe("NameDirectory", () => {
  test("follows a service that is asked for, and no longer than it is asked for", async () => {
    const { world, services, directory, ask, put } = openDirectory();
    directory.setRegistry(true);
    await put("a", "10.0.0.1");
    const hosts = async () => {
      const facts = await ask("db.service.fleet");
      return facts.type === "endpoints" ? facts.endpoints.map(({ host }) => host) : facts.type;
    };
    assert.deepEqual(await hosts(), ["10.0.0.1"]);
    await put("b", "10.0.0.2");
    await settled();
    assert.deepEqual(await hosts(), ["10.0.0.1", "10.0.0.2"]);
    await world.clock.advance(50_000);
    await hosts();
    await world.clock.advance(50_000);
    assert.equal(services.serviceCount, 1);
    await world.clock.advance(100_000);
    assert.equal(services.serviceCount, 0);
    assert.equal(world.clock.nextDueMs(), undefined, "nothing is left to do");
    directory.close();
  });

  test("keeps what it knows while the registry is away, and fails at once for what it does not know", async () => {
    const { world, services, directory, ask, put } = openDirectory();
    assert.deepEqual(await ask("db.service.fleet"), { type: "unknown" });
    assert.deepEqual(await ask("m1.machine.fleet"), { type: "unknown" });
    directory.setRegistry(true);
    await put("a", "10.0.0.1");
    await ask("db.service.fleet");
    await ask("m1.machine.fleet");
    await ask("web.unit.fleet");
    directory.setRegistry(false);
    services.stop();
    await deleteKey(world.store, world.keys.service("db", "a"));
    await world.clock.advance(600_000);
    const facts = await ask("db.service.fleet");
    assert.equal(facts.type === "endpoints" && facts.endpoints.length, 1);
    const known = { type: "addresses", addresses: ["10.0.0.1"] };
    assert.deepEqual(await ask("m1.machine.fleet"), known);
    assert.deepEqual(await ask("web.service.unit.fleet"), known);
    assert.deepEqual(await ask("other.service.fleet"), { type: "unknown" });
    directory.setRegistry(true);
    services.start(undefined);
    await settled();
    assert.deepEqual(await ask("db.service.fleet"), { type: "endpoints", endpoints: [] });
    directory.close();
  });

  test("finds machines by id, by its beginning and by host name; units where they run", async () => {
    const { directory, ask, reads, fail, world } = openDirectory();
    directory.setRegistry(true);
    const first = { type: "addresses", addresses: ["10.0.0.1"] };
    for (const word of [MACHINE, MACHINE.slice(0, 12), "m1", "m1.lan"])
      assert.deepEqual(await ask(`${word}.machine.fleet`), first, word);
    for (const word of [MACHINE.slice(0, 8), "m2", MACHINE.slice(0, 7)])
      assert.deepEqual(await ask(`${word}.machine.fleet`), { type: "none" }, word);
    assert.equal(reads(), 1, "one read within a second");
    assert.deepEqual(await ask("Web.unit.fleet"), first);
    assert.deepEqual(await ask("no.unit.fleet"), { type: "none" });
    await world.clock.advance(5_000);
    fail(true);
    assert.deepEqual(await ask("m1.machine.fleet"), first, "a read that fails changes nothing");
    directory.close();
  });

  test("gives up waiting for a registry that does not answer", async () => {
    const { world, services, directory, ask } = openDirectory();
    directory.setRegistry(true);
    services.stop();
    const facts = ask("db.service.fleet");
    await world.clock.advance(2_000);
    assert.deepEqual(await facts, { type: "unknown" });
    directory.close();
  });
});

test("a resolver gets addresses and ports, by TCP where they are many, and a refusal of all else", async (t) => {
  const { services, world, put } = openDirectory();
  const read = async () => Promise.reject(new Error("not asked for"));
  const dns = new Dns({
    services,
    clock: systemClock,
    logger: silentLogger,
    read: { units: read, machines: read },
  });
  dns.setRegistry(true);
  const port = await freePort();
  const close = await dns.open({ host: "127.0.0.1", port });
  t.after(close);
  await put("a", "10.0.0.1");
  const resolver = new Resolver({ timeout: 10_000, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  const [found] = await resolver.resolve4("db.service.fleet", { ttl: true });
  assert.deepEqual({ ...found }, { address: "10.0.0.1", ttl: 2 });
  assert.deepEqual(
    (await resolver.resolveSrv("db.service.fleet")).map((one) => ({ ...one })),
    [{ type: "SRV", name: "a.db.service.fleet", port: 1, priority: 0, weight: 1 }],
  );
  assert.deepEqual(await resolver.resolve4("a.db.service.fleet"), ["10.0.0.1"]);
  await assert.rejects(resolver.resolve6("db.service.fleet"), { code: "ENODATA" });
  await assert.rejects(resolver.resolve4("no.service.fleet"), { code: "ENOTFOUND" });
  await assert.rejects(resolver.resolve4("example.org"), { code: "EREFUSED" });
  for (let i = 0; i < 200; i += 1) await put(`many-${i}`, `10.1.0.${i}`);
  await waitFor({
    what: "all addresses are told",
    deadlineMs: 20_000,
    look: async () => (await resolver.resolve4("db.service.fleet")).length,
    until: (count) => count === 201,
  });
  assert.equal(world.clock.nextDueMs(), undefined);
});

test("an address that is taken does not keep the daemon from running", async () => {
  const { services } = openDirectory();
  const read = async () => Promise.reject(new Error("not asked for"));
  const options = { services, clock: systemClock, logger: silentLogger };
  const listen = { host: "127.0.0.1", port: await freePort() };
  const first = await new Dns({ ...options, read: { units: read, machines: read } }).open(listen);
  const second = await new Dns({ ...options, read: { units: read, machines: read } }).open(listen);
  await second();
  await first();
});

test("questions over one TCP connection are answered in order, in whatever pieces they come", async () => {
  const sockets = await listenDns({
    listen: { host: "127.0.0.1", port: 0 },
    clock: systemClock,
    handler: async (message, by) => {
      const decoded = decodeQuery(message);
      return decoded.type === "query" ? encodeAnswer(decoded.query, REFUSAL, by) : undefined;
    },
  });
  const query = (id: number) =>
    Buffer.from(
      `001d${id.toString(16).padStart(4, "0")}01000001000000000000076578616d706c65036f72670000010001`,
      "hex",
    );
  const socket = connect(sockets.port, "127.0.0.1");
  const bytes = Buffer.concat([query(1), query(2), query(3)]);
  for (let at = 0; at < bytes.length; at += 5) socket.write(bytes.subarray(at, at + 5));
  let seen = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    seen = Buffer.concat([seen, chunk]);
    if (seen.length >= 3 * 31) break;
  }
  assert.deepEqual(
    [2, 33, 64].map((at) => seen.readUInt16BE(at)),
    [1, 2, 3],
  );
  await sockets.close();
});

async function freePort(): Promise<number> {
  const handler = async () => undefined;
  const sockets = await listenDns({
    listen: { host: "127.0.0.1", port: 0 },
    clock: systemClock,
    handler,
  });
  await sockets.close();
  return sockets.port;
}
