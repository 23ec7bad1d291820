// Runs on a machine of swaps.lab.test.ts: backends of the service db that come and go, each after its successor has come.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { sleep } from "../../src/runtime/clock.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { systemRandom } from "../../src/runtime/system-random.ts";
import { parseSidekick } from "../../src/sidekick/arguments.ts";
import { Sidekick } from "../../src/sidekick/sidekick.ts";
import { freePort, portOf } from "../support/proxy-ends.ts";

/** How many backends come and go at a time. */
const LANES = 5;
/** In each lane; one in so many is of a sidekick in a process of its own, which is killed; one is of an endpoint where nobody listens. */
const [swaps = 0] = process.argv.slice(2).map(Number);
const KILLED_EVERY = 25;
const DEAD_EVERY = 10;
const DRAIN_MS = 300;

interface Presence {
  /** Takes the endpoint away. */
  leave(): Promise<void>;
}

/** Sends back what it gets. When it stops listening, connections that it has go on: what they carry is not lost by a swap. */
async function startServer(): Promise<Server> {
  const server = createServer({ noDelay: true }, (socket: Socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  server.listen({ port: 0, host: "0.0.0.0" });
  await once(server, "listening");
  return server;
}

function argumentsFor(port: number): readonly string[] {
  return ["--service", "db", "--port", String(port), "--drain", `${DRAIN_MS}ms`];
}

const CHECKED = ["--check", "tcp", "--interval", "1s", "--rise", "1"];

/** The sidekick's own code, many in this process: a process for each would measure how fast processes start. */
async function register(port: number, more = CHECKED): Promise<Presence> {
  const controller = new AbortController();
  const ready = Promise.withResolvers<void>();
  const notifier = {
    ready: () => ready.resolve(),
    status: () => undefined,
    extend: () => undefined,
    stopping: () => undefined,
  };
  const parts = { clock: systemClock, random: systemRandom, logger: silentLogger, notifier };
  const sidekick = new Sidekick({
    ...parseSidekick([...argumentsFor(port), ...more]),
    ...parts,
    ownUnit: undefined,
  });
  const ended = sidekick.run(controller.signal);
  await Promise.race([ready.promise, ended]);
  return {
    leave: async () => {
      controller.abort();
      await ended;
    },
  };
}

async function registerByProcess(port: number): Promise<Presence> {
  const child = spawn("/opt/fleet/bin/fleet-sidekick", [...argumentsFor(port), ...CHECKED]);
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (bytes: Buffer) => (said += bytes));
  while (!said.includes("ready"))
    await Promise.race([once(child.stdout, "data"), once(child.stderr, "data")]);
  return {
    leave: async () => {
      const closed = once(child, "close");
      child.kill("SIGKILL");
      await closed;
    },
  };
}

let done = 0;

function say(state: string): void {
  writeFileSync("/run/swaps-backends", `${state} ${done}`);
}

async function swapInTurn(): Promise<void> {
  let last: { readonly server: Server; readonly presence: Presence } | undefined;
  for (let swap = 1; swap <= swaps; swap++) {
    const server = await startServer();
    const isProcess = swap % KILLED_EVERY === 0;
    const presence = await (isProcess ? registerByProcess : register)(portOf(server));
    const dead = swap % DEAD_EVERY === 0 ? await register(await freePort(), []) : undefined;
    await last?.presence.leave();
    await dead?.leave();
    // What was killed has not drained: who uses it hears of its end after it.
    await sleep(systemClock, DRAIN_MS);
    last?.server.close();
    last = { server, presence };
    done += 1;
    say("swapping");
  }
}

const started = Promise.withResolvers<void>();
process.once("SIGUSR1", () => started.resolve());
const living = await startServer();
const presence = await register(portOf(living));
say("ready");
// Others connect to it now and stay. It leaves the set, and lives.
await started.promise;
const lanes = Array.from({ length: LANES }, swapInTurn);
while (done < LANES) await sleep(systemClock, 10);
await presence.leave();
await Promise.all(lanes);
say("done");
