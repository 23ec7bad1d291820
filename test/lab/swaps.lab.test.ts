import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { property } from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const TTL_MS = 3_000;
const SWAPS = Number(process.env["SWAPS"] ?? 1_000);
/** Beyond every ttl and time of grace: 10 s; longer by hand. */
const OUTAGE_MS = Number(process.env["SWAPS_OUTAGE_S"] ?? 10) * 1_000;
const fixture = useLab({
  machines: 3,
  settings: { agent_ttl: `${TTL_MS / 1_000}s`, boot_grace: "3s" },
});
const BACKENDS = [1, 2];
/** Of each machine: swaps-backends.inside.ts. */
const LANES = 5;
const CLIENT = 3;

interface Counts {
  readonly sent: number;
  readonly answered: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly held: number;
  readonly cut: number;
  readonly echoes: number;
}

async function runUnit(machine: number, unit: string, ...argv: readonly string[]): Promise<void> {
  const { code, stderr } = await fixture.lab.exec(
    ...([machine, "systemd-run", `--unit=${unit}`, "-p", "LimitNOFILE=20000", ...argv] as const),
  );
  assert.equal(code, 0, stderr);
}

async function signal(machine: number, unit: string, name: string): Promise<void> {
  const kill = ["systemctl", "kill", "--kill-who=main", `--signal=${name}`, unit];
  assert.equal((await fixture.lab.exec(machine, ...kill)).code, 0);
}

async function counts(): Promise<Counts> {
  const { stdout } = await fixture.lab.exec(CLIENT, "cat", "/run/swaps-client");
  return JSON.parse(stdout || "{}") as Counts;
}

async function untilBackends(state: string, deadlineMs: number): Promise<void> {
  await fixture.lab.waitFor({
    what: `the backends are ${state}`,
    deadlineMs,
    look: async () => {
      const said = BACKENDS.map((machine) =>
        fixture.lab.exec(machine, "cat", "/run/swaps-backends"),
      );
      return (await Promise.all(said)).map(({ stdout }) => stdout);
    },
    until: (said) => said.every((one) => one.startsWith(state)),
  });
}

interface Shown {
  readonly instance: string;
  readonly machine: string;
  readonly health: string;
}

async function endpoints(): Promise<readonly Shown[]> {
  const body = await fixture.lab.api(CLIENT, "/fleet/v2/services");
  return (body as { endpoints: readonly Shown[] }).endpoints;
}

/** As many requests again are answered: traffic flows now. */
async function untilAnswered(more: number): Promise<Counts> {
  const { answered } = await counts();
  return await fixture.lab.waitFor({
    what: `${more} more requests are answered`,
    deadlineMs: 60_000,
    look: counts,
    until: (now) => now.answered >= answered + more,
  });
}

/** Until the outage has lasted as long as it is to, however many requests a slow machine sends, and traffic still flows. */
async function outlast(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, OUTAGE_MS));
  await untilAnswered(100);
}

interface Status {
  readonly links: readonly {
    readonly stats: {
      readonly refused: Readonly<Record<string, number>>;
      readonly backends: readonly { readonly connectFailures: number; readonly errors: number }[];
    };
  }[];
}

async function linkStats(): Promise<Status["links"][number]["stats"]> {
  const curl = ["curl", "-s", "--unix-socket", "/run/amb.sock", "http://ambassador/status"];
  const { stdout } = await fixture.lab.exec(CLIENT, ...curl);
  const stats = (JSON.parse(stdout) as Status).links[0]?.stats;
  assert(stats !== undefined);
  return stats;
}

/** Nothing failed that another attempt could have saved; nothing that was connected was cut. */
async function assertUnharmed(t: TestContext, what: string): Promise<void> {
  const now = await counts();
  t.diagnostic(`${what}: ${JSON.stringify(now)}`);
  const { refused } = await linkStats();
  assert.deepEqual([...new Set(Object.values(refused))], [0], JSON.stringify(refused));
  assert.deepEqual([now.failed, now.held, now.cut], [{}, 20, 0]);
}

async function assertEndpoints(...expected: readonly string[]): Promise<void> {
  await fixture.lab.waitFor({
    what: "nothing is missing in the registry, and nothing stale",
    deadlineMs: 40_000,
    look: async () => (await endpoints()).map((one) => `${one.instance} ${one.health}`).sort(),
    until: (seen) => seen.join() === expected.toSorted().join(),
  });
}

/** A sidekick by itself; its endpoint is named like its unit. */
async function runSidekick(machine: number, unit: string): Promise<void> {
  const sidekick = ["/opt/fleet/bin/fleet-sidekick", "--service", "other", "--port", "9"];
  await runUnit(machine, unit, ...sidekick, "--instance", unit);
}

/** Until the daemons are started again: systemd does not. */
async function killDaemons(): Promise<void> {
  const { lab } = fixture;
  for (const machine of lab.machines) {
    const file = "/run/systemd/system/fleetd-ts.service.d/dead.conf";
    const script = `mkdir -p ${file.replace(/[^/]*$/, "")}; printf '[Service]\\nRestart=no\\n' > ${file}; systemctl daemon-reload`;
    await lab.exec(machine, "sh", "-c", script);
    await lab.killDaemon(machine);
  }
}

test("1,000 swaps of backends under 200 requests a second, then the registry and the daemons gone: nobody notices", async (t) => {
  const { lab } = fixture;
  const node = "/opt/node/bin/node";
  const inside = (name: string) => [node, `/opt/app/test/lab/swaps-${name}.inside.ts`];
  const each = String(Math.ceil(SWAPS / BACKENDS.length / LANES));
  for (const machine of BACKENDS) await runUnit(machine, "backends", ...inside("backends"), each);
  await untilBackends("ready", 40_000);
  const ambassador = ["/opt/fleet/bin/fleet-ambassador", "--link", "db:7000"];
  const notify = ["-p", "Type=notify", "-p", "NotifyAccess=all"];
  await runUnit(CLIENT, "amb", ...notify, ...ambassador, "--status-socket", "/run/amb.sock");
  await runUnit(CLIENT, "client", ...inside("client"));
  await lab.waitFor({
    what: "20 connections are held",
    deadlineMs: 40_000,
    look: counts,
    until: ({ held }) => held === 20,
  });
  await signal(CLIENT, "client", "SIGUSR1");
  for (const machine of BACKENDS) await signal(machine, "backends", "SIGUSR1");
  await untilBackends("done", 600_000);
  await assertUnharmed(t, `${SWAPS} swaps`);
  const there = (await endpoints()).map((one) => `${one.instance} ${one.health}`);
  assert.equal(there.length, BACKENDS.length * LANES);
  await runSidekick(1, "first");
  await assertEndpoints(...there, "first unknown");

  await lab.etcd("stop");
  await outlast();
  await signal(1, "first", "SIGKILL");
  await runSidekick(2, "second");
  await lab.etcd("start");
  await assertEndpoints(...there, "second unknown");
  await assertUnharmed(t, `the registry gone for ${OUTAGE_MS / 1_000} s or more`);

  await killDaemons();
  await outlast();
  for (const machine of lab.machines)
    assert.equal(
      await property(lab, { machine, unit: "fleetd-ts", name: "ActiveState" }),
      "failed",
    );
  await signal(2, "second", "SIGKILL");
  await runSidekick(1, "third");
  for (const machine of lab.machines) await lab.daemon(machine, "start");
  await assertEndpoints(...there, "third unknown");
  await untilAnswered(400);
  await assertEndpoints(...there, "third unknown");
  await assertUnharmed(t, `all daemons dead for ${OUTAGE_MS / 1_000} s or more`);
});
