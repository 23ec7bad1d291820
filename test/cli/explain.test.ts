import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { PlayedCluster } from "./played-cluster.ts";
import { M1, M2 } from "./views.ts";

const SERVICE = "[Service]\nExecStart=/bin/sleep 1\n";
const HERE = "1111aaaa.../10.0.0.1";

let cluster: PlayedCluster;

before(async () => {
  cluster = await PlayedCluster.open();
  await cluster.lead();
  await cluster.addMachine(M1);
  await cluster.addMachine(M2, {
    address: "10.0.0.2",
    metadata: {},
    automatic: { hostname: "node-2" },
  });
});
after(() => cluster.close());

async function file(name: string, xFleet = "", content = SERVICE): Promise<string> {
  const path = join(cluster.directory, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${content}[X-Fleet]\n${xFleet}\n`);
  return path;
}

async function run(...args: readonly string[]): Promise<readonly [number, string, string]> {
  const { exit, out, err } = await cluster.run(...args);
  return [exit, out, err];
}

/** Wanted, and nobody gives it a machine. */
async function want(name: string, xFleet: string): Promise<string> {
  cluster.behaviours.set(name, { idle: true });
  const path = await file(name, xFleet);
  assert.equal((await run("start", "--no-block", path))[0], 0);
  return path;
}

test("explain says where a unit is and where else it could be", async () => {
  assert.equal((await run("start", await file("a.service")))[0], 0);
  const [exit, out, err] = await run("explain", "a", "nosuch");
  assert.equal(exit, 3);
  assert.equal(err, "Unit nosuch.service not found\n");
  assert.match(out, new RegExp(`^Unit a.service is launched, on ${HERE}\n`));
  assert.match(out, /1111aaaa\S+\t1\there\t-\n5555aaaa\S*\t0\tyes\t-\n$/);
});

test("explain says why not and what would help, for people and for programs", async () => {
  await want("b.service", "Conflicts=a.service\nMachineMetadata=disk=ssd");
  const [exit, out] = await run("explain", "b.service");
  assert.equal(exit, 0);
  assert.match(out, /^Unit b.service is to be launched and on no machine\n/);
  assert.match(out, /\tno\tconflicts with a.service\n/);
  assert.match(out, /\tno\tMachineMetadata=disk=ssd does not hold\n/);
  assert.match(out, /after: fleetctl-ts set-metadata 5555aaaa disk=ssd\n/);
  assert.match(out, /after: fleetctl-ts unload a.service\n/);
  const [body] = JSON.parse((await run("explain", "-o", "json", "b"))[1]);
  assert.deepEqual(
    body.machines.map(({ reason }: { reason: { type: string } }) => reason.type),
    ["conflict", "metadata-differs"],
  );
});

test("explain counts by reason where there are many machines, unless all are asked for", async (t) => {
  const many = await PlayedCluster.open();
  t.after(() => many.close());
  await many.lead();
  for (let n = 0; n < 60; n += 1) {
    await many.addMachine(`${String(n).padStart(8, "0")}ffff`, { metadata: {} });
  }
  many.behaviours.set("b.service", { idle: true });
  const path = join(many.directory, "b.service");
  await writeFile(path, `${SERVICE}[X-Fleet]\nMachineMetadata=disk=ssd\n`);
  await many.run("start", "--no-block", path);
  const short = await many.run("explain", "b");
  assert.match(
    short.out,
    /^60\s+no\s+MachineMetadata=disk=ssd does not hold\s+00000000.*, 00000001.*, 00000002\S+$/m,
  );
  assert.match(short.err, /explain --full b.service lists all/);
  const full = await many.run("explain", "--full", "b");
  assert.equal(full.out.split("\n").filter((line) => line.includes("\tno\t")).length, 60);
});

test("plan shows places and reasons without doing anything, with the exit status of the real thing", async () => {
  const fits = await file("new.service");
  const [exit, out] = await run("plan", "--start", fits);
  assert.equal(exit, 0);
  assert.match(out, /^UNIT\s+ACTION\s+MACHINE\s+REASON\nnew.service\s+create\s+5555aaaa\S+\s+-\n$/);
  assert.equal(await cluster.unit("new.service"), undefined);
  const [stuck, text] = await run("plan", "--start", fits, await file("no.service", "Conflicts=*"));
  assert.equal(stuck, 1);
  assert.match(text, /no.service\s+create\s+-\s+conflicts with a.service/);
  const [, json] = await run("plan", "--start", "-o", "json", fits);
  assert.deepEqual(JSON.parse(json), [
    { unit: "new.service", action: "created", before: [], after: [M2], blocked: [] },
  ]);
  const other = await file("a.service", "", `${SERVICE}# other\n`);
  assert.equal((await run("plan", other))[0], 1, "it differs, as submit says");
  assert.match(
    (await run("plan", "--start", "--replace", other))[1],
    /a.service\s+replace\s+1111aaaa/,
  );
});

test("machines are cordoned by id, host name or address, and listed so", async () => {
  assert.deepEqual(await run("cordon", "node-2", "1111"), [
    0,
    "Machine 5555aaaa.../10.0.0.2 takes no new units now\nMachine 1111aaaa.../10.0.0.1 takes no new units now\n",
    "",
  ]);
  const [, out, err] = await run("list-machines");
  assert.match(out, /^MACHINE\t\tIP\t\tMETADATA\n/);
  assert.equal(
    err,
    "Machine 1111aaaa.../10.0.0.1 is cordoned\nMachine 5555aaaa.../10.0.0.2 is cordoned\n",
  );
  assert.equal((await run("cordon", "10.0.0.9"))[0], 3);
  assert.equal((await run("uncordon", "10.0.0.1", "10.0.0.2"))[0], 0);
  assert.equal((await run("list-machines"))[2], "");
});

test("metadata is set, hidden and reset", async () => {
  const metadata = async () => {
    const machines = JSON.parse((await run("list-machines", "-o", "json"))[1]);
    return machines.find(({ id }: { id: string }) => id === M1).metadata;
  };
  assert.equal((await run("set-metadata", M1, "disk-", "zone=b"))[0], 0);
  assert.deepEqual(await metadata(), { zone: "b" });
  assert.equal((await run("set-metadata", "--reset", M1, "disk", "zone"))[0], 0);
  assert.deepEqual(await metadata(), { disk: "ssd" });
  for (const wrong of [["disk"], ["=x"], ["a b=c"], []]) {
    assert.equal((await run("set-metadata", M1, ...wrong))[0], 2, wrong.join());
  }
  assert.equal((await run("set-metadata", "--reset", M1, "disk=x"))[0], 2);
});

test("evacuate says what it would do, and does it only when that is confirmed", async () => {
  assert.equal((await run("evacuate", "--confirm", M2))[0], 1, "it is present");
  await cluster.loseMachine(M2);
  const [refused, , err] = await run("evacuate", M2);
  assert.equal(refused, 2);
  assert.match(err, /is away and has 0 units: with --confirm it counts as lost/);
  const key = cluster.keys.operator(M2);
  const evacuated = async () => (await cluster.store.read({ range: { key } })).items[0]?.value;
  assert.doesNotMatch((await evacuated()) ?? "", /evacuate/);
  assert.equal((await run("evacuate", "--confirm", M2))[0], 0);
  assert.match((await evacuated()) ?? "", /"evacuate":\d/);
  await cluster.addMachine(M2, { address: "10.0.0.2", metadata: {} });
});

test("start of a blocked unit says why and where to read more", async () => {
  const reason = { type: "conflict", unit: "a.service" } as const;
  cluster.behaviours.set("s.service", { blocked: [{ reason, machines: 2, examples: [M1, M2] }] });
  const [exit, , err] = await run("start", await file("s.service"));
  assert.equal(exit, 1);
  assert.match(err, /cannot be placed: conflicts with a.service \(2 machines: /);
  assert.match(err, /why, machine by machine: fleetctl-ts explain s.service/);
});

test("verify names everything that is wrong, and passes on what systemd says", async () => {
  const bad = await file("v/bad.service", "Bla=1\nMachineMetadata=x", "[Service]\nNoEqualsSign\n");
  const good = await file("v/good@.service", "", `${SERVICE}Bogus=1\n`);
  await file("v/good@.service.d/10.conf");
  const [exit, , err] = await run("verify", bad);
  assert.equal(exit, 2);
  for (const place of ["2:1", "4:1", "5:1"]) assert.ok(err.includes(`${bad}:${place}: `), err);
  const [fine, out] = await run("verify", good);
  assert.equal(fine, 0);
  assert.match(out, /good@.service: /);
  assert.equal((await run("verify", dirname(bad)))[0], 2, "a directory: all of it");
  assert.equal((await run("verify", join(cluster.directory, "none.service")))[0], 3);
  const [{ systemd }] = JSON.parse((await run("verify", "-o", "json", good))[1]);
  if (systemd.length === 0) return;
  assert.match(systemd[0], new RegExp(`^${good}:3: `));
  assert.equal((await run("verify", "--strict", good))[0], 2);
});
