import assert from "node:assert/strict";
import { test } from "node:test";
import {
  destroyAll,
  places,
  registryAgrees,
  runEachOnce,
  runsOn,
  sleeper,
  startUnits,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({
  machines: 3,
  registry: "etcd-in-machines",
  etcdMembers: 3,
  settings: { agent_ttl: "4s", boot_grace: "5s" },
});
const UNITS = ["u@1.service", "u@2.service", "u@3.service", "u@4.service"];

/** The machine whose etcd leads. */
async function etcdLeader(): Promise<number> {
  const { lab } = fixture;
  const { stdout } = await lab.etcdctl("endpoint", "status", "-w", "json");
  const all = JSON.parse(stdout) as {
    Endpoint: string;
    Status: { leader: number; header: { member_id: number } };
  }[];
  const leads = all.find(({ Status }) => Status.leader === Status.header.member_id);
  const addresses = await Promise.all(lab.machines.map((machine) => lab.address(machine)));
  return addresses.findIndex((address) => leads?.Endpoint.includes(`${address}:`)) + 1;
}

test("with etcd led by another member nothing is restarted, and new units start", async () => {
  const { lab } = fixture;
  const units = await startUnits(lab, { "a.service": sleeper(), "b.service": sleeper() });
  const before = await unitsOn(lab, units);
  for (let round = 0; round < 3; round += 1) {
    const old = await etcdLeader();
    // Not as JSON: the ids are larger than what a number holds.
    const { stdout } = await lab.etcdctl("member", "list");
    const address = await lab.address(old);
    const next = stdout.split("\n").find((line) => line && !line.includes(`//${address}:`));
    const moved = await lab.etcdctl("move-leader", next?.split(",")[0] ?? "");
    assert.equal(moved.code, 0, moved.stderr);
    await startUnits(lab, { [`after${round}.service`]: sleeper() });
    assert.deepEqual(await unitsOn(lab, units), before);
  }
  await destroyAll(lab);
});

test("with the machine of etcd's leader killed the cluster goes on, and starts its units elsewhere", async () => {
  const { lab } = fixture;
  await lab.unitFile("u@.service", sleeper());
  const started = await lab.fleetctl("start", ...UNITS);
  assert.equal(started.code, 0, started.stderr);
  const where = await runEachOnce(lab, UNITS);
  const dead = await etcdLeader();
  assert.ok(dead > 0);
  const alive = lab.machines.filter((machine) => machine !== dead);
  const stay = UNITS.filter((unit) => !where[unit]?.includes(dead));
  const before = await unitsOn(lab, stay);
  await lab.kill(dead);
  await runEachOnce(lab, UNITS, { machines: alive, deadlineMs: 60_000 });
  assert.deepEqual(await unitsOn(lab, stay), before);
  await startUnits(lab, { "new.service": sleeper() });
  const now = await places(lab, UNITS);
  await lab.start(dead);
  await lab.waitFor({
    what: `m${dead} is back`,
    deadlineMs: 60_000,
    look: () => lab.presentMachines(dead),
    until: (present) => present.length === lab.size,
  });
  assert.deepEqual(await places(lab, UNITS), now);
  await registryAgrees(lab, UNITS, dead);
});

test("with the majority of etcd gone everything that is left runs on, and after its return nothing is restarted there", async () => {
  const { lab } = fixture;
  const [alone = 0] = await runsOn(lab, "new.service");
  const others = lab.machines.filter((machine) => machine !== alone);
  const all = [...UNITS, "new.service"];
  const before = await unitsOn(lab, all, [alone]);
  assert.notDeepEqual(before, []);
  await Promise.all(others.map((machine) => lab.kill(machine)));
  const listing = await lab.waitFor({
    what: "the client says that the registry is away",
    deadlineMs: 40_000,
    look: () => lab.fleetctlAt(alone, "list-units"),
    until: ({ code }) => code === 1,
  });
  assert.match(listing.stderr, /registry|etcd/);
  assert.deepEqual(await unitsOn(lab, all, [alone]), before);
  await Promise.all(others.map((machine) => lab.start(machine)));
  for (const machine of lab.machines) {
    await lab.waitFor({
      what: `m${machine} lists all machines`,
      deadlineMs: 60_000,
      look: () => lab.presentMachines(machine),
      until: (present) => present.length === lab.size,
    });
  }
  await runEachOnce(lab, all, { deadlineMs: 60_000 });
  assert.deepEqual(await unitsOn(lab, all, [alone]), before);
});
