import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { makeKeys } from "../../src/registry/keys.ts";
import { Lab } from "../support/lab.ts";
import {
  destroyAll,
  property,
  registryAgrees,
  runsOn,
  sleeper,
  startUnits,
  unitJournal,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 3, settings: { agent_ttl: "3s", boot_grace: "5s" } });
const UNITS = [
  ...["a.service", "b.service", "c.service", "d.service"],
  ...["all.service", "once.service", "pin.service"],
];

afterEach(() => destroyAll(fixture.lab));

async function startUnitsOfAllKinds(lab: Lab): Promise<void> {
  await startUnits(lab, {
    "a.service": sleeper("Restart=always\n"),
    "b.service": sleeper(),
    "c.service": sleeper("[X-Fleet]\nConflicts=d.service\n"),
    "d.service": sleeper("[Install]\nWantedBy=multi-user.target\n"),
    "all.service": sleeper("[X-Fleet]\nGlobal=true\n"),
    "once.service": "[Service]\nType=oneshot\nExecStart=/bin/echo once was here\n",
    "pin.service": sleeper(`[X-Fleet]\nMachineID=${await lab.machineId(2)}\n`),
  });
  await registryAgrees(lab, UNITS);
}

async function untilAllAttached(lab: Lab): Promise<void> {
  for (const machine of lab.machines) {
    await lab.waitFor({
      what: `m${machine} lists all machines`,
      deadlineMs: 60_000,
      look: () => lab.presentMachines(machine),
      until: (present) => present.length === lab.size,
    });
  }
}

async function untilAllDetached(lab: Lab): Promise<void> {
  for (const machine of lab.machines) {
    await lab.waitFor({
      what: `m${machine}'s systemctl status says that it is detached`,
      deadlineMs: 60_000,
      look: () => property(lab, { machine, unit: "fleetd-ts.service", name: "StatusText" }),
      until: (text) => text.startsWith("detached"),
    });
  }
}

/** Long enough that whatever the return sets off is under way; absence of change can only be seen by waiting. */
async function staysSo(lab: Lab, before: unknown): Promise<void> {
  await pause(3_000);
  assert.deepEqual(await unitsOn(lab, UNITS), before);
}

/** In all tests so far: a journal outlives its unit. */
async function timesRun(lab: Lab, text: string): Promise<number> {
  const all = await Promise.all(lab.machines.map((m) => unitJournal(lab, m, "once.service")));
  return all.flat().filter((entry) => entry.text === text).length;
}

async function worksAgain(lab: Lab): Promise<void> {
  await startUnits(lab, { "after.service": sleeper() });
  assert.equal((await runsOn(lab, "after.service")).length, 1);
  assert.equal((await lab.fleetctl("destroy", "after.service")).code, 0);
}

for (const { name, end, back } of [
  { name: "stopped", end: "stop", back: "start" },
  { name: "frozen", end: "pause", back: "resume" },
] as const) {
  test(`with etcd ${name} beyond every ttl all units keep their pids, also after its return`, async () => {
    const { lab } = fixture;
    await startUnitsOfAllKinds(lab);
    const before = await unitsOn(lab, UNITS);
    await lab.etcd(end);
    // Twice the ttl of the machines, and longer than the leader's.
    await pause(7_000);
    assert.deepEqual(await unitsOn(lab, UNITS), before, "while it was away");
    const beganMs = performance.now();
    const listing = await lab.fleetctlAt(1, "list-units");
    assert.equal(listing.code, 1);
    assert.ok(performance.now() - beganMs < 4_500, "said so in time");
    await lab.etcd(back);
    await untilAllAttached(lab);
    await registryAgrees(lab, UNITS);
    await staysSo(lab, before);
    await worksAgain(lab);
    assert.deepEqual(await unitsOn(lab, UNITS), before);
  });
}

test("a daemon restarted while etcd is dead leaves its units alone, and a machine booted meanwhile starts its own on return", async () => {
  const { lab } = fixture;
  await startUnitsOfAllKinds(lab);
  const before = await unitsOn(lab, UNITS);
  await lab.etcd("kill");
  await lab.killDaemon(1);
  await lab.daemon(2, "restart");
  assert.deepEqual(await unitsOn(lab, UNITS), before);
  await lab.kill(3);
  await lab.start(3);
  await lab.etcd("start");
  await untilAllAttached(lab);
  await registryAgrees(lab, UNITS);
  const names = (all: typeof before) => all.map(({ unit, machine }) => `${unit} m${machine}`);
  const after = await lab.waitFor({
    what: "every unit is where it was",
    deadlineMs: 40_000,
    look: () => unitsOn(lab, UNITS),
    until: (all) => names(all).join() === names(before).join(),
  });
  const kept = ({ machine }: { machine: number }) => machine !== 3;
  assert.deepEqual(after.filter(kept), before.filter(kept));
});

test("with etcd emptied every daemon is detached and says so, nothing stops, and rejoin --keep brings all back with the same pids", async () => {
  const { lab } = fixture;
  await startUnitsOfAllKinds(lab);
  const before = await unitsOn(lab, UNITS);
  const ran = await timesRun(lab, "once was here");
  assert.ok(ran > 0);
  await lab.etcd("wipe");
  await untilAllDetached(lab);
  const listing = await lab.fleetctlAt(1, "list-units");
  assert.match(listing.stdout + listing.stderr, /detached.*emptied.*rejoin --keep/);
  await lab.unitFile("new.service", sleeper());
  const start = await lab.fleetctlAt(1, "start", "--timeout", "2", "new.service");
  const destroy = await lab.fleetctlAt(2, "destroy", "--timeout", "2", ...UNITS);
  for (const { code, stderr } of [start, destroy]) {
    assert.notEqual(code, 0);
    assert.match(stderr, /detached/);
  }
  assert.deepEqual(await runsOn(lab, "new.service"), []);
  await staysSo(lab, before);
  // A daemon that restarts has not forgotten it.
  await lab.daemon(2, "restart");
  await untilAllDetached(lab);
  for (const machine of lab.machines) {
    const rejoined = await lab.fleetctlAt(machine, "rejoin", "--keep");
    assert.equal(rejoined.code, 0, rejoined.stderr);
    assert.match(rejoined.stdout, /kept units \[.*all\.service/);
  }
  await untilAllAttached(lab);
  await registryAgrees(lab, UNITS);
  await staysSo(lab, before);
  const listed = await lab.fleetctl("list-unit-files", "--no-legend", "--fields", "unit,dstate");
  for (const unit of UNITS) assert.match(listed.stdout, new RegExp(`^${unit}\\s+launched`, "m"));
  assert.equal(await timesRun(lab, "once was here"), ran);
  await worksAgain(lab);
  const again = await lab.fleetctlAt(1, "rejoin", "--keep");
  assert.equal(again.code, 1, "nothing to rejoin any more");
});

test("rejoin --discard stops what the registry does not know", async () => {
  const { lab } = fixture;
  await startUnitsOfAllKinds(lab);
  const [a] = await unitsOn(lab, ["a.service"]);
  const first = a?.machine ?? 0;
  const others = lab.machines.filter((machine) => machine !== first);
  await lab.etcd("wipe");
  await untilAllDetached(lab);
  const discarded = await lab.fleetctlAt(first, "rejoin", "--discard");
  assert.equal(discarded.code, 0, discarded.stderr);
  await lab.waitFor({
    what: `nothing of the cluster runs on m${first}`,
    deadlineMs: 30_000,
    look: () => unitsOn(lab, UNITS, [first]),
    until: (all) => all.length === 0,
  });
  const before = await unitsOn(lab, UNITS, others);
  for (const machine of others) {
    assert.equal((await lab.fleetctlAt(machine, "rejoin", "--keep")).code, 0);
  }
  await untilAllAttached(lab);
  await lab.waitFor({
    what: "the global unit, which others kept, is back",
    deadlineMs: 30_000,
    look: () => runsOn(lab, "all.service"),
    until: (on) => on.length === 3,
  });
  assert.deepEqual(await unitsOn(lab, UNITS, others), before);
  assert.deepEqual(await runsOn(lab, "a.service"), []);
});

test("with etcd restored from an older snapshot every daemon is detached and nothing stops", async () => {
  const { lab } = fixture;
  await startUnits(lab, { "early.service": sleeper() });
  await lab.saveEtcd();
  await startUnitsOfAllKinds(lab);
  const all = [...UNITS, "early.service"];
  const before = await unitsOn(lab, all);
  await lab.restoreEtcd();
  await untilAllDetached(lab);
  await pause(3_000);
  assert.deepEqual(await unitsOn(lab, all), before);
  // What was seen of the registry is not forgotten with the process.
  for (const machine of lab.machines) await lab.killDaemon(machine);
  await pause(2_000);
  await untilAllDetached(lab);
  assert.deepEqual(await unitsOn(lab, all), before);
  for (const machine of lab.machines) {
    const rejoined = await lab.fleetctlAt(machine, "rejoin", "--keep");
    assert.equal(rejoined.code, 0, rejoined.stderr);
  }
  await untilAllAttached(lab);
  await registryAgrees(lab, all);
  assert.deepEqual(await unitsOn(lab, all), before);
});

test("with etcd replaced by another cluster's every daemon is detached, nothing stops and nothing of the other's starts; with its own back all go on", async () => {
  const { lab } = fixture;
  const other = await Lab.open({ machines: 1, settings: { agent_ttl: "3s" } });
  try {
    await startUnits(other, {
      "a.service": sleeper("Environment=other=yes\n"),
      "theirs.service": sleeper("[X-Fleet]\nGlobal=true\n"),
    });
    await other.saveEtcd();
    await startUnitsOfAllKinds(lab);
    const before = await unitsOn(lab, UNITS);
    await lab.replaceEtcd(other);
    await untilAllDetached(lab);
    const listing = await lab.fleetctlAt(1, "list-units");
    assert.match(listing.stdout + listing.stderr, /detached.*the registry is another cluster's/);
    // A daemon that starts now is not taken in by it either.
    await lab.daemon(2, "restart");
    await untilAllDetached(lab);
    await staysSo(lab, before);
    assert.deepEqual(await runsOn(lab, "theirs.service"), []);
    const { prefix } = makeKeys();
    const { stdout: known } = await lab.etcdctl("get", "--prefix", prefix, "--keys-only");
    assert.match(known, new RegExp(await other.machineId(1)), "of the other cluster");
    for (const machine of lab.machines) {
      assert.doesNotMatch(known, new RegExp(await lab.machineId(machine)));
    }
    await lab.restoreEtcd();
    await untilAllAttached(lab);
    await registryAgrees(lab, UNITS);
    await staysSo(lab, before);
    await worksAgain(lab);
  } finally {
    await other.close();
  }
});
