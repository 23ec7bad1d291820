import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import {
  destroyAll,
  machineIds,
  places,
  property,
  runEachOnce,
  runsOn,
  unitsOn,
} from "../support/lab-units.ts";
import { type RunResult, run, runOk } from "../support/run.ts";
import { useLab } from "../support/use-lab.ts";

/**
 * The functional scenarios of fleet's own suite under their names (F1 to F42, numbered in docs/from-fleet.md, which also names those that other tests show and
 * those that end otherwise on purpose).
 */
const fixture = useLab({ machines: 4, settings: { agent_ttl: "3s" } });

afterEach(() => destroyAll(fixture.lab));

const CLIENT = join(import.meta.dirname, "../../src/cli/main.ts");
const SLEEP = "[Service]\nExecStart=/bin/sh -c 'echo Hello, World!; exec sleep infinity'\n";
const CONFLICT = `${SLEEP}[X-Fleet]\nConflicts=conflict.*.service\n`;

async function ok(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await fixture.lab.fleetctl(...args);
  assert.equal(code, 0, `${args.join(" ")} ended with ${code}: ${stdout}${stderr}`);
  return stdout;
}

/** Writes the unit files. */
async function files(texts: Readonly<Record<string, string>>): Promise<readonly string[]> {
  for (const [name, text] of Object.entries(texts)) await fixture.lab.unitFile(name, text);
  return Object.keys(texts);
}

async function active(): Promise<number> {
  const rows = await ok("list-units", "--no-legend", "--fields", "active");
  return rows.split("\n").filter((row) => row === "active").length;
}

async function activeBecomes(count: number): Promise<void> {
  await fixture.lab.waitFor({
    what: `${count} units are active`,
    deadlineMs: 40_000,
    look: active,
    until: (seen) => seen === count,
  });
}

async function rows(...args: readonly string[]): Promise<number> {
  return (await ok(...args, "--no-legend")).split("\n").filter((row) => row !== "").length;
}

test("F1 TestClientVersionFlag, F2 TestClientVersionHelpOutput, F3 TestClientHelpFlag", async () => {
  assert.match(await ok("version"), /^fleetctl-ts version \d+\.\d+\.\d+\n$/);
  for (const args of [["--help"], ["-h"], ["help"], []]) {
    assert.match(await ok(...args), /Usage:[\s\S]*fleetctl-ts \d+\.\d+\.\d+/);
  }
});

/** Answers of a person to ssh are those of a program that says yes. */
async function bySsh(...args: readonly string[]): Promise<RunResult> {
  const { lab } = fixture;
  const yes = join(lab.dir, "yes");
  await writeFile(yes, "#!/bin/sh\necho yes\n", { mode: 0o755 });
  const options = ["--ssh-username", "root", "--ssh-key-file", join(lab.dir, "key")];
  const knownHosts = ["--known-hosts-file", join(lab.dir, "known_hosts")];
  return run([process.execPath, CLIENT, ...options, ...knownHosts, ...args], {
    cwd: lab.dir,
    env: {
      FLEETCTL_ENDPOINT: await lab.endpoint(1),
      ...{ SSH_ASKPASS: yes, SSH_ASKPASS_REQUIRE: "force", SSH_AUTH_SOCK: "" },
    },
  });
}

test("F4 TestKnownHostsVerification: a host is known from its first use on, and another key in its place refused", async () => {
  const { lab } = fixture;
  const id = await lab.machineId(2);
  const uptime = async () => (await bySsh("ssh", id, "uptime")).code;
  assert.equal(await uptime(), 0);
  const tunnel = ["--tunnel", await lab.address(2), "--endpoint", "unix:///run/fleet.sock"];
  assert.equal((await bySsh(...tunnel, "list-machines")).code, 0);
  const key = "/etc/ssh/ssh_host_ed25519_key";
  const before = await readFile(join(lab.dir, "hostkey"));
  await runOk(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(lab.dir, "other")]);
  await lab.writeFile(2, key, await readFile(join(lab.dir, "other")));
  assert.equal(await uptime(), 255);
  const changed = await bySsh(...tunnel, "list-machines");
  assert.deepEqual([changed.code, /host key .* has changed/.test(changed.stderr)], [1, true]);
  await writeFile(join(lab.dir, "known_hosts"), "");
  assert.equal(await uptime(), 0);
  await lab.writeFile(2, key, before);
  await rm(join(lab.dir, "known_hosts"));
});

test("F5 TestFleetctlWithEnv: the endpoint is the environment's", async () => {
  assert.equal(await rows("list-machines"), 4);
});

test("F6 TestDynamicClusterNewMemberUnitMigration", async () => {
  const { lab } = fixture;
  const names = [0, 1, 2].map((n) => `conflict.${n}.service`);
  await ok("start", ...(await files(Object.fromEntries(names.map((name) => [name, CONFLICT])))));
  const before = await runEachOnce(lab, names);
  const [gone = 0] = before["conflict.1.service"] ?? [];
  await lab.daemon(gone, "stop");
  try {
    const machines = lab.machines.filter((machine) => machine !== gone);
    const after = await runEachOnce(lab, names, { machines });
    assert.deepEqual(after["conflict.0.service"], before["conflict.0.service"]);
    assert.deepEqual(after["conflict.2.service"], before["conflict.2.service"]);
  } finally {
    await lab.daemon(gone, "start");
  }
});

test("F8 TestSingleNodeConnectivityLoss: units of every state stay what they are while etcd is away, and afterwards", async () => {
  const { lab } = fixture;
  const kinds = ["single", "global"].flatMap((kind) =>
    ["inactive", "loaded", "launched"].map((state) => ({ kind, state, unit: `${kind}@${state}` })),
  );
  await files({
    "single@.service": SLEEP,
    "global@.service": `${SLEEP}[X-Fleet]\nGlobal=true\n`,
  });
  const verbs = { inactive: "submit", loaded: "load", launched: "start" };
  for (const { state, unit } of kinds) await ok(verbs[state as keyof typeof verbs], unit);
  const wanted = () => ok("list-unit-files", "--no-legend", "--fields", "unit,dstate");
  const shown = () => ok("list-units", "--no-legend", "--full", "--fields", "unit,machine,active");
  const files0 = await wanted();
  const units0 = await shown();
  const names = kinds.map(({ unit }) => `${unit}.service`);
  const before = await unitsOn(lab, names);
  await lab.etcd("stop");
  try {
    // Longer than the ttl.
    await setTimeout(5_000);
    assert.deepEqual(await unitsOn(lab, names), before);
    for (const { state, unit } of kinds.filter(({ kind }) => kind === "global")) {
      const { stdout } = await lab.exec(3, "systemctl", "is-enabled", `${unit}.service`);
      assert.equal(stdout.trim(), state === "inactive" ? "" : "linked-runtime");
    }
  } finally {
    await lab.etcd("start");
  }
  await lab.waitFor({
    what: "the registry answers",
    deadlineMs: 40_000,
    look: async () =>
      (await lab.fleetctl("list-machines", "--no-legend")).stdout.split("\n").length,
    until: (lines) => lines === 5,
  });
  assert.deepEqual([await wanted(), await shown()], [files0, units0]);
  assert.deepEqual(await unitsOn(lab, names), before);
  for (const machine of lab.machines) {
    const journal = await lab.journal(machine, "-o", "cat");
    assert.doesNotMatch(journal, /Stopping (single|global)@/);
  }
});

test("F9 TestInstallUnit: a unit that systemd starts along with another", async () => {
  const { lab } = fixture;
  const discovery = `[Unit]\nBindsTo=hello.service\n${SLEEP}[Install]\nWantedBy=hello.service\n[X-Fleet]\nMachineOf=hello.service\n`;
  await ok("load", ...(await files({ "hello.service": SLEEP, "discovery.service": discovery })));
  assert.deepEqual(await runsOn(lab, "discovery.service"), []);
  await ok("start", "hello.service");
  const where = await runEachOnce(lab, ["hello.service", "discovery.service"]);
  assert.deepEqual(where["hello.service"], where["discovery.service"]);
  await ok("stop", "hello.service");
  await lab.waitFor({
    what: "discovery has stopped with hello",
    deadlineMs: 20_000,
    look: () => runsOn(lab, "discovery.service"),
    until: (on) => on.length === 0,
  });
});

test("F10 to F14, V17: machines, a bad page token, and metadata over the API", async () => {
  const { lab } = fixture;
  const base = `${await lab.endpoint(1)}/fleet/v1/machines`;
  const get = await fetch(base);
  assert.deepEqual([get.status, get.headers.get("content-type")], [200, "application/json"]);
  assert.equal((await fetch(`${base}?nextPageToken=EwBMLg%3D%3D`)).status, 400);
  const [first, second] = await machineIds(lab);
  const patch = async (body: unknown) => {
    const headers = { "content-type": "application/json" };
    const response = await fetch(base, { method: "PATCH", headers, body: JSON.stringify(body) });
    return [response.status, response.headers.get("content-type")];
  };
  const set = [
    { op: "add", path: `/${first?.id}/metadata/foo`, value: "bar" },
    { op: "replace", path: `/${second?.id}/metadata/ping`, value: "splat" },
  ];
  assert.deepEqual(await patch(set), [204, "application/json"]);
  assert.match(await ok("list-machines"), /foo=bar/);
  const removals = set.map(({ path }) => ({ op: "remove", path }));
  assert.deepEqual(await patch(removals), [204, "application/json"]);
  assert.doesNotMatch(await ok("list-machines"), /foo=bar|ping=splat/);
  for (const bad of [
    [{ op: "noop", path: `/${first?.id}/metadata/foo`, value: "bar" }],
    [{ op: "add", path: `/${first?.id}/foo`, value: "bar" }],
    [{ op: "add", path: "/foo", value: "" }],
  ]) {
    assert.deepEqual(await patch(bad), [400, "application/json"]);
  }
  const ghost = [{ op: "add", path: "/0123456789abcdef/metadata/foo", value: "bar" }];
  assert.deepEqual(await patch(ghost), [204, "application/json"]);
  assert.doesNotMatch(await ok("list-machines", "--all", "--full"), /0123456789abcdef/);
});

test("F15 TestTemplatesWithSpecifiersInMetadata", async () => {
  const { lab } = fixture;
  await ok(
    "submit",
    ...(await files({ "metadata@.service": `${SLEEP}[X-Fleet]\nMachineMetadata=hostname=%i\n` })),
  );
  await ok("start", "metadata@m3", "metadata@m2", "metadata@m1");
  const where = await places(lab, [
    "metadata@m1.service",
    "metadata@m2.service",
    "metadata@m3.service",
  ]);
  assert.deepEqual(Object.values(where), [[1], [2], [3]]);
  const { code } = await lab.fleetctl("start", "--block-attempts=1", "metadata@invalid");
  assert.equal(code, 4);
});

test("F16 TestNodeShutdown: a unit of one machine stops with its daemon", async () => {
  const { lab } = fixture;
  const [first] = await machineIds(lab);
  await files({ "pin@.service": `${SLEEP}[X-Fleet]\nMachineID=%i\n` });
  await ok("start", `pin@${first?.id}`);
  await lab.daemon(1, "stop");
  try {
    assert.deepEqual(await runsOn(lab, `pin@${first?.id}.service`), []);
    assert.doesNotMatch(await ok("list-machines", "--full"), new RegExp(first?.id ?? ""));
    assert.equal(await active(), 0);
  } finally {
    await lab.daemon(1, "start");
  }
});

test("F18 TestScheduleMachineOf: pairs move together", async () => {
  const { lab } = fixture;
  const pong = (n: number) => `${SLEEP}[X-Fleet]\nMachineOf=ping.${n}.service\n`;
  const pairs = [0, 1, 2].flatMap((n) => [
    [`ping.${n}.service`, SLEEP],
    [`pong.${n}.service`, pong(n)],
  ]);
  const names = await files(Object.fromEntries(pairs));
  await ok("start", "--no-block", ...names);
  assert.equal(await rows("list-unit-files"), 6);
  const where = await runEachOnce(lab, names);
  for (const n of [0, 1, 2]) {
    assert.deepEqual(where[`ping.${n}.service`], where[`pong.${n}.service`]);
  }
  const [gone = 0] = where["ping.1.service"] ?? [];
  await lab.daemon(gone, "stop");
  try {
    const machines = lab.machines.filter((machine) => machine !== gone);
    const after = await runEachOnce(lab, names, { machines });
    assert.deepEqual(after["ping.1.service"], after["pong.1.service"]);
  } finally {
    await lab.daemon(gone, "start");
  }
});

test("F19 TestScheduleConflicts, V1 to V4: the ones too many say why, can be taken back, and follow when there is room", async () => {
  const { lab } = fixture;
  const names = [0, 1, 2, 3, 4, 5].map((n) => `conflict.${n}.service`);
  await files(Object.fromEntries(names.map((name) => [name, CONFLICT])));
  await ok("start", "--no-block", ...names);
  await activeBecomes(4);
  const places = (
    await ok("list-unit-files", "--no-legend", "--fields", "unit,dstate,state,target")
  )
    .trim()
    .split("\n");
  const waiting = places
    .filter((row) => /\tlaunched\tinactive\t-$/.test(row))
    .map((row) => row.split("\t")[0] ?? "");
  assert.equal(waiting.length, 2);
  // fleet: success is printed, nothing changes (V2), and stop refuses (V3).
  assert.match(await ok("unload", waiting[0] ?? ""), /inactive/);
  const [pending = "", placed = ""] = [waiting[1], names.find((name) => !waiting.includes(name))];
  await ok("destroy", placed);
  await lab.waitFor({
    what: `${pending} runs`,
    deadlineMs: 20_000,
    look: () => runsOn(lab, pending),
    until: (on) => on.length === 1,
  });
});

test("F20 TestScheduleOneWayConflict", async () => {
  const { lab } = fixture;
  // The conflict is with whatever machine: only m1 may have either.
  const only = "[X-Fleet]\nMachineMetadata=hostname=m1\n";
  await ok(
    "start",
    ...(await files({ "against.service": `${SLEEP}${only}Conflicts=hello.service\n` })),
  );
  await files({ "hello.service": SLEEP + only });
  const { code, stderr } = await lab.fleetctl("start", "hello.service");
  assert.equal(code, 1);
  assert.match(stderr, /conflicts with against\.service/);
  await ok("destroy", "against");
  assert.deepEqual((await runEachOnce(lab, ["hello.service"]))["hello.service"], [1]);
});

test("F21 TestScheduleMultipleConflicts: patterns that do not match one another", async () => {
  const text = `${SLEEP}[X-Fleet]\nConflicts=conflict.2.service conflict.1.service conflict.0.service\n`;
  const names = await files(
    Object.fromEntries([0, 1, 2].map((n) => [`conflict.multiple.${n}.service`, text])),
  );
  await ok("start", ...names);
  const where = await runEachOnce(fixture.lab, names);
  assert.equal(new Set(Object.values(where).flat()).size, 3);
});

test("F23 TestScheduleCircularReplace: neither takes the other's place", async () => {
  const names = await files({
    "replace.0.service": `${SLEEP}[X-Fleet]\nReplaces=replace-kick0.service\n`,
    "replace-kick0.service": `${SLEEP}[X-Fleet]\nReplaces=replace.0.service\n`,
  });
  await ok("start", "replace.0.service");
  const before = await runsOn(fixture.lab, "replace.0.service");
  await ok("start", "replace-kick0.service");
  const where = await runEachOnce(fixture.lab, names);
  assert.deepEqual(where["replace.0.service"], before);
});

test("F22 TestScheduleReplace", async () => {
  const { lab } = fixture;
  await ok(
    "start",
    ...(await files({
      "replace.0.service": SLEEP,
      "replace.1.service": SLEEP,
      "replace.2.service": `${SLEEP}[X-Fleet]\nMachineOf=replace.1.service\n`,
    })),
  );
  const [before = 0] = await runsOn(lab, "replace.0.service");
  const kick = `${SLEEP}[X-Fleet]\nReplaces=replace.0.service\nMachineMetadata=hostname=m${before}\n`;
  await ok("start", ...(await files({ "replace-kick0.service": kick })));
  const where = await runEachOnce(lab, ["replace.0.service", "replace-kick0.service"]);
  assert.deepEqual(where["replace-kick0.service"], [before]);
  assert.notDeepEqual(where["replace.0.service"], [before]);
});

test("F25 TestScheduleGlobalUnits, V10: status and restart do something, load and unload too", async () => {
  const { lab } = fixture;
  const names = await files({ "global.service": `${SLEEP}[X-Fleet]\nGlobal=true\n` });
  await ok("start", ...names);
  assert.equal(await active(), 4);
  assert.equal((await ok("status", "global")).match(/Active: active/g)?.length, 4);
  // Machines count processes each by itself: a pid of one may be a new one of another.
  const before = (await unitsOn(lab, names)).map(({ invocation }) => invocation);
  await ok("restart", "global");
  assert.equal(await active(), 4);
  for (const { invocation } of await unitsOn(lab, names)) assert.ok(!before.includes(invocation));
  await ok("stop", "global");
  assert.match(
    await ok("list-units", "--no-legend", "--fields", "active,sub"),
    /^(inactive\tdead\n){4}$/,
  );
  await ok("unload", "global");
  assert.equal(await rows("list-units"), 0);
});

test("F26 TestScheduleGlobalConflicts, V11: the other takes over when the first is destroyed", async () => {
  const { lab } = fixture;
  const text = `${SLEEP}[X-Fleet]\nGlobal=true\nConflicts=conflict-global.*.service\n`;
  await files({ "conflict-global.0.service": text, "conflict-global.1.service": text });
  await ok("start", "conflict-global.0");
  const { code } = await lab.fleetctl("start", "conflict-global.1");
  assert.equal(code, 1);
  assert.deepEqual(await runsOn(lab, "conflict-global.0.service"), [1, 2, 3, 4]);
  await ok("destroy", "conflict-global.0");
  await lab.waitFor({
    what: "the other runs everywhere",
    deadlineMs: 20_000,
    look: () => runsOn(lab, "conflict-global.1.service"),
    until: (on) => on.length === 4,
  });
});

test("F28 TestShutdown", async () => {
  const { lab } = fixture;
  await lab.daemon(4, "stop");
  try {
    const unit = "fleetd-ts.service";
    assert.equal(await property(lab, { machine: 4, unit, name: "ActiveState" }), "inactive");
    assert.equal(await property(lab, { machine: 4, unit, name: "Result" }), "success");
  } finally {
    await lab.daemon(4, "start");
  }
});

test("F29 TestShutdownVsMonitor: a daemon that is cut off from everything stops when asked to", async () => {
  const { lab } = fixture;
  await lab.partition(4);
  try {
    await lab.daemon(4, "stop");
    const unit = "fleetd-ts.service";
    assert.equal(await property(lab, { machine: 4, unit, name: "ActiveState" }), "inactive");
    assert.equal(await property(lab, { machine: 4, unit, name: "Result" }), "success");
  } finally {
    await lab.heal(4);
    await lab.daemon(4, "start");
  }
});

test("F31 TestTunnelScheduleBatchUnits: the socket of a machine is reached through SSH", async () => {
  const { lab } = fixture;
  await files({ "hello.service": SLEEP, "hello@.service": SLEEP });
  const tunnel = ["--tunnel", await lab.address(1), "--endpoint", "unix:///run/fleet.sock"];
  // The client itself asks on the terminal; ssh, which has somebody to ask, learns the key before.
  assert.equal((await bySsh("ssh", await lab.machineId(1), "true")).code, 0);
  const instances = Array.from({ length: 10 }, (_, index) => `hello@${index + 1}`);
  for (const units of [["hello"], instances]) {
    const { code, stderr } = await bySsh(...tunnel, "start", ...units);
    assert.deepEqual([code, stderr], [0, ""]);
  }
  await activeBecomes(11);
  await rm(join(lab.dir, "known_hosts"));
});

test("F32 TestUnitRunnable: one unit runs, and no other", async () => {
  await ok("start", ...(await files({ "hello.service": SLEEP })));
  const listed = await ok("list-units", "--no-legend", "--fields", "unit,active");
  assert.equal(listed.trim().replace(/\t+/, " "), "hello.service active");
});

test("F33 to F36 and F41: instances of a template through all states", async () => {
  await files({ "hello@.service": SLEEP });
  const instances = Array.from({ length: 9 }, (_, index) => `hello@0${9 - index}`);
  await ok("submit", ...instances);
  assert.equal(await rows("list-unit-files"), 9);
  await ok("destroy", "hello@*");
  assert.equal(await rows("list-unit-files"), 0);
  await ok("submit", ...instances);
  const listed = (await ok("list-unit-files", "--no-legend", "--fields", "unit"))
    .trim()
    .split("\n");
  assert.deepEqual(listed, [...listed].sort());
  await ok("destroy", "hello@*");
  assert.equal(await rows("list-unit-files"), 0);
  for (const count of [6, 6]) {
    await ok("load", "hello@{1..6}");
    assert.equal(await rows("list-units"), count);
    await ok("unload", "hello@*");
    assert.equal(await rows("list-units"), 0);
  }
  for (const count of [3, 3]) {
    await ok("start", "hello@{1..3}");
    await activeBecomes(count);
    await ok("stop", "hello@{1..3}");
    assert.equal(await active(), 0);
  }
  // The states of 1 to 3 are loaded, and become launched; 4 is inactive.
  for (const [seconds, verb, units, running] of [
    [2000, "submit", "hello@4", 0],
    [2001, "load", "hello@{1..3}", 0],
    [2002, "start", "hello@{1..3}", 3],
    [2003, "start", "hello@{1..3}", 3],
  ] as const) {
    const text = `[Service]\nExecStart=/bin/sleep ${seconds}\n`;
    await files({ "hello@.service": text });
    await ok(verb, "--replace", units);
    assert.equal(await ok("cat", units.replace("{1..3}", "2")), text);
    await activeBecomes(running);
    assert.equal(await rows("list-unit-files"), 6);
  }
});

test("F37 TestUnitRestart: each has another process afterwards", async () => {
  const { lab } = fixture;
  await files({ "hello@.service": SLEEP });
  const names = [1, 2, 3].map((n) => `hello@${n}.service`);
  await ok("start", ...names);
  const before = await unitsOn(lab, names);
  await ok("restart", ...names);
  const after = await unitsOn(lab, names);
  assert.deepEqual(
    after.map(({ unit, machine }) => [unit, machine]),
    before.map(({ unit, machine }) => [unit, machine]),
  );
  for (const [index, { mainPid }] of after.entries())
    assert.notEqual(mainPid, before[index]?.mainPid);
});

test("F38 TestUnitSSHActions, F39 TestUnitCat, F40 TestUnitStatus", async () => {
  const names = await files({ "hello.service": SLEEP });
  await ok("load", ...names);
  const { code, stdout } = await fixture.lab.fleetctl("status", "hello");
  assert.equal(code, 3);
  assert.match(stdout, /Loaded: loaded/);
  await ok("start", "hello");
  assert.match(await ok("status", "hello"), /Active: active/);
  assert.match(await ok("journal", "--sudo", "hello"), /Hello, World!/);
  const unchecked = "--strict-host-key-checking=false";
  const echo = await bySsh(unchecked, "ssh", "hello.service", "echo", "foo  bar");
  assert.deepEqual([echo.code, echo.stdout, echo.stderr], [0, "foo  bar\n", ""]);
  assert.equal((await bySsh(unchecked, "ssh", "hello", "sh", "-c", "exit 7")).code, 7);
  for (const machine of ["m2", await fixture.lab.address(2), await fixture.lab.machineId(2)]) {
    assert.equal((await bySsh(unchecked, "ssh", machine, "hostname")).stdout, "m2\n");
  }
  assert.equal((await bySsh(unchecked, "ssh", "nosuch", "hostname")).code, 3);
  assert.equal(await ok("cat", "hello"), SLEEP);
});

test("F42 TestReplaceSerialization: the new version starts after ExecStopPost of the old", async () => {
  const version = (name: string) =>
    `[Service]\nExecStartPre=/bin/echo pre-${name}\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 0.5\nExecStopPost=/bin/echo post-${name}\n`;
  await ok("start", ...(await files({ "serial.service": version("old") })));
  await files({ "serial.service": version("new") });
  await ok("start", "--replace", "serial.service");
  const said = await ok("journal", "-n", "all", "-o", "cat", "serial");
  const marks = said
    .split("\n")
    .map((line) => line.split(" | ").at(-1) ?? "")
    .filter((line) => /^(pre|post)-/.test(line));
  assert.deepEqual(marks, ["pre-old", "post-old", "pre-new"]);
});

test("V5: a unit whose peer comes later follows by itself", async () => {
  const { lab } = fixture;
  await files({
    "ping.service": SLEEP,
    "pong.service": `${SLEEP}[X-Fleet]\nMachineOf=ping.service\n`,
  });
  assert.equal((await lab.fleetctl("start", "--block-attempts=1", "pong")).code, 4);
  await ok("start", "ping");
  const where = await runEachOnce(lab, ["ping.service", "pong.service"]);
  assert.deepEqual(where["ping.service"], where["pong.service"]);
});

test("V6: a machine is meant by its id or the first eight characters, by nothing shorter", async () => {
  const { lab } = fixture;
  const [, second] = await machineIds(lab);
  const only = (id: string) => `${SLEEP}[X-Fleet]\nMachineID=${id}\n`;
  const id = second?.id ?? "";
  await files({ "eight.service": only(id.slice(0, 8)), "five.service": only(id.slice(0, 5)) });
  await ok("start", "eight.service");
  assert.deepEqual(await runsOn(lab, "eight.service"), [2]);
  assert.notEqual((await lab.fleetctl("start", "five.service")).code, 0);
});

test("V12: a start that fails is told at once, V13 to V15: a changed file changes something with --replace only", async () => {
  const { lab } = fixture;
  const bad = await lab.fleetctl(
    "start",
    ...(await files({ "bad.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n" })),
  );
  assert.deepEqual([bad.code, /failed to start .*exit-code/.test(bad.stderr)], [1, true]);
  await ok("start", ...(await files({ "x.service": SLEEP })));
  await files({ "x.service": "[Service]\nExecStart=/bin/sleep 2000\n" });
  const warned = await lab.fleetctl("start", "x.service");
  assert.deepEqual([warned.code, /WARNING: .*--replace/.test(warned.stderr)], [0, true]);
  const refused = await lab.fleetctl("submit", "--replace", "x.service");
  assert.deepEqual([refused.code, /can not replace/.test(refused.stderr)], [1, true]);
  assert.equal(await ok("cat", "x"), SLEEP);
  await ok("start", "--replace", "x.service");
  assert.match(await ok("cat", "x"), /sleep 2000/);
});

test("V18: of destroyed units only the history of where they were is left in the registry", async () => {
  const { lab } = fixture;
  await ok("start", ...(await files({ "left.service": SLEEP })));
  await ok("destroy", "left");
  await lab.waitFor({
    what: "nothing else is left",
    deadlineMs: 20_000,
    look: async () =>
      (await lab.etcdctl("get", "--prefix", "/fleet-ts/", "--keys-only")).stdout
        .split("\n")
        .filter((key) => key.includes("left.service")),
    until: (keys) => keys.every((key) => key === "/fleet-ts/history/left.service"),
  });
});

test("journal -f goes on through restarts of both daemons and a move, without loss or doubles", async () => {
  const { lab } = fixture;
  const count = "i=0; while :; do i=$$((i+1)); echo count $$i; sleep 0.1; done";
  await ok(
    "start",
    ...(await files({ "count.service": `[Service]\nExecStart=/bin/sh -c '${count}'\n` })),
  );
  const [holder = 0] = await runsOn(lab, "count.service");
  const other = lab.machines.find((machine) => machine !== holder) ?? 0;
  const out = join(lab.dir, "followed");
  const args = ["journal", "-f", "-n", "1", "-o", "cat", "count"];
  const shell = `echo $$ > ${out}.pid; exec "$0" "$@" > ${out}`;
  const follower = run(["/bin/sh", "-c", shell, process.execPath, CLIENT, ...args], {
    env: { FLEETCTL_ENDPOINT: await lab.endpoint(other) },
  });
  const read = () => readFile(out, "utf8").catch(() => "");
  const follows = (what: string, until: (text: string) => boolean) =>
    lab.waitFor({ what, deadlineMs: 20_000, look: read, until });
  await follows("the follower prints", (text) => text.split("\n").length > 5);
  await lab.daemon(other, "restart");
  await lab.daemon(holder, "restart");
  const length = (await read()).length;
  await follows("it goes on", (text) => text.length > length + 100);
  await lab.daemon(holder, "stop");
  await follows("it prints from the other machine", (text) => / \| count 9\n/.test(text));
  process.kill(Number(await readFile(`${out}.pid`, "utf8")));
  await follower;
  await lab.daemon(holder, "start");
  const stdout = await read();
  const lines = stdout.split("\n").map((line) => line.split(" | ").at(-1) ?? "");
  const numbers = lines
    .filter((line) => line.startsWith("count "))
    .map((line) => Number(line.slice(6)));
  const breaks = numbers.filter(
    (number, index) => index > 0 && number !== (numbers[index - 1] ?? 0) + 1,
  );
  assert.deepEqual(breaks, [1], "only the new run begins anew");
  assert.ok(numbers.length > 20, stdout);
});

test("journal -f stays on the machine that was named, and takes in what comes to match a pattern", async () => {
  const { lab } = fixture;
  const talker = (word: string) =>
    `[Service]\nExecStart=/bin/sh -c 'while :; do echo ${word}; sleep 0.1; done'\n`;
  await files({
    "chorus.service": `${talker("la")}[X-Fleet]\nGlobal=true\n`,
    "voice@.service": talker("voice %i"),
  });
  await ok("start", "chorus", "voice@1");
  await activeBecomes(5);
  const [named] = await machineIds(lab);
  const follow = async (file: string, ...args: readonly string[]) => {
    const out = join(lab.dir, file);
    const shell = `echo $$ > ${out}.pid; exec "$0" "$@" > ${out}`;
    const ended = run(
      ["/bin/sh", "-c", shell, process.execPath, CLIENT, "journal", "-f", ...args],
      {
        env: { FLEETCTL_ENDPOINT: await lab.endpoint(2) },
      },
    );
    const read = () => readFile(out, "utf8").catch(() => "");
    const until = (what: string, isSo: (text: string) => boolean) =>
      lab.waitFor({ what, deadlineMs: 20_000, look: read, until: isSo });
    const end = async () => {
      process.kill(Number(await readFile(`${out}.pid`, "utf8")));
      await ended;
      return await read();
    };
    return { until, end };
  };
  const one = await follow(
    "one",
    "-o",
    "json",
    "-n",
    "1",
    `chorus.service@${named?.id.slice(0, 8)}`,
  );
  const all = await follow("all", "-o", "json", "-n", "1", "voice@*");
  await all.until("the first voice is heard", (text) => text.includes("voice 1"));
  await ok("start", "voice@2");
  await all.until("the second voice is heard", (text) => text.includes("voice 2"));
  await one.until("the chorus is heard", (text) => text.split("\n").length > 20);
  const machines = (await one.end())
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).FLEET_MACHINE);
  assert.deepEqual([...new Set(machines)], [named?.id]);
  const voices = (await all.end())
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).FLEET_UNIT);
  assert.deepEqual([...new Set(voices)].sort(), ["voice@1.service", "voice@2.service"]);
});

test("the journal of a unit that moved and was destroyed comes from every machine that had it", async () => {
  const { lab } = fixture;
  await ok("start", ...(await files({ "moved.service": SLEEP })));
  const [from = 0] = await runsOn(lab, "moved.service");
  await lab.daemon(from, "stop");
  await runEachOnce(lab, ["moved.service"], { machines: lab.machines.filter((m) => m !== from) });
  await lab.daemon(from, "start");
  await lab.waitFor({
    what: "the machine is back",
    deadlineMs: 20_000,
    look: () => rows("list-machines"),
    until: (count) => count === 4,
  });
  await ok("destroy", "moved");
  const said = await ok("journal", "-n", "all", "moved");
  assert.equal(said.match(/Hello, World!/g)?.length, 2);
  assert.equal(new Set(said.split("\n").map((line) => line.split(" |")[0])).size, 3);
});

test("a machine that does not answer is said, and holds up the journals of the others for a moment only", async () => {
  const { lab } = fixture;
  await ok("start", ...(await files({ "global.service": `${SLEEP}[X-Fleet]\nGlobal=true\n` })));
  await lab.pause(4);
  try {
    const { code, stdout, stderr } = await lab.fleetctlAt(1, "journal", "global");
    assert.equal(code, 1);
    assert.match(stderr, /Not read: .*machine /);
    assert.equal(stdout.match(/Hello, World!/g)?.length, 3);
  } finally {
    await lab.resume(4);
  }
});

test("run of fd-forward: the API through standard input and output", async () => {
  const { lab } = fixture;
  const request = "GET /fleet/v1/machines HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n";
  const forward = `printf '${request}' | fleetctl-ts fd-forward /run/fleet.sock`;
  const { stdout } = await lab.exec(1, "/bin/sh", "-c", `PATH=/opt/fleet/bin:$PATH; ${forward}`);
  assert.match(stdout, /^HTTP\/1.1 200 OK[\s\S]*"machines"/);
});
