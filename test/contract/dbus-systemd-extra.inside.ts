import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { promisify } from "node:util";
import { openDbusSystemd } from "../../src/agent/dbus-systemd.ts";
import type { Systemd } from "../../src/agent/systemd.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  follow,
  heldUnit,
  install,
  MARKERS,
  statusOf,
  unitText,
} from "./systemd-contract-fixture.ts";

/** What only the D-Bus adapter has to stand, inside a lab machine. */

const UNITS = "/run/fleet/units";
const LINKS = "/run/systemd/system";
const HOUR_MS = 3_600_000;

let systemd: Systemd;

async function run(program: string, ...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(program, args)).stdout.trim();
}

function open(ownUnit?: string, callDeadlineMs = 10_000): Promise<Systemd> {
  const own = ownUnit === undefined ? {} : { ownUnit };
  return openDbusSystemd({ clock: systemClock, logger: silentLogger, callDeadlineMs, ...own });
}

async function untilStarting(unit: string): Promise<void> {
  await waitFor({
    what: `${unit} starts`,
    deadlineMs: 60_000,
    look: () => statusOf(systemd, unit),
    until: (status) => status.active === "activating",
  });
}

async function names(directory: string): Promise<readonly string[]> {
  return (await readdir(directory)).filter((name) => name !== "systemd-journald.service.d").sort();
}

describe("D-Bus adapter", () => {
  let linksBefore: readonly string[] = [];
  before(async () => {
    await mkdir(MARKERS, { recursive: true });
    linksBefore = await names(LINKS);
  });
  beforeEach(async () => {
    systemd = await open();
  });
  afterEach(async () => {
    const units = (await systemd.held()).map((held) => held.unit);
    await Promise.all(units.map((unit) => systemd.stop(unit)));
    if ((await systemd.remove(units)).reloadNeeded) await systemd.reload();
    await systemd.close();
  });
  after(async () => {
    assert.deepEqual(await names(LINKS), linksBefore);
    assert.deepEqual(await names(UNITS), [".after-daemon.conf"]);
  });

  it("asks on once a systemd that did not answer for long does", async () => {
    const generator = "/run/systemd/system-generators/slow";
    await mkdir("/run/systemd/system-generators", { recursive: true });
    await writeFile(generator, "#!/bin/sh\nsleep 4\n", { mode: 0o755 });
    const impatient = await open(undefined, 200);
    try {
      await install(impatient, heldUnit("a.service", unitText()));
      await impatient.start("a.service");
      const reload = run("systemctl", "daemon-reload");
      const codes = new Map<string, number>();
      // More than the bus lets a connection await, in all.
      while (codes.size < 1 || [...codes.values()].reduce((all, one) => all + one, 0) < 300) {
        const asked = Array.from({ length: 60 }, () => impatient.glance("a.service"));
        for (const outcome of await Promise.allSettled(asked)) {
          const code = outcome.status === "fulfilled" ? "answered" : outcome.reason.code;
          codes.set(code, (codes.get(code) ?? 0) + 1);
        }
      }
      await reload;
      assert.deepEqual(
        [...codes.keys()].filter((code) => code !== "answered"),
        ["systemd-deadline"],
      );
      await waitFor({
        what: "it answers again",
        deadlineMs: 60_000,
        look: () => impatient.glance("a.service").catch((error: unknown) => error),
        until: (seen) => !(seen instanceof Error),
      });
    } finally {
      await rm(generator);
      await impatient.close();
    }
  });

  it("runs what was written last, 200 times in a row and without a pause", async () => {
    for (let round = 0; round < 200; round += 1) {
      const text = unitText({ marker: String(round), type: "oneshot" });
      const dropIn = {
        name: "10-x.conf",
        content: `[Service]\nExecStartPost=/bin/sh -c 'echo ${round} > ${MARKERS}/drop-in'\n`,
      };
      const manifest = { content: text, dropIns: [dropIn] };
      const [result] = await systemd.write([{ unit: "loop.service", manifest }]);
      assert.deepEqual(result, { type: "written", reloadNeeded: false });
      assert.equal(await systemd.start("loop.service"), "done");
      assert.equal((await readFile(`${MARKERS}/loop.service`, "utf8")).trim(), `marker-${round}`);
      assert.equal((await readFile(`${MARKERS}/drop-in`, "utf8")).trim(), String(round));
      assert.deepEqual(await systemd.remove(["loop.service"]), { reloadNeeded: false });
    }
  });

  it("says that a reload is needed for a unit systemd remembers because another one names it", async () => {
    await install(systemd, heldUnit("user.service", unitText({ unit: ["Wants=kept.service"] })));
    await install(systemd, heldUnit("kept.service", unitText({ marker: "old", type: "oneshot" })));
    await systemd.start("user.service");
    await systemd.stop("kept.service");
    assert.deepEqual(await systemd.remove(["kept.service"]), { reloadNeeded: true });
    const [result] = await systemd.write([
      heldUnit("kept.service", unitText({ marker: "new", type: "oneshot" })),
    ]);
    assert.deepEqual(result, { type: "written", reloadNeeded: true });
    await systemd.reload();
    await systemd.start("kept.service");
    assert.match(await readFile(`${MARKERS}/kept.service`, "utf8"), /marker-new/);
  });

  it("starts at once a unit that another one has named in vain before", async () => {
    await install(systemd, heldUnit("user.service", unitText({ unit: ["Wants=later.service"] })));
    await systemd.start("user.service");
    assert.equal(await install(systemd, heldUnit("later.service")), false);
    assert.equal(await systemd.start("later.service"), "done");
  });

  it("asking for what is not there leaves nothing loaded in systemd", async () => {
    const loaded = async () =>
      (await run("systemctl", "list-units", "--all", "--no-legend", "--plain")).split("\n").length;
    const count = await loaded();
    const unknown = Array.from({ length: 200 }, (_, index) => `unknown-${index}.service`);
    await systemd.status(unknown);
    assert.equal(await loaded(), count);
    await install(systemd, heldUnit("unasked.service"));
    await systemd.glance("unasked.service");
    assert.equal(await loaded(), count);
  });

  it("finishes on open what a crash has left half done", async () => {
    const enabled = unitText({ install: ["WantedBy=multi-user.target"] });
    await install(systemd, heldUnit("whole.service", enabled));
    await systemd.close();
    await rm(`${LINKS}/whole.service`);
    await rm(`${LINKS}/multi-user.target.wants/whole.service`);
    await writeFile(`${UNITS}/.new-1-1-half.service`, "[Serv");
    await mkdir(`${UNITS}/gone.service.d`);
    await writeFile(`${UNITS}/gone.service.d/10-x.conf`, "");
    await mkdir(`${LINKS}/gone.service.d`);
    await symlink(`${UNITS}/gone.service.d/10-x.conf`, `${LINKS}/gone.service.d/10-x.conf`);
    await symlink(`${UNITS}/gone.service`, `${LINKS}/gone.service`);
    systemd = await open();
    assert.deepEqual(await systemd.held(), [heldUnit("whole.service", enabled)]);
    assert.deepEqual(await names(UNITS), [".after-daemon.conf", "whole.service"]);
    assert.equal(await run("systemctl", "is-enabled", "whole.service"), "enabled-runtime");
    assert.equal(
      (await readdir(LINKS)).some((name) => name.startsWith("gone")),
      false,
    );
    assert.equal(await systemd.start("whole.service"), "done");
  });

  it("another daemon on the same files disturbs no unit and needs no reload", async () => {
    await install(systemd, heldUnit("a.service"));
    await systemd.start("a.service");
    await systemd.close();
    systemd = await open();
    assert.equal(
      await run("systemctl", "show", "--value", "--property=NeedDaemonReload", "a.service"),
      "no",
    );
  });

  it("drop-ins of the host for a unit of ours stay", async () => {
    await mkdir(`${LINKS}/a.service.d`);
    await writeFile(`${LINKS}/a.service.d/99-host.conf`, "[Unit]\nDescription=by the host\n");
    await install(systemd, heldUnit("a.service"));
    await systemd.start("a.service");
    assert.equal(
      await run("systemctl", "show", "--value", "--property=Description", "a.service"),
      "by the host",
    );
    await systemd.stop("a.service");
    await systemd.remove(["a.service"]);
    assert.deepEqual(await readdir(`${LINKS}/a.service.d`), ["99-host.conf"]);
    await rm(`${LINKS}/a.service.d`, { recursive: true });
  });

  it("daemon-reexec of systemd loses no job, and resync is told", async () => {
    await install(
      systemd,
      heldUnit("a.service", unitText({ type: "oneshot", startMs: 2_000, exitCode: 1 })),
    );
    const follower = follow(systemd);
    const start = systemd.start("a.service");
    await untilStarting("a.service");
    await run("systemctl", "daemon-reexec");
    assert.equal(await start, "failed");
    await waitFor({
      what: "resync is told",
      deadlineMs: 30_000,
      look: () => follower.events.some((event) => event.type === "resync"),
      until: (told) => told,
    });
    await follower.stop();
  });

  it("a bus that is killed comes back, with rules and subscription", async () => {
    await install(systemd, heldUnit("a.service"));
    const follower = follow(systemd);
    await run("systemctl", "kill", "--signal=KILL", "dbus.service");
    await waitFor({
      what: "a start goes through",
      deadlineMs: 30_000,
      look: () => systemd.start("a.service"),
      until: (outcome) => outcome === "done",
    });
    await waitFor({
      what: "it is told",
      deadlineMs: 30_000,
      look: () => follower.newest("a.service")?.sub,
      until: (sub) => sub === "running",
    });
    await follower.stop();
  });

  it("more jobs at once than systemd can watch the askers of are no trouble", async () => {
    const waiting = Array.from({ length: 700 }, (_, index) => `waiting-${index}.service`);
    const text = unitText({ unit: ["After=slow.service"] });
    await install(
      systemd,
      heldUnit("slow.service", unitText({ type: "oneshot", startMs: HOUR_MS })),
      ...waiting.map((unit) => heldUnit(unit, text)),
    );
    const follower = follow(systemd);
    const slow = systemd.start("slow.service");
    await untilStarting("slow.service");
    const starts = waiting.map((unit) => systemd.start(unit));
    await waitFor({
      what: "all others wait for it",
      deadlineMs: 60_000,
      look: () => systemd.status(waiting),
      until: (statuses) => statuses.every(({ hasJob }) => hasJob),
    });
    await Promise.all(waiting.map((unit) => systemd.stop(unit)));
    assert.deepEqual(new Set(await Promise.all(starts)), new Set(["canceled"]));
    await systemd.stop("slow.service");
    assert.equal(await slow, "canceled");
    assert.equal(
      follower.events.some((event) => event.type === "resync"),
      false,
    );
    await follower.stop();
  });

  it("a call that systemd does not answer ends at its deadline", async () => {
    const hasty = await openDbusSystemd({
      clock: systemClock,
      logger: silentLogger,
      callDeadlineMs: 300,
    });
    await run("systemctl", "kill", "--signal=STOP", "dbus.service");
    try {
      await assert.rejects(hasty.status(["a.service"]), {
        code: "systemd-deadline",
        retriable: true,
      });
      assert.equal(await hasty.ownJob(), "none");
    } finally {
      await run("systemctl", "kill", "--signal=CONT", "dbus.service");
      await hasty.close();
    }
  });

  for (const [verb, job] of [
    ["restart", "restart"],
    ["stop", "stop"],
  ] as const) {
    it(`ownJob() is ${job} while systemd wants to ${verb} the unit`, async () => {
      await writeFile(
        `${LINKS}/own.service`,
        "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 2\n",
      );
      await run("systemctl", "start", "own.service");
      const own = await open("own.service");
      assert.equal(await own.ownJob(), "none");
      await run("systemctl", verb, "--no-block", "own.service");
      assert.equal(await own.ownJob(), job);
      await own.close();
      await run("systemctl", "kill", "--signal=KILL", "own.service");
      await run("systemctl", "stop", "own.service");
      await run("systemctl", "reset-failed", "own.service").catch(() => "");
      await rm(`${LINKS}/own.service`);
      await run("systemctl", "daemon-reload");
    });
  }

  it("a wait for a job does not outlive close()", async () => {
    await install(systemd, heldUnit("a.service", unitText({ type: "oneshot", startMs: HOUR_MS })));
    const other = await open();
    const start = other.start("a.service");
    start.catch(() => {});
    await untilStarting("a.service");
    await other.close();
    await assert.rejects(start, { code: "systemd-unavailable" });
  });
});
