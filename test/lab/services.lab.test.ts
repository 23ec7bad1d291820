import assert from "node:assert/strict";
import { afterEach, type TestContext, test } from "node:test";
import type { Lab } from "../support/lab.ts";
import { destroyAll, property, runsOn, startUnits, unitJournal } from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const TTL_MS = 3_000;
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
  "db.service": `[Unit]\nWants=db-register.service\n[Service]\nRestart=always\nRestartSec=2\nExecStart=/opt/node/bin/node -e "${SERVER}"\n[X-Fleet]\nConflicts=app.service\n`,
  "db-register.service": `[Unit]\nPartOf=db.service\nAfter=db.service\n[Service]\n${NOTIFY}ExecStart=fleet-sidekick --service db --port 5432 --check tcp --unit db.service --drain 500ms\n[X-Fleet]\nMachineOf=db.service\n`,
  "app-ambassador.service": `[Service]\n${NOTIFY}RuntimeDirectory=app-ambassador\nRuntimeDirectoryPreserve=yes\nExecStart=fleet-ambassador --link db:5432 --consumer app.service --environment-file /run/app-ambassador/links.env\n`,
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

/** Until the registry says `service host health` of everything, and nothing else; how long it took is told. */
async function untilShown(
  t: TestContext,
  expected: readonly string[],
  options: { readonly at: number; readonly what: string },
): Promise<number> {
  const beganMs = performance.now();
  await fixture.lab.waitFor({
    what: options.what,
    deadlineMs: 40_000,
    everyMs: 20,
    look: async () =>
      (await endpoints(fixture.lab, options.at)).map((o) => `${o.service} ${o.host} ${o.health}`),
    until: (seen) => seen.join() === expected.join(),
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

async function startChain(t: TestContext): Promise<Places> {
  const { lab } = fixture;
  beganUs = Date.now() * 1_000;
  await startUnits(lab, UNITS).catch(async (error) => {
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

/** Of the database's endpoint in etcd. */
async function createRevision(): Promise<string | undefined> {
  const words = ["get", "--prefix", "/fleet-ts/services/db/", "-w=json"];
  const { stdout } = await fixture.lab.etcdctl(...words);
  return /"create_revision":(\d+)/.exec(stdout)?.[1];
}

function pid(machine: number, unit: string): Promise<string> {
  return property(fixture.lab, { machine, unit, name: "MainPID" });
}

async function kill9(machine: number, unit: string): Promise<void> {
  await fixture.lab.exec(
    ...([machine, "systemctl", "kill", "--kill-who=main", "--signal=KILL", unit] as const),
  );
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
    deadlineMs: 40_000,
    look: () => answers(app),
    until: (seen) => seen.at(-1) === expected,
  });
}

afterEach(async () => {
  const { lab } = fixture;
  for (const machine of lab.machines) await lab.start(machine);
  await lab.waitFor({
    what: "the first machine's daemon answers",
    deadlineMs: 40_000,
    look: () => lab.api(1, "/fleet/v2/cluster").catch(() => undefined),
    until: (answer) => answer !== undefined,
  });
  await lab.exec(1, "systemctl", "stop", "side.service");
  await destroyAll(lab);
});

test("a database that dies with its machine comes back elsewhere; its consumer notices nothing but a pause", async (t) => {
  const { lab } = fixture;
  const { db, app, other } = await startChain(t);
  await untilAnswered(app, `m${db}`);
  const before = await pid(app, "app.service");
  const tree = (await lab.fleetctlAt(app, "links")).stdout;
  assert.match(
    tree,
    /^app.service on .*\n└─db at 127.0.0.1:5432\/tcp\n {2}└─db.service on .* passing\n$/,
  );
  await lab.kill(db);
  await untilShown(t, [], { at: app, what: "the dead machine's endpoint is gone" });
  await untilShown(t, [`db ${await lab.address(other)} passing`], { at: app, what: "it is back" });
  await untilAnswered(app, `m${other}`);
  assert.equal(await pid(app, "app.service"), before);
  await lab.start(db);
});

test("whatever is killed, the registry soon holds what is", async (t) => {
  const { lab } = fixture;
  const { db, app, other } = await startChain(t);
  const address = await lab.address(db);
  const passing = [`db ${address} passing`];
  const consumer = await pid(app, "app.service");
  const since = async () => (await endpoints(lab, other))[0]?.sinceMs ?? 0;

  const before = await since();
  await kill9(db, "db-register.service");
  await lab.waitFor({
    what: "the sidekick's next process has registered anew",
    deadlineMs: 40_000,
    look: since,
    until: (now) => now > before,
  });
  await untilShown(t, passing, { at: other, what: "after kill -9 of the sidekick" });

  await kill9(db, "db.service");
  await untilShown(t, [`db ${address} failing`], { at: other, what: "kill -9 of the backend" });
  await untilShown(t, passing, { at: other, what: "the backend is back" });

  const created = await createRevision();
  const oldDaemon = await pid(db, "fleetd-ts.service");
  await lab.killDaemon(db);
  await lab.waitFor({
    what: "another daemon runs, and knows of the endpoint",
    deadlineMs: 40_000,
    look: async () => ({
      daemon: await pid(db, "fleetd-ts.service"),
      held: (await endpoints(lab, other)).length,
      journal: (await lab.exec(db, "cat", "/run/fleet/endpoints")).stdout,
    }),
    until: ({ daemon, held, journal }) => {
      assert.equal(held, 1);
      return daemon !== oldDaemon && daemon !== "0" && journal.includes("services/db/");
    },
  });
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  assert.equal(await createRevision(), created, "it was never removed");

  const ambassador = await pid(app, "app-ambassador.service");
  await kill9(app, "app-ambassador.service");
  await lab.waitFor({
    what: "the ambassador is back, and so is its link",
    deadlineMs: 40_000,
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
    const wait = { deadlineMs: 40_000, everyMs: 20, look: registered };
    const whole = "pair passing, link";
    await lab.waitFor({ ...wait, what: "all is there", until: (now) => now === whole });
    const kill: Readonly<Record<Killed, () => Promise<void>>> = {
      sidekick: () => kill9(1, `${PAIRED.sidekick}.service`),
      backend: () => kill9(1, `${PAIRED.backend}.service`),
      ambassador: () => kill9(2, `${PAIRED.ambassador}.service`),
      "its daemon": () => lab.killDaemon(1),
      "the user's daemon": () => lab.killDaemon(2),
      machine: () => lab.kill(1),
    };
    await Promise.all([kill[first](), kill[second]()]);
    const beganMs = performance.now();
    await lab.waitFor({ ...wait, what: `it holds "${left}"`, until: (now) => now === left });
    t.diagnostic(`true after ${Math.round(performance.now() - beganMs)} ms`);
    // What comes back late would be stale: daemons of killed ones wait 2 s for owners.
    await new Promise((resolve) => setTimeout(resolve, TTL_MS));
    assert.equal(await registered(), left, "and still does");
    const stop = (machine: number) =>
      lab.exec(machine, "systemctl", "stop", ...Object.values(PAIRED));
    await lab.start(1);
    await Promise.all([stop(1), stop(2)]);
    await lab.waitFor({ ...wait, what: "nothing is left", until: (now) => now === "" });
  });
}

test("with the registry gone for longer than its leases last, traffic flows; then nothing is missing or stale", async (t) => {
  const { lab } = fixture;
  const { db, app } = await startChain(t);
  await untilAnswered(app, `m${db}`);
  await lab.etcd("stop");
  await new Promise((resolve) => setTimeout(resolve, 3 * TTL_MS));
  for (const machine of [db, app]) await lab.killDaemon(machine);
  await new Promise((resolve) => setTimeout(resolve, TTL_MS));
  await kill9(app, "app-ambassador.service");
  await lab.waitFor({
    what: "the ambassador is ready with what the last one knew",
    deadlineMs: 40_000,
    look: () =>
      property(lab, { machine: app, unit: "app-ambassador.service", name: "ActiveState" }),
    until: (state) => state === "active",
  });
  await untilAnswered(app, `m${db}`);
  await lab.etcd("start");
  await untilShown(t, [`db ${await lab.address(db)} passing`], {
    at: app,
    what: "it is all there",
  });
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  await untilShown(t, [`db ${await lab.address(db)} passing`], { at: app, what: "it still is" });
  const seen = await answers(app);
  // Only while the ambassador itself was dead.
  assert.ok(seen.filter((text) => text === "failed").length <= 1, seen.join());
  assert.equal(seen.at(-1), `m${db}`);
});
