import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { Lab } from "../support/lab.ts";
import {
  destroyAll,
  property,
  registryAgrees,
  runEachOnce,
  runsOn,
  signalDaemon,
  sleeper,
  startUnits,
  unitJournal,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 3, settings: { agent_ttl: "8s", boot_grace: "5s" } });
const DAEMON = "fleetd-ts.service";

afterEach(() => destroyAll(fixture.lab));

/** One of each kind: what restarts by itself, what is done, what is everywhere, what a timer starts. */
async function startAllKinds(lab: Lab): Promise<readonly string[]> {
  return startUnits(lab, {
    "a.service": sleeper("Restart=always\n"),
    "b.service": sleeper(),
    "c.service": sleeper("[Install]\nWantedBy=multi-user.target\n"),
    "everywhere.service": sleeper("[X-Fleet]\nGlobal=true\n"),
    "once.service": "[Service]\nType=oneshot\nExecStart=/bin/echo once was here\n",
    "left.service":
      "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/echo left was here\n",
    "rare.timer": "[Timer]\nOnActiveSec=1h\nUnit=b.service\n[X-Fleet]\nMachineOf=b.service\n",
  });
}

async function linesSaid(lab: Lab, text: string, units: readonly string[]): Promise<number> {
  const entries = await Promise.all(
    lab.machines.flatMap((machine) => units.map((unit) => unitJournal(lab, machine, unit))),
  );
  return entries.flat().filter((entry) => entry.text === text).length;
}

async function untilDaemonIsAnother(lab: Lab, machine: number, oldPid: string): Promise<void> {
  await lab.waitFor({
    what: `another fleetd-ts runs on m${machine} and lists all machines`,
    deadlineMs: 40_000,
    look: async () => ({
      pid: await property(lab, { machine, unit: DAEMON, name: "MainPID" }),
      present: (await lab.presentMachines(machine)).length,
    }),
    until: ({ pid, present }) => pid !== oldPid && pid !== "0" && present === lab.size,
  });
}

test("killing and restarting every daemon stops, starts and restarts nothing", async () => {
  const { lab } = fixture;
  const units = await startAllKinds(lab);
  const before = await unitsOn(lab, units);
  assert.equal(before.length, 6 + lab.size);
  for (const machine of lab.machines) {
    for (const end of ["kill -9", "restart"] as const) {
      const oldPid = await property(lab, { machine, unit: DAEMON, name: "MainPID" });
      await (end === "restart" ? lab.daemon(machine, "restart") : lab.killDaemon(machine));
      await untilDaemonIsAnother(lab, machine, oldPid);
      assert.deepEqual(await unitsOn(lab, units), before, `${end} on m${machine}`);
    }
  }
  await registryAgrees(lab, ["a.service", "b.service", "everywhere.service"]);
  // The new daemons are in charge: a command works on what the old ones started.
  assert.equal((await lab.fleetctl("stop", "a.service")).code, 0);
  assert.deepEqual(await runsOn(lab, "a.service"), []);
  assert.equal(await linesSaid(lab, "once was here", ["once.service"]), 1);
  assert.equal(await linesSaid(lab, "left was here", ["left.service"]), 1);
  const rest = units.filter((unit) => unit !== "a.service");
  assert.deepEqual(
    await unitsOn(lab, rest),
    before.filter(({ unit }) => unit !== "a.service"),
  );
});

test("a unit that stopped by itself while the daemon was down is not started again", async () => {
  const { lab } = fixture;
  await startUnits(lab, {
    "short.service": "[Service]\nExecStart=/bin/sh -c 'echo ran; exec sleep infinity'\n",
  });
  const [machine = 0] = await runsOn(lab, "short.service");
  await signalDaemon(lab, machine, "STOP");
  await lab.exec(machine, "systemctl", "kill", "short.service");
  await lab.killDaemon(machine);
  await lab.waitFor({
    what: "the registry says that it has ended",
    deadlineMs: 30_000,
    look: async () => (await lab.fleetctl("list-units", "--no-legend")).stdout,
    until: (text) => /short\.service.*(inactive|failed)/.test(text),
  });
  assert.equal(await linesSaid(lab, "ran", ["short.service"]), 1);
});

/** With the daemon of one machine silent beyond its ttl: its units are started elsewhere, and end there only when replaced. */
async function handedBack(
  lab: Lab,
  how: {
    readonly silence: (m: number) => Promise<void>;
    readonly back: (m: number) => Promise<void>;
  },
): Promise<void> {
  await lab.unitFile("u@.service", sleeper());
  const units = ["u@1.service", "u@2.service", "u@3.service", "u@4.service"];
  assert.equal((await lab.fleetctl("start", ...units)).code, 0);
  const pin = sleeper(`[X-Fleet]\nMachineID=${await lab.machineId(3)}\n`);
  await startUnits(lab, { "pin.service": pin, "all.service": sleeper("[X-Fleet]\nGlobal=true\n") });
  const machine = 3;
  const before = await unitsOn(lab, [...units, "pin.service", "all.service"]);
  const moving = before
    .filter((one) => one.machine === machine && one.unit.startsWith("u@"))
    .map(({ unit }) => unit);
  assert.notDeepEqual(moving, []);
  await how.silence(machine);
  await runEachOnceMoreElsewhere(lab, moving, machine);
  // Nothing of what was there has stopped.
  assert.deepEqual(
    await unitsOn(lab, [...units, "pin.service", "all.service"], [machine]),
    before.filter((one) => one.machine === machine),
  );
  const copies = await unitsOn(
    lab,
    moving,
    lab.machines.filter((m) => m !== machine),
  );
  await how.back(machine);
  await runEachOnce(lab, moving, { machines: [1, 2] });
  assert.deepEqual(await unitsOn(lab, moving, [1, 2]), copies, "the new copies were left alone");
  for (const unit of moving) {
    const stopped = (await unitJournal(lab, machine, unit)).find(
      (entry) => entry.bySystemd && entry.text.startsWith("Stopping"),
    );
    const copy = copies.find((one) => one.unit === unit);
    const up = (await unitJournal(lab, copy?.machine ?? 0, unit)).find(({ text }) => text === "up");
    assert.ok(stopped && up && up.atUs < stopped.atUs, `${unit} ended before its copy was up`);
  }
  const kept = before.filter((one) => !moving.includes(one.unit));
  const names = [...new Set(kept.map(({ unit }) => unit))];
  assert.deepEqual(await unitsOn(lab, names), kept, "what stayed was not touched");
}

async function runEachOnceMoreElsewhere(
  lab: Lab,
  units: readonly string[],
  machine: number,
): Promise<void> {
  await lab.waitFor({
    what: `${units.join(", ")} run on m${machine} and once elsewhere`,
    deadlineMs: 40_000,
    look: async () => Promise.all(units.map((unit) => runsOn(lab, unit))),
    until: (all) => all.every((on) => on.length === 2 && on.includes(machine)),
  });
}

test("units of a machine whose daemon is dead beyond its ttl run on, are started elsewhere, and end there after that", async () => {
  await handedBack(fixture.lab, {
    silence: async (machine) => {
      const { lab } = fixture;
      const dropIn = "/run/systemd/system/fleetd-ts.service.d/stay-dead.conf";
      const text = `mkdir -p ${dropIn.replace(/[^/]*$/, "")}; printf '[Service]\\nRestart=no\\n' > ${dropIn}`;
      await lab.exec(machine, "sh", "-c", text);
      await lab.exec(machine, "systemctl", "daemon-reload");
      await lab.killDaemon(machine);
    },
    back: async (machine) => {
      const { lab } = fixture;
      await lab.exec(machine, "rm", "-r", "/run/systemd/system/fleetd-ts.service.d");
      await lab.exec(machine, "systemctl", "daemon-reload");
      await lab.daemon(machine, "start");
    },
  });
});

test("likewise with the daemon frozen beyond its ttl and continued", async () => {
  const { lab } = fixture;
  await handedBack(lab, {
    silence: (machine) => signalDaemon(lab, machine, "STOP"),
    back: (machine) => signalDaemon(lab, machine, "CONT"),
  });
});

test("with all daemons killed at once and the leader among them nothing moves", async () => {
  const { lab } = fixture;
  const units = await startAllKinds(lab);
  const before = await unitsOn(lab, units);
  const pids = await Promise.all(
    lab.machines.map((machine) => property(lab, { machine, unit: DAEMON, name: "MainPID" })),
  );
  await Promise.all(lab.machines.map((machine) => lab.killDaemon(machine)));
  for (const machine of lab.machines) {
    await untilDaemonIsAnother(lab, machine, pids[machine - 1] ?? "");
  }
  await startUnits(lab, { "new.service": sleeper() });
  assert.deepEqual(await unitsOn(lab, units), before);
});
