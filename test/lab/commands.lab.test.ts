import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { afterEach, test } from "node:test";
import {
  destroyAll,
  leftovers,
  runsOn,
  sleeper,
  startUnits,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 3, settings: { agent_ttl: "3s", metadata: "" } });
const CLIENT = resolve(import.meta.dirname, "../../src/cli/main.ts");

afterEach(() => destroyAll(fixture.lab));

test("start, status and journal work at any machine's API, whichever machine holds the unit", async () => {
  const { lab } = fixture;
  const units = await startUnits(lab, {
    "a1.service": sleeper(),
    "a2.service": sleeper(),
    "a3.service": sleeper(),
  });
  for (const unit of units) {
    const [real, ...others] = await unitsOn(lab, [unit]);
    assert.equal(others.length, 0);
    for (const at of lab.machines) {
      const status = await lab.fleetctlAt(at, "status", unit);
      assert.equal(status.code, 0, status.stderr);
      assert.match(status.stdout, new RegExp(`Main PID: ${real?.mainPid} `));
      const journal = await lab.fleetctlAt(at, "journal", "-o", "cat", unit);
      assert.match(journal.stdout, /^up$/m);
    }
  }
  assert.deepEqual(
    (await Promise.all(units.map((unit) => runsOn(lab, unit)))).flat().sort(),
    [1, 2, 3],
  );
});

test("journal -f shows lines of a unit on another machine as they are written", async () => {
  const { lab } = fixture;
  const tick = "[Service]\nExecStart=/bin/sh -c 'while :; do echo tick; sleep 0.2; done'\n";
  await startUnits(lab, { "tick.service": tick });
  const [holder = 0] = await runsOn(lab, "tick.service");
  const at = lab.machines.find((machine) => machine !== holder) ?? 0;
  const child = spawn(process.execPath, [CLIENT, "journal", "-f", "-n", "1", "tick"], {
    env: { ...process.env, FLEETCTL_ENDPOINT: await lab.endpoint(at) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    let lines = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      lines += chunk.toString().match(/tick$/gm)?.length ?? 0;
    });
    await lab.waitFor({
      what: "five lines have come",
      deadlineMs: 30_000,
      look: () => lines,
      until: (seen) => seen >= 5,
    });
    assert.equal(child.exitCode, null);
  } finally {
    child.kill("SIGKILL");
  }
  const left = () =>
    lab.exec(holder, "sh", "-c", "ps -eo args | grep -c '^journalctl.*--follow' || true");
  await lab.waitFor({
    what: "nothing of the client that is gone runs on the machine",
    deadlineMs: 20_000,
    look: async () => (await left()).stdout.trim(),
    until: (count) => count === "0",
  });
});

test("list-units and list-unit-files have fleetctl's columns, with what systemd says", async () => {
  const { lab } = fixture;
  await startUnits(lab, { "col.service": sleeper() });
  await lab.unitFile("idle.service", sleeper());
  assert.equal((await lab.fleetctl("submit", "idle.service")).code, 0);
  const [machine = 0] = await runsOn(lab, "col.service");
  const place = `${(await lab.machineId(machine)).slice(0, 8)}.../${await lab.address(machine)}`;
  const table = (text: string) =>
    text
      .trimEnd()
      .split("\n")
      .map((line) => line.split(/\t+/));
  assert.deepEqual(table((await lab.fleetctl("list-units")).stdout), [
    ["UNIT", "MACHINE", "ACTIVE", "SUB"],
    ["col.service", place, "active", "running"],
  ]);
  const files = table((await lab.fleetctl("list-unit-files")).stdout);
  assert.deepEqual(
    files.map((line) => line.toSpliced(1, 1)),
    [
      ["UNIT", "DSTATE", "STATE", "TARGET"],
      ["col.service", "launched", "launched", place],
      ["idle.service", "inactive", "inactive", "-"],
    ],
  );
  const fields = ["--no-legend", "--fields", "load,unit,sub"];
  assert.deepEqual(table((await lab.fleetctl("list-units", ...fields)).stdout), [
    ["loaded", "col.service", "running"],
  ]);
  const json = JSON.parse((await lab.fleetctl("list-units", "-o", "json")).stdout) as {
    mainPid: number;
  }[];
  assert.deepEqual(
    json.map(({ mainPid }) => mainPid),
    (await unitsOn(lab, ["col.service"])).map(({ mainPid }) => mainPid),
  );
});

test("a changed file changes nothing without --replace, and restarts the unit with it", async () => {
  const { lab } = fixture;
  await startUnits(lab, { "web.service": sleeper() });
  const before = await unitsOn(lab, ["web.service"]);
  const changed = sleeper("Environment=NEW=yes\n");
  await lab.unitFile("web.service", changed);
  const submit = await lab.fleetctl("submit", "web.service");
  assert.equal(submit.code, 1);
  assert.match(submit.stderr, /web\.service .*differs/);
  const start = await lab.fleetctl("start", "web.service");
  assert.equal(start.code, 0);
  assert.match(start.stderr, /web\.service .*differs/);
  assert.equal((await lab.fleetctl("cat", "web.service")).stdout, sleeper());
  assert.deepEqual(await unitsOn(lab, ["web.service"]), before);
  const refused = await lab.fleetctl("submit", "--replace", "web.service");
  assert.equal(refused.code, 1, "a launched unit is above submit");
  assert.deepEqual(await unitsOn(lab, ["web.service"]), before);
  const replaced = await lab.fleetctl("start", "--replace", "web.service");
  assert.equal(replaced.code, 0, replaced.stderr);
  assert.equal((await lab.fleetctl("cat", "web.service")).stdout, changed);
  const [after] = await unitsOn(lab, ["web.service"]);
  assert.equal(after?.active, "active");
  assert.notEqual(after?.invocation, before[0]?.invocation);
  const environment = ["systemctl", "show", "-P", "Environment", "web.service"];
  assert.equal((await lab.exec(after?.machine ?? 0, ...environment)).stdout.trim(), "NEW=yes");
});

test("a change of comments and [X-Fleet] is written to the machine and restarts nothing", async () => {
  const { lab } = fixture;
  await startUnits(lab, { "web.service": sleeper() });
  const before = await unitsOn(lab, ["web.service"]);
  await lab.unitFile("web.service", `# a word\n${sleeper("[X-Fleet]\nConflicts=none@*\n")}`);
  assert.equal((await lab.fleetctl("start", "--replace", "web.service")).code, 0);
  const machine = before[0]?.machine ?? 0;
  await lab.waitFor({
    what: "the new text is on the machine",
    deadlineMs: 20_000,
    look: async () => (await lab.exec(machine, "systemctl", "cat", "web.service")).stdout,
    until: (text) => text.includes("# a word"),
  });
  assert.deepEqual(await unitsOn(lab, ["web.service"]), before);
});

test("an instance keeps the text its template had, whatever becomes of the template", async () => {
  const { lab } = fixture;
  await lab.unitFile("t@.service", sleeper("Environment=V=1\n"));
  assert.equal((await lab.fleetctl("submit", "t@.service")).code, 0);
  assert.equal((await lab.fleetctl("start", "t@1")).code, 0);
  const before = await unitsOn(lab, ["t@1.service"]);
  await lab.unitFile("t@.service", sleeper("Environment=V=2\n"));
  assert.equal((await lab.fleetctl("submit", "--replace", "t@.service")).code, 0);
  assert.equal((await lab.fleetctl("start", "t@2")).code, 0);
  assert.match((await lab.fleetctl("cat", "t@1")).stdout, /V=1/);
  assert.match((await lab.fleetctl("cat", "t@2")).stdout, /V=2/);
  const again = await lab.fleetctl("start", "t@1");
  assert.equal(again.code, 0, again.stderr);
  assert.deepEqual(await unitsOn(lab, ["t@1.service"]), before);
});

test("start of a unit that cannot be placed names the reason and ends with 1, and starts once that is possible", async () => {
  const { lab } = fixture;
  await lab.unitFile("ssd.service", sleeper("[X-Fleet]\nMachineMetadata=disk=ssd\n"));
  const beganMs = performance.now();
  const result = await lab.fleetctl("start", "ssd.service");
  // Node starts in some 0.3 s here; the rest is far from any time-out.
  assert.ok(performance.now() - beganMs < 4_000, `${performance.now() - beganMs} ms`);
  assert.equal(result.code, 1);
  assert.match(result.stderr, /cannot be placed: MachineMetadata=disk=ssd does not hold \(3 mach/);
  assert.deepEqual(await runsOn(lab, "ssd.service"), []);
  const fields = ["--no-legend", "--fields", "unit,dstate,reason"];
  assert.match(
    (await lab.fleetctl("list-unit-files", ...fields)).stdout,
    /^ssd\.service\s+launched\s+MachineMetadata=disk=ssd does not hold/,
  );
  assert.match((await lab.fleetctl("status", "ssd.service")).stderr, /disk=ssd does not hold/);
  await lab.configure(2, { agent_ttl: "3s", metadata: "disk=ssd" });
  await lab.waitFor({
    what: "it runs on m2",
    deadlineMs: 30_000,
    look: () => runsOn(lab, "ssd.service"),
    until: (on) => on.join() === "2",
  });
  await lab.configure(2, { agent_ttl: "3s", metadata: "" });
});

test("start of a unit that fails says so with systemd's words and ends with 1", async () => {
  const { lab } = fixture;
  await lab.unitFile("bad.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n");
  const result = await lab.fleetctl("start", "bad.service");
  assert.equal(result.code, 1);
  assert.match(result.stderr, /bad\.service failed to start on \w+.*failed.*exit-code/);
  const status = await lab.fleetctl("status", "bad.service");
  assert.equal(status.code, 3, "systemctl's own status");
});

test("wrong usage ends with 2, unknown names with 3, and nothing is changed", async () => {
  const { lab } = fixture;
  await lab.unitFile("fine.service", sleeper());
  for (const args of [
    ["strat", "fine.service"],
    ["start"],
    ["start", "--nonsense", "fine.service"],
    ["list-units", "--fields", "colour"],
    ["rejoin"],
  ]) {
    const result = await lab.fleetctl(...args);
    assert.equal(result.code, 2, `${args.join(" ")}: ${result.stderr}`);
    assert.notEqual(result.stderr, "");
  }
  for (const args of [
    ["stop", "no.service"],
    ["cat", "no.service"],
    ["status", "no.service"],
  ]) {
    assert.equal((await lab.fleetctl(...args)).code, 3, args.join(" "));
  }
  assert.equal((await lab.fleetctl("list-unit-files", "--no-legend")).stdout, "");
});

test("a broken unit file is refused with its line, and the good one beside it is not taken", async () => {
  const { lab } = fixture;
  await lab.unitFile("good.service", sleeper());
  await lab.unitFile("broken.service", "[Service]\nExecStart=/bin/true\nthis is no option\n");
  await lab.unitFile("wrong.service", sleeper("[X-Fleet]\nMachineOff=good.service\n"));
  for (const [file, line] of [
    ["broken.service", 3],
    ["wrong.service", 4],
  ] as const) {
    const result = await lab.fleetctl("start", "good.service", file);
    assert.ok([1, 2].includes(result.code), `${result.code}`);
    assert.match(result.stderr, new RegExp(`${file}:${line}:`));
  }
  assert.equal((await lab.fleetctl("list-unit-files", "--no-legend")).stdout, "");
});

test("restart starts a unit anew where it runs; stop keeps it loaded; unload takes it away", async () => {
  const { lab } = fixture;
  const [unit = ""] = await startUnits(lab, { "r.service": sleeper() });
  const [first] = await unitsOn(lab, [unit]);
  const restarted = await lab.fleetctl("restart", unit);
  assert.equal(restarted.code, 0, restarted.stderr);
  const [second] = await unitsOn(lab, [unit]);
  assert.equal(second?.machine, first?.machine);
  assert.equal(second?.active, "active");
  assert.notEqual(second?.mainPid, first?.mainPid);
  assert.equal((await lab.fleetctl("stop", unit)).code, 0);
  assert.deepEqual(
    (await unitsOn(lab, [unit])).map(({ machine, active }) => ({ machine, active })),
    [{ machine: first?.machine, active: "inactive" }],
  );
  assert.equal((await lab.fleetctl("unload", unit)).code, 0);
  assert.deepEqual(await unitsOn(lab, [unit]), []);
  assert.match((await lab.fleetctl("list-unit-files")).stdout, /r\.service\s+\w+\s+inactive/);
});

test("drop-ins beside the file come along, and [Install] sections are enabled", async () => {
  const { lab } = fixture;
  const folder = join(lab.dir, "di.service.d");
  await mkdir(folder);
  await writeFile(join(folder, "10-more.conf"), "[Service]\nEnvironment=FROM=dropin\n");
  await startUnits(lab, {
    "di.service": sleeper("[Install]\nWantedBy=multi-user.target\n"),
  });
  const [machine = 0] = await runsOn(lab, "di.service");
  const text = (await lab.exec(machine, "systemctl", "cat", "di.service")).stdout;
  assert.match(text, /10-more\.conf\n\[Service\]\nEnvironment=FROM=dropin/);
  const shown = (name: string) =>
    lab.exec(machine, "systemctl", "show", "-P", name, "di.service").then((r) => r.stdout.trim());
  assert.match(await shown("Environment"), /FROM=dropin/);
  assert.match(await shown("WantedBy"), /multi-user\.target/);
  assert.match((await lab.fleetctl("cat", "di.service")).stdout, /Environment=FROM=dropin/);
});

test("after everything is destroyed no machine has anything of it, and an active unit ran ExecStop", async () => {
  const { lab } = fixture;
  await startUnits(lab, {
    "x1.service": sleeper("ExecStop=/bin/touch /var/x1-stopped\n"),
    "x2.service": sleeper("[Install]\nWantedBy=multi-user.target\n"),
    "x3.service": sleeper("[X-Fleet]\nGlobal=true\n"),
    "x4.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    "x5.timer": "[Timer]\nOnActiveSec=1h\nUnit=x4.service\n[X-Fleet]\nMachineOf=x4.service\n",
  });
  const [machine = 0] = await runsOn(lab, "x1.service");
  const all = ["x1.service", "x2.service", "x3.service", "x4.service", "x5.timer"];
  const result = await lab.fleetctl("destroy", ...all);
  assert.equal(result.code, 0, result.stderr);
  assert.equal((await lab.exec(machine, "test", "-e", "/var/x1-stopped")).code, 0);
  assert.deepEqual(await unitsOn(lab, all), []);
  for (const each of lab.machines) assert.deepEqual(await leftovers(lab, each), []);
  assert.equal((await lab.fleetctl("list-unit-files", "--no-legend")).stdout, "");
});

test("a wrong fleet.conf ends the daemon with 2 and names file and line; units run on", async () => {
  const { lab } = fixture;
  await startUnits(lab, { "c.service": sleeper() });
  const before = await unitsOn(lab, ["c.service"]);
  const machine = before[0]?.machine ?? 0;
  await lab.configure(machine, { agent_ttl: "3s", metadata: "", etcd_server: "http://x:1" });
  const shown = (name: string) =>
    lab.exec(machine, "systemctl", "show", "-P", name, "fleetd-ts").then((r) => r.stdout.trim());
  await lab.waitFor({
    what: "the daemon has ended for good",
    deadlineMs: 30_000,
    look: () => shown("ActiveState"),
    until: (state) => state === "failed",
  });
  assert.equal(await shown("ExecMainStatus"), "2");
  assert.match(
    await lab.journal(machine, "-u", "fleetd-ts", "-n", "20", "-o", "cat"),
    /fleet\.conf:\d+.*etcd_server/,
  );
  assert.deepEqual(await unitsOn(lab, ["c.service"], [machine]), before);
  await lab.configure(machine, { agent_ttl: "3s", metadata: "" });
  await lab.waitFor({
    what: "all machines are back and the unit runs once",
    deadlineMs: 40_000,
    look: async () => ({
      present: (await lab.presentMachines(machine)).length,
      on: await runsOn(lab, "c.service"),
    }),
    until: ({ present, on }) => present === 3 && on.length === 1,
  });
});

test("with etcd away every command says so within 3 s and ends with 1", async () => {
  const { lab } = fixture;
  const units = await startUnits(lab, { "e.service": sleeper() });
  const before = await unitsOn(lab, units);
  await lab.etcd("stop");
  try {
    for (const args of [["list-machines"], ["list-units"], ["start", "e"], ["destroy", "e"]]) {
      const beganMs = performance.now();
      const result = await lab.fleetctlAt(1, ...args);
      const tookMs = performance.now() - beganMs;
      assert.equal(result.code, 1, `${args.join(" ")}: ${result.stdout}`);
      assert.match(result.stderr, /registry|etcd/);
      assert.ok(tookMs < 4_500, `${args.join(" ")} took ${tookMs} ms`);
    }
  } finally {
    await lab.etcd("start");
  }
  await lab.waitFor({
    what: "the client works again",
    deadlineMs: 30_000,
    look: () => lab.fleetctlAt(1, "list-units", "--no-legend"),
    until: ({ code, stdout }) => code === 0 && /e\.service.*running/.test(stdout),
  });
  assert.deepEqual(await unitsOn(lab, units), before);
});
