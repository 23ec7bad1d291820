import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { test } from "node:test";
import type { Clock } from "../../src/runtime/clock.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { systemRandom } from "../../src/runtime/system-random.ts";
import { parseSidekick } from "../../src/sidekick/arguments.ts";
import { type Check, probe } from "../../src/sidekick/probe.ts";
import { Sidekick, type SidekickEnd } from "../../src/sidekick/sidekick.ts";
import {
  openRegistrarWorld,
  type RegistrarWorld,
  type TestMachine,
} from "../registrar/registrar-world.ts";
import type { Cleanup } from "../support/cleanup.ts";

/** Answers with `status`; the port is the kernel's choice unless given. */
async function serve(t: Cleanup, options: { status?: () => number; port?: number } = {}) {
  const server: Server = createServer((_, response) => {
    response.writeHead(options.status?.() ?? 200).end();
  });
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  const close = () =>
    new Promise((resolve) => {
      server.closeAllConnections();
      server.close(resolve);
    });
  t.after(async () => void (await close()));
  const address = server.address();
  return { port: typeof address === "object" ? (address?.port ?? 0) : 0, close };
}

class TestSidekick {
  readonly said: string[] = [];
  readonly #controller = new AbortController();
  readonly ended: Promise<SidekickEnd>;

  constructor(machine: TestMachine, line: string, clock: Clock = systemClock) {
    const say = (kind: string) => (text: string | number) => void this.said.push(`${kind} ${text}`);
    const sidekick = new Sidekick({
      ...parseSidekick([...line.split(" "), "--socket", machine.path]),
      clock,
      random: systemRandom,
      logger: silentLogger,
      notifier: {
        ready: say("ready"),
        status: say("status"),
        extend: say("extend"),
        stopping: say("stopping"),
      },
      ownUnit: "side.service",
    });
    this.ended = sidekick.run(this.#controller.signal);
  }

  get isReady(): boolean {
    return this.said.some((line) => line.startsWith("ready"));
  }

  terminate(): Promise<SidekickEnd> {
    this.#controller.abort();
    return this.ended;
  }
}

async function openWorld(t: Cleanup): Promise<{ world: RegistrarWorld; machine: TestMachine }> {
  const world = await openRegistrarWorld(t);
  const machine = await world.machine("a");
  machine.address = "127.0.0.1";
  await machine.stopDaemon();
  await machine.startDaemon();
  return { world, machine };
}

test("a sidekick is ready once it is registered and healthy, and follows its backend down and up", async (t) => {
  const { world, machine } = await openWorld(t);
  const backend = await serve(t);
  const { port } = backend;
  const line = `--service web --port ${port} --check tcp --interval 50ms --drain 50ms`;
  const sidekick = new TestSidekick(machine, line);
  t.after(() => void sidekick.terminate());
  await world.untilHeld(`web/a-${port} 127.0.0.1:${port} passing`);
  await world.until("it is ready", () => sidekick.isReady);
  await backend.close();
  await world.untilHeld(`web/a-${port} 127.0.0.1:${port} failing`);
  await world.until("it says so", () => /failing: connect ECONN/.test(sidekick.said.at(-1) ?? ""));
  await serve(t, { port });
  await world.untilHeld(`web/a-${port} 127.0.0.1:${port} passing`);
});

test("a sidekick whose backend is not there registers it as failing and is not ready", async (t) => {
  const { world, machine } = await openWorld(t);
  const sidekick = new TestSidekick(
    machine,
    "--service web --port 1 --check tcp --interval 50ms --drain 0",
  );
  t.after(() => void sidekick.terminate());
  await world.untilHeld("web/a-1 127.0.0.1:1 failing");
  await world.pass(1_000);
  assert.equal(sidekick.isReady, false);
  assert.ok(sidekick.said.includes("extend 30000"));
});

test("at its end a sidekick drains, then deregisters, then goes", async (t) => {
  const { world, machine } = await openWorld(t);
  const line = "--service web --port 80 --drain 2s --service web --port 81";
  // On the clock that is moved between looks: none misses that they drain.
  const sidekick = new TestSidekick(machine, line, world.world.clock);
  await world.untilHeld("web/a-80 127.0.0.1:80 unknown", "web/a-81 127.0.0.1:81 unknown");
  // What it was not told of yet it does not drain.
  await world.until("it is ready", () => sidekick.isReady);
  const ended = sidekick.terminate();
  await world.untilHeld("web/a-80 127.0.0.1:80 draining", "web/a-81 127.0.0.1:81 draining");
  await world.untilHeld();
  // Before the clock of the registry is moved again: it has waited for the daemon's word.
  assert.deepEqual(await ended, { type: "ended" });
  assert.ok(sidekick.said.includes("stopping draining"));
});

test("a sidekick does not wait for a daemon that is away, and registers when it comes", async (t) => {
  const { world, machine } = await openWorld(t);
  await machine.stopDaemon();
  const early = new TestSidekick(machine, "--service web --port 80");
  await world.until("it says so", () => /no connection/.test(early.said.at(-1) ?? ""));
  assert.deepEqual(await early.terminate(), { type: "ended" });
  const sidekick = new TestSidekick(machine, "--service web --port 80 --drain 0");
  await machine.startDaemon();
  await world.untilHeld("web/a-80 127.0.0.1:80 unknown");
  await sidekick.terminate();
});

test("a sidekick that is refused ends and says why", async (t) => {
  const { machine } = await openWorld(t);
  const sidekick = new TestSidekick(machine, "--service web --port 80 --host 10.1.1.1");
  assert.deepEqual(await sidekick.ended, {
    type: "refused",
    why: "web: 10.1.1.1 is no address of this machine",
  });
});

test("probe() knows good from bad, whatever is checked", async (t) => {
  let status = 200;
  const { port } = await serve(t, { status: () => status });
  const run = async (check: Check, at = port) => {
    const signal = new AbortController().signal;
    const timeoutMs = 2_000;
    const options = { check, host: "127.0.0.1", port: at, timeoutMs, clock: systemClock, signal };
    const result = await probe(options);
    return result.ok ? "ok" : result.why;
  };
  assert.equal(await run({ type: "tcp" }), "ok");
  assert.match(await run({ type: "tcp" }, 1), /ECONNREFUSED/);
  assert.equal(await run({ type: "http", path: "/health" }), "ok");
  status = 503;
  assert.match(await run({ type: "http", path: "/health" }), /^HTTP 503 from http:\/\/127/);
  assert.match(await run({ type: "http", path: "/" }, 1), /ECONNREFUSED/);
  assert.equal(await run({ type: "exec", command: `test $FLEET_PORT = ${port}` }), "ok");
  assert.equal(await run({ type: "exec", command: "exit 3" }), "/bin/sh ended with status 3");
  assert.match(await run({ type: "exec", command: "sleep 30 & sleep 30" }), /no answer within/);
  assert.notEqual(await run({ type: "unit", unit: "no-such.service" }), "ok");
});
