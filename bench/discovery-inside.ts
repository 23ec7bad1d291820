// node discovery-inside.ts backend|client ...: what `bench discovery` runs in machines. Commands come in by line, results go out as lines. All machines
// of a lab share the host's clock.
import { once } from "node:events";
import { request } from "node:http";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import { ServicesClient } from "../src/registrar/services-client.ts";
import { sleep } from "../src/runtime/clock.ts";
import { systemClock } from "../src/runtime/system-clock.ts";
import { systemRandom } from "../src/runtime/system-random.ts";

const [role = "", ...args] = process.argv.slice(2);
const port = Number(args[0]);
const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** Serves one byte per connection; registers and takes back its endpoint when told to. Says when. */
async function backend(): Promise<void> {
  const server = createServer((socket) => socket.on("error", () => undefined).end("x"));
  server.listen(port);
  await once(server, "listening");
  const written: (() => void)[] = [];
  const client = new ServicesClient({
    path: "/run/fleet-services.sock",
    clock: systemClock,
    random: systemRandom,
    onEndpoint: (message) => {
      if (message.state === "gone") say({ gone: Date.now() });
      else if (message.state === "registered") written.shift()?.();
    },
    onRefused: (message) => say({ refused: message }),
  });
  const endpoint = (health: "unknown" | "draining") =>
    ({
      ...{
        service: "bench",
        port,
        protocol: "tcp" as const,
        health,
        detail: "",
        weight: 100,
        priority: 0,
      },
      ...{ tags: {}, sinceMs: Date.now() },
    }) as const;
  void client.run(new AbortController().signal);
  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "register") {
      say({ at: Date.now() });
      client.register(1, endpoint("unknown"));
    } else {
      await sleep(systemClock, 50);
      const drained = new Promise<void>((resolve) => void written.push(resolve));
      client.register(1, endpoint("draining"));
      // Taken away without having drained, it would be a suspect, and used for want of another.
      await drained;
      client.deregister(1);
    }
  }
}

/** `connect`: one connection through the ambassador, which holds it until there is a backend; says when it was served. */
async function client(): Promise<void> {
  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "connect") {
      const socket = connect(port, "127.0.0.1");
      await once(socket, "connect");
      say({ open: Date.now() });
      const [first] = await once(socket, "data").catch(() => [undefined]);
      say(first === undefined ? { failed: true } : { at: Date.now() });
      socket.destroy();
    } else await watchBackend(line.split(" ")[1] ?? "");
  }
}

/** Asks without a pause, and says when the ambassador has last used or tried the backend on this host, and since when it is out. */
async function watchBackend(host: string): Promise<void> {
  let used = -1;
  let lastMs = 0;
  let failed = 0;
  say({ watching: true });
  for (;;) {
    await sleep(systemClock, 2);
    failed += Number(await asked().catch(() => true));
    const { links } = await status();
    const link = links[0];
    const endpoint = link?.endpoints.find((one) => one.host === host);
    const stats = link?.stats?.backends.find(({ id }) => id === endpoint?.instance);
    const count = (stats?.total ?? 0) + (stats?.connectFailures ?? 0);
    if (count > used && used >= 0) lastMs = Date.now();
    used = Math.max(count, used);
    if (endpoint !== undefined && !endpoint.suspect && endpoint.health !== "failing") continue;
    say({ out: Date.now(), last: lastMs, failed });
    return;
  }
}

/** Whether it failed. */
async function asked(): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const [data] = await once(socket, "data");
  socket.destroy();
  return data === undefined;
}

interface Status {
  readonly links: readonly {
    readonly endpoints: readonly {
      readonly host: string;
      readonly instance: string;
      readonly health: string;
      readonly suspect: boolean;
    }[];
    readonly stats?: {
      readonly backends: readonly {
        readonly id: string;
        readonly total: number;
        readonly connectFailures: number;
      }[];
    };
  }[];
}

async function status(): Promise<Status> {
  const call = request({ socketPath: "/run/bench-status.sock", path: "/status" });
  call.end();
  const [response] = await once(call, "response");
  let text = "";
  for await (const chunk of response) text += String(chunk);
  return JSON.parse(text) as Status;
}

// Until standard input ends.
await (role === "backend" ? backend() : client());
process.exit(0);
