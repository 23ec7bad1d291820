import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { destroyAll, property, runsOn, startUnits, unitJournal } from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const FOLDER = join(import.meta.dirname, "../../examples/units/chain");
const PODMAN = ["podman", "netavark", "aardvark-dns", "catatonit", "busybox-static", "iptables"];
const fixture = useLab({
  machines: 3,
  settings: { agent_ttl: "5s" },
  packages: [...PODMAN, "systemd-resolved"],
});

/** In the order in which they start. */
const DATABASE = ["kiosk-pull", "kiosk-storage", "kiosk-network", "kiosk-db", "kiosk-db-register"];
const APPLICATION = ["kiosk-ambassador", "kiosk"];

function example(unit: string): string {
  return readFileSync(join(FOLDER, unit), "utf8");
}

function files(names: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(names.map((name) => [`${name}.service`, example(`${name}.service`)]));
}

/** Systemd's first words on each unit of the chain since `sinceUs`, by time: `Finished kiosk-pull, Started kiosk-db`. */
async function happened(
  machine: number,
  names: readonly string[],
  wanted: { readonly sinceUs: number; readonly words: RegExp },
): Promise<readonly string[]> {
  const entries = await Promise.all(
    names.map(async (name) =>
      (await unitJournal(fixture.lab, machine, `${name}.service`))
        .filter(({ bySystemd, atUs }) => bySystemd && atUs >= wanted.sinceUs)
        .filter(({ text }) => wanted.words.test(text))
        .map(({ atUs }) => ({ name, atUs })),
    ),
  );
  return entries
    .flat()
    .sort((a, b) => a.atUs - b.atUs)
    .map(({ name }) => name);
}

async function where(unit: string): Promise<number> {
  const [machine = 0] = await runsOn(fixture.lab, unit);
  return machine;
}

/** Until the last thing that the unit said is this. */
async function untilSays(machine: number, unit: string, text: string): Promise<void> {
  await fixture.lab.waitFor({
    what: `${unit} says "${text}"`,
    deadlineMs: 60_000,
    look: async () =>
      (await unitJournal(fixture.lab, machine, unit)).filter(({ bySystemd }) => !bySystemd).at(-1)
        ?.text,
    until: (said) => said === text,
  });
}

async function pidOf(machine: number, unit: string): Promise<string> {
  return await property(fixture.lab, { machine, unit, name: "MainPID" });
}

describe("the chain without containers", () => {
  test("starts in order and stops in reverse, on both machines", async () => {
    const { lab } = fixture;
    const beganUs = Date.now() * 1_000;
    await startUnits(lab, files([...APPLICATION, ...DATABASE]));
    const [db, app] = [await where("kiosk-db.service"), await where("kiosk.service")];
    assert.notEqual(db, app);
    const up = { sinceUs: beganUs, words: /^(Started|Finished) / };
    assert.deepEqual(await happened(db, DATABASE, up), DATABASE);
    assert.deepEqual(await happened(app, APPLICATION, up), APPLICATION);
    await untilSays(app, "kiosk.service", `sells apples on m${db}`);
    const stoppedUs = Date.now() * 1_000;
    const stopped = await lab.fleetctl("stop", "kiosk*");
    assert.equal(stopped.code, 0, stopped.stderr);
    const down = { sinceUs: stoppedUs, words: /^Stopped / };
    assert.deepEqual(await happened(db, DATABASE, down), DATABASE.toReversed());
    assert.deepEqual(await happened(app, APPLICATION, down), APPLICATION.toReversed());
    await destroyAll(lab);
  });

  test("waits for a database that comes late, for longer than a start may take; then follows it to another machine", async () => {
    const { lab } = fixture;
    const units = files(APPLICATION);
    const ambassador = "kiosk-ambassador.service";
    // A tenth of a usual time-out, so that nobody has to wait for a minute and a half.
    const hasty = `${units[ambassador]}TimeoutStartSec=5s\n`;
    for (const [name, text] of Object.entries({ ...units, [ambassador]: hasty }))
      await lab.unitFile(name, text);
    const started = await lab.fleetctl("start", "--no-block", ...Object.keys(units));
    assert.equal(started.code, 0, started.stderr);
    const app = await lab.waitFor({
      what: "the ambassador waits, and says for what",
      deadlineMs: 40_000,
      look: async () => {
        const texts = await Promise.all(
          lab.machines.map((machine) =>
            property(lab, { machine, unit: ambassador, name: "StatusText" }),
          ),
        );
        return lab.machines.find((machine) => texts[machine - 1]?.includes("kiosk-db")) ?? 0;
      },
      until: (machine) => machine > 0,
    });
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    const state = await property(lab, { machine: app, unit: ambassador, name: "ActiveState" });
    const restarts = await property(lab, { machine: app, unit: ambassador, name: "NRestarts" });
    assert.deepEqual([state, restarts], ["activating", "0"]);
    assert.deepEqual(await runsOn(lab, "kiosk.service"), []);

    await startUnits(lab, files(DATABASE));
    const db = await where("kiosk-db.service");
    await untilSays(app, "kiosk.service", `sells apples on m${db}`);
    const pid = await pidOf(app, "kiosk.service");
    const drained = await lab.fleetctlAt(app, "drain", await lab.machineId(db));
    assert.equal(drained.code, 0, drained.stderr);
    const next = await where("kiosk-db.service");
    assert(next !== db && next !== app, `it is on m${next}`);
    await untilSays(app, "kiosk.service", `sells apples on m${next}`);
    assert.equal(await pidOf(app, "kiosk.service"), pid, "the application noticed nothing");
    await lab.fleetctl("uncordon", await lab.machineId(db));
  });

  test("graph draws it, over both machines", async () => {
    const { lab } = fixture;
    const { stdout, code } = await lab.fleetctl("graph", "kiosk.service");
    assert.equal(code, 0);
    assert.match(
      stdout,
      new RegExp(
        [
          "^kiosk.service on .*, active",
          "├─wants kiosk-ambassador.service on .*, active",
          "└─uses service kiosk-db at 127.0.0.1:5432/tcp",
          "  └─kiosk-db.service on .*, active, .*:5433 passing",
          "    ├─requires kiosk-network.service on .*, active",
          "    │ └─requires kiosk-storage.service on .*, active",
          "    │   └─requires kiosk-pull.service on .*, active",
          "    └─wants kiosk-db-register.service on .*, active\n$",
        ].join("\n"),
      ),
    );
  });

  describe("systemd-resolved", () => {
    let at = 0;
    before(async () => {
      const { lab } = fixture;
      at = await where("kiosk.service");
      const conf = readFileSync(join(FOLDER, "../../../systemd/resolved-fleet.conf"), "utf8");
      await lab.writeFile(at, "/etc/systemd/resolved.conf.d/fleet.conf", conf);
      const user = "systemd-resolve:x:991:991::/:/usr/sbin/nologin";
      const script = `echo ${user} >> /etc/passwd; echo systemd-resolve:x:991: >> /etc/group;
        ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf; systemctl start systemd-resolved`;
      const { code, stderr } = await lab.exec(at, "sh", "-c", script);
      assert.equal(code, 0, stderr);
    });
    const hosts = async (name: string) =>
      (await fixture.lab.exec(at, "getent", "hosts", name)).stdout.split(" ")[0];

    test("finds services, instances, units and machines, and is refused all else at once", async () => {
      const { lab } = fixture;
      const db = await where("kiosk-db.service");
      const address = await lab.address(db);
      assert.equal(await hosts("kiosk-db.service.fleet"), address);
      assert.equal(await hosts("kiosk-db.unit.fleet"), address);
      assert.equal(await hosts(`m${db}.machine.fleet`), address);
      assert.equal(await hosts(`${await lab.machineId(db)}.machine.fleet`), address);
      const srv = await lab.exec(at, "resolvectl", "query", "-t", "SRV", "kiosk-db.service.fleet");
      const target = /IN SRV 0 100 5433 ([\w.-]+)/.exec(srv.stdout)?.[1] ?? "";
      assert.equal(await hosts(target), address);
      const none = await lab.exec(at, "resolvectl", "query", "none.service.fleet");
      assert.match(none.stderr, /not found/);
      const refused = await lab.exec(at, "resolvectl", "query", "example.org");
      assert.match(refused.stderr, /REFUSED/);
    });

    test("is told the last known state while the registry is away", async () => {
      const { lab } = fixture;
      const address = await lab.address(await where("kiosk-db.service"));
      assert.equal(await hosts("kiosk-db.service.fleet"), address);
      await lab.etcd("stop");
      await lab.waitFor({
        what: "the daemon says that it answers from its last state",
        deadlineMs: 60_000,
        look: async () => {
          await lab.exec(at, "resolvectl", "flush-caches");
          assert.equal(await hosts("kiosk-db.service.fleet"), address);
          return await lab.journal(at, "-u", "fleetd-ts", "-o", "cat");
        },
        until: (log) => log.includes("dns-answers-from-last-state why="),
      });
      await lab.etcd("start");
    });
  });
});

describe("the chain with containers", () => {
  before(async () => {
    const { lab } = fixture;
    await lab.waitFor({
      what: "the registry is back",
      deadlineMs: 60_000,
      look: () => lab.api(1, "/fleet/v2/cluster").catch(() => undefined),
      until: (cluster) => cluster !== undefined,
    });
    await destroyAll(lab);
  });
  after(async () => {
    await destroyAll(fixture.lab);
  });

  test("starts over two machines; its database is killed and comes back, and the application goes on", async () => {
    const { lab } = fixture;
    const names = readdirSync(FOLDER).filter((name) => name.startsWith("shop"));
    const units = Object.fromEntries(names.map((name) => [name, example(name)]));
    const pull = example("pull-shop@.service");
    const beganUs = Date.now() * 1_000;
    await startUnits(lab, {
      ...units,
      "pull-shop@db.service": pull,
      "pull-shop@app.service": pull,
    });
    const [db, app] = [await where("shop-db.service"), await where("shop.service")];
    assert.notEqual(db, app);
    const order = ["pull-shop@db", "shop-storage", "shop-network", "shop-db", "shop-db-register"];
    const up = { sinceUs: beganUs, words: /^(Started|Finished) / };
    assert.deepEqual(await happened(db, order, up), order);
    await untilSays(app, "shop.service", `apples on m${db}`);
    const pid = await pidOf(app, "shop.service");
    const before = await pidOf(db, "shop-db.service");
    const killed = await lab.exec(db, "podman", "kill", "shop-db");
    assert.equal(killed.code, 0, killed.stderr);
    await lab.waitFor({
      what: "another container runs",
      deadlineMs: 60_000,
      look: () => pidOf(db, "shop-db.service"),
      until: (now) => now !== "0" && now !== before,
    });
    const sinceUs = Date.now() * 1_000;
    await lab.waitFor({
      what: "the application is served again",
      deadlineMs: 60_000,
      look: async () =>
        (await unitJournal(lab, app, "shop.service")).filter(
          ({ atUs, text }) => atUs > sinceUs && text === `apples on m${db}`,
        ).length,
      until: (count) => count > 1,
    });
    assert.equal(await pidOf(app, "shop.service"), pid);
    const stoppedUs = Date.now() * 1_000;
    const stopped = await lab.fleetctl("stop", "shop*", "pull-shop*");
    assert.equal(stopped.code, 0, stopped.stderr);
    const down = { sinceUs: stoppedUs, words: /^Stopped / };
    assert.deepEqual(await happened(db, order, down), order.toReversed());
  });
});
