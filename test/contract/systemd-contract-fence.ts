import assert from "node:assert/strict";
import type { HeldUnit } from "../../src/agent/systemd.ts";
import {
  type Check,
  heldUnit,
  install,
  type SystemdFixture,
  settled,
  statusOf,
  type UnitTextOptions,
  unitText,
  until,
} from "./systemd-contract-fixture.ts";

const UNIT = "fenced.service";
const LATER_MS = 60_000;

function fenced(text: UnitTextOptions = {}, fencingToken = 7): HeldUnit {
  return { ...heldUnit(UNIT, unitText(text)), fencingToken };
}

async function fenceIn(
  { systemd, monotonicMs }: SystemdFixture,
  stopMs: number,
  killMs = stopMs + LATER_MS,
): Promise<void> {
  const nowMs = monotonicMs();
  await systemd.fence({ units: [UNIT], stopAtMs: nowMs + stopMs, killAtMs: nowMs + killMs });
}

async function untilActive(fixture: SystemdFixture, active: string): Promise<void> {
  await until(
    fixture,
    `${UNIT} is ${active}`,
    () => statusOf(fixture.systemd, UNIT),
    (seen) => seen.active === active,
  );
}

export function checkFence(check: Check): void {
  check("a fenced unit does not start without a fence, and has not failed", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, fenced());
    assert.equal(await settled(fixture, systemd.start(UNIT)), "canceled");
    assert.equal((await statusOf(systemd, UNIT)).active, "inactive");
  });

  check("a fence that falls stops the unit, and keeps it stopped", async (fixture) => {
    const { systemd, host } = fixture;
    await fenceIn(fixture, 1_500);
    await install(systemd, fenced({ service: ["Restart=always", "RestartSec=100ms"] }));
    assert.equal(await settled(fixture, systemd.start(UNIT)), "done");
    assert.equal((await statusOf(systemd, UNIT)).active, "active");
    await untilActive(fixture, "inactive");
    await host.systemctl("start", UNIT);
    await fixture.elapse(500);
    assert.equal((await statusOf(systemd, UNIT)).active, "inactive");
    assert.equal(await settled(fixture, systemd.start(UNIT)), "canceled");
    assert.equal((await statusOf(systemd, UNIT)).active, "inactive");
  });

  check(
    "the fence falls although its daemon is gone, and the next hears of it",
    async (fixture) => {
      const { systemd } = fixture;
      await install(systemd, fenced());
      await fenceIn(fixture, 1_500);
      await settled(fixture, systemd.start(UNIT));
      const next = await fixture.restartDaemon();
      const [held] = await next.held();
      assert.equal(held?.fencingToken, 7);
      await untilActive({ ...fixture, systemd: next }, "inactive");
      assert.deepEqual(await next.fallen(), [UNIT]);
      await next.forgetFallen(["another.service"]);
      assert.deepEqual(await next.fallen(), [UNIT]);
      await next.forgetFallen([UNIT]);
      assert.deepEqual(await next.fallen(), []);
    },
  );

  check("a fence is the same after systemd has read all its files anew", async (fixture) => {
    const { systemd } = fixture;
    const unit = String.raw`fenced-a\x2db@1.service`;
    await install(systemd, { ...heldUnit(unit), fencingToken: 7 });
    const nowMs = fixture.monotonicMs();
    await systemd.fence({ units: [unit], stopAtMs: nowMs + 2_500, killAtMs: nowMs + LATER_MS });
    assert.equal(await settled(fixture, systemd.start(unit)), "done");
    await systemd.reload();
    await until(
      fixture,
      `${unit} is inactive`,
      () => statusOf(systemd, unit),
      ({ active }) => active === "inactive",
    );
    assert.deepEqual(await systemd.fallen(), [unit]);
  });

  check("a fence that falls while the disk is full is heard of as well", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, fenced());
    await fenceIn(fixture, 2_500);
    await settled(fixture, systemd.start(UNIT));
    const free = await fixture.fillDisk();
    await untilActive(fixture, "inactive");
    await free();
    assert.deepEqual(await systemd.fallen(), [UNIT]);
    await systemd.forgetFallen([UNIT]);
    assert.deepEqual(await systemd.fallen(), []);
  });

  check("a later fence takes the place of the one before", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, fenced());
    await fenceIn(fixture, 1_000);
    await settled(fixture, systemd.start(UNIT));
    await fenceIn(fixture, LATER_MS);
    await fixture.elapse(2_000);
    assert.equal((await statusOf(systemd, UNIT)).active, "active");
    await fenceIn(fixture, 0);
    await untilActive(fixture, "inactive");
    await systemd.fence({ units: [], stopAtMs: 0, killAtMs: 0 });
  });

  check("a fence that comes while the one before falls waits for the stops", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, fenced({ stopMs: 1_000 }));
    await fenceIn(fixture, 1_000);
    await settled(fixture, systemd.start(UNIT));
    await untilActive(fixture, "deactivating");
    await settled(fixture, fenceIn(fixture, LATER_MS));
    assert.equal((await statusOf(systemd, UNIT)).active, "inactive");
    assert.deepEqual(await systemd.fallen(), [UNIT]);
    assert.equal(await settled(fixture, systemd.start(UNIT)), "done");
  });

  check("a fence that falls again before anybody has heard of it is heard of", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, fenced());
    await fenceIn(fixture, 1_000);
    await settled(fixture, systemd.start(UNIT));
    await untilActive(fixture, "inactive");
    await fenceIn(fixture, 500);
    await fixture.elapse(2_000);
    assert.deepEqual(await systemd.fallen(), [UNIT]);
  });

  check("without units there is no fence: what runs goes on", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, fenced());
    await fenceIn(fixture, 1_000);
    await settled(fixture, systemd.start(UNIT));
    await systemd.fence({ units: [], stopAtMs: 0, killAtMs: 0 });
    await fixture.elapse(2_000);
    assert.equal((await statusOf(systemd, UNIT)).active, "active");
    assert.deepEqual(await systemd.fallen(), []);
  });

  check("what takes too long to stop is killed", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, fenced({ stopMs: 40_000 }));
    await fenceIn(fixture, 1_000, 2_000);
    await settled(fixture, systemd.start(UNIT));
    const fromMs = fixture.monotonicMs();
    await until(
      fixture,
      `${UNIT} has ended`,
      () => statusOf(systemd, UNIT),
      ({ active }) => active === "inactive" || active === "failed",
    );
    assert.ok(fixture.monotonicMs() - fromMs < 30_000);
  });

  check("another token is written to a unit that is there", async (fixture) => {
    const { systemd } = fixture;
    await install(systemd, fenced());
    await install(systemd, fenced({}, 8));
    assert.equal((await systemd.held())[0]?.fencingToken, 8);
    await install(systemd, heldUnit(UNIT));
    assert.equal((await systemd.held())[0]?.fencingToken, undefined);
    assert.equal(await settled(fixture, systemd.start(UNIT)), "done");
  });
}
