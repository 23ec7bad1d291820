import assert from "node:assert/strict";
import {
  type Check,
  follow,
  heldUnit,
  install,
  settled,
  statusOf,
  unitText,
  until,
} from "./systemd-contract-fixture.ts";

export function checkStatus(check: Check): void {
  check("glance() tells what status() does of a unit that has run", async (fixture) => {
    const { systemd } = fixture;
    const failing = unitText({ type: "oneshot", exitCode: 1 });
    await install(systemd, heldUnit("a.service"), heldUnit("failing.service", failing));
    const untouched = await systemd.glance("a.service");
    assert.deepEqual(untouched, {
      unit: "a.service",
      load: untouched.load,
      active: "inactive",
      sub: "dead",
      result: "success",
      mainPid: 0,
      sinceMs: 0,
      hasJob: false,
    });
    for (const unit of ["a.service", "failing.service"]) {
      await settled(fixture, systemd.start(unit));
      assert.deepEqual(await systemd.glance(unit), await statusOf(systemd, unit));
    }
    await settled(fixture, systemd.stop("a.service"));
    assert.equal((await systemd.glance("a.service")).active, "inactive");
  });

  check(
    "glance() tells that somebody else has started a unit since it was written",
    async (fixture) => {
      const { systemd, host } = fixture;
      const failing = unitText({ type: "oneshot", exitCode: 1 });
      await install(systemd, heldUnit("a.service"), heldUnit("failing.service", failing));
      for (const [unit, active] of [
        ["a.service", "active"],
        ["failing.service", "failed"],
      ] as const) {
        assert.equal((await systemd.glance(unit)).active, "inactive");
        await host.systemctl("start", unit);
        await until(
          fixture,
          `${unit} is ${active}`,
          () => systemd.glance(unit),
          (seen) => seen.active === active,
        );
        assert.deepEqual(await systemd.glance(unit), await statusOf(systemd, unit));
      }
    },
  );

  check(
    "status() answers in the order asked, also for what systemd does not know",
    async (fixture) => {
      const { systemd } = fixture;
      await install(
        systemd,
        heldUnit("b.service"),
        heldUnit("a.service"),
        heldUnit("t.target", "[Unit]\n"),
      );
      await settled(fixture, systemd.start("a.service"));
      const asked = [
        "nowhere.service",
        "b.service",
        "t.target",
        "a.service",
        "not a name",
        "nowhere@1.service",
      ];
      const statuses = await systemd.status(asked);
      assert.deepEqual(
        statuses.map((status) => status.unit),
        asked,
      );
      const unknown = {
        load: "not-found",
        active: "inactive",
        sub: "dead",
        result: "",
        mainPid: 0,
        sinceMs: 0,
        hasJob: false,
      };
      for (const index of [0, 4, 5])
        assert.deepEqual(statuses[index], { unit: asked[index], ...unknown });
      const idle = { ...unknown, load: "loaded" };
      assert.deepEqual(statuses[1], { unit: "b.service", ...idle, result: "success" });
      assert.deepEqual(statuses[2], { unit: "t.target", ...idle });
      const running = statuses[3];
      assert.ok(running !== undefined && running.mainPid > 0);
      assert.ok(Math.abs(running.sinceMs - fixture.wallMs()) < 60_000, String(running.sinceMs));
      const { active, sub, result, hasJob } = running;
      assert.deepEqual([active, sub, result, hasJob], ["active", "running", "success", false]);
      assert.deepEqual(await systemd.status([]), []);
    },
  );

  check("a failed unit says why and since when, to the next daemon too", async (fixture) => {
    await install(
      fixture.systemd,
      heldUnit("a.service", unitText({ type: "oneshot", exitCode: 1 })),
    );
    await settled(fixture, fixture.systemd.start("a.service"));
    const status = await statusOf(await fixture.restartDaemon(), "a.service");
    const { active, sub, result, mainPid } = status;
    assert.deepEqual([active, sub, result, mainPid], ["failed", "failed", "exit-code", 0]);
    assert.ok(Math.abs(status.sinceMs - fixture.wallMs()) < 60_000);
  });

  check(
    "a restart of the daemon leaves running units alone, and they are held (I4)",
    async (fixture) => {
      await install(fixture.systemd, heldUnit("a.service"));
      await settled(fixture, fixture.systemd.start("a.service"));
      const before = await statusOf(fixture.systemd, "a.service");
      const next = await fixture.restartDaemon();
      assert.deepEqual(await statusOf(next, "a.service"), before);
      assert.equal(await settled(fixture, next.start("a.service")), "done");
      assert.deepEqual(await statusOf(next, "a.service"), before);
    },
  );
}

export function checkEvents(check: Check): void {
  check("events() tell of starts, crashes and stops of held units, by whoever", async (fixture) => {
    const { systemd } = fixture;
    await fixture.host.add("file", "hosts.service");
    const follower = follow(systemd);
    const newest = () => follower.newest("a.service");
    await install(
      systemd,
      heldUnit("a.service", unitText({ service: ["Restart=always", "RestartSec=0.1"] })),
    );
    await settled(fixture, systemd.start("a.service"));
    const first = await until(
      fixture,
      "it runs",
      newest,
      (seen) => seen?.sub === "running" && !seen.hasJob,
    );
    assert.deepEqual(first, await statusOf(systemd, "a.service"));
    await fixture.host.crash("a.service");
    await until(
      fixture,
      "it runs again",
      newest,
      (seen) => seen?.sub === "running" && seen.mainPid !== first?.mainPid && !seen.hasJob,
    );
    await fixture.host.systemctl("stop", "a.service");
    await until(fixture, "it is stopped", newest, (seen) => seen?.active === "inactive");
    await fixture.host.systemctl("stop", "hosts.service");
    await fixture.elapse(500);
    const units = follower.events.map((event) =>
      event.type === "status" ? event.status.unit : event.type,
    );
    assert.deepEqual(new Set(units), new Set(["a.service"]));
    await follower.stop();
  });

  check("every follower hears everything, and none after its signal", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, heldUnit("a.service"));
    const [one, two] = [follow(systemd), follow(systemd)];
    await settled(fixture, systemd.start("a.service"));
    for (const { newest } of [one, two]) {
      await until(
        fixture,
        "it runs",
        () => newest("a.service"),
        (seen) => seen?.sub === "running",
      );
    }
    await one.stop();
    const heard = one.events.length;
    await settled(fixture, systemd.stop("a.service"));
    await until(
      fixture,
      "it is stopped",
      () => two.newest("a.service"),
      (seen) => seen?.sub === "dead",
    );
    assert.equal(one.events.length, heard);
    await two.stop();
  });

  check(
    "a unit that restarts in a loop is told of at once, then now and then, and when it rests",
    async (fixture) => {
      const { systemd } = fixture;
      const text = unitText({
        exitAfterMs: 10,
        unit: ["StartLimitIntervalSec=0"],
        service: ["Restart=always", "RestartSec=0.01"],
      });
      await install(systemd, heldUnit("a.service", text));
      const follower = follow(systemd);
      await settled(fixture, systemd.start("a.service"));
      await until(
        fixture,
        "it is told of",
        () => follower.events.length,
        (seen) => seen > 0,
      );
      await fixture.elapse(4_000);
      const before = follower.events.length;
      await fixture.elapse(10_000);
      const told = follower.events.length - before;
      assert.ok(told >= 1 && told <= 10, String(told));
      await systemd.resetFailed("a.service");
      await settled(fixture, systemd.stop("a.service"));
      const newest = () => follower.newest("a.service");
      await until(fixture, "its rest is told", newest, (seen) => seen?.active === "inactive");
      await follower.stop();
    },
  );

  check("when the bus was away, resync is told, and what follows is heard", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, heldUnit("a.service"));
    const follower = follow(systemd);
    await fixture.breakBus();
    await fixture.host.systemctl("start", "a.service");
    await fixture.restoreBus();
    await until(
      fixture,
      "resync is told",
      () => follower.events.some((event) => event.type === "resync"),
      (seen) => seen,
    );
    await settled(fixture, systemd.stop("a.service"));
    await until(
      fixture,
      "the stop is told",
      () => follower.newest("a.service"),
      (seen) => seen?.sub === "dead",
    );
    await follower.stop();
  });

  check("a machine that goes on running says so", async ({ systemd }) => {
    assert.equal(await systemd.isSystemStopping(), false);
    assert.equal(await systemd.ownJob(), "none");
  });
}
