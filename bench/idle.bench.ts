import { readFile } from "node:fs/promises";
import type { MachinesBody } from "../src/api/protocol.ts";
import { Lab } from "../test/support/lab.ts";
import { runOk } from "../test/support/run.ts";
import type { Bench, BenchContext } from "./harness.ts";
import { fleetctl, SLEEPER, untilNoneLeft, writeUnits } from "./lab-units.ts";

/** Units that end at once and are started again each second, beside those that just run. */
const RESTARTING = 10;
const RESTARTER =
  "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/true\nRestart=always\nRestartSec=1\n";
/** Of /proc/PID/stat; the same on every architecture that Debian has. */
const TICKS_PER_SECOND = 100;
const CLIENT_BATCH = 500;
/** A daemon that has just been given many units collects its garbage for some 20 s, which is no cost of being idle. */
const SETTLE_MS = 30_000;

export const bench: Bench = {
  about: "three machines: CPU and memory of daemons and etcd while nothing is asked of them",
  references: {
    "idle.0.leader_cpu": "k3s server: 6 % of a core",
    "idle.0.agent_cpu": "k3s agent: 3 % of a core",
    "idle.0.rss": "k3s agent: 275 MB, server: 1600 MB",
    "launched.500.agent_cpu": "fleet: D-Bus shows as load from about 500 units",
    "launched.1500.leader_cpu": "fleet, 900 units on 3 machines: about 80 %",
    "launched.1500.agent_cpu": "fleet, 900 units on 3 machines: about 10 %",
  },
  async run(context) {
    const lab = await Lab.open({ machines: 3 });
    try {
      await observe(lab, "idle.0", context);
      const idle = [];
      for (const [name, count] of [
        ["idle.500", 500],
        ["idle.1500", 1000],
      ] as const) {
        idle.push(...(await bring(lab, { verb: "load", prefix: name.replace(".", "-"), count })));
        await observe(lab, name, context);
      }
      for (const batch of batches(idle)) await fleetctl(lab, "destroy", ...batch);
      await untilNoneLeft(lab);
      const loop = await writeUnits(lab, { prefix: "loop", count: RESTARTING, text: RESTARTER });
      await fleetctl(lab, "start", "--no-block", ...loop);
      for (const [name, count] of [
        ["launched.500", 490],
        ["launched.1500", 1000],
      ] as const) {
        await bring(lab, { verb: "start", prefix: name.replace(".", "-"), count });
        await observe(lab, name, context);
      }
    } finally {
      await lab.close();
    }
  },
};

async function bring(
  lab: Lab,
  load: { readonly verb: "load" | "start"; readonly prefix: string; readonly count: number },
): Promise<readonly string[]> {
  const names = await writeUnits(lab, { ...load, text: SLEEPER });
  for (const batch of batches(names)) await fleetctl(lab, load.verb, ...batch);
  return names;
}

function batches(names: readonly string[]): readonly (readonly string[])[] {
  const count = Math.ceil(names.length / CLIENT_BATCH);
  return Array.from({ length: count }, (_, index) =>
    names.slice(index * CLIENT_BATCH, (index + 1) * CLIENT_BATCH),
  );
}

/** `rounds` windows side by side in time, together `seconds` (60) long. */
async function observe(lab: Lab, name: string, context: BenchContext): Promise<void> {
  const windowMs = ((context.seconds ?? 60) / context.rounds) * 1000;
  context.note(`${name}: watching for ${context.seconds ?? 60} s`);
  await delay(Math.min(SETTLE_MS, windowMs));
  const leader = await leaderOf(lab);
  let last = await readUsage(lab);
  for (let round = 1; round <= context.rounds; round++) {
    await delay(windowMs);
    const now = await readUsage(lab);
    const percent = (later: number, earlier: number) =>
      (100_000 * (later - earlier)) / (now.atMs - last.atMs);
    for (const machine of lab.machines) {
      const value = percent(now.daemonSeconds[machine] ?? 0, last.daemonSeconds[machine] ?? 0);
      const role = machine === leader ? "leader_cpu" : "agent_cpu";
      context.record({ name: `${name}.${role}`, unit: "% of a core", value });
    }
    const etcd = percent(now.etcdSeconds, last.etcdSeconds);
    context.record({ name: `${name}.etcd_cpu`, unit: "% of a core", value: etcd });
    context.record({ name: `${name}.rss`, unit: "MB", value: Math.max(...now.rssMb) });
    last = now;
  }
}

async function leaderOf(lab: Lab): Promise<number> {
  const { machines } = (await lab.api(1, "/fleet/v2/machines")) as MachinesBody;
  const id = machines.find((machine) => machine.leader)?.id;
  for (const machine of lab.machines) if ((await lab.machineId(machine)) === id) return machine;
  throw new Error("no machine leads");
}

interface Usage {
  readonly atMs: number;
  /** By machine: CPU of the daemon and all its helpers, those that have ended too. */
  readonly daemonSeconds: Readonly<Record<number, number>>;
  readonly rssMb: readonly number[];
  readonly etcdSeconds: number;
}

async function readUsage(lab: Lab): Promise<Usage> {
  const daemonSeconds: Record<number, number> = {};
  const rssMb: number[] = [];
  for (const machine of lab.machines) {
    const { stdout } = await lab.exec(
      machine,
      "sh",
      "-c",
      "cat /sys/fs/cgroup/system.slice/fleetd-ts.service/cpu.stat; " +
        "cat /proc/$(systemctl show -P MainPID fleetd-ts)/status",
    );
    daemonSeconds[machine] = field(stdout, /^usage_usec (\d+)/m) / 1e6;
    rssMb.push(field(stdout, /^VmRSS:\s+(\d+) kB/m) / 1024);
  }
  return { atMs: performance.now(), daemonSeconds, rssMb, etcdSeconds: await etcdSeconds(lab) };
}

function field(text: string, pattern: RegExp): number {
  const value = pattern.exec(text)?.[1];
  if (value === undefined) throw new Error(`no ${pattern} in: ${text}`);
  return Number(value);
}

/** Member 1: the lab's only one. */
async function etcdSeconds(lab: Lab): Promise<number> {
  const pid = (await runOk(["cut", "-d", " ", "-f1", `${lab.dir}/etcd/1/pid`])).trim();
  // After the name in brackets, which may hold blanks: state is field 3, utime 14, stime 15.
  const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).replace(/^.*\) /, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
