import assert from "node:assert/strict";
import type { Lab } from "./lab.ts";

/** One unit on one machine, as `systemctl show` there says. */
export interface MachineUnit {
  readonly machine: number;
  readonly unit: string;
  readonly active: string;
  readonly sub: string;
  readonly mainPid: number;
  /** Changes with every start. */
  readonly invocation: string;
  readonly restarts: number;
  readonly fragment: string;
  /** Microseconds of the clock that all machines of a lab share; 0 before the first time. */
  readonly activeSinceUs: number;
}

const PROPERTIES =
  "Id,LoadState,ActiveState,SubState,MainPID,InvocationID,NRestarts,FragmentPath,ActiveEnterTimestampMonotonic";

/** These units on these machines (all that are on), in order of unit, then machine; without those that systemd has no file of. */
export async function unitsOn(
  lab: Lab,
  units: readonly string[],
  machines: readonly number[] = lab.machines,
): Promise<readonly MachineUnit[]> {
  const found = await Promise.all(machines.map((machine) => shown(lab, machine, units)));
  return found.flat().sort((a, b) => compare(a.unit, b.unit) || a.machine - b.machine);
}

async function shown(
  lab: Lab,
  machine: number,
  units: readonly string[],
): Promise<readonly MachineUnit[]> {
  const { code, stdout, stderr } = await lab.exec(
    machine,
    ...["systemctl", "show", "-p", PROPERTIES, ...units],
  );
  if (code !== 0 && stderr.includes("is off")) return [];
  if (code !== 0) throw new Error(`systemctl show on m${machine} ended with ${code}: ${stderr}`);
  return stdout
    .trim()
    .split("\n\n")
    .map((block) => new Map(block.split("\n").map((line) => splitAt(line, "="))))
    .filter((values) => values.get("LoadState") !== "not-found")
    .map((values) => ({
      machine,
      unit: values.get("Id") ?? "",
      active: values.get("ActiveState") ?? "",
      sub: values.get("SubState") ?? "",
      mainPid: Number(values.get("MainPID")),
      invocation: values.get("InvocationID") ?? "",
      restarts: Number(values.get("NRestarts")),
      fragment: values.get("FragmentPath") ?? "",
      activeSinceUs: Number(values.get("ActiveEnterTimestampMonotonic")),
    }));
}

/** The machines on which a unit runs, in order. */
export async function runsOn(lab: Lab, unit: string): Promise<readonly number[]> {
  const found = await unitsOn(lab, [unit]);
  return found.filter(({ active }) => active === "active").map(({ machine }) => machine);
}

/** Where each of the units runs, as systemd has it: `{ "a.service": [1], "b.service": [2] }`. */
export async function places(
  lab: Lab,
  units: readonly string[],
): Promise<Readonly<Record<string, readonly number[]>>> {
  const found = await unitsOn(lab, units);
  const on = (unit: string) =>
    found.filter((one) => one.unit === unit && one.active === "active").map((one) => one.machine);
  return Object.fromEntries(units.map((unit) => [unit, on(unit)]));
}

/** Waits until each of the units runs once, on one of these machines, and gives where. */
export async function runEachOnce(
  lab: Lab,
  units: readonly string[],
  options: { readonly machines?: readonly number[]; readonly deadlineMs?: number } = {},
): Promise<Readonly<Record<string, readonly number[]>>> {
  const machines = options.machines ?? lab.machines;
  return lab.waitFor({
    what: `${units.join(", ")} run once each, on ${machines.map((m) => `m${m}`).join(", ")}`,
    deadlineMs: options.deadlineMs ?? 40_000,
    look: () => places(lab, units),
    until: (seen) =>
      Object.values(seen).every((on) => on.length === 1 && on.every((m) => machines.includes(m))),
  });
}

/** Waits until the registry says of each unit, on one machine, that it is active. Nothing of the client is measured by it. */
export async function registryAgrees(lab: Lab, units: readonly string[], at = 1): Promise<void> {
  await lab.waitFor({
    what: `list-units on m${at} agrees with the machines on ${units.join(", ")}`,
    deadlineMs: 40_000,
    look: async () => {
      const found = await unitsOn(lab, units);
      const ids = await Promise.all(lab.machines.map((machine) => lab.machineId(machine)));
      const real = found.map((one) => `${one.unit} ${ids[one.machine - 1]} ${one.mainPid}`);
      const body = (await lab.api(at, "/fleet/v2/units")) as {
        units: { name: string; states: { machineId: string; mainPid: number }[] }[];
      };
      const listed = body.units
        .filter(({ name }) => units.includes(name))
        .flatMap(({ name, states }) =>
          states.map((state) => `${name} ${state.machineId} ${state.mainPid}`),
        );
      return { real: real.sort(), listed: listed.sort() };
    },
    until: ({ real, listed }) => real.length > 0 && real.join() === listed.join(),
  });
}

/** A journal entry: when (microseconds of the shared clock) and what. */
export interface Entry {
  readonly atUs: number;
  readonly text: string;
  readonly bySystemd: boolean;
}

/** What a unit and systemd said of it on a machine, all boots, oldest first. Readable with the machine off. */
export async function unitJournal(
  lab: Lab,
  machine: number,
  unit: string,
): Promise<readonly Entry[]> {
  const lines = await lab.journal(machine, "-u", unit, "-o", "json");
  return lines
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const entry = JSON.parse(line) as Record<string, string>;
      return {
        atUs: Number(entry["__REALTIME_TIMESTAMP"]),
        text: entry["MESSAGE"] ?? "",
        bySystemd: entry["_PID"] === "1",
      };
    });
}

/** The last entry of systemd that begins with the text; fails where there is none. */
export async function lastEntry(
  lab: Lab,
  options: { readonly machine: number; readonly unit: string; readonly text: string },
): Promise<Entry> {
  const { machine, unit, text } = options;
  const found = await lab.waitFor({
    what: `systemd on m${machine} says "${text}" of ${unit}`,
    deadlineMs: 20_000,
    look: async () =>
      (await unitJournal(lab, machine, unit)).filter(
        (entry) => entry.bySystemd && entry.text.startsWith(text),
      ),
    until: (entries) => entries.length > 0,
  });
  const last = found.at(-1);
  assert(last !== undefined);
  return last;
}

export interface NumberedMachine {
  readonly machine: number;
  readonly id: string;
}

export async function machineIds(lab: Lab): Promise<readonly NumberedMachine[]> {
  return Promise.all(
    lab.machines.map(async (machine) => ({ machine, id: await lab.machineId(machine) })),
  );
}

/** A service that says "up", then waits; `more` goes to the end of the file. */
export function sleeper(more = ""): string {
  return `[Service]\nExecStart=/bin/sh -c 'echo up; exec sleep infinity'\n${more}`;
}

/** Puts unit files in the lab's folder and starts them with the client. */
export async function startUnits(
  lab: Lab,
  files: Readonly<Record<string, string>>,
): Promise<readonly string[]> {
  const units = Object.keys(files);
  for (const [name, text] of Object.entries(files)) await lab.unitFile(name, text);
  const { code, stdout, stderr } = await lab.fleetctl("start", ...units);
  if (code !== 0) throw new Error(`start ended with ${code}: ${stdout}${stderr}`);
  return units;
}

/** Destroys all units of the cluster and waits until no machine has any of them. */
export async function destroyAll(lab: Lab): Promise<void> {
  const { units } = (await lab.api(1, "/fleet/v2/units")) as { units: { name: string }[] };
  const names = units.map(({ name }) => name);
  if (names.length === 0) return;
  const changes = names.map((name) => ({ type: "destroy", name }));
  await lab.api(1, "/fleet/v2/apply", { changes });
  await lab.waitFor({
    what: "no machine has any of the destroyed units",
    deadlineMs: 40_000,
    look: async () => {
      const held = await unitsOn(
        lab,
        names.filter((name) => !name.includes("@.")),
      );
      return held.filter(({ fragment }) => !fragment.startsWith("/etc/"));
    },
    until: (held) => held.length === 0,
  });
}

/** What every unit's drop-in link leads to: the daemon's, not a unit's. */
const SHARED_DROP_IN = "/run/fleet/units/.after-daemon.conf";

/** Everything of units of the cluster that a machine's /run holds. */
export async function leftovers(lab: Lab, machine: number): Promise<readonly string[]> {
  const find = ["find", "/run/fleet/units", "/run/fleet/started", "/run/systemd/system"];
  const { stdout } = await lab.exec(machine, ...find, "-mindepth", "1");
  return stdout.split("\n").filter((line) => line !== "" && line !== SHARED_DROP_IN);
}

/** `systemctl show -P` of any unit. */
export async function property(
  lab: Lab,
  options: { readonly machine: number; readonly unit: string; readonly name: string },
): Promise<string> {
  const { machine, unit, name } = options;
  const { stdout } = await lab.exec(machine, "systemctl", "show", "-P", name, unit);
  return stdout.trim();
}

/** Process id of a machine's daemon, once there is one that is not `other`: between two, systemd says 0, and a signal to that is to everybody. */
export async function daemonPid(lab: Lab, machine: number, other = "0"): Promise<string> {
  return lab.waitFor({
    what: `a daemon runs on m${machine}${other === "0" ? "" : `, other than ${other}`}`,
    deadlineMs: 30_000,
    look: () => property(lab, { machine, unit: "fleetd-ts.service", name: "MainPID" }),
    until: (pid) => pid !== "0" && pid !== "" && pid !== other,
  });
}

/** kill -SIGNAL to the daemon's main process alone; systemd does not hear of it. */
export async function signalDaemon(lab: Lab, machine: number, signal: string): Promise<void> {
  const pid = await daemonPid(lab, machine);
  const { code, stderr } = await lab.exec(machine, "kill", `-${signal}`, pid);
  if (code !== 0) throw new Error(`kill -${signal} ${pid} on m${machine}: ${stderr}`);
}

function splitAt(line: string, mark: string): [string, string] {
  const at = line.indexOf(mark);
  return [line.slice(0, at), line.slice(at + 1)];
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
