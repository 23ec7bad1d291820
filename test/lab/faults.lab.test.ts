import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { Lab } from "../support/lab.ts";
import {
  daemonPid,
  destroyAll,
  lastEntry,
  registryAgrees,
  runEachOnce,
  sleeper,
  startUnits,
  unitJournal,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 2, settings: { agent_ttl: "10s", boot_grace: "2s" } });
const FENCED = sleeper("TimeoutStopSec=1s\n[X-Fleet]\nFencing=strict\n");
const UNITS = ["fenced.service", "one.service", "two.service"];
/** A busy host may start a daemon anew only after the fence had to fall. */
const UNFENCED = UNITS.slice(1);

afterEach(() => destroyAll(fixture.lab));

async function startAll(lab: Lab): Promise<void> {
  await startUnits(lab, {
    "fenced.service": FENCED,
    "one.service": sleeper(),
    "two.service": sleeper("[Install]\nWantedBy=multi-user.target\n"),
  });
  await registryAgrees(lab, UNITS);
}

async function shell(lab: Lab, machine: number, script: string): Promise<void> {
  const { code, stdout, stderr } = await lab.exec(machine, "sh", "-c", script);
  assert.equal(code, 0, `${script} on m${machine}: ${stdout}${stderr}`);
}

/** What the fault leaves has to work as well: a unit that is new starts on either machine. */
async function worksAgain(lab: Lab, before: unknown): Promise<void> {
  for (const machine of lab.machines) {
    const id = await lab.machineId(machine);
    await startUnits(lab, { [`new${machine}.service`]: sleeper(`[X-Fleet]\nMachineID=${id}\n`) });
  }
  assert.deepEqual(await unitsOn(lab, UNITS), before);
  await registryAgrees(lab, [...UNITS, "new1.service", "new2.service"]);
}

for (const { name, command } of [
  { name: "the D-Bus daemon restarted", command: "systemctl restart dbus.service" },
  { name: "systemd re-executed", command: "systemctl daemon-reexec" },
  { name: "journald restarted", command: "systemctl restart systemd-journald.service" },
]) {
  test(`with ${name} all units keep their pids, and new ones start`, async () => {
    const { lab } = fixture;
    await startAll(lab);
    const before = await unitsOn(lab, UNITS);
    for (const machine of lab.machines) await shell(lab, machine, command);
    await worksAgain(lab, before);
  });
}

test("a daemon killed as soon as it has written a unit's file runs the unit once, and leaves the others alone", async () => {
  const { lab } = fixture;
  await startAll(lab);
  const before = await unitsOn(lab, UNFENCED);
  const id = await lab.machineId(1);
  for (const unit of ["late1.service", "late2.service", "late3.service"]) {
    const pid = await daemonPid(lab, 1);
    // Faster than the daemon can ask systemd for anything.
    const watch = `until [ -e /run/fleet/units/${unit} ]; do :; done; kill -KILL ${pid}`;
    const killed = lab.exec(1, "timeout", "60", "bash", "-c", watch);
    await lab.unitFile(unit, sleeper(`[X-Fleet]\nMachineID=${id}\n`));
    assert.equal((await lab.fleetctlAt(2, "start", "--no-block", unit)).code, 0);
    assert.equal((await killed).code, 0);
    await runEachOnce(lab, [unit], { machines: [1], deadlineMs: 90_000 });
    // The unit may be there before the next daemon is.
    await daemonPid(lab, 1, pid);
    const ups = (await unitJournal(lab, 1, unit)).filter(({ text }) => text === "up");
    assert.equal(ups.length, 1);
  }
  assert.deepEqual(await unitsOn(lab, UNFENCED), before);
  await registryAgrees(lab, UNITS);
});

test("with /run full a unit that cannot be written says so and starts when there is room; what is not fenced runs on", async () => {
  const { lab } = fixture;
  await startAll(lab);
  // The fence itself cannot be renewed there, so it falls.
  const before = await unitsOn(lab, UNFENCED);
  const fill =
    "mount -o remount,size=$(($(df -k --output=used /run | tail -1) + 64))k /run; dd if=/dev/zero of=/run/.filled 2>/dev/null; true";
  await shell(lab, 1, fill);
  const id = await lab.machineId(1);
  await lab.unitFile("late.service", sleeper(`[X-Fleet]\nMachineID=${id}\n`));
  const { code, stderr } = await lab.fleetctlAt(2, "start", "--timeout", "5", "late.service");
  assert.notEqual(code, 0);
  assert.match(stderr, /late\.service/);
  assert.deepEqual(await unitsOn(lab, UNFENCED), before);
  await shell(lab, 1, "rm /run/.filled; mount -o remount,size=256m /run");
  await runEachOnce(lab, ["late.service"], { machines: [1], deadlineMs: 90_000 });
  await runEachOnce(lab, ["fenced.service"], { deadlineMs: 90_000 });
  assert.deepEqual(await unitsOn(lab, UNFENCED), before);
});

test("with /var full all units keep their pids, new ones start, and the daemon can be restarted", async () => {
  const { lab } = fixture;
  await startAll(lab);
  const before = await unitsOn(lab, UNITS);
  const state = "/var/lib/fleet-ts";
  await shell(
    lab,
    1,
    `cp -a ${state} /run/saved; mount -t tmpfs -o size=64k tmpfs ${state}; cp -a /run/saved/. ${state}; dd if=/dev/zero of=${state}/filled 2>/dev/null; true`,
  );
  await worksAgain(lab, before);
  const unfenced = await unitsOn(lab, UNFENCED);
  await lab.daemon(1, "restart");
  assert.deepEqual(await unitsOn(lab, UNFENCED), unfenced);
  await registryAgrees(lab, UNITS);
  await shell(
    lab,
    1,
    `rm ${state}/filled; cp -a ${state}/. /run/saved; umount ${state}; cp -a /run/saved/. ${state}`,
  );
  await lab.daemon(1, "restart");
  await registryAgrees(lab, UNITS);
  assert.deepEqual(await unitsOn(lab, UNFENCED), unfenced);
});

test("a machine with a fenced unit and a socket hands over at shutdown without waiting for a time limit", async () => {
  const { lab } = fixture;
  await startUnits(lab, {
    "fenced.service": FENCED,
    "door.service": `${sleeper()}[X-Fleet]\nMachineOf=fenced.service\n`,
  });
  await lab.fleetctl("stop", "door.service");
  await startUnits(lab, {
    "door.socket": "[Socket]\nListenStream=/run/door.sock\n[X-Fleet]\nMachineOf=fenced.service\n",
  });
  const [from = 0] = (await runEachOnce(lab, ["fenced.service"]))["fenced.service"] ?? [];
  const to = from === 1 ? 2 : 1;
  const beganMs = performance.now();
  await lab.poweroff(from);
  const tookMs = performance.now() - beganMs;
  // systemd's own limits are at 90 s.
  assert.ok(tookMs < 60_000, `off after ${Math.round(tookMs)} ms`);
  await runEachOnce(lab, ["fenced.service", "door.socket"], { machines: [to] });
  const stopped = await lastEntry(lab, { machine: from, unit: "fenced.service", text: "Stopped" });
  const started = await lastEntry(lab, { machine: to, unit: "fenced.service", text: "Start" });
  assert.ok(started.atUs > stopped.atUs);
  await lab.start(from);
  await lab.waitFor({
    what: "both machines are present",
    deadlineMs: 60_000,
    look: () => lab.presentMachines(to),
    until: (present) => present.length === 2,
  });
});
