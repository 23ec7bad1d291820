import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import {
  destroyAll,
  leftovers,
  machineIds,
  places,
  runEachOnce,
  runsOn,
  sleeper,
  startUnits,
  unitJournal,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const SETTINGS = { agent_ttl: "3s" };
const fixture = useLab({ machines: 3, settings: SETTINGS });

afterEach(() => destroyAll(fixture.lab));

test("a pair joined by MachineOf= runs on one machine, also when started in the wrong order", async () => {
  const { lab } = fixture;
  await lab.unitFile("of.service", sleeper("[X-Fleet]\nMachineOf=peer.service\n"));
  await lab.unitFile("peer.service", sleeper());
  const alone = await lab.fleetctl("start", "of.service");
  assert.equal(alone.code, 1);
  assert.match(alone.stderr, /MachineOf=peer\.service is not loaded or started/);
  assert.equal((await lab.fleetctl("start", "peer.service")).code, 0);
  const where = await runEachOnce(lab, ["of.service", "peer.service"]);
  assert.deepEqual(where["of.service"], where["peer.service"]);
});

test("units with Conflicts= run apart, and the one too many says with whom it conflicts", async () => {
  const { lab } = fixture;
  await lab.unitFile("c@.service", sleeper("[X-Fleet]\nConflicts=c@*\n"));
  assert.equal((await lab.fleetctl("start", "c@1", "c@2", "c@3")).code, 0);
  const where = await runEachOnce(lab, ["c@1.service", "c@2.service", "c@3.service"]);
  assert.deepEqual(Object.values(where).flat().sort(), [1, 2, 3]);
  const fourth = await lab.fleetctl("start", "c@4");
  assert.equal(fourth.code, 1);
  assert.match(fourth.stderr, /cannot be placed: .*conflicts with c@/);
  assert.equal((await lab.fleetctl("destroy", "c@2")).code, 0);
  const moved = await runEachOnce(lab, ["c@4.service"]);
  assert.deepEqual(moved["c@4.service"], where["c@2.service"]);
});

test("a unit with Replaces= takes the place after the other has finished stopping, and the other moves", async () => {
  const { lab } = fixture;
  const slowly = "ExecStop=/bin/sleep 1\nExecStopPost=/bin/echo stopped\n";
  const [old = ""] = await startUnits(lab, { "old.service": sleeper(slowly) });
  const [machine = 0] = await runsOn(lab, old);
  const id = await lab.machineId(machine);
  // Only that machine fits.
  const text = sleeper(`[X-Fleet]\nReplaces=old.service\nMachineMetadata=hostname=m${machine}\n`);
  await startUnits(lab, { "new.service": text });
  const where = await runEachOnce(lab, ["new.service", "old.service"]);
  assert.deepEqual(where["new.service"], [machine]);
  assert.notDeepEqual(where["old.service"], [machine], `${id} keeps both`);
  const stopped = (await unitJournal(lab, machine, old)).findLast((e) => e.text === "stopped");
  const started = (await unitJournal(lab, machine, "new.service")).find((e) => e.text === "up");
  assert.ok(stopped && started && stopped.atUs < started.atUs, "I8");
});

test("a global unit runs on every machine that fits and on no other", async () => {
  const { lab } = fixture;
  await startUnits(lab, {
    "g.service": sleeper("[X-Fleet]\nGlobal=true\n"),
    "gs.service": sleeper("[X-Fleet]\nGlobal=true\nMachineMetadata=hostname=m2\n"),
  });
  assert.deepEqual(await places(lab, ["g.service", "gs.service"]), {
    "g.service": [1, 2, 3],
    "gs.service": [2],
  });
});

test("F24 TestScheduleConditionMachineID, V7: MachineMetadata= and MachineID= are kept to", async () => {
  const { lab } = fixture;
  await lab.configure(3, { ...SETTINGS, metadata: "disk=ssd" });
  await lab.waitFor({
    what: "the metadata is listed",
    deadlineMs: 30_000,
    look: async () => (await lab.fleetctl("list-machines")).stdout,
    until: (text) => text.includes("disk=ssd"),
  });
  await startUnits(lab, {
    "ssd.service": sleeper("[X-Fleet]\nMachineMetadata=disk=ssd\n"),
    "either.service": sleeper(
      "[X-Fleet]\nMachineMetadata=hostname=m9\nMachineMetadata=hostname=m2\n",
    ),
    "both.service": sleeper("[X-Fleet]\nMachineMetadata=hostname=m3\nMachineMetadata=disk=ssd\n"),
  });
  await lab.unitFile("pin@.service", sleeper("[X-Fleet]\nMachineID=%i\n"));
  const pins = await Promise.all(
    lab.machines.map(async (machine) => [`pin@${await lab.machineId(machine)}.service`, [machine]]),
  );
  const expected = {
    ...{ "ssd.service": [3], "either.service": [2], "both.service": [3] },
    ...Object.fromEntries(pins),
  };
  assert.equal((await lab.fleetctl("start", ...pins.map(([unit]) => String(unit)))).code, 0);
  assert.deepEqual(await places(lab, Object.keys(expected)), expected);
  await lab.unitFile("never.service", sleeper("[X-Fleet]\nMachineMetadata=nosuch=key\n"));
  assert.equal((await lab.fleetctl("start", "never.service")).code, 1);
  // It says nothing, which fleet passed over.
  await lab.unitFile("self.service", sleeper("[X-Fleet]\nMachineOf=self.service\n"));
  assert.equal((await lab.fleetctl("start", "self.service")).code, 2);
});

test("a host's own unit is never touched: the unit runs on a machine that lacks it, or name-taken is shown", async () => {
  const { lab } = fixture;
  const own = "[Service]\nExecStart=/bin/sleep infinity\n";
  const give = async (machine: number) => {
    await lab.writeFile(machine, "/etc/systemd/system/mine.service", own);
    await lab.exec(machine, "systemctl", "daemon-reload");
    assert.equal((await lab.exec(machine, "systemctl", "start", "mine.service")).code, 0);
  };
  await give(1);
  await give(2);
  const ours = await unitsOn(lab, ["mine.service"]);
  assert.deepEqual(
    ours.map(({ machine }) => machine),
    [1, 2],
  );
  await startUnits(lab, { "mine.service": sleeper() });
  assert.deepEqual(await runsOn(lab, "mine.service"), [1, 2, 3]);
  const [third] = await unitsOn(lab, ["mine.service"], [3]);
  assert.equal(third?.fragment, "/run/systemd/system/mine.service");
  assert.equal((await lab.fleetctl("destroy", "mine.service")).code, 0);
  assert.deepEqual(await unitsOn(lab, ["mine.service"]), ours);
  await give(3);
  const all = await unitsOn(lab, ["mine.service"]);
  const refused = await lab.fleetctl("start", "mine.service");
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /the machine has (mine\.service from elsewhere|a unit of this name of its own)/,
  );
  assert.equal((await lab.fleetctl("destroy", "mine.service")).code, 0);
  assert.deepEqual(await unitsOn(lab, ["mine.service"]), all);
  for (const machine of lab.machines) {
    await lab.exec(machine, "systemctl", "stop", "mine.service");
    await lab.exec(machine, "rm", "/etc/systemd/system/mine.service");
    await lab.exec(machine, "systemctl", "daemon-reload");
  }
});

test("a name that the host has masked counts as the host's own", async () => {
  const { lab } = fixture;
  await lab.exec(1, "ln", "-s", "/dev/null", "/etc/systemd/system/masked.service");
  await lab.exec(1, "systemctl", "daemon-reload");
  const text = sleeper(`[X-Fleet]\nMachineID=${await lab.machineId(1)}\n`);
  await lab.unitFile("masked.service", text);
  const result = await lab.fleetctl("start", "masked.service");
  assert.equal(result.code, 1);
  assert.match(result.stderr, /from elsewhere|of its own/);
  const link = await lab.exec(1, "readlink", "/etc/systemd/system/masked.service");
  assert.equal(link.stdout.trim(), "/dev/null");
  await lab.exec(1, "rm", "/etc/systemd/system/masked.service");
});

test("names of systemd's own units and of fleet-ts are refused before anything happens", async () => {
  const { lab } = fixture;
  for (const name of ["dbus.service", "systemd-journald.service", "fleetd-ts.service"]) {
    await lab.unitFile(name, sleeper());
    const result = await lab.fleetctl("start", name);
    assert.ok([1, 2].includes(result.code), `${name}: ${result.code}`);
    assert.match(result.stderr, new RegExp(name.replaceAll(".", "\\.")));
  }
  await lab.unitFile("multi-user.target", "[Unit]\nDescription=x\n");
  assert.notEqual((await lab.fleetctl("start", "multi-user.target")).code, 0);
  assert.equal((await lab.fleetctl("list-unit-files", "--no-legend")).stdout, "");
});

test("a timer runs its service, tied to it by MachineOf=, again and again", async () => {
  const { lab } = fixture;
  await startUnits(lab, {
    "job.service":
      "[Service]\nType=oneshot\nExecStart=/bin/echo done\n[X-Fleet]\nMachineOf=job.timer\n",
    "job.timer":
      "[Timer]\nOnActiveSec=1s\nAccuracySec=100ms\nOnUnitActiveSec=1s\nUnit=job.service\n",
  });
  const [machine = 0] = await runsOn(lab, "job.timer");
  await lab.waitFor({
    what: "the timer has run it three times",
    deadlineMs: 30_000,
    look: async () => (await unitJournal(lab, machine, "job.service")).map(({ text }) => text),
    until: (texts) => texts.filter((text) => text === "done").length >= 3,
  });
});

test("nothing is left on any machine", async () => {
  const { lab } = fixture;
  const ids = await machineIds(lab);
  for (const { machine, id } of ids) {
    assert.deepEqual(await leftovers(lab, machine), [], id);
    const failed = await lab.exec(machine, "systemctl", "--failed", "--no-legend");
    assert.equal(failed.stdout, "");
  }
});
