import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { get } from "node:https";
import { join, resolve } from "node:path";
import { afterEach, test } from "node:test";
import type { ClusterBody, MachinesBody, UnitsBody } from "../../src/api/protocol.ts";
import { makeCertificates } from "../support/certificates.ts";
import type { Lab } from "../support/lab.ts";
import { destroyAll, property, signalDaemon, sleeper, startUnits } from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 2, settings: { agent_ttl: "5s" } });
const DAEMON = "fleetd-ts.service";
const CONF = "/etc/fleet/fleet.conf";

afterEach(() => destroyAll(fixture.lab));

const mainPid = (lab: Lab, machine: number, unit: string) =>
  property(lab, { machine, unit, name: "MainPID" });

async function reload(lab: Lab, settings: string): Promise<void> {
  await lab.writeFile(1, CONF, settings);
  const { code, stderr } = await lab.exec(1, "systemctl", "reload", DAEMON);
  assert.equal(code, 0, stderr);
}

async function metadataOf(lab: Lab, machine: number): Promise<Readonly<Record<string, string>>> {
  const id = await lab.machineId(machine);
  const { machines } = (await lab.api(2, "/fleet/v2/machines")) as MachinesBody;
  return machines.find((one) => one.id === id)?.metadata ?? {};
}

/** The machine's lease as etcd knows it. */
async function leaseTtlOf(lab: Lab, machine: number): Promise<number> {
  const key = `/fleet-ts/machines/${await lab.machineId(machine)}`;
  const { stdout } = await lab.etcdctl("get", "--print-value-only", key);
  const { leaseId } = JSON.parse(stdout) as { leaseId: string };
  const hexadecimal = BigInt(leaseId).toString(16);
  const lease = await lab.etcdctl("lease", "timetolive", hexadecimal);
  return Number(/granted with TTL\((\d+)s\)/.exec(lease.stdout)?.[1]);
}

async function bothPresent(what: string): Promise<void> {
  const { lab } = fixture;
  await lab.waitFor({
    what,
    deadlineMs: 30_000,
    look: () => lab.presentMachines(1).catch(() => []),
    until: (present) => present.length === 2,
  });
}

test("F27 TestReconfigureServer: SIGHUP takes in what has changed, and neither unit nor connection notices", async () => {
  const { lab } = fixture;
  await startUnits(lab, {
    "a.service": `${sleeper()}[X-Fleet]\nMachineID=${await lab.machineId(1)}\n`,
  });
  const [daemon, unit] = [await mainPid(lab, 1, DAEMON), await mainPid(lab, 1, "a.service")];
  const before = await readFile(`${lab.dir}/m1/root${CONF}`, "utf8");
  const watched = await fetch(`${await lab.endpoint(1)}/fleet/v2/watch?unit=b.service`);
  const events = watched.body?.pipeThrough(new TextDecoderStream()).getReader();
  assert(events !== undefined);
  await events.read();
  assert.equal(await leaseTtlOf(lab, 1), 5);

  await reload(
    lab,
    `${before.replace("agent_ttl=5s", "agent_ttl=9s")}metadata=disk=ssd\nverbosity=1\n`,
  );
  await lab.waitFor({
    what: "m2 sees m1's metadata, and etcd its lease",
    deadlineMs: 20_000,
    look: async () => [(await metadataOf(lab, 1))["disk"], await leaseTtlOf(lab, 1)],
    until: ([disk, ttl]) => disk === "ssd" && ttl === 9,
  });
  // What hung on the lease before would go with it.
  await lab.waitFor({
    what: "only the leases of two machines and of the leader are left",
    deadlineMs: 30_000,
    look: async () => (await lab.etcdctl("lease", "list")).stdout,
    until: (text) => /found 3 leases/.test(text),
  });
  const { units } = (await lab.api(2, "/fleet/v2/units?unit=a.service")) as UnitsBody;
  assert.equal(units[0]?.states[0]?.active, "active");
  assert.deepEqual(
    [await mainPid(lab, 1, DAEMON), await mainPid(lab, 1, "a.service")],
    [daemon, unit],
  );

  await reload(lab, `${before}metadata=oops\n`);
  await lab.waitFor({
    what: "the daemon says what is wrong with the file",
    deadlineMs: 10_000,
    look: () => lab.journal(1, "-u", DAEMON, "-o", "cat"),
    until: (text) => /reload-refused .*metadata: \\"oops\\" is not of the form/.test(text),
  });
  assert.equal((await metadataOf(lab, 1))["disk"], "ssd");
  await reload(lab, before);
  await lab.waitFor({
    what: "m1's metadata is gone again",
    deadlineMs: 20_000,
    look: () => metadataOf(lab, 1),
    until: (metadata) => metadata["disk"] === undefined,
  });
  // The connection that was opened before all that.
  await lab.unitFile("b.service", sleeper());
  await lab.fleetctl("submit", "b.service");
  let text = "";
  while (!text.includes('"name":"b.service"')) {
    const { value, done } = await events.read();
    assert(!done, "the watch was cut");
    text += value;
  }
  await events.cancel();
});

test("SIGHUP takes renewed certificates, and keeps the old ones while the new are not whole", async (t) => {
  const { lab } = fixture;
  const [before, after] = [makeCertificates(t), makeCertificates(t)];
  const settings = { cafile: "ca.crt", certfile: "m.crt", keyfile: "m.key" };
  const files = Object.entries(settings).map(([key, name]) => [`tls_${key}`, `/etc/fleet/${name}`]);
  const put = async (tls: typeof before, ...names: readonly string[]) => {
    for (const name of names) {
      const text = await readFile(join(tls.directory, name), "utf8");
      await lab.writeFile(1, `/etc/fleet/${name}`, text);
    }
  };
  await put(before, "ca.crt", "m.crt", "m.key");
  const tls = { agent_ttl: "5s", insecure: "", ...Object.fromEntries(files) };
  await lab.configure(1, tls);
  const host = await lab.address(1);
  /** Whether the API lets in who has these. */
  const letsIn = async ({ ca, cert, key }: typeof before) => {
    const options = { host, port: 49153, ca, cert, key, servername: "node-1.example" };
    const answer = Promise.withResolvers<boolean>();
    const path = "/fleet/v2/cluster";
    get({ ...options, path, agent: false }, (response) => {
      response.resume();
      answer.resolve(response.statusCode === 200);
    }).once("error", () => answer.resolve(false));
    return await answer.promise;
  };
  const takes = (what: string, certificates: typeof before) =>
    lab.waitFor({
      what,
      deadlineMs: 30_000,
      look: () => letsIn(certificates),
      until: (yes) => yes,
    });
  await takes("it listens with TLS", before);
  const pid = await mainPid(lab, 1, DAEMON);
  const hangUp = () => lab.exec(1, "systemctl", "reload", DAEMON);
  await put(after, "ca.crt", "m.crt");
  await hangUp();
  await lab.waitFor({
    what: "it says that the key does not belong to the certificate",
    deadlineMs: 10_000,
    look: () => lab.journal(1, "-u", DAEMON, "-o", "cat"),
    until: (text) => /reload-refused .*mismatch/.test(text),
  });
  assert.deepEqual([await letsIn(before), await letsIn(after)], [true, false]);
  await put(after, "m.key");
  await hangUp();
  await takes("it shows the new certificate", after);
  assert.deepEqual([await letsIn(before), await mainPid(lab, 1, DAEMON)], [false, pid]);
  await lab.configure(1, { agent_ttl: "5s" });
  await bothPresent("it listens without TLS again");
});

test("a daemon that cannot open its API ends at once and says why, and its units run on", async () => {
  const { lab } = fixture;
  await startUnits(lab, {
    "a.service": `${sleeper()}[X-Fleet]\nMachineID=${await lab.machineId(1)}\n`,
  });
  const unit = await mainPid(lab, 1, "a.service");
  // sshd's.
  await lab.configure(1, { agent_ttl: "5s", listen: "0.0.0.0:22" });
  await lab.waitFor({
    what: "it says why, and is tried again",
    deadlineMs: 30_000,
    look: () => lab.journal(1, "-u", DAEMON, "-o", "cat"),
    until: (text) => (text.match(/the API cannot listen on 0\.0\.0\.0:22: /g)?.length ?? 0) >= 2,
  });
  assert.equal(await mainPid(lab, 1, "a.service"), unit);
  await lab.configure(1, { agent_ttl: "5s" });
  await bothPresent("it is there again");
});

test("SIGUSR1 writes down how things stand, and opens no debugger", async () => {
  const { lab } = fixture;
  await startUnits(lab, {
    "a.service": `${sleeper()}[X-Fleet]\nMachineID=${await lab.machineId(1)}\n`,
  });
  await signalDaemon(lab, 1, "USR1");
  const file = "/run/fleet/state.json";
  const text = await lab.waitFor({
    what: `${file} is there`,
    deadlineMs: 10_000,
    look: async () => (await lab.exec(1, "cat", file)).stdout,
    until: (found) => found !== "",
  });
  const state = JSON.parse(text) as {
    status: { type: string };
    held: { unit: string; state: { active: string } }[];
    config: { agentTtlMs: number };
  };
  assert.equal(state.status.type, "attached");
  assert.deepEqual(
    state.held.map(({ unit, state: { active } }) => [unit, active]),
    [["a.service", "active"]],
  );
  assert.equal(state.config.agentTtlMs, 5_000);
  assert.equal((await lab.exec(1, "stat", "-c", "%a", file)).stdout.trim(), "600");
  assert.doesNotMatch(await lab.journal(1, "-u", DAEMON, "-o", "cat"), /Debugger/);
  assert.doesNotMatch((await lab.exec(1, "cat", "/proc/net/tcp")).stdout, /:240D /);
});

test("systemd opens the sockets: the daemon starts when somebody asks, and a restart refuses no connection", async () => {
  const { lab } = fixture;
  const file = resolve(import.meta.dirname, "../../systemd/fleetd-ts.socket");
  const socket = (await readFile(file, "utf8")).replace(
    "#ListenStream=49153",
    "ListenStream=49160",
  );
  await lab.writeFile(2, "/etc/systemd/system/fleetd-ts.socket", socket);
  await lab.daemon(2, "stop");
  const conf = await readFile(`${lab.dir}/m2/root${CONF}`, "utf8");
  await lab.writeFile(2, CONF, conf.replace(/^listen=.*\n/m, ""));
  const systemctl = async (...args: readonly string[]) => {
    const { code, stderr } = await lab.exec(2, "systemctl", ...args);
    assert.equal(code, 0, stderr);
  };
  await systemctl("daemon-reload");
  await systemctl("start", "fleetd-ts.socket");
  assert.equal(await property(lab, { machine: 2, unit: DAEMON, name: "ActiveState" }), "inactive");
  const api = `${await lab.address(2)}:49160`;
  const cluster = async () =>
    (await (await fetch(`http://${api}/fleet/v2/cluster`)).json()) as ClusterBody;
  assert.equal((await cluster()).machineId, await lab.machineId(2));
  assert.equal((await lab.exec(2, "stat", "-c", "%a", "/run/fleet.sock")).stdout.trim(), "660");
  const client = ["/opt/node/bin/node", "/opt/app/src/cli/main.ts", "list-machines", "--no-legend"];
  const { code, stdout, stderr } = await lab.exec(2, ...client);
  assert.equal(code, 0, stderr);
  assert.match(stdout, new RegExp((await lab.machineId(2)).slice(0, 8)));
  await lab.waitFor({
    what: "m1 knows where m2's API is",
    deadlineMs: 20_000,
    look: async () => (await lab.api(1, "/fleet/v2/machines")) as MachinesBody,
    until: ({ machines }) => machines.some((machine) => machine.present && machine.api === api),
  });
  const pid = await mainPid(lab, 2, DAEMON);
  await systemctl("restart", "--no-block", DAEMON);
  // One that was open may be cut; a new one is never refused.
  for (let asked = 0; asked < 20 || (await mainPid(lab, 2, DAEMON)) === pid; asked += 1) {
    await cluster().catch((error: Error & { cause?: { code?: string } }) => {
      assert.notEqual(error.cause?.code, "ECONNREFUSED");
    });
  }
  assert.equal((await cluster()).machineId, await lab.machineId(2));
});
