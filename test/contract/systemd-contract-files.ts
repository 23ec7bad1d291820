import assert from "node:assert/strict";
import {
  type Check,
  HOST_UNIT_KINDS,
  heldUnit,
  install,
  type SystemdFixture,
  settled,
  statusOf,
  unitText,
  until,
} from "./systemd-contract-fixture.ts";

/** systemd calls a simple service started before its program has said anything. */
async function ran(fixture: SystemdFixture, marker: string): Promise<void> {
  const look = () => fixture.lastMarker("a.service");
  await until(fixture, `the text with marker ${marker} runs`, look, (seen) => seen === marker);
}

export function checkHeld(check: Check): void {
  check(
    "held() gives back what was written, byte for byte, sorted, also to the next daemon",
    async (fixture) => {
      assert.deepEqual(await fixture.systemd.held(), []);
      const units = [
        heldUnit("b.service", `${unitText()}# no line end, \u00fc \u{1f6e0}\r`),
        {
          unit: "a@1.service",
          manifest: {
            content: unitText(),
            dropIns: [
              { name: "10-a.conf", content: "[Service]\nEnvironment=A=1\n" },
              { name: "20-b.conf", content: "" },
            ],
          },
        },
        heldUnit("c\\x2dd.timer", "[Timer]\nOnActiveSec=1h\n"),
      ];
      await install(fixture.systemd, ...units);
      const sorted = [units[1], units[0], units[2]];
      assert.deepEqual(await fixture.systemd.held(), sorted);
      assert.deepEqual(await (await fixture.restartDaemon()).held(), sorted);
    },
  );
}

export function checkWrite(check: Check): void {
  check("a new unit without [Install] runs without a reload", async (fixture) => {
    const { systemd } = fixture;
    const dropIn = { name: "10-x.conf", content: "[X-Any]\nA=1\n" };
    const unit = { unit: "a.service", manifest: { content: unitText(), dropIns: [dropIn] } };
    assert.deepEqual(await systemd.write([unit]), [{ type: "written", reloadNeeded: false }]);
    assert.equal(await settled(fixture, systemd.start("a.service")), "done");
    assert.equal((await statusOf(systemd, "a.service")).sub, "running");
  });

  check("writing the same again needs nothing and disturbs nothing", async (fixture) => {
    const { systemd } = fixture;
    const unit = heldUnit("a.service");
    await install(systemd, unit);
    await settled(fixture, systemd.start("a.service"));
    const before = await statusOf(systemd, "a.service");
    assert.deepEqual(await systemd.write([unit]), [{ type: "written", reloadNeeded: false }]);
    assert.deepEqual(await statusOf(systemd, "a.service"), before);
    assert.deepEqual(await systemd.held(), [unit]);
  });

  check(
    "a changed file, drop-in or lack of one of a running unit needs a reload and counts after it",
    async (fixture) => {
      const { systemd } = fixture;
      const content = unitText({ marker: "1" });
      const versions = [
        { content, dropIns: [] },
        { content: unitText({ marker: "2" }), dropIns: [] },
        { content, dropIns: [{ name: "10-x.conf", content: "[Unit]\nDescription=x\n" }] },
        { content, dropIns: [{ name: "10-x.conf", content: "[Unit]\nDescription=y\n" }] },
        { content, dropIns: [] },
      ];
      for (const [index, manifest] of versions.entries()) {
        const unit = { unit: "a.service", manifest };
        assert.equal(await install(systemd, unit), index > 0, `version ${index}`);
        assert.deepEqual(await systemd.held(), [unit]);
        await settled(fixture, systemd.start("a.service"));
      }
      await install(systemd, heldUnit("a.service", unitText({ marker: "3" })));
      await settled(fixture, systemd.stop("a.service"));
      await settled(fixture, systemd.start("a.service"));
      await ran(fixture, "3");
    },
  );

  check("remove, write and start in a row always run what was written last", async (fixture) => {
    const { systemd } = fixture;
    for (let round = 0; round < 30; round += 1) {
      const marker = String(round);
      const text = unitText({ marker, type: round % 2 === 0 ? "simple" : "oneshot" });
      await install(systemd, heldUnit("a.service", text));
      assert.equal(await settled(fixture, systemd.start("a.service")), "done", `round ${round}`);
      await ran(fixture, marker);
      await settled(fixture, systemd.stop("a.service"));
      const { reloadNeeded } = await systemd.remove(["a.service"]);
      if (reloadNeeded) await systemd.reload();
    }
  });

  check("an [Install] section is enabled, and needs a reload", async (fixture) => {
    const { systemd } = fixture;
    const unit = heldUnit("a.service", unitText({ install: ["WantedBy=multi-user.target"] }));
    assert.equal(await install(systemd, unit), true);
    assert.equal(await fixture.isEnabled("a.service"), true);
    assert.equal(await install(systemd, unit), false);
    assert.equal(await install(systemd, heldUnit("a.service")), true);
    assert.equal(await fixture.isEnabled("a.service"), false);
    await install(systemd, unit);
    assert.deepEqual(await systemd.remove(["a.service"]), { reloadNeeded: true });
    assert.equal(await fixture.isEnabled("a.service"), false);
  });

  check(
    "an [Install] section that cannot be enabled fails that unit alone and leaves nothing",
    async (fixture) => {
      const { systemd } = fixture;
      const bad = heldUnit("bad.service", unitText({ install: ["Alias=other.socket"] }));
      const results = await systemd.write([bad, heldUnit("good.service")]);
      assert.deepEqual(
        results.map((result) => result.type),
        ["failed", "written"],
      );
      assert.ok(results[0]?.type === "failed" && results[0].code === "systemd-refused");
      assert.deepEqual(await systemd.held(), [heldUnit("good.service")]);
      assert.equal((await statusOf(systemd, "bad.service")).load, "not-found");
    },
  );

  check("a name no unit can have fails that unit alone", async (fixture) => {
    const results = await fixture.systemd.write([heldUnit("../a.service"), heldUnit("a.service")]);
    assert.deepEqual(
      results.map((result) => result.type),
      ["failed", "written"],
    );
    assert.deepEqual(await fixture.systemd.held(), [heldUnit("a.service")]);
  });

  check(
    "a full disk fails the write with host-io, and the old version stays whole",
    async (fixture) => {
      const { systemd } = fixture;
      const old = heldUnit("a.service", unitText({ marker: "old" }));
      await install(systemd, old);
      const free = await fixture.fillDisk();
      const large = `${unitText({ marker: "new" })}#${"x".repeat(20_000)}\n`;
      const [result] = await systemd.write([heldUnit("a.service", large)]);
      assert.ok(result?.type === "failed" && result.code === "host-io", JSON.stringify(result));
      await free();
      assert.deepEqual(await systemd.held(), [old]);
      await settled(fixture, systemd.start("a.service"));
      await ran(fixture, "old");
    },
  );
}

export function checkForeign(check: Check): void {
  for (const kind of HOST_UNIT_KINDS) {
    check(
      `a unit the host has (${kind}) is name-taken, and nothing touches it (I11)`,
      async (fixture) => {
        const { systemd } = fixture;
        const unit = kind === "template" ? "hosts@1.service" : "hosts.service";
        const path = await fixture.host.add(kind, unit);
        const wasActive = await fixture.host.isActive(unit);
        assert.deepEqual(await systemd.write([heldUnit(unit), heldUnit("own.service")]), [
          { type: "name-taken", path },
          { type: "written", reloadNeeded: false },
        ]);
        assert.deepEqual(await systemd.held(), [heldUnit("own.service")]);
        await assert.rejects(systemd.start(unit), { code: "systemd-refused" });
        await systemd.stop(unit);
        await systemd.resetFailed(unit);
        assert.deepEqual(await systemd.remove([unit]), { reloadNeeded: false });
        assert.equal(await fixture.host.isActive(unit), wasActive);
      },
    );
  }

  check("an alias that is the name of a unit the host has is name-taken", async (fixture) => {
    const path = await fixture.host.add("file", "hosts.service");
    const unit = heldUnit("a.service", unitText({ install: ["Alias=hosts.service"] }));
    assert.deepEqual(await fixture.systemd.write([unit]), [{ type: "name-taken", path }]);
    assert.deepEqual(await fixture.systemd.held(), []);
    assert.equal(await fixture.host.isActive("hosts.service"), true);
  });
}

export function checkRemove(check: Check): void {
  check(
    "remove() takes file, drop-ins and failed state, and leaves names that are not held",
    async (fixture) => {
      const { systemd } = fixture;
      const content = unitText({ type: "oneshot", exitCode: 1 });
      const dropIns = [{ name: "10-x.conf", content: "" }];
      await install(
        systemd,
        { unit: "a.service", manifest: { content, dropIns } },
        heldUnit("b.service"),
      );
      await settled(fixture, systemd.start("a.service"));
      assert.equal((await statusOf(systemd, "a.service")).active, "failed");
      assert.deepEqual(await systemd.remove(["a.service", "nowhere.service"]), {
        reloadNeeded: false,
      });
      assert.deepEqual(await systemd.held(), [heldUnit("b.service")]);
      const { load, active } = await statusOf(systemd, "a.service");
      assert.deepEqual({ load, active }, { load: "not-found", active: "inactive" });
      await assert.rejects(systemd.start("a.service"), { code: "systemd-refused" });
    },
  );
}
