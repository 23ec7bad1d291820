import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Lab } from "../test/support/lab.ts";
import type { Bench, BenchContext } from "./harness.ts";
import { fleetctl } from "./lab-units.ts";

const CLIENT = join(import.meta.dirname, "../dist/fleetctl-ts.cjs");
const MACHINES = 5;
/** Of each machine, in one go. */
const LINES = 20_000;
/** Single lines of each machine, far enough apart to come alone. */
const TICKS = 40;
const DEADLINE_MS = 180_000;
const GO = "/run/bench-go";

/** Waits for its round, then writes so many lines as fast as it can. */
const FLOOD = `[Service]
ExecStart=/bin/bash -c 'for round in {1..99}; do until [ -e ${GO}-$$round ]; do sleep 0.02; done; seq -f "$$round %%.0f of %H says what there is to say" ${LINES}; done'
LogRateLimitIntervalSec=0
[X-Fleet]
Conflicts=flood@*.service
`;
/** The moment of each line is in it: all machines have this host's clock. */
const TICK = `[Service]
ExecStart=/bin/bash -c 'until [ -e ${GO}-tick ]; do sleep 0.02; done; for i in {1..${TICKS}}; do echo $$EPOCHREALTIME; sleep 0.1$$((RANDOM %% 90 + 10)); done; sleep infinity'
[X-Fleet]
Conflicts=tick@*.service
`;

export const bench: Bench = {
  about: "journals of five machines at one client: lines a second, and the delay of a single one",
  references: {
    "journal.lines_s": "one journalctl -o json: 58,000 (36,000 with all fields)",
    "journal.delay_p50_ms": "target: 50",
  },
  async run(context) {
    const lab = await Lab.open({ machines: MACHINES });
    try {
      const instances = (name: string) => lab.machines.map((one) => `${name}@${one}.service`);
      await lab.unitFile("tick@.service", TICK);
      await lab.unitFile("flood@.service", FLOOD);
      await fleetctl(lab, "start", ...instances("tick"), ...instances("flood"));
      await measureDelay(lab, context);
      const client = await follow(lab, "flood@");
      for (let round = 1; round <= context.rounds; round += 1) {
        await measureRate(lab, { client, round }, context);
      }
      client.stop();
    } finally {
      await lab.close();
    }
  },
};

interface Follower {
  /** Calls `take` for every line until it gives back true. */
  each(take: (line: string, atMs: number) => boolean): Promise<void>;
  stop(): void;
}

/** `fleetctl-ts journal -f` as a process; what units said before is not asked for. */
async function follow(lab: Lab, units: string): Promise<Follower> {
  const args = [CLIENT, "journal", "-f", "-n", "0", "-o", "cat", units];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, FLEETCTL_ENDPOINT: await lab.endpoint(1) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout });
  return {
    each: async (take) => {
      const done = Promise.withResolvers<void>();
      const onLine = (line: string) => {
        if (take(line, performance.timeOrigin + performance.now())) done.resolve();
      };
      const onLate = () => done.reject(new Error("the lines did not all come"));
      const timer = setTimeout(onLate, DEADLINE_MS);
      child.once("exit", onLate);
      lines.on("line", onLine);
      await done.promise.finally(() => {
        clearTimeout(timer);
        child.off("exit", onLate);
        lines.off("line", onLine);
      });
    },
    stop: () => child.kill(),
  };
}

async function go(lab: Lab, name: string): Promise<void> {
  const files = lab.machines.map((machine) => lab.exec(machine, "touch", `${GO}-${name}`));
  for (const { code, stderr } of await Promise.all(files)) assert.equal(code, 0, stderr);
}

/** By then every machine's journal is being read: one that is not loses lines, and the bench fails. */
async function untilFollowed(lab: Lab): Promise<void> {
  for (const machine of lab.machines) {
    await lab.waitFor({
      what: `m${machine} runs journalctl`,
      deadlineMs: 30_000,
      look: () => lab.exec(machine, "pgrep", "-c", "-x", "journalctl"),
      until: ({ stdout }) => Number(stdout) > 0,
    });
  }
}

async function measureDelay(lab: Lab, context: BenchContext): Promise<void> {
  const client = await follow(lab, "tick@");
  await untilFollowed(lab);
  const delaysMs: number[] = [];
  const all = client.each((line, atMs) => {
    const saidMs = Number(/\d{9,}\.\d+$/.exec(line)?.[0]) * 1_000;
    if (!Number.isNaN(saidMs)) delaysMs.push(atMs - saidMs);
    return delaysMs.length === MACHINES * TICKS;
  });
  await go(lab, "tick");
  await all;
  client.stop();
  delaysMs.sort((a, b) => a - b);
  for (const [name, part] of [
    ["p50", 0.5],
    ["p99", 0.99],
  ] as const) {
    const value = delaysMs[Math.floor(delaysMs.length * part)] ?? Number.NaN;
    context.record({ name: `journal.delay_${name}_ms`, unit: "ms", value });
  }
  context.note(`${delaysMs.length} single lines`);
}

async function measureRate(
  lab: Lab,
  { client, round }: { readonly client: Follower; readonly round: number },
  context: BenchContext,
): Promise<void> {
  await untilFollowed(lab);
  const seen = new Map<string, number>();
  let count = 0;
  let firstMs = 0;
  let lastMs = 0;
  const all = client.each((line, atMs) => {
    const said = new RegExp(`${round} (\\d+) of (\\S+) says`).exec(line);
    if (said === null) return false;
    const [, number = "", machine = ""] = said;
    // None is missing, none comes twice, and each machine's are in order.
    assert.equal(Number(number), (seen.get(machine) ?? 0) + 1, line);
    seen.set(machine, Number(number));
    if (count === 0) firstMs = atMs;
    lastMs = atMs;
    count += 1;
    return count === MACHINES * LINES;
  });
  await go(lab, String(round));
  await all;
  const value = count / ((lastMs - firstMs) / 1_000);
  context.record({ name: "journal.lines_s", unit: "lines/s", value });
  context.note(`round ${round}: ${count} lines, ${Math.round(value)} a second`);
}
