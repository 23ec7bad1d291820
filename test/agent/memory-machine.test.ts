import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryMachine } from "../../src/agent/memory-machine.ts";
import { MemorySystemd } from "../../src/agent/memory-systemd.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";

const FOREVER = "[Service]\nExecStart=/bin/sleep infinity\n";

async function machineWith(units: Readonly<Record<string, string>>) {
  const clock = new VirtualClock();
  const machine = new MemoryMachine({ clock });
  const systemd = new MemorySystemd(machine);
  await systemd.write(
    Object.entries(units).map(([unit, content]) => ({ unit, manifest: { content, dropIns: [] } })),
  );
  return { clock, machine, systemd };
}

test("runs tell when each run began and ended, and by what", async () => {
  const { clock, machine, systemd } = await machineWith({
    "a.service": `${FOREVER}[X-Sim]\nStopMs=200\nPostMs=100\n`,
    "b.service": `${FOREVER}Restart=always\n[X-Sim]\nExitAfterMs=50\n`,
  });
  await systemd.start("a.service");
  await systemd.start("b.service");
  await clock.advance(100);
  const stop = systemd.stop("a.service");
  await clock.advance(1_000);
  await stop;
  machine.boot();
  const told = machine.runs
    .slice(0, 3)
    .map(({ unit, pid, startMs, endMs, endedBy }) => ({ unit, pid, startMs, endMs, endedBy }));
  assert.deepEqual(told, [
    { unit: "a.service", pid: 1_001, startMs: 0, endMs: 400, endedBy: "stop" },
    { unit: "b.service", pid: 1_002, startMs: 0, endMs: 50, endedBy: "exit" },
    { unit: "b.service", pid: 1_003, startMs: 150, endMs: 200, endedBy: "exit" },
  ]);
  assert.ok(machine.runs.every((run) => run.endMs !== undefined));
});

test("boot() leaves nothing of /run: no file, no running unit, no enablement", async () => {
  const { machine, systemd } = await machineWith({
    "a.service": `${FOREVER}[Install]\nWantedBy=multi-user.target\n`,
  });
  machine.addHostUnit("host.service", {
    path: "/etc/systemd/system/host.service",
    content: FOREVER,
  });
  machine.addHostUnit("gone.service", {
    path: "/run/systemd/transient/gone.service",
    content: FOREVER,
  });
  await systemd.start("a.service");
  machine.boot();
  assert.deepEqual(await systemd.held(), []);
  assert.equal(machine.runsOf("a.service")[0]?.endedBy, "power");
  assert.equal((await systemd.status(["a.service"]))[0]?.load, "not-found");
  machine.reachTarget("multi-user.target");
  assert.equal(machine.runs.length, 1);
  assert.deepEqual(
    [machine.hostPath("host.service"), machine.hostPath("gone.service")],
    ["/etc/systemd/system/host.service", undefined],
  );
});

test("shutDown() is told, and stops all units in their own time", async () => {
  const { clock, machine, systemd } = await machineWith({
    "a.service": `${FOREVER}[X-Sim]\nStopMs=200\n`,
  });
  await systemd.start("a.service");
  const ending = new AbortController();
  const told: string[] = [];
  const stream = systemd.events(ending.signal);
  const reading = (async () => {
    for await (const event of stream) told.push(event.type);
  })();
  machine.shutDown();
  assert.equal(await systemd.isSystemStopping(), true);
  await clock.advance(1_000);
  assert.ok(told.includes("system-stopping"));
  assert.equal(machine.runs[0]?.endMs, 200);
  ending.abort();
  await reading;
});

test("what is enabled for a target is started with it", async () => {
  const { machine, systemd } = await machineWith({
    "a.service": `${FOREVER}[Install]\nWantedBy=multi-user.target\n`,
    "b.service": FOREVER,
  });
  await systemd.reload();
  machine.reachTarget("multi-user.target");
  assert.deepEqual(
    machine.runs.map((run) => run.unit),
    ["a.service"],
  );
});

test("exit codes are those of the first, second, ... run, over restarts and reloads", async () => {
  const { clock, machine, systemd } = await machineWith({
    "a.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n[X-Sim]\nExitCode=1 0 2\n",
  });
  const outcomes: string[] = [];
  for (let run = 0; run < 4; run += 1) {
    const start = systemd.start("a.service");
    await clock.advance(10);
    outcomes.push(await start);
    await systemd.resetFailed("a.service");
  }
  assert.deepEqual(outcomes, ["failed", "done", "failed", "failed"]);
  assert.equal(machine.runs.length, 4);
});

test("close() ends the waits of a daemon that is killed, and its units go on", async () => {
  const { clock, machine, systemd } = await machineWith({
    "a.service":
      "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n[X-Sim]\nStartMs=500\n",
  });
  const start = systemd.start("a.service");
  start.catch(() => {});
  await clock.advance(100);
  await systemd.close();
  await assert.rejects(start, { code: "systemd-unavailable" });
  await clock.advance(1_000);
  assert.equal(machine.status("a.service")?.active, "active");
});
