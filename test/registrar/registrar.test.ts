import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { deleteKey, putRecord } from "../support/virtual-world.ts";
import { connectClient, openRegistrarWorld, WEB } from "./registrar-world.ts";

test("what is registered on one machine is told on another, with every change of its health", async (t) => {
  const world = await openRegistrarWorld(t);
  const [a, b] = [await world.machine("a"), await world.machine("b")];
  const sidekick = connectClient(t, a);
  const ambassador = connectClient(t, b);
  ambassador.client.watch(["web"]);
  const told = () => ambassador.services.get("web")?.map(({ port, health }) => `${port} ${health}`);
  await world.until("nothing is there", () => told()?.length === 0);
  sidekick.client.register(0, { ...WEB, health: "failing", detail: "refused" });
  await world.until("it is there", () => told()?.join() === "80 failing");
  sidekick.client.register(0, { ...WEB, health: "passing" });
  sidekick.client.register(1, { ...WEB, port: 81 });
  await world.until("both are there", () => told()?.join() === "80 passing,81 unknown");
  const [endpoint] = ambassador.services.get("web") ?? [];
  assert.equal(endpoint?.machine, "a");
  sidekick.client.deregister(1);
  await world.until("it is told", () => sidekick.lastState === "gone");
  await world.until("one is there", () => told()?.join() === "80 passing");
});

const REFUSED: readonly (readonly [Partial<typeof WEB>, RegExp])[] = [
  [{ service: "Web" }, /no name for a service/],
  [{ service: "a/b" }, /no name for a service/],
  [{ instance: "../x" }, /no name for an instance/],
  [{ service: "other" }, /service_names in fleet.conf does not let "other"/],
  [{ host: "10.0.0.3" }, /10.0.0.3 is no address of this machine/],
  [{ host: "127.0.0.1" }, /127.0.0.1 is no address of this machine/],
];
for (const [change, why] of REFUSED) {
  test(`a registration with ${JSON.stringify(change)} is refused`, async (t) => {
    const world = await openRegistrarWorld(t);
    const machine = await world.machine("a", { serviceNames: ["web", "db-*"] });
    const sidekick = connectClient(t, machine);
    sidekick.client.register(0, { ...WEB, ...change });
    await world.until("it is refused", () => why.test(sidekick.lastState));
    assert.deepEqual(await world.held(), []);
  });
}

test("an address of the machine other than its own is taken", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  connectClient(t, machine).client.register(0, { ...WEB, host: "10.0.0.9" });
  await world.untilHeld("web/a-80 10.0.0.9:80 unknown");
});

for (const line of [
  "nonsense",
  '{"type":"apply"}',
  `{"type":"register","x":"${"y".repeat(2_000_000)}`,
]) {
  test(`the socket closes at ${line.slice(0, 20)}`, async (t) => {
    const world = await openRegistrarWorld(t);
    const machine = await world.machine("a");
    await world.pass(100);
    const socket = connect(machine.path);
    let text = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    socket.on("error", () => undefined);
    socket.write(`${line}\n`);
    await new Promise((resolve) => socket.once("close", resolve));
    assert.match(text, /^{"type":"hello","machine":"a","address":"10.0.0.1"}\n/);
    // Whoever still writes when it is closed may not come to read why.
    if (line.length < 1_000) assert.match(text, /\n{"type":"refused","why":".+"}\n$/);
  });
}

test("a link is told who consumes what, and goes with its ambassador", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const ambassador = connectClient(t, machine);
  const key = world.world.keys.link("a", "app.service");
  const value = async () => (await world.world.store.read({ range: { key } })).items[0]?.value;
  ambassador.client.link("app.service", [{ service: "db", local: "127.0.0.1:5432/tcp" }]);
  await world.until("it is there", async () => (await value()) !== undefined);
  assert.equal(await value(), '{"services":[{"service":"db","local":"127.0.0.1:5432/tcp"}]}');
  ambassador.client.link("app.service", []);
  await world.until("it is empty", async () => (await value()) === '{"services":[]}');
  await ambassador.kill();
  await world.until("it is gone", async () => (await value()) === undefined);
});

test("usable endpoints are mirrored in SkyDNS' form, and only those", async (t) => {
  const world = await openRegistrarWorld(t);
  const skyDns = { prefix: "/skydns/", domain: "service.fleet" };
  const machine = await world.machine("a", { skyDns });
  const sidekick = connectClient(t, machine);
  const mirror = async () => {
    const { items } = await world.world.store.read({ range: { prefix: "/skydns/" } });
    return items.map(({ key, value }) => `${key} ${value}`).join();
  };
  sidekick.client.register(0, { ...WEB, instance: "web@1" });
  const expected =
    '/skydns/fleet/service/web/web-1 {"host":"10.0.0.1","port":80,"priority":1,"weight":100,"ttl":5}';
  await world.until("it is there", async () => (await mirror()) === expected);
  sidekick.client.register(0, { ...WEB, instance: "web@1", health: "failing" });
  await world.until("it is gone", async () => (await mirror()) === "");
  sidekick.client.register(0, { ...WEB, instance: "web@1" });
  await world.until("it is there again", async () => (await mirror()) === expected);
  await sidekick.kill();
  await world.until("nothing is left", async () => (await mirror()) === "");
});

test("a registry that is not the machine's own says nothing about services", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const sidekick = connectClient(t, machine);
  const ambassador = connectClient(t, machine);
  sidekick.client.register(0, WEB);
  ambassador.client.watch(["web"]);
  await world.until("it is told", () => ambassador.services.get("web")?.length === 1);
  // Detached: all that follows is another registry's, as far as this machine is concerned.
  machine.registrar?.setCluster(undefined);
  machine.registrar?.setPresence(undefined);
  const { store, keys } = world.world;
  await deleteKey(store, keys.service("web", "a-80"));
  await putRecord(store, keys.clusterId, { id: "another" });
  await world.pass(3_000);
  assert.equal(ambassador.services.get("web")?.length, 1);
  assert.deepEqual(await world.held(), []);
  // Also where it is asked before the machine has noticed.
  const { storeId } = (await store.read({ range: { key: "none" } })).header;
  machine.registrar?.setCluster({ clusterId: "c", storeId });
  await world.pass(3_000);
  assert.equal(ambassador.services.get("web")?.length, 1);
  machine.registrar?.setCluster({ clusterId: "another", storeId });
  await world.until("it counts again", () => ambassador.services.get("web")?.length === 0);
});

test("a record that cannot be read is unknown, not absent", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const sidekick = connectClient(t, machine);
  const ambassador = connectClient(t, machine);
  sidekick.client.register(0, WEB);
  ambassador.client.watch(["web"]);
  await world.until("it is told", () => ambassador.services.get("web")?.length === 1);
  const { store, keys } = world.world;
  await putRecord(store, keys.service("web", "a-80"), { host: 5 });
  await putRecord(store, keys.service("web", "zz"), { host: 6 });
  await world.pass(500);
  assert.deepEqual(
    ambassador.services.get("web")?.map(({ instance }) => instance),
    ["a-80"],
  );
});
