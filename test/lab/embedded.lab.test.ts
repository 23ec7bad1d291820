import assert from "node:assert/strict";
import { test } from "node:test";
import {
  property,
  registryAgrees,
  runEachOnce,
  sleeper,
  startUnits,
  unitJournal,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 1, registry: "embedded", settings: { agent_ttl: "3s" } });
const ONCE = "[Service]\nType=oneshot\nExecStart=/bin/echo once was here\n";
const UNITS = ["a.service", "b.service", "g.service", "once.service"];

test("a machine without etcd is a cluster by itself and says so", async () => {
  const { lab } = fixture;
  await startUnits(lab, {
    "a.service": sleeper(),
    "b.service": sleeper("[X-Fleet]\nMachineOf=a.service\n"),
    "g.service": sleeper("[X-Fleet]\nGlobal=true\n"),
    "once.service": ONCE,
  });
  await lab.unitFile("idle.service", sleeper());
  assert.equal((await lab.fleetctl("submit", "idle.service")).code, 0);
  const { stdout, stderr } = await lab.fleetctl("list-machines");
  assert.match(stdout + stderr, /single machine/);
  await registryAgrees(lab, ["a.service", "b.service", "g.service"]);
});

test("kill -9, restart and stop of its daemon leave units and registry as they are", async () => {
  const { lab } = fixture;
  const before = await unitsOn(lab, UNITS);
  const files = (await lab.fleetctl("list-unit-files")).stdout;
  for (const end of ["kill", "restart", "stop"] as const) {
    const oldPid = await property(lab, { machine: 1, unit: "fleetd-ts", name: "MainPID" });
    if (end === "kill") await lab.killDaemon(1);
    else await lab.daemon(1, end);
    if (end === "stop") {
      assert.deepEqual(await unitsOn(lab, UNITS), before, "there is nobody to hand over to");
      await lab.daemon(1, "start");
    }
    await lab.waitFor({
      what: `the daemon is back after ${end}, with its registry`,
      deadlineMs: 40_000,
      look: async () => ({
        pid: await property(lab, { machine: 1, unit: "fleetd-ts", name: "MainPID" }),
        files: (await lab.fleetctlAt(1, "list-unit-files")).stdout,
      }),
      until: (seen) => seen.pid !== oldPid && seen.pid !== "0" && seen.files === files,
    });
    assert.deepEqual(await unitsOn(lab, UNITS), before, end);
  }
  assert.equal((await lab.fleetctl("restart", "a.service")).code, 0);
  const others = ({ unit }: { unit: string }) => unit !== "a.service";
  assert.deepEqual((await unitsOn(lab, UNITS)).filter(others), before.filter(others));
  const once = await unitJournal(lab, 1, "once.service");
  assert.equal(once.filter(({ text }) => text === "once was here").length, 1);
});

test("after a power cut units come back from its registry, and a unit of the last second is not lost", async () => {
  const { lab } = fixture;
  await startUnits(lab, { "last.service": sleeper() });
  await lab.kill(1);
  await lab.start(1);
  await runEachOnce(lab, ["a.service", "b.service", "g.service", "last.service"]);
  await registryAgrees(lab, ["a.service", "b.service", "g.service", "last.service"]);
  const { stdout } = await lab.fleetctl(
    "list-unit-files",
    "--no-legend",
    "--fields",
    "unit,dstate",
  );
  assert.match(stdout, /^idle\.service\s+inactive$/m);
  // A boot is another start: the job that was done is done once more.
  await lab.waitFor({
    what: "the oneshot has run in this boot as well",
    deadlineMs: 20_000,
    look: async () =>
      (await unitJournal(lab, 1, "once.service")).filter(({ text }) => text === "once was here"),
    until: (lines) => lines.length === 2,
  });
});

test("poweroff and boot bring everything back too", async () => {
  const { lab } = fixture;
  await lab.poweroff(1);
  await lab.start(1);
  await runEachOnce(lab, ["a.service", "b.service", "g.service", "last.service"]);
});
