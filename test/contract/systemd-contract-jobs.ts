import assert from "node:assert/strict";
import { isFleetError } from "../../src/runtime/errors.ts";
import {
  type Check,
  heldUnit,
  install,
  settled,
  statusOf,
  type UnitTextOptions,
  unitText,
  until,
} from "./systemd-contract-fixture.ts";

const FAILING_DEPENDENCY = {
  unit: ["Requires=dep.service", "After=dep.service"],
  sim: ["Outcome=dependency"],
};

export function checkStart(check: Check): void {
  const outcomes: readonly [
    what: string,
    text: UnitTextOptions,
    outcome: string,
    active: string,
  ][] = [
    ["a service that runs", {}, "done", "active"],
    ["a oneshot that succeeds", { type: "oneshot", startMs: 100 }, "done", "inactive"],
    ["a oneshot that fails", { type: "oneshot", startMs: 100, exitCode: 3 }, "failed", "failed"],
    [
      "a oneshot that remains",
      { type: "oneshot", service: ["RemainAfterExit=yes"] },
      "done",
      "active",
    ],
    [
      "a start-up longer than TimeoutStartSec",
      { type: "oneshot", startMs: Number.POSITIVE_INFINITY, service: ["TimeoutStartSec=0.3"] },
      "failed",
      "failed",
    ],
    [
      "a job longer than JobTimeoutSec",
      { type: "oneshot", startMs: 30_000, unit: ["JobTimeoutSec=0.3"] },
      "timeout",
      "activating",
    ],
    ["a dependency that fails", FAILING_DEPENDENCY, "dependency", "inactive"],
  ];
  for (const [what, text, outcome, active] of outcomes) {
    check(`start() of ${what} is ${outcome}`, async (fixture) => {
      const { systemd } = fixture;
      const dependency = unitText({ type: "oneshot", exitCode: 1 });
      await install(
        systemd,
        heldUnit("dep.service", dependency),
        heldUnit("a.service", unitText(text)),
      );
      assert.equal(await settled(fixture, systemd.start("a.service")), outcome);
      const status = await until(
        fixture,
        `it is ${active}`,
        () => statusOf(systemd, "a.service"),
        (seen) => seen.active === active,
      );
      assert.equal(status.load, "loaded");
    });
  }

  check("start() of a unit that is active already is done and starts nothing", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, heldUnit("a.service"));
    await settled(fixture, systemd.start("a.service"));
    const before = await statusOf(systemd, "a.service");
    assert.equal(await settled(fixture, systemd.start("a.service")), "done");
    assert.deepEqual(await statusOf(systemd, "a.service"), before);
  });

  check("two starts at once are one, and both hear of its end", async (fixture) => {
    const { systemd } = fixture;
    const text = unitText({ type: "oneshot", startMs: 200, exitCode: 1 });
    await install(systemd, heldUnit("a.service", text));
    const both = Promise.all([systemd.start("a.service"), systemd.start("a.service")]);
    assert.deepEqual(await settled(fixture, both), ["failed", "failed"]);
  });

  check("many starts at once all end", async (fixture) => {
    const { systemd } = fixture;
    const units = Array.from({ length: 150 }, (_, index) => heldUnit(`many-${index}.service`));
    await install(systemd, ...units);
    const outcomes = await settled(
      fixture,
      Promise.all(units.map(({ unit }) => systemd.start(unit))),
    );
    assert.deepEqual(new Set(outcomes), new Set(["done"]));
    const statuses = await systemd.status(units.map(({ unit }) => unit));
    assert.deepEqual(
      statuses.map(({ unit, sub }) => [unit, sub]),
      units.map(({ unit }) => [unit, "running"]),
    );
    await settled(fixture, Promise.all(units.map(({ unit }) => systemd.stop(unit))));
  });

  check("aborting start() rejects with the reason, and the job goes on", async (fixture) => {
    const { systemd } = fixture;
    const text = unitText({ type: "oneshot", startMs: 500, service: ["RemainAfterExit=yes"] });
    await install(systemd, heldUnit("a.service", text));
    const patience = new AbortController();
    const start = systemd.start("a.service", patience.signal);
    start.catch(() => {});
    const look = () => statusOf(systemd, "a.service");
    const during = await until(fixture, "it starts", look, (seen) => seen.active === "activating");
    assert.equal(during.hasJob, true);
    patience.abort(new Error("no longer"));
    await assert.rejects(settled(fixture, start), { message: "no longer" });
    const after = await until(fixture, "it is active", look, (seen) => seen.active === "active");
    assert.equal(after.hasJob, false);
    await assert.rejects(systemd.start("a.service", patience.signal), { message: "no longer" });
  });

  check(
    "start() of a unit file systemd cannot read is refused, and status says bad-setting",
    async (fixture) => {
      const { systemd } = fixture;
      await install(systemd, heldUnit("a.service", "[Service]\nType=simple\n"));
      await assert.rejects(systemd.start("a.service"), { code: "systemd-refused" });
      assert.equal((await statusOf(systemd, "a.service")).load, "bad-setting");
    },
  );

  check("start() replaced by a stop by hand is canceled", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, heldUnit("a.service", unitText({ type: "oneshot", startMs: 20_000 })));
    const start = systemd.start("a.service");
    const look = () => statusOf(systemd, "a.service");
    await until(fixture, "it starts", look, (seen) => seen.active === "activating");
    await fixture.host.systemctl("stop", "a.service");
    assert.equal(await settled(fixture, start), "canceled");
  });

  check("a unit at its start limit is not run until resetFailed()", async (fixture) => {
    const { systemd } = fixture;
    const unit = ["StartLimitBurst=2", "StartLimitIntervalSec=1h"];
    await install(systemd, heldUnit("a.service", unitText({ type: "oneshot", exitCode: 1, unit })));
    const fails = async () => {
      await fixture.elapse(20);
      assert.equal(await settled(fixture, systemd.start("a.service")), "failed");
      return (await statusOf(systemd, "a.service")).sinceMs;
    };
    const first = await fails();
    const second = await fails();
    assert.ok(second > first);
    assert.equal(await fails(), second);
    await systemd.resetFailed("a.service");
    assert.equal((await statusOf(systemd, "a.service")).active, "inactive");
    assert.ok((await fails()) > second);
  });
}

export function checkStop(check: Check): void {
  check(
    "stop() resolves when ExecStop and ExecStopPost have run, for all who wait (I8)",
    async (fixture) => {
      const { systemd } = fixture;
      await install(systemd, heldUnit("a.service", unitText({ stopMs: 300, postMs: 200 })));
      await settled(fixture, systemd.start("a.service"));
      const stops = [systemd.stop("a.service"), systemd.stop("a.service")].map(async (stop) => {
        await stop;
        return (await statusOf(systemd, "a.service")).active;
      });
      const look = () => statusOf(systemd, "a.service");
      await until(fixture, "it stops", look, (seen) => seen.active === "deactivating");
      const third = systemd.stop("a.service");
      assert.deepEqual(await settled(fixture, Promise.all(stops)), ["inactive", "inactive"]);
      await settled(fixture, third);
    },
  );

  check("stop() of what is not there, not held or not running resolves", async (fixture) => {
    const { systemd } = fixture;
    await systemd.stop("nowhere.service");
    await install(systemd, heldUnit("a.service"));
    await systemd.stop("a.service");
    assert.equal((await statusOf(systemd, "a.service")).active, "inactive");
  });

  check("stop() of a unit that waits to be restarted ends that", async (fixture) => {
    const { systemd } = fixture;
    const service = ["Restart=always", "RestartSec=30"];
    await install(
      systemd,
      heldUnit("a.service", unitText({ exitAfterMs: 50, exitCode: 1, service })),
    );
    await settled(fixture, systemd.start("a.service"));
    const look = () => statusOf(systemd, "a.service");
    await until(fixture, "it waits", look, (seen) => seen.sub === "auto-restart");
    await settled(fixture, systemd.stop("a.service"));
    assert.notEqual((await look()).active, "activating");
  });

  check("stop() goes on when a start by hand takes the place of its job", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, heldUnit("a.service", unitText({ stopMs: 500 })));
    await settled(fixture, systemd.start("a.service"));
    const stop = systemd.stop("a.service");
    const look = () => statusOf(systemd, "a.service");
    await until(fixture, "it stops", look, (seen) => seen.active === "deactivating");
    await fixture.host.systemctl("start", "a.service");
    await settled(fixture, stop);
    assert.equal((await look()).active, "inactive");
  });

  check("start() during a stop runs after it (I8)", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, heldUnit("a.service", unitText({ stopMs: 300 })));
    await settled(fixture, systemd.start("a.service"));
    const before = await statusOf(systemd, "a.service");
    await fixture.host.systemctl("stop", "a.service");
    const look = () => statusOf(systemd, "a.service");
    await until(fixture, "it stops", look, (seen) => seen.active === "deactivating");
    assert.equal(await settled(fixture, systemd.start("a.service")), "done");
    assert.notEqual((await look()).mainPid, before.mainPid);
  });
}

export function checkBus(check: Check): void {
  check(
    "without the bus calls fail with systemd-unavailable, and later they succeed",
    async (fixture) => {
      const { systemd } = fixture;
      await install(systemd, heldUnit("a.service"));
      await fixture.breakBus();
      const isAway = (error: unknown) =>
        isFleetError(error, "systemd-unavailable") && error.retriable;
      await assert.rejects(systemd.status(["a.service"]), isAway);
      await assert.rejects(systemd.start("a.service"), isAway);
      assert.equal(await systemd.ownJob(), "none");
      assert.deepEqual(await systemd.held(), [heldUnit("a.service")]);
      await fixture.restoreBus();
      const look = () => systemd.status(["a.service"]).catch(() => undefined);
      await until(fixture, "systemd answers", look, (seen) => seen !== undefined);
      assert.equal(await settled(fixture, systemd.start("a.service")), "done");
    },
  );

  for (const [exitCode, outcome] of [
    [0, "done"],
    [1, "failed"],
  ] as const) {
    check(`a start that ends while the bus is away is ${outcome} all the same`, async (fixture) => {
      const { systemd } = fixture;
      const text = unitText({ type: "oneshot", startMs: 1_000, exitCode });
      await install(systemd, heldUnit("a.service", text));
      const start = systemd.start("a.service");
      const look = () => statusOf(systemd, "a.service");
      await until(fixture, "it starts", look, (seen) => seen.active === "activating");
      await fixture.breakBus();
      await fixture.elapse(2_000);
      await fixture.restoreBus();
      assert.equal(await settled(fixture, start), outcome);
    });
  }

  check("a stop that outlasts the bus resolves when the unit has stopped", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, heldUnit("a.service", unitText({ stopMs: 1_500 })));
    await settled(fixture, systemd.start("a.service"));
    const stop = systemd.stop("a.service");
    const look = () => statusOf(systemd, "a.service");
    await until(fixture, "it stops", look, (seen) => seen.active === "deactivating");
    await fixture.breakBus();
    await fixture.restoreBus();
    await settled(fixture, stop);
    assert.equal((await look()).active, "inactive");
  });
}

export function checkActions(check: Check): void {
  const isRefused = (error: unknown) => isFleetError(error, "systemd-refused");

  check("reloadUnit() of a unit that runs and can be reloaded is done", async (fixture) => {
    const { systemd } = fixture;
    const text = unitText({ service: ["ExecReload=/bin/true"] });
    await install(systemd, heldUnit("a.service", text));
    await settled(fixture, systemd.start("a.service"));
    await settled(fixture, systemd.reloadUnit("a.service"));
    assert.equal((await statusOf(systemd, "a.service")).active, "active");
  });

  check("reloadUnit() is refused where there is nothing to reload", async (fixture) => {
    const { systemd } = fixture;
    const text = unitText({ service: ["ExecReload=/bin/true"] });
    await install(systemd, heldUnit("a.service", text), heldUnit("b.service"));
    await assert.rejects(settled(fixture, systemd.reloadUnit("a.service")), isRefused);
    await settled(fixture, systemd.start("b.service"));
    await assert.rejects(settled(fixture, systemd.reloadUnit("b.service")), isRefused);
    await assert.rejects(settled(fixture, systemd.reloadUnit("none.service")), isRefused);
  });

  for (const [signal, number, active] of [
    ["SIGKILL", 9, "failed"],
    ["SIGTERM", 15, "inactive"],
  ] as const)
    check(`kill() with ${signal} ends a unit, which is ${active} then`, async (fixture) => {
      const { systemd } = fixture;
      await install(systemd, heldUnit("a.service"));
      await settled(fixture, systemd.start("a.service"));
      await systemd.kill("a.service", number);
      await until(
        fixture,
        `it is ${active}`,
        () => statusOf(systemd, "a.service"),
        (seen) => seen.active === active,
      );
    });

  check("kill() is refused for a unit that does not run, or is not held", async (fixture) => {
    const { systemd, host } = fixture;
    await install(systemd, heldUnit("a.service"));
    await host.add("file", "host.service");
    for (const unit of ["a.service", "host.service", "none.service"]) {
      await assert.rejects(systemd.kill(unit, 9), isRefused);
    }
    assert.equal(await host.isActive("host.service"), true);
  });
}
