import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { Ambassador } from "../../src/ambassador/ambassador.ts";
import { parseAmbassador } from "../../src/ambassador/arguments.ts";
import { nodeProxy } from "../../src/ambassador/node-proxy.ts";
import { serveStatus } from "../../src/ambassador/status-server.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { systemRandom } from "../../src/runtime/system-random.ts";
import {
  connectClient,
  openRegistrarWorld,
  type RegistrarWorld,
  type TestMachine,
  WEB,
} from "../registrar/registrar-world.ts";
import type { Cleanup } from "../support/cleanup.ts";

interface Backend {
  readonly port: number;
  stop(): Promise<void>;
}

/** Says its name to whoever connects, and then whatever it is told. */
async function serve(t: Cleanup, name: string): Promise<Backend> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.write(`${name}\n`);
    socket.pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = async () => {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  t.after(stop);
  return { port: (server.address() as AddressInfo).port, stop };
}

/** One connection; what comes first is the backend's name. */
async function open(path: { port: number } | { path: string }): Promise<[Socket, string]> {
  const socket =
    "path" in path ? connect(path.path) : connect({ host: "127.0.0.1", port: path.port });
  socket.setEncoding("utf8");
  const [name] = await once(socket, "data");
  return [socket, String(name).trim()];
}

async function nameAt(port: number): Promise<string> {
  const [socket, name] = await open({ port });
  socket.destroy();
  return name;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

interface AmbassadorExtras {
  /** Of the event loop, before a link begins to open. */
  readonly turns?: number;
  readonly onReady?: () => void;
}

class TestAmbassador {
  readonly said: string[] = [];
  readonly ambassador: Ambassador;
  readonly ended: Promise<void>;
  readonly #controller = new AbortController();

  constructor(
    { world, machine }: Pick<Fixture, "world" | "machine">,
    args: readonly string[],
    { turns = 0, onReady = () => undefined }: AmbassadorExtras = {},
  ) {
    const say = (kind: string) => (text: string | number) => void this.said.push(`${kind} ${text}`);
    const proxy = nodeProxy({ clock: systemClock, logger: silentLogger });
    this.ambassador = new Ambassador({
      ...parseAmbassador([...args, "--socket", machine.path]),
      clock: world.world.clock,
      random: systemRandom,
      logger: silentLogger,
      notifier: {
        ready: (text) => {
          say("ready")(text);
          onReady();
        },
        status: say("status"),
        extend: say("extend"),
        stopping: say("stopping"),
      },
      proxy: {
        ...proxy,
        open: async (options) => {
          for (let turn = 0; turn < turns; turn += 1)
            await new Promise((resolve) => setImmediate(resolve));
          return await proxy.open(options);
        },
      },
      consumer: "app.service",
      handedOver: () => assert.fail("no socket is handed over"),
    });
    this.ended = this.ambassador.run(this.#controller.signal);
    this.ended.catch(() => undefined);
  }

  get isReady(): boolean {
    return this.ambassador.isReady;
  }

  async stop(): Promise<void> {
    this.#controller.abort();
    await this.ended;
  }
}

interface Fixture {
  readonly world: RegistrarWorld;
  readonly machine: TestMachine;
  readonly directory: string;
  ambassador(...args: readonly string[]): TestAmbassador;
}

async function openFixture(t: Cleanup): Promise<Fixture> {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  machine.address = "127.0.0.1";
  await machine.stopDaemon();
  await machine.startDaemon();
  return {
    world,
    machine,
    directory: dirname(machine.path),
    ambassador: (...args) => {
      const ambassador = new TestAmbassador({ world, machine }, args);
      t.after(() => ambassador.stop().catch(() => undefined));
      return ambassador;
    },
  };
}

test("an ambassador waits until there is a backend, writes the consumer's files, and follows it where it moves", async (t) => {
  const { world, machine, directory, ambassador } = await openFixture(t);
  const [local, envFile, hosts] = [
    await freePort(),
    join(directory, "links.env"),
    join(directory, "hosts"),
  ];
  await writeFile(hosts, "10.0.0.1 m1\n");
  const waiting = ambassador("--link", `web:${local}`, "--env-file", envFile, "--hosts", hosts);
  await world.until("it says what for", () =>
    waiting.said.includes(`status waiting for web:${local} (no endpoint)`),
  );
  assert.ok(waiting.said.includes("extend 30000"));
  const [one, two] = [await serve(t, "one"), await serve(t, "two")];
  const first = connectClient(t, machine);
  first.client.register(0, { ...WEB, port: one.port });
  await world.until("it is ready", () => waiting.isReady);
  assert.match(
    await readFile(envFile, "utf8"),
    new RegExp(`^WEB_PORT=tcp://127.0.0.1:${local}$`, "m"),
  );
  assert.match(
    await readFile(hosts, "utf8"),
    /10.0.0.1 m1\n# begin .*\n127.0.0.1\tweb web.service.fleet\n/,
  );
  const link = world.world.keys.link("a", "app.service");
  await world.until("its link is there", async () => {
    const { items } = await world.world.store.read({ range: { key: link } });
    return items[0]?.value === `{"services":[{"service":"web","local":"127.0.0.1:${local}/tcp"}]}`;
  });
  const [established, name] = await open({ port: local });
  assert.equal(name, "one");
  first.client.register(0, { ...WEB, port: one.port, health: "draining" });
  connectClient(t, machine).client.register(0, { ...WEB, port: two.port });
  await world.until("new connections go to the other", async () => (await nameAt(local)) === "two");
  first.client.deregister(0);
  await world.pass(500);
  established.write("still here");
  assert.equal(String((await once(established, "data"))[0]), "still here");
  established.destroy();
});

test("a backend that vanishes without a word is used until a connect fails, and after all others", async (t) => {
  const { world, machine, ambassador } = await openFixture(t);
  const local = await freePort();
  const [one, two] = [await serve(t, "one"), await serve(t, "two")];
  const first = connectClient(t, machine);
  first.client.register(0, { ...WEB, port: one.port });
  const { ambassador: followed } = ambassador("--link", `web:${local}`, "--hold", "0");
  const shown = async () => {
    const [link] = await followed.status();
    return link?.endpoints.map(({ port, suspect }) => `${port}${suspect ? " suspect" : ""}`).join();
  };
  await world.until("it is known", async () => (await shown()) === `${one.port}`);
  await first.kill();
  await world.until("it is suspect", async () => (await shown()) === `${one.port} suspect`);
  assert.equal(await nameAt(local), "one");
  const second = connectClient(t, machine);
  second.client.register(0, { ...WEB, port: two.port });
  await world.until(
    "both are known",
    async () => (await shown()) === `${two.port},${one.port} suspect`,
  );
  for (let count = 0; count < 10; count += 1) assert.equal(await nameAt(local), "two");
  await second.kill();
  await world.until(
    "both are suspect",
    async () => (await shown())?.match(/suspect/g)?.length === 2,
  );
  await one.stop();
  await world.until("the dead one is dropped", async () => {
    await nameAt(local);
    return (await shown()) === `${two.port} suspect`;
  });
  assert.equal(await nameAt(local), "two");
});

test("with registry and daemon away traffic flows, also through an ambassador that starts meanwhile", async (t) => {
  const { world, machine, directory, ambassador } = await openFixture(t);
  const [local, state] = [await freePort(), join(directory, "backends.json")];
  const backend = await serve(t, "one");
  const sidekick = connectClient(t, machine);
  sidekick.client.register(0, { ...WEB, port: backend.port });
  const args = ["--link", `web:${local}`, "--state", state];
  const first = ambassador(...args);
  await world.until("it is ready", () => first.isReady);
  world.store.away = true;
  machine.registrar?.setPresence(undefined);
  await world.pass(20_000);
  assert.equal(await nameAt(local), "one");
  await machine.stopDaemon();
  await world.pass(1_000);
  assert.equal(await nameAt(local), "one");
  await world.until("it says so", () => /no connection to fleetd-ts/.test(first.said.at(-1) ?? ""));
  await first.stop();
  const second = ambassador(...args);
  await world.until("it is ready", () => second.isReady);
  assert.equal(await nameAt(local), "one");
  // The daemon is back before the registry: it knows nothing, and says nothing.
  await machine.startDaemon();
  await world.until("it is connected", () => second.ambassador.isDaemonConnected);
  await world.pass(2_000);
  assert.equal(await nameAt(local), "one");
  world.store.away = false;
  machine.registrar?.setPresence(machine.presence);
  await world.until("it is present again", async () => {
    const [link] = await second.ambassador.status();
    return link?.endpoints.length === 1 && link.endpoints[0]?.suspect === false;
  });
});

test("whenever a link opens, the consumer's files are there before the ambassador is ready", async (t) => {
  const { world, machine, directory } = await openFixture(t);
  const backend = await serve(t, "one");
  connectClient(t, machine).client.register(0, { ...WEB, port: backend.port });
  for (let turns = 0; turns < 40; turns += 1) {
    const [envFile, state] = [join(directory, `${turns}.env`), join(directory, `${turns}.json`)];
    const args = ["--link", `web:${await freePort()}`, "--env-file", envFile, "--state", state];
    let isThere: boolean | undefined;
    const onReady = () => {
      isThere = existsSync(envFile);
    };
    const running = new TestAmbassador({ world, machine }, args, { turns, onReady });
    await world.until("it is ready", () => running.isReady);
    await running.stop();
    assert.equal(isThere, true, `after ${turns} turns`);
  }
});

test("an ambassador that was stopped is not ready with what it knew, while the registry says that nothing is there", async (t) => {
  const { world, machine, directory, ambassador } = await openFixture(t);
  const [local, state] = [await freePort(), join(directory, "backends.json")];
  const backend = await serve(t, "one");
  const sidekick = connectClient(t, machine);
  sidekick.client.register(0, { ...WEB, port: backend.port });
  const args = ["--link", `web:${local}`, "--state", state];
  const first = ambassador(...args);
  await world.until("it is ready", () => first.isReady);
  await first.stop();
  await sidekick.kill();
  await world.untilHeld();
  const second = ambassador(...args);
  await world.until("it waits", () =>
    second.said.includes(`status waiting for web:${local} (1 endpoints, none sure)`),
  );
  assert.equal(await nameAt(local), "one", "traffic flows nevertheless");
  await world.pass(60_000);
  assert.equal(second.isReady, false);
  connectClient(t, machine).client.register(0, { ...WEB, port: backend.port });
  await world.until("it is ready", () => second.isReady);
});

test("a reload opens and closes links, and cuts no connection", async (t) => {
  const { world, machine, ambassador } = await openFixture(t);
  const [one, two] = [await freePort(), await freePort()];
  const backend = await serve(t, "here");
  connectClient(t, machine).client.register(0, { ...WEB, port: backend.port });
  const running = ambassador("--link", `web:${one}`);
  await world.until("it is ready", () => running.isReady);
  const [established] = await open({ port: one });
  running.ambassador.reload(parseAmbassador(["--link", `web:${two}`, "--hold", "1s"]));
  await world.until("the other is open", () =>
    nameAt(two).then(
      () => true,
      () => false,
    ),
  );
  await assert.rejects(nameAt(one));
  established.write("still here");
  assert.equal(String((await once(established, "data"))[0]), "still here");
  established.destroy();
});

test("an ambassador without a port takes the service's own, and one on a unix socket needs none", async (t) => {
  const { world, machine, directory, ambassador } = await openFixture(t);
  const backend = await serve(t, "here");
  const port = await freePort();
  const path = join(directory, "web.sock");
  // 127.0.0.2: the backend's own port is taken on 127.0.0.1.
  const running = ambassador("--link", "web:127.0.0.2:", "--link", `web:${path}`, "--any-machine");
  connectClient(t, machine).client.register(0, { ...WEB, port: backend.port });
  await world.until("it is ready", () => running.isReady);
  const [own] = await running.ambassador.status();
  assert.equal(own?.local, `127.0.0.2:${backend.port}/tcp`);
  const [socket, name] = await open({ path });
  assert.equal(name, "here");
  socket.destroy();
  assert.notEqual(port, backend.port);
});

test("a place that is taken ends an ambassador before it was ready, and says so", async (t) => {
  const { ambassador } = await openFixture(t);
  const taken = await serve(t, "taken");
  await assert.rejects(
    ambassador("--link", `web:${taken.port}`).ended,
    (error) => isFleetError(error, "proxy-address") && error.message.includes(`${taken.port}`),
  );
});

test("the status socket shows links as JSON and their numbers for Prometheus", async (t) => {
  const { world, machine, directory, ambassador } = await openFixture(t);
  const [local, path] = [await freePort(), join(directory, "status.sock")];
  const backend = await serve(t, "one");
  connectClient(t, machine).client.register(0, { ...WEB, port: backend.port });
  const running = ambassador("--link", `web:${local}`);
  t.after(await serveStatus(path, running.ambassador));
  await world.until("it is ready", () => running.isReady);
  await nameAt(local);
  const ask = (what: string) =>
    new Promise<string>((resolve, reject) => {
      get({ socketPath: path, path: what, agent: false }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () => resolve(`${response.statusCode} ${text}`));
      }).on("error", reject);
    });
  const status = JSON.parse((await ask("/status")).slice(4));
  assert.equal(status.ready, true);
  assert.equal(status.links[0].local, `127.0.0.1:${local}/tcp`);
  const metrics = await ask("/metrics");
  const labels = `{link="web_${local}",backend="a-${backend.port}"}`;
  assert.ok(metrics.includes(`fleet_ambassador_backend_connections_total${labels} 1\n`), metrics);
  assert.match(metrics, /^fleet_ambassador_daemon_connected\{\} 1$/m);
  assert.match(metrics, /^fleet_ambassador_backend_connect_seconds_bucket\{.*,le="\+Inf"\} 1$/m);
  assert.match(await ask("/nothing"), /^404 /);
});
