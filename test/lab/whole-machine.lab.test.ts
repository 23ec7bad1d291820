import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import {
  destroyAll,
  property,
  runEachOnce,
  runsOn,
  signalDaemon,
  sleeper,
  startUnits,
  unitJournal,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 2, settings: { agent_ttl: "6s", boot_grace: "2s" } });

afterEach(() => destroyAll(fixture.lab));

async function allPresent(): Promise<void> {
  const { lab } = fixture;
  for (const machine of lab.machines) {
    await lab.waitFor({
      what: `m${machine} lists all machines`,
      deadlineMs: 60_000,
      look: () => lab.presentMachines(machine),
      until: (present) => present.length === lab.size,
    });
  }
}

test("a machine that reboots while etcd is away starts what it ran, partners in their order, but nothing fenced; etcd's return changes nothing", async () => {
  const { lab } = fixture;
  const pin = `[X-Fleet]\nMachineID=${await lab.machineId(2)}\n`;
  await startUnits(lab, {
    "first.service": sleeper(pin),
    "second.service": `[Unit]\nRequires=first.service\nAfter=first.service\n${sleeper(pin)}`,
    "all.service": sleeper("[X-Fleet]\nGlobal=true\n"),
    "vault.service": sleeper(`TimeoutStopSec=500ms\n${pin}Fencing=strict\n`),
  });
  await lab.waitFor({
    what: "m2 has noted what it is to run",
    deadlineMs: 20_000,
    look: async () => (await lab.exec(2, "cat", "/var/lib/fleet-ts/assignments")).stdout,
    until: (text) => ["first", "second", "all"].every((name) => text.includes(`${name}.service`)),
  });
  await lab.etcd("stop");
  await lab.kill(2);
  await lab.start(2);
  const started = ["first.service", "second.service", "all.service"];
  await lab.waitFor({
    what: "m2 runs what it ran",
    deadlineMs: 60_000,
    look: () => unitsOn(lab, started, [2]),
    until: (units) => units.filter(({ active }) => active === "active").length === started.length,
  });
  const before = await unitsOn(lab, started, [2]);
  assert.deepEqual(await unitsOn(lab, ["vault.service"], [2]), []);
  await lab.etcd("start");
  await allPresent();
  await runEachOnce(lab, ["vault.service"], { machines: [2], deadlineMs: 60_000 });
  assert.deepEqual(await unitsOn(lab, started, [2]), before, "neither restarted nor moved");
});

test("partners that come to a machine together are all on disk before one of them starts", async () => {
  const { lab } = fixture;
  const names = ["a", "b", "c", "d", "e", "f"].map((name) => `${name}.service`);
  for (let round = 0; round < 3; round += 1) {
    // Each needs the next: the first to start would miss it if it were not there.
    const files = names.map((name, index) => {
      const next = names[index + 1];
      const needs = next === undefined ? "" : `[Unit]\nBindsTo=${next}\nAfter=${next}\n`;
      const tie = next === undefined ? "" : `[X-Fleet]\nMachineOf=${next}\n`;
      return [name, `${needs}${sleeper(tie)}`] as const;
    });
    await startUnits(lab, Object.fromEntries(files));
    const where = await runEachOnce(lab, names);
    assert.equal(new Set(Object.values(where).flat()).size, 1);
    await destroyAll(lab);
  }
  for (const machine of lab.machines) {
    assert.doesNotMatch(await lab.journal(machine, "-o", "cat"), /[a-f]\.service.*not found/);
  }
});

test("destroy runs ExecStop, and a unit that is destroyed and submitted again and again is always found", async () => {
  const { lab } = fixture;
  const text = sleeper("ExecStop=/bin/echo stops\nExecStopPost=/bin/echo over\n");
  const rounds = 8;
  for (let round = 0; round < rounds; round += 1) {
    await lab.unitFile("again.service", text);
    const { code, stdout, stderr } = await lab.fleetctl("start", "again.service");
    assert.equal(code, 0, `${stdout}${stderr}`);
    await lab.fleetctl("destroy", "--no-block", "again.service");
  }
  await destroyAll(lab);
  const said = (await Promise.all(lab.machines.map((m) => unitJournal(lab, m, "again.service"))))
    .flat()
    .map(({ text: line }) => line);
  assert.equal(said.filter((line) => line === "stops").length, rounds);
  assert.equal(said.filter((line) => line === "over").length, rounds);
  assert.ok(!said.some((line) => /not found|No such file/i.test(line)));
});

test("systemd's watchdog starts a daemon that hangs anew, and its units run on", async () => {
  const { lab } = fixture;
  const pin = `[X-Fleet]\nMachineID=${await lab.machineId(1)}\n`;
  await startUnits(lab, { "on.service": sleeper(pin) });
  const unit = "fleetd-ts.service";
  const show = (name: string) => property(lab, { machine: 1, unit, name });
  await lab.waitFor({
    what: "the status line says role, units and registry",
    deadlineMs: 60_000,
    look: () => show("StatusText"),
    until: (text) => /^(leads|in) the cluster, 1 unit, registry answers$/.test(text),
  });
  const before = await unitsOn(lab, ["on.service"], [1]);
  const pid = await show("MainPID");
  // Sooner than the unit file has it.
  const dropIn = "/run/systemd/system/fleetd-ts.service.d";
  const script = `mkdir -p ${dropIn}; printf '[Service]\\nWatchdogSec=3\\n' >${dropIn}/soon.conf; systemctl daemon-reload; systemctl restart fleetd-ts`;
  assert.equal(await show("WatchdogUSec"), "1min");
  await lab.exec(1, "sh", "-c", script);
  await allPresent();
  const restarted = await show("MainPID");
  assert.notEqual(restarted, pid);
  await signalDaemon(lab, 1, "STOP");
  await lab.waitFor({
    what: "the daemon was killed and started",
    deadlineMs: 40_000,
    look: () => show("MainPID"),
    until: (now) => now !== restarted && now !== "0",
  });
  assert.match(await lab.journal(1, "-u", unit, "-o", "cat"), /Watchdog timeout/);
  await allPresent();
  assert.deepEqual(await unitsOn(lab, ["on.service"], [1]), before);
  assert.deepEqual(await runsOn(lab, "on.service"), [1]);
  await lab.exec(
    1,
    "sh",
    "-c",
    `rm -r ${dropIn}; systemctl daemon-reload; systemctl restart fleetd-ts`,
  );
  await allPresent();
});
