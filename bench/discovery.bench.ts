import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { Lab } from "../test/support/lab.ts";
import type { Bench, BenchContext } from "./harness.ts";

const LAB = resolve(import.meta.dirname, "../lab/lab.sh");
const TTL_MS = 5_000;
const BACKEND_PORT = 7100;
const LOCAL_PORT = 7000;
const REGISTRATIONS_PER_ROUND = 20;
/** Each costs a boot. */
const DEATHS_MAX = 3;
const CONSUMER = 2;
const SERVER = `require('net').createServer(s=>{s.on('error',()=>{});s.end('x')}).listen(${BACKEND_PORT})`;

export const bench: Bench = {
  about:
    "services: from registering to being used, and from dying to being left alone, over three machines",
  references: {
    "discovery.register_p50_ms": "target: 50",
    "discovery.kill_s": "target: 1 (found by a check)",
    "discovery.kill_failed": "target: 0 requests",
    "discovery.death_s": `target: ${TTL_MS / 1_000 + 0.5} (lease and half a second)`,
    "discovery.death_failed": "target: 0 requests",
  },
  async run(context) {
    const lab = await Lab.open({ machines: 3, settings: { agent_ttl: `${TTL_MS / 1_000}s` } });
    try {
      await unit(lab, { machine: CONSUMER, name: "bench-ambassador", notify: true }, [
        ...["/opt/fleet/bin/fleet-ambassador", "--link", `bench:${LOCAL_PORT}`, "--no-wait"],
        ...["--hold", "30s", "--status-socket", "/run/bench-status.sock"],
      ]);
      await registrations(lab, context);
      for (let round = 1; round <= context.rounds; round += 1)
        await ending(lab, context, { isChecked: true });
      for (let round = 1; round <= Math.min(DEATHS_MAX, context.rounds); round += 1)
        await ending(lab, context, { isChecked: false });
    } finally {
      await lab.close();
    }
  },
};

/** A connection waits at the ambassador for a backend; how long after the registration on another machine it is served. */
async function registrations(lab: Lab, context: BenchContext): Promise<void> {
  const backend = await Inside.open(lab, 1, ["backend", String(BACKEND_PORT)]);
  const client = await Inside.open(lab, CONSUMER, ["client", String(LOCAL_PORT)]);
  for (let i = 0; i < context.rounds * REGISTRATIONS_PER_ROUND; i += 1) {
    client.tell("connect");
    await client.heard("open");
    await pause(50);
    backend.tell("register");
    const beganMs = await backend.heard("at");
    const value = (await client.heard("at")) - beganMs;
    assert(value >= 0, "it was served before there was a backend");
    context.record({ name: "discovery.register_p50_ms", unit: "ms", value });
    backend.tell("deregister");
    await backend.heard("gone");
    await pause(100);
  }
  context.note(`${context.rounds * REGISTRATIONS_PER_ROUND} registrations`);
  await Promise.all([backend.close(), client.close()]);
}

/** One of two backends ends: its process is killed, found out by a check; or its machine, found out by the lease. */
async function ending(
  lab: Lab,
  context: BenchContext,
  { isChecked }: { readonly isChecked: boolean },
): Promise<void> {
  const check = isChecked ? ["--check", "tcp"] : [];
  const register = ["--service", "bench", "--port", String(BACKEND_PORT), "--drain", "0s"];
  for (const machine of [1, 3]) {
    await unit(lab, { machine, name: "bench-db" }, ["/opt/node/bin/node", "-e", SERVER]);
    const sidekick = ["/opt/fleet/bin/fleet-sidekick", ...register, ...check];
    await unit(lab, { machine, name: "bench-side", notify: true }, sidekick);
  }
  await lab.waitFor({
    what: "both backends are registered",
    deadlineMs: 30_000,
    look: async () =>
      ((await lab.api(CONSUMER, "/fleet/v2/services")) as { endpoints: unknown[] }).endpoints,
    until: (endpoints) => endpoints.length === 2,
  });
  const client = await Inside.open(lab, CONSUMER, ["client", String(LOCAL_PORT)]);
  client.tell(`watch ${await lab.address(1)}`);
  await client.heard("watching");
  await pause(500);
  const name = isChecked ? "kill" : "death";
  const beganMs = Date.now();
  if (isChecked) await lab.exec(1, "systemctl", "kill", "--signal=KILL", "bench-db.service");
  else await lab.kill(1);
  const { out = 0, last = 0, failed = 0 } = await client.said("out");
  const record = (what: string, unitName: string, value: number) =>
    context.record({ name: `discovery.${name}_${what}`, unit: unitName, value });
  record("s", "s", (out - beganMs) / 1_000);
  record("last_use_s", "s", Math.max(0, last - beganMs) / 1_000);
  record("failed", "requests", failed);
  context.note(
    `${name}: out after ${out - beganMs} ms, last tried after ${last - beganMs} ms, ${failed} failed`,
  );
  await client.close();
  if (!isChecked) await lab.start(1);
  for (const machine of [1, 3])
    await lab.exec(machine, "systemctl", "stop", "bench-side.service", "bench-db.service");
  await lab.waitFor({
    what: "no backend is left",
    deadlineMs: 30_000,
    look: async () =>
      ((await lab.api(CONSUMER, "/fleet/v2/services")) as { endpoints: unknown[] }).endpoints,
    until: (endpoints) => endpoints.length === 0,
  });
  await lab.waitFor({
    what: "all machines are there",
    deadlineMs: 60_000,
    look: () => lab.presentMachines(CONSUMER),
    until: (present) => present.length === 3,
  });
}

async function unit(
  lab: Lab,
  where: { readonly machine: number; readonly name: string; readonly notify?: boolean },
  argv: readonly string[],
): Promise<void> {
  const notify = where.notify ? ["-p", "Type=notify", "-p", "NotifyAccess=all"] : [];
  const { code, stderr } = await lab.exec(
    where.machine,
    ...["systemd-run", `--unit=${where.name}`, "--collect", ...notify, ...argv],
  );
  assert.equal(code, 0, stderr);
}

type Said = Readonly<Record<string, number>>;

/** discovery-inside.ts in a machine. */
class Inside {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    assert(child.stdout !== null);
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  static async open(lab: Lab, machine: number, args: readonly string[]): Promise<Inside> {
    const script = "/opt/app/bench/discovery-inside.ts";
    const argv = ["exec", String(machine), "/opt/node/bin/node", script, ...args];
    const child = spawn(LAB, argv, {
      env: { ...process.env, LAB_DIR: lab.dir },
      stdio: ["pipe", "pipe", "inherit"],
    });
    const inside = new Inside(child);
    await inside.heard("ready");
    return inside;
  }

  tell(command: string): void {
    this.#child.stdin?.write(`${command}\n`);
  }

  /** The next line has to be of this kind. */
  async said(kind: string): Promise<Said> {
    const { value, done } = await this.#lines.next();
    assert(done !== true, "it has ended");
    const said = JSON.parse(value) as Said;
    assert(kind in said, `"${kind}" was to come, and not ${value}`);
    return said;
  }

  async heard(kind: string): Promise<number> {
    return (await this.said(kind))[kind] ?? 0;
  }

  async close(): Promise<void> {
    this.#child.stdin?.end();
    if (this.#child.exitCode === null && this.#child.signalCode === null)
      await once(this.#child, "exit");
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
