import assert from "node:assert/strict";
import { afterEach, type TestContext, test } from "node:test";
import type { Lab } from "../support/lab.ts";
import { destroyAll, property, runsOn, startUnits, unitJournal } from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

/** A killed daemon has two thirds of it to be back: a slow machine needs seconds. */
const TTL_MS = 10_000;
/** What is registered has settled when it stays as it is for so long: nothing is due later than the lease that was waited for. */
const STAYS_MS = 2_000;
const fixture = useLab({
  machines: 3,
  settings: { agent_ttl: `${TTL_MS / 1_000}s`, boot_grace: "3s" },
});

const SERVER =
  "require('net').createServer(s=>{s.on('error',()=>{});s.end(require('os').hostname())}).listen(5432)";
/** Asks ten times a second and says what it gets, once per change. */
const CONSUMER = `
const { connect } = require("node:net");
let last;
const say = (text) => { if (text !== last) console.log(text); last = text; };
setInterval(() => {
  const s = connect(Number(process.env.DB_PORT_5432_TCP_PORT), process.env.DB_PORT_5432_TCP_ADDR);
  let text = "";
  s.on("data", (d) => (text += d)).on("error", () => say("failed")).on("end", () => say(text || "nothing"));
}, 100);`.replaceAll("\n", " ");
const NOTIFY = "Type=notify\nNotifyAccess=all\nRestart=always\n";

/** The database with its sidekick on one machine; the consumer with its ambassador on another. */
const UNITS: Readonly<Record<string, string>> = {
  "db.service": `[Unit]\nWants=db-register.service\n[Service]\nRestart=always\nRestartSec=5\nExecStart=/opt/node/bin/node -e "${SERVER}"\n[X-Fleet]\nConflicts=app.service\n`,
  "db-register.service": `[Unit]\nPartOf=db.service\nAfter=db.service\n[Service]\n${NOTIFY}ExecStart=fleet-sidekick --service db --port 5432 --check tcp --unit db.service --drain 500ms\n[X-Fleet]\nMachineOf=db.service\n`,
  "app-ambassador.service": `[Service]\n${NOTIFY}RuntimeDirectory=app-ambassador\nRuntimeDirectoryPreserve=restart\nExecStart=fleet-ambassador --link db:5432 --consumer app.service --environment-file /run/app-ambassador/links.env\n`,
  "app.service": `[Unit]\nWants=app-ambassador.service\nAfter=app-ambassador.service\n[Service]\nEnvironmentFile=/run/app-ambassador/links.env\nExecStart=/opt/node/bin/node -e '${CONSUMER}'\n[X-Fleet]\nMachineOf=app-ambassador.service\n`,
};

interface Shown {
  readonly service: string;
  readonly instance: string;
  readonly host: string;
  readonly health: string;
  readonly machine: string;
  readonly sinceMs: number;
}

/** Endpoints as the API of one machine shows them. */
async function endpoints(lab: Lab, at: number): Promise<readonly Shown[]> {
  return ((await lab.api(at, "/fleet/v2/services")) as { endpoints: readonly Shown[] }).endpoints;
}

/** `service host health` of each endpoint, as a machine shows it. */
async function shown(at: number): Promise<string> {
  const found = await endpoints(fixture.lab, at);
  return found.map((one) => `${one.service} ${one.host} ${one.health}`).join();
}

/** Until the registry says `service host health` of everything, and nothing else; how long it took is told. */
async function untilShown(
  t: TestContext,
  expected: readonly string[],
  options: { readonly at: number; readonly what: string },
): Promise<number> {
  const beganMs = performance.now();
  await fixture.lab.waitFor({
    what: options.what,
    deadlineMs: 60_000,
    everyMs: 20,
    look: () => shown(options.at),
    until: (seen) => seen === expected.join(),
  });
  const tookMs = Math.round(performance.now() - beganMs);
  t.diagnostic(`${options.what}: ${tookMs} ms`);
  return tookMs;
}

interface Places {
  readonly db: number;
  readonly app: number;
  readonly other: number;
}

/** `pinned`: it stays where it is, also when a machine is so slow that its lease ends while its daemon starts. */
async function startChain(
  t: TestContext,
  { pinned }: { readonly pinned: boolean },
): Promise<Places> {
  const { lab } = fixture;
  beganUs = Date.now() * 1_000;
  const units = { ...UNITS };
  if (pinned) {
    const [db, app] = [await lab.machineId(1), await lab.machineId(2)];
    units["db.service"] = `${UNITS["db.service"]}`.replace(/Conflicts=.*/, `MachineID=${db}`);
    units["app-ambassador.service"] += `[X-Fleet]\nMachineID=${app}\n`;
  }
  await startUnits(lab, units).catch(async (error) => {
    for (const machine of lab.machines)
      console.error(
        await lab.journal(machine, "-u", "app.service", "-u", "app-ambassador.service"),
      );
    throw error;
  });
  const [db = 0] = await runsOn(lab, "db.service");
  const [app = 0] = await runsOn(lab, "app.service");
  const other = lab.machines.find((machine) => machine !== db && machine !== app) ?? 0;
  await untilShown(t, [`db ${await lab.address(db)} passing`], {
    at: app,
    what: "it is registered",
  });
  return { db, app, other };
}

/**
 * Does it, until it is done and what is seen stays as expected. All that was seen is told: since when it is as it should be is to be less than lease + 1 s,
 * where a daemon starts within its lease.
 */
async function settles(
  t: TestContext,
  {
    what,
    work,
    look,
    expected,
  }: {
    readonly what: string;
    readonly work: () => Promise<unknown>;
    readonly look: () => Promise<string>;
    readonly expected: string;
  },
): Promise<void> {
  const beganMs = performance.now();
  const changes: { readonly atMs: number; readonly seen: string }[] = [];
  const note = (seen: string) => {
    if (seen !== changes.at(-1)?.seen) changes.push({ atMs: performance.now() - beganMs, seen });
  };
  let isDone = false;
  const working = work().then(() => {
    isDone = true;
  });
  const settled = fixture.lab.waitFor({
    what: `it is as it should be after ${what}`,
    deadlineMs: 60_000,
    everyMs: 20,
    look: async () => {
      note(await look());
      return changes;
    },
    until: () => {
      const { seen, atMs = 0 } = changes.at(-1) ?? {};
      return isDone && seen === expected && performance.now() - beganMs - atMs > STAYS_MS;
    },
  });
  await Promise.all([working, settled]);
  const told = changes.map(({ atMs, seen }) => `"${seen}" after ${Math.round(atMs)} ms`);
  t.diagnostic(`${what}: ${told.join(", then ")}`);
}

interface Revisions {
  readonly create_revision: number;
  readonly mod_revision: number;
}

/** Of the only key of etcd with this prefix. */
async function revisions(prefix: string): Promise<Revisions | undefined> {
  const { stdout } = await fixture.lab.etcdctl("get", "--prefix", `/fleet-ts/${prefix}`, "-w=json");
  return (JSON.parse(stdout) as { readonly kvs?: readonly Revisions[] }).kvs?.[0];
}

async function presenceOf(machine: number): Promise<Revisions | undefined> {
  return revisions(`machines/${await fixture.lab.machineId(machine)}`);
}

/** What a machine registered of a service is never removed while something is killed there, as long as the machine's lease holds. */
async function keepsEndpoint(
  t: TestContext,
  { machine, service }: { readonly machine: number; readonly service: string },
  work: () => Promise<void>,
): Promise<void> {
  const look = () => Promise.all([presenceOf(machine), revisions(`services/${service}/`)]);
  const [presence, endpoint] = await look();
  await work();
  const [presenceNow, endpointNow] = await look();
  if (presenceNow?.create_revision !== presence?.create_revision)
    t.diagnostic("the lease ended before the next daemon had started: nothing to compare");
  else
    assert.equal(endpointNow?.create_revision, endpoint?.create_revision, "it was never removed");
}

function pid(machine: number, unit: string): Promise<string> {
  return property(fixture.lab, { machine, unit, name: "MainPID" });
}

async function kill9(machine: number, unit: string): Promise<void> {
  await fixture.lab.exec(
    ...([machine, "systemctl", "kill", "--kill-who=main", "--signal=KILL", unit] as const),
  );
}

/** kill -9; returns when the next daemon has taken the machine's record. */
async function replaceDaemon(machine: number): Promise<void> {
  const before = await presenceOf(machine);
  await fixture.lab.killDaemon(machine);
  await fixture.lab.waitFor({
    what: `another daemon holds the record of m${machine}`,
    deadlineMs: 60_000,
    look: () => presenceOf(machine),
    until: (now) => now !== undefined && now.mod_revision !== before?.mod_revision,
  });
}

let beganUs = 0;

/** What the consumer got in this test, in order. */
async function answers(app: number): Promise<readonly string[]> {
  const entries = await unitJournal(fixture.lab, app, "app.service");
  return entries.filter((one) => !one.bySystemd && one.atUs >= beganUs).map(({ text }) => text);
}

async function untilAnswered(app: number, expected: string): Promise<void> {
  await fixture.lab.waitFor({
    what: `the consumer is answered by ${expected}`,
    deadlineMs: 60_000,
    look: () => answers(app),
    until: (seen) => seen.at(-1) === expected,
  });
}

afterEach(async () => {
  const { lab } = fixture;
  for (const machine of lab.machines) await lab.start(machine);
  await lab.waitFor({
    what: "the first machine's daemon answers",
    deadlineMs: 60_000,
    look: () => lab.api(1, "/fleet/v2/cluster").catch(() => undefined),
    until: (answer) => answer !== undefined,
  });
  for (const machine of [1, 2])
    await lab.exec(machine, "systemctl", "stop", "side", ...Object.values(PAIRED));
  await destroyAll(lab);
  await lab.waitFor({
    what: "nothing is left",
    deadlineMs: 60_000,
    look: registered,
    until: (now) => now === "",
  });
});

test("a database that dies with its machine comes back elsewhere; its consumer notices nothing but a pause", async (t) => {
  const { lab } = fixture;
  const { db, app, other } = await startChain(t, { pinned: false });
  await untilAnswered(app, `m${db}`);
  const before = await pid(app, "app.service");
  const tree = (await lab.fleetctlAt(app, "links")).stdout;
  assert.match(
    tree,
    /^app.service on .*\n└─db at 127.0.0.1:5432\/tcp\n {2}└─db.service on .* passing\n$/,
  );
  await lab.kill(db);
  const address = await lab.address(db);
  await lab.waitFor({
    what: "the dead machine's endpoint is gone",
    deadlineMs: 60_000,
    everyMs: 20,
    look: () => shown(app),
    until: (seen) => !seen.includes(address),
  });
  await untilShown(t, [`db ${await lab.address(other)} passing`], { at: app, what: "it is back" });
  await untilAnswered(app, `m${other}`);
  assert.equal(await pid(app, "app.service"), before);
  await lab.start(db);
});

test("whatever is killed, the registry soon holds what is", async (t) => {
  const { lab } = fixture;
  const { db, app, other } = await startChain(t, { pinned: true });
  const address = await lab.address(db);
  const passing = [`db ${address} passing`];
  const consumer = await pid(app, "app.service");
  const since = async () => (await endpoints(lab, other))[0]?.sinceMs ?? 0;

  const before = await since();
  await kill9(db, "db-register.service");
  await lab.waitFor({
    what: "the sidekick's next process has registered anew",
    deadlineMs: 60_000,
    look: since,
    until: (now) => now > before,
  });
  await untilShown(t, passing, { at: other, what: "after kill -9 of the sidekick" });

  await kill9(db, "db.service");
  await untilShown(t, [`db ${address} failing`], { at: other, what: "kill -9 of the backend" });
  await untilShown(t, passing, { at: other, what: "the backend is back" });

  await keepsEndpoint(t, { machine: db, service: "db" }, async () => {
    await settles(t, {
      what: "kill -9 of the daemon",
      work: () => replaceDaemon(db),
      look: () => shown(other),
      expected: passing.join(),
    });
  });

  const ambassador = await pid(app, "app-ambassador.service");
  await kill9(app, "app-ambassador.service");
  await lab.waitFor({
    what: "the ambassador is back, and so is its link",
    deadlineMs: 60_000,
    look: async () => ({
      pid: await pid(app, "app-ambassador.service"),
      links: (await lab.fleetctlAt(other, "links")).stdout,
    }),
    until: (now) => now.pid !== ambassador && now.links.startsWith("app.service on "),
  });
  await untilAnswered(app, `m${db}`);
  assert.equal(await pid(app, "app.service"), consumer);
});

test("a sidekick that dies with its daemon, or alone and for good, leaves nothing", async (t) => {
  const { lab } = fixture;
  const run = () =>
    lab.exec(
      ...([1, "systemd-run", "--unit=side", "--collect", "-p", "Type=notify"] as const),
      ...["-p", "NotifyAccess=all", "/opt/fleet/bin/fleet-sidekick", "--service", "side"],
      ...["--port", "9"],
    );
  const there = [`side ${await lab.address(1)} unknown`];
  assert.equal((await run()).code, 0);
  await untilShown(t, there, { at: 2, what: "it is registered" });
  await kill9(1, "side.service");
  await untilShown(t, [], { at: 2, what: "kill -9 of the sidekick, for good" });
  assert.equal((await run()).code, 0);
  await untilShown(t, there, { at: 2, what: "it is registered" });
  await lab.exec(1, "systemctl", "kill", "--signal=KILL", "side.service", "fleetd-ts.service");
  await untilShown(t, [], { at: 2, what: "kill -9 of sidekick and daemon" });
  await untilShown(t, [], { at: 1, what: "the daemon answers again" });
});

const PAIRED = { sidekick: "side", backend: "back", ambassador: "amb" } as const;
type Killed = keyof typeof PAIRED | "its daemon" | "the user's daemon" | "machine";

/** A backend with its sidekick on one machine, an ambassador on another, none of which systemd starts again. */
async function runApart(): Promise<void> {
  const { lab } = fixture;
  const start = async (machine: number, unit: string, ...argv: readonly string[]) => {
    const { code, stderr } = await lab.exec(
      ...([machine, "systemd-run", `--unit=${unit}`, "--collect", ...argv] as const),
    );
    assert.equal(code, 0, stderr);
  };
  const notify = ["-p", "Type=notify", "-p", "NotifyAccess=all"];
  const bin = "/opt/fleet/bin";
  const register = [`${bin}/fleet-sidekick`, "--service", "pair", "--port", "5432"];
  await start(1, PAIRED.backend, "/opt/node/bin/node", "-e", SERVER);
  await start(1, PAIRED.sidekick, ...notify, ...register, "--check", "tcp");
  await start(2, PAIRED.ambassador, ...notify, `${bin}/fleet-ambassador`, "--link", "pair:5433");
}

/** `pair ADDRESS HEALTH` of each endpoint, `link` for each link: as a third machine has it. */
async function registered(): Promise<string> {
  const body = (await fixture.lab.api(3, "/fleet/v2/links")) as { links: readonly unknown[] };
  const shown = (await endpoints(fixture.lab, 3)).map((one) => `${one.service} ${one.health}`);
  return [...shown, ...body.links.map(() => "link")].join(", ");
}

for (const [first, second, left] of [
  ["sidekick", "ambassador", ""],
  ["sidekick", "backend", "link"],
  ["backend", "its daemon", "pair failing, link"],
  ["backend", "ambassador", "pair failing"],
  ["ambassador", "the user's daemon", "pair passing"],
  ["its daemon", "the user's daemon", "pair passing, link"],
  ["machine", "ambassador", ""],
  ["machine", "the user's daemon", "link"],
] as const satisfies readonly (readonly [Killed, Killed, string])[]) {
  test(`kill -9 of ${first} and ${second}: the registry soon holds what is`, async (t) => {
    const { lab } = fixture;
    await runApart();
    await lab.waitFor({
      what: "all is there",
      deadlineMs: 60_000,
      look: registered,
      until: (now) => now === "pair passing, link",
    });
    const kill: Readonly<Record<Killed, () => Promise<void>>> = {
      sidekick: () => kill9(1, `${PAIRED.sidekick}.service`),
      backend: () => kill9(1, `${PAIRED.backend}.service`),
      ambassador: () => kill9(2, `${PAIRED.ambassador}.service`),
      "its daemon": () => replaceDaemon(1),
      "the user's daemon": () => replaceDaemon(2),
      machine: () => lab.kill(1),
    };
    const killBoth = () =>
      settles(t, {
        what: `kill -9 of ${first} and ${second}`,
        work: () => Promise.all([kill[first](), kill[second]()]),
        look: registered,
        expected: left,
      });
    if (!left.includes("pair")) await killBoth();
    else await keepsEndpoint(t, { machine: 1, service: "pair" }, killBoth);
  });
}

test("with the registry gone for longer than its leases last, traffic flows; then nothing is missing or stale", async (t) => {
  const { lab } = fixture;
  const { db, app } = await startChain(t, { pinned: true });
  await untilAnswered(app, `m${db}`);
  await lab.etcd("stop");
  await new Promise((resolve) => setTimeout(resolve, TTL_MS + 1_000));
  for (const machine of [db, app]) await lab.killDaemon(machine);
  // Longer than the next daemons wait for owners of endpoints.
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  const ambassador = "app-ambassador.service";
  const before = await pid(app, ambassador);
  await kill9(app, ambassador);
  await lab.waitFor({
    what: "the ambassador is ready with what the last one knew",
    deadlineMs: 60_000,
    look: async () => ({
      pid: await pid(app, ambassador),
      state: await property(lab, { machine: app, unit: ambassador, name: "ActiveState" }),
    }),
    until: (now) => now.pid !== before && now.state === "active",
  });
  await untilAnswered(app, `m${db}`);
  await settles(t, {
    what: "the registry's return",
    work: () => lab.etcd("start"),
    look: () => shown(app),
    expected: `db ${await lab.address(db)} passing`,
  });
  const seen = await answers(app);
  // Only while the ambassador itself was dead.
  assert.ok(seen.filter((text) => text === "failed").length <= 1, seen.join());
  assert.equal(seen.at(-1), `m${db}`);
});
