import assert from "node:assert/strict";
import { test } from "node:test";
import { connectClient, openRegistrarWorld, WEB } from "./registrar-world.ts";

// The ways in which registrars of the past left endpoints behind, or lost some: one test each.

const A80 = "web/a-80 10.0.0.1:80 unknown";

test("an endpoint whose sidekick is killed is removed at once", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const sidekick = connectClient(t, machine);
  sidekick.client.register(0, WEB);
  await world.untilHeld(A80);
  await sidekick.kill();
  await world.untilHeld();
  assert.equal(await machine.folder.read("endpoints"), "");
});

test("an endpoint whose sidekick died while the daemon was away is removed once its owner had 5 s to return", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const [dies, lives] = [connectClient(t, machine), connectClient(t, machine)];
  dies.client.register(0, WEB);
  lives.client.register(0, { ...WEB, port: 81 });
  const A81 = "web/a-81 10.0.0.1:81 unknown";
  await world.untilHeld(A80, A81);
  await machine.stopDaemon();
  await dies.kill();
  const { revision } = (await world.world.store.read({ range: { key: "none" } })).header;
  await machine.startDaemon();
  await world.until("the other one is registered again", () => {
    return lives.told.filter(({ type }) => type === "endpoint").length > 1;
  });
  await world.pass(3_000);
  assert.deepEqual(await world.held(), [A80, A81]);
  await world.pass(3_000);
  await world.untilHeld(A81);
  // The one that came back was never touched: its readers saw nothing of it all.
  const item = (await world.world.store.read({ range: { key: "/fleet-ts/services/web/a-81" } }))
    .items[0];
  assert.ok((item?.modRevision ?? 0) <= revision);
});

test("an endpoint whose sidekick died while the registry was away is removed when it returns", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const sidekick = connectClient(t, machine);
  sidekick.client.register(0, WEB);
  await world.untilHeld(A80);
  world.store.away = true;
  await sidekick.kill();
  await world.pass(10_000);
  assert.deepEqual(await world.held(), [A80]);
  world.store.away = false;
  await world.untilHeld();
});

test("endpoints of a machine that dies go with its lease, and return with it", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const sidekick = connectClient(t, machine);
  sidekick.client.register(0, WEB);
  await world.untilHeld(A80);
  machine.registrar?.setPresence(undefined);
  await machine.die();
  await world.untilHeld();
  await world.until("it is told", () => sidekick.lastState === "pending the registry is away");
  await machine.join();
  await world.untilHeld(A80);
  await world.until("it is told", () => sidekick.lastState === "registered");
});

test("an endpoint moves along when its machine gets another address", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  connectClient(t, machine).client.register(0, WEB);
  await world.untilHeld(A80);
  machine.address = "10.0.0.2";
  await world.pass(31_000);
  await world.untilHeld("web/a-80 10.0.0.2:80 unknown");
});

test("an endpoint that gets another port, service or instance leaves nothing under its old name", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const { client } = connectClient(t, machine);
  client.register(0, WEB);
  await world.untilHeld(A80);
  client.register(0, { ...WEB, port: 81 });
  await world.untilHeld("web/a-81 10.0.0.1:81 unknown");
  client.register(0, { ...WEB, service: "site", instance: "one" });
  await world.untilHeld("site/one 10.0.0.1:80 unknown");
});

test("a registration whose answer was lost is found again, and removed when its sidekick goes", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const sidekick = connectClient(t, machine);
  world.store.answersToLose = 1;
  sidekick.client.register(0, WEB);
  await world.until("it is told", () => sidekick.lastState === "registered");
  world.store.answersToLose = 1;
  await sidekick.kill();
  await world.untilHeld();
});

test("a daemon that is killed between writing and remembering forgets nothing", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const sidekick = connectClient(t, machine);
  // What is in the journal was never in the registry, or just left it.
  await machine.stopDaemon();
  await machine.folder.write("endpoints", "/fleet-ts/services/web/gone-1\n");
  await machine.startDaemon();
  sidekick.client.register(0, WEB);
  await world.untilHeld(A80);
  await world.pass(6_000);
  assert.equal(await machine.folder.read("endpoints"), "/fleet-ts/services/web/a-80");
});

test("a sidekick that hangs is cut off, one that has nothing to say is not", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const hangs = connectClient(t, machine);
  hangs.client.register(0, WEB);
  await world.untilHeld(A80);
  // The client's clock is the system's: to the machine's clock it is silent.
  for (let step = 0; step < 22; step += 1) await world.pass(1_000);
  await world.until("it had to connect anew", () => {
    return hangs.told.filter(({ type }) => type === "hello").length > 1;
  });
});

test("the same instance on two machines: the first keeps it, the second waits until it is gone", async (t) => {
  const world = await openRegistrarWorld(t);
  const [a, b] = [await world.machine("a"), await world.machine("b")];
  b.address = "10.0.0.2";
  const first = connectClient(t, a);
  const second = connectClient(t, b);
  first.client.register(0, { ...WEB, instance: "one" });
  await world.untilHeld("web/one 10.0.0.1:80 unknown");
  second.client.register(0, { ...WEB, instance: "one", port: 81 });
  await world.until(
    "it is told",
    () => second.lastState === "pending this instance is registered by a",
  );
  await first.kill();
  await world.until("the second has it", async () => (await world.held()).join().includes(":81"));
  await second.kill();
  await world.untilHeld();
});

test("a machine never removes what another has taken in its place", async (t) => {
  const world = await openRegistrarWorld(t);
  const [a, b] = [await world.machine("a"), await world.machine("b")];
  const [first, second] = [connectClient(t, a), connectClient(t, b)];
  first.client.register(0, { ...WEB, instance: "one" });
  await world.untilHeld("web/one 10.0.0.1:80 unknown");
  a.registrar?.setPresence(undefined);
  await a.die();
  second.client.register(0, { ...WEB, instance: "one", port: 81 });
  await world.untilHeld("web/one 10.0.0.1:81 unknown");
  await a.join();
  await first.kill();
  await world.pass(2_000);
  assert.deepEqual(await world.held(), ["web/one 10.0.0.1:81 unknown"]);
});

test("two sidekicks of one instance on one machine: the newest has it, and the other's end removes nothing", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const [old, fresh] = [connectClient(t, machine), connectClient(t, machine)];
  old.client.register(0, WEB);
  await world.untilHeld(A80);
  fresh.client.register(0, { ...WEB, weight: 5 });
  await world.until("the old one is told", () => old.lastState.startsWith("pending another"));
  await old.kill();
  await world.pass(500);
  assert.deepEqual(await world.held(), [A80]);
});

test("a displaced daemon writes nothing more", async (t) => {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  const { client } = connectClient(t, machine);
  client.register(0, WEB);
  await world.untilHeld(A80);
  const { store, keys } = world.world;
  const leaseId = machine.presence?.lease.leaseId;
  const value = JSON.stringify({ nonce: "another" });
  await store.transact({
    comparisons: [],
    operations: [{ type: "put", key: keys.machine("a"), value, leaseId }],
  });
  client.register(0, { ...WEB, health: "failing" });
  await world.pass(3_000);
  assert.deepEqual(await world.held(), [A80]);
});
