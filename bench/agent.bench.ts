import { setTimeout as pause } from "node:timers/promises";
import { Lab } from "../test/support/lab.ts";
import { followUnits, isActive } from "./follow-units.ts";
import type { Bench, BenchContext } from "./harness.ts";
import { fleetctl, writeUnits } from "./lab-units.ts";

const COUNTS = [500, 2_000];
const STOPPED = 900;

/** Another text for each unit, so that nobody gains from equal ones. */
const TEXT = (name: string) =>
  `[Unit]\nDescription=${name}\n[Service]\nExecStart=/bin/sleep infinity\n`;

export const bench: Bench = {
  about:
    "one machine: N units from the first that the agent loads to all active, compared with a script that writes, links and starts such units over D-Bus",
  references: {
    "agent.500.ratio": "target: 1.3",
    "agent.2000.ratio": "target: 1.3",
    "agent.stop_900_s": "fleet: 95 s",
  },
  async run(context) {
    const lab = await Lab.open({ machines: 1 });
    try {
      for (let round = 1; round <= context.rounds; round++) {
        for (const count of COUNTS) await startBoth(lab, { count, round }, context);
      }
    } finally {
      await lab.close();
    }
  },
};

async function startBoth(
  lab: Lab,
  load: { readonly count: number; readonly round: number },
  context: BenchContext,
): Promise<void> {
  const { count, round } = load;
  const script = await scriptAlone(lab, count);
  const systemctl = await systemctlAlone(lab, count);
  const names = await writeUnits(lab, { prefix: `agent-${round}-${count}`, count, text: TEXT });
  const submittedMs = performance.now();
  await fleetctl(lab, "submit", ...names);
  const since = Date.now();
  const cpuBefore = await daemonCpuMs(lab);
  const active = followUnits({
    endpoint: await lab.endpoint(1),
    units: names,
    deadlineMs: 300_000,
    until: (units) => names.every((name) => isActive(units.get(name))),
  });
  const beganMs = performance.now();
  const [endMs] = await Promise.all([active, fleetctl(lab, "start", ...names)]);
  const seconds = (performance.timeOrigin + endMs - (await firstLoadMs(lab, names))) / 1_000;
  const record = (name: string, unit: string, value: number) =>
    context.record({ name: `agent.${count}.${name}`, unit, value });
  record("ratio", "x", seconds / script);
  record("load_to_active", "s", seconds);
  record("script_alone", "s", script);
  record("systemctl_alone", "s", systemctl);
  record("start_to_active", "s", (endMs - beganMs) / 1_000);
  record("submit_to_active", "s", (endMs - submittedMs) / 1_000);
  record("daemon_reloads", "reloads", await reloads(lab, since));
  record("cpu_per_unit", "ms", ((await daemonCpuMs(lab)) - cpuBefore) / count);
  context.note(`${count} units: ${seconds.toFixed(2)} s, a script alone ${script.toFixed(2)} s`);
  if (count >= STOPPED) {
    const stopped = names.slice(0, STOPPED);
    const stopMs = performance.now();
    await fleetctl(lab, "stop", ...stopped);
    await fleetctl(lab, "destroy", ...stopped);
    const value = (performance.now() - stopMs) / 1_000;
    context.record({ name: "agent.stop_900_s", unit: "s", value });
  }
  await fleetctl(lab, "destroy", ...names.slice(count >= STOPPED ? STOPPED : 0));
}

/** Seconds that a script over D-Bus takes for as many units, without its own start; they are gone afterwards. */
async function scriptAlone(lab: Lab, count: number): Promise<number> {
  const seconds = Number(await shell(lab, `node /opt/app/bench/start-inside.ts ${count}`));
  await cleanUp(lab);
  return seconds;
}

/** The same by shell and systemctl, which reads all units anew in between. */
async function systemctlAlone(lab: Lab, count: number): Promise<number> {
  const write = `mkdir -p /run/alone; cd /run/alone; for i in $(seq ${count}); do printf '[Unit]\\nDescription=alone-'$i'\\n[Service]\\nExecStart=/bin/sleep infinity\\n' >alone-$i.service; done; systemctl link --runtime /run/alone/*.service 2>/dev/null; systemctl start $(ls)`;
  const beganMs = performance.now();
  await shell(lab, write);
  const seconds = (performance.now() - beganMs) / 1_000;
  await cleanUp(lab);
  return seconds;
}

/** When the agent wrote the first of the units, in Unix milliseconds: the script's clock starts where it does the same. */
async function firstLoadMs(lab: Lab, names: readonly string[]): Promise<number> {
  const list = await shell(lab, "cd /run/fleet/units && find . -type f -printf '%f %T@\\n'");
  const loaded = new Set(names);
  const times = list
    .trim()
    .split("\n")
    .map((line) => line.split(" "))
    .flatMap(([name = "", seconds]) => (loaded.has(name) ? [Number(seconds) * 1_000] : []));
  return Math.min(...times);
}

async function cleanUp(lab: Lab): Promise<void> {
  await shell(
    lab,
    "cd /run/alone; systemctl stop *; rm -r /run/alone /run/systemd/system/alone-*; systemctl daemon-reload",
  );
  await pause(1_000);
}

async function reloads(lab: Lab, sinceMs: number): Promise<number> {
  const text = await lab.journal(1, "-o", "cat", `--since=@${sinceMs / 1_000}`, "_PID=1");
  return text.split("\n").filter((line) => line.startsWith("Reloading")).length;
}

async function daemonCpuMs(lab: Lab): Promise<number> {
  const nanoseconds = await shell(lab, "systemctl show -P CPUUsageNSec fleetd-ts");
  return Number(nanoseconds) / 1e6;
}

async function shell(lab: Lab, script: string): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(1, "sh", "-c", script);
  if (code !== 0) throw new Error(`${script} ended with ${code}: ${stderr}`);
  return stdout;
}
