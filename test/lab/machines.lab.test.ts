import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import {
  destroyAll,
  lastEntry,
  leftovers,
  places,
  property,
  registryAgrees,
  runEachOnce,
  runsOn,
  sleeper,
  startUnits,
  unitJournal,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const SETTINGS = { agent_ttl: "3s", boot_grace: "5s" };
const fixture = useLab({ machines: 3, settings: SETTINGS });
const UNITS = ["u@1.service", "u@2.service", "u@3.service", "u@4.service", "u@5.service"];

afterEach(() => destroyAll(fixture.lab));

async function startFive(text = sleeper()): Promise<Readonly<Record<string, readonly number[]>>> {
  const { lab } = fixture;
  await lab.unitFile("u@.service", text);
  const { code, stderr } = await lab.fleetctl("start", ...UNITS);
  assert.equal(code, 0, stderr);
  return runEachOnce(lab, UNITS);
}

function heldBy(where: Readonly<Record<string, readonly number[]>>, machine: number) {
  return Object.keys(where).filter((unit) => where[unit]?.includes(machine));
}

async function allPresent(at = 1): Promise<void> {
  const { lab } = fixture;
  await lab.waitFor({
    what: `m${at} lists all machines`,
    deadlineMs: 60_000,
    look: () => lab.presentMachines(at),
    until: (present) => present.length === lab.size,
  });
}

test("V8: a killed machine's units move, nothing else does; it comes back clean, and nothing moves back", async () => {
  const { lab } = fixture;
  const where = await startFive();
  const pin = sleeper(`[X-Fleet]\nMachineID=${await lab.machineId(3)}\n`);
  await startUnits(lab, { "pin.service": pin, "all.service": sleeper("[X-Fleet]\nGlobal=true\n") });
  const others = UNITS.filter((unit) => !where[unit]?.includes(3));
  const before = await unitsOn(lab, [...others, "all.service"], [1, 2]);
  await lab.kill(3);
  await runEachOnce(lab, UNITS, { machines: [1, 2] });
  const reason = await lab.fleetctl("list-unit-files", "--no-legend", "--fields", "unit,reason");
  assert.match(reason.stdout, /^pin\.service\s+its machine .* is lost and no other can take it/m);
  const moved = await unitsOn(lab, UNITS, [1, 2]);
  await lab.start(3);
  await allPresent();
  await runEachOnce(lab, ["pin.service"], { machines: [3] });
  await lab.waitFor({
    what: "the global unit runs on m3",
    deadlineMs: 30_000,
    look: () => runsOn(lab, "all.service"),
    until: (on) => on.join() === "1,2,3",
  });
  assert.deepEqual(await unitsOn(lab, UNITS), moved);
  assert.deepEqual(await unitsOn(lab, [...others, "all.service"], [1, 2]), before);
  const files = (await leftovers(lab, 3)).filter((path) => /\/u@/.test(path));
  assert.deepEqual(files, []);
  await registryAgrees(lab, [...UNITS, "pin.service", "all.service"]);
});

test("V9: systemctl stop fleetd-ts hands units over: each starts elsewhere right after it has stopped, and what fits nowhere else returns", async () => {
  const { lab } = fixture;
  const where = await startFive(sleeper("ExecStop=/bin/sleep 0.5\nExecStopPost=/bin/echo over\n"));
  const pin = sleeper(`[X-Fleet]\nMachineID=${await lab.machineId(2)}\n`);
  await startUnits(lab, { "pin.service": pin });
  const mine = heldBy(where, 2);
  assert.notDeepEqual(mine, []);
  const others = UNITS.filter((unit) => !mine.includes(unit));
  const before = await unitsOn(lab, others);
  await lab.daemon(2, "stop");
  // The stop is over: the machine has nothing any more and is not present.
  assert.deepEqual(await unitsOn(lab, [...mine, "pin.service"], [2]), []);
  const id = await lab.machineId(2);
  await lab.waitFor({
    what: "m2 is away",
    deadlineMs: 10_000,
    look: () => lab.presentMachines(1),
    until: (present) => !present.includes(id),
  });
  const now = await runEachOnce(lab, mine, { machines: [1, 3] });
  for (const unit of mine) {
    const over = (await unitJournal(lab, 2, unit)).findLast(({ text }) => text === "over");
    const machine = now[unit]?.[0] ?? 0;
    const up = (await unitJournal(lab, machine, unit)).findLast(({ text }) => text === "up");
    assert.ok(over && up);
    assert.ok(up.atUs > over.atUs, `${unit} began before it had stopped`);
    // Without waiting for a time-out: the ttl is 3 s.
    assert.ok(up.atUs - over.atUs < 2_500_000, `${unit}: ${up.atUs - over.atUs} us without a copy`);
  }
  assert.deepEqual(await unitsOn(lab, others), before);
  await lab.daemon(2, "start");
  await allPresent();
  await runEachOnce(lab, ["pin.service"], { machines: [2] });
  assert.deepEqual(await places(lab, mine), now, "nothing moves back");
});

test("poweroff hands units over: each stops before its copy starts, without waiting for the ttl", async () => {
  const { lab } = fixture;
  const where = await startFive(sleeper("ExecStopPost=/bin/echo over\n"));
  const mine = heldBy(where, 3);
  assert.notDeepEqual(mine, []);
  await lab.poweroff(3);
  const now = await runEachOnce(lab, mine, { machines: [1, 2] });
  for (const unit of mine) {
    const stopped = await lastEntry(lab, { machine: 3, unit, text: "Stopped" });
    const machine = now[unit]?.[0] ?? 0;
    const up = (await unitJournal(lab, machine, unit)).findLast(({ text }) => text === "up");
    assert.ok(up && up.atUs > stopped.atUs, `${unit} began before it had stopped`);
    assert.ok(up.atUs - stopped.atUs < 2_500_000, `${unit}: ${up.atUs - stopped.atUs} us`);
  }
  await lab.start(3);
  await allPresent();
  assert.deepEqual(await places(lab, UNITS), { ...where, ...now });
});

test("F7 TestDynamicClusterMemberReboot: a machine that is shut down and booted at once does not double its units", async () => {
  const { lab } = fixture;
  const where = await startFive();
  const stay = UNITS.filter((unit) => !where[unit]?.includes(1));
  const before = await unitsOn(lab, stay);
  await lab.poweroff(1);
  await lab.start(1);
  await allPresent(2);
  await runEachOnce(lab, UNITS);
  assert.deepEqual(await unitsOn(lab, stay), before);
});

async function isAttached(machine: number): Promise<void> {
  const { lab } = fixture;
  await lab.waitFor({
    what: `m${machine}'s daemon is in the cluster`,
    deadlineMs: 60_000,
    look: () => property(lab, { machine, unit: "fleetd-ts.service", name: "StatusText" }),
    until: (text) => text.endsWith("registry answers"),
  });
}

async function configureAll(settings: Readonly<Record<string, string>>): Promise<void> {
  await Promise.all(
    fixture.lab.machines.map((machine) => fixture.lab.configure(machine, settings)),
  );
  // Until then it is the daemon before that keeps a machine present, and for the rest of its lease only.
  for (const machine of fixture.lab.machines) await isAttached(machine);
  await allPresent();
}

test("after a power cut of everything all units come back where they were, once each, also on a machine that boots later than the others", async (t) => {
  const { lab } = fixture;
  // For as long as the last machine may take on a busy host.
  await configureAll({ ...SETTINGS, boot_grace: "120s" });
  t.after(() => configureAll(SETTINGS));
  const where = await startFive();
  const late = heldBy(where, 3);
  assert.notDeepEqual(late, []);
  await startUnits(lab, { "all.service": sleeper("[X-Fleet]\nGlobal=true\n") });
  await Promise.all(lab.machines.map((machine) => lab.kill(machine)));
  await Promise.all([1, 2].map((machine) => lab.start(machine)));
  await lab.waitFor({
    what: "an engine misses m3 and holds back",
    deadlineMs: 60_000,
    look: async () =>
      (await lab.fleetctlAt(1, "list-unit-files", "--fields", "unit,reason")).stdout,
    until: (text) =>
      late.every((unit) => new RegExp(`^${unit}\\s+its machine .* is away`, "m").test(text)),
  });
  await runEachOnce(
    lab,
    UNITS.filter((unit) => !late.includes(unit)),
    { machines: [1, 2] },
  );
  await lab.start(3);
  for (const machine of lab.machines) await allPresent(machine);
  assert.deepEqual(await runEachOnce(lab, UNITS, { deadlineMs: 60_000 }), where);
  await lab.waitFor({
    what: "the global unit runs everywhere",
    deadlineMs: 30_000,
    look: () => runsOn(lab, "all.service"),
    until: (on) => on.join() === "1,2,3",
  });
  await registryAgrees(lab, [...UNITS, "all.service"]);
});

test("two of three machines cut off together, the leader among them, are not given up at once", async () => {
  const { lab } = fixture;
  const where = await startFive();
  const { leader } = (await lab.api(1, "/fleet/v2/cluster")) as { leader: string };
  // The next leader finds both gone. One that stays would see them go up to ttl/3 apart.
  const stays = leader === (await lab.machineId(1)) ? 2 : 1;
  const cut = lab.machines.filter((machine) => machine !== stays);
  const mine = heldBy(where, stays);
  const before = await unitsOn(lab, mine, [stays]);
  await Promise.all(cut.map((machine) => lab.partition(machine)));
  await lab.waitFor({
    what: `m${stays} misses both and says that it holds back`,
    deadlineMs: 40_000,
    look: async () =>
      (await lab.fleetctlAt(stays, "list-unit-files", "--fields", "unit,reason")).stdout,
    until: (text) => /is away together with most others/.test(text),
  });
  assert.deepEqual(await places(lab, UNITS), where, "all run on, none is doubled");
  await Promise.all(cut.map((machine) => lab.heal(machine)));
  for (const machine of lab.machines) await allPresent(machine);
  await runEachOnce(lab, UNITS);
  assert.deepEqual(await unitsOn(lab, mine, [stays]), before);
  await registryAgrees(lab, UNITS);
});

test("a machine cut off beyond its ttl keeps its units running and gives them back when the copies are up", async () => {
  const { lab } = fixture;
  const where = await startFive();
  const mine = heldBy(where, 2);
  const before = await unitsOn(lab, mine, [2]);
  await lab.partition(2);
  await lab.waitFor({
    what: "its units run elsewhere as well",
    deadlineMs: 40_000,
    look: async () => Promise.all(mine.map((unit) => runsOn(lab, unit))),
    until: (all) => all.every((on) => on.length === 2),
  });
  assert.deepEqual(await unitsOn(lab, mine, [2]), before);
  await lab.heal(2);
  await runEachOnce(lab, mine, { machines: [1, 3] });
  await allPresent(2);
});

test("F17 TestDetectMachineId: a second machine with the same machine id is refused, with both addresses; the first is not disturbed", async () => {
  const { lab } = fixture;
  const own = await lab.machineId(3);
  await lab.poweroff(3);
  await lab.writeFile(3, "/etc/machine-id", `${await lab.machineId(2)}\n`);
  const where = await startFive();
  const before = await unitsOn(lab, UNITS, [1, 2]);
  await lab.start(3);
  const look = (name: string) => property(lab, { machine: 3, unit: "fleetd-ts.service", name });
  await lab.waitFor({
    what: "its daemon has ended for good",
    deadlineMs: 60_000,
    look: () => look("ActiveState"),
    until: (state) => state === "failed",
  });
  assert.equal(await look("ExecMainStatus"), "65");
  const journal = await lab.exec(3, "journalctl", "-u", "fleetd-ts", "-o", "cat", "--no-pager");
  assert.ok(journal.stdout.includes(await lab.address(2)), journal.stdout);
  assert.ok(journal.stdout.includes(await lab.address(3)), journal.stdout);
  assert.deepEqual(await unitsOn(lab, UNITS, [1, 2]), before);
  assert.deepEqual(await places(lab, UNITS), where);
  assert.equal((await lab.presentMachines(1)).length, 2);
  assert.equal(
    await property(lab, { machine: 2, unit: "fleetd-ts.service", name: "NRestarts" }),
    "0",
  );
  await lab.poweroff(3);
  await lab.writeFile(3, "/etc/machine-id", `${own}\n`);
  await lab.start(3);
  await allPresent();
});
