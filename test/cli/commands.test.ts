import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { waitFor } from "../support/wait-for.ts";
import { PlayedCluster } from "./played-cluster.ts";
import { M1, M2 } from "./views.ts";

const SERVICE = "[Service]\nExecStart=/bin/sleep 1\n";
const GLOBAL = `${SERVICE}[X-Fleet]\nGlobal=true\n`;
const HERE = "1111aaaa.../10.0.0.1";

let cluster: PlayedCluster;

before(async () => {
  cluster = await PlayedCluster.open();
  await cluster.lead();
  await cluster.addMachine(M1);
});
after(() => cluster.close());

async function file(name: string, content = SERVICE): Promise<string> {
  const path = join(cluster.directory, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  return path;
}

/** Exit status, standard output, standard error. */
async function run(...args: readonly string[]): Promise<readonly [number, string, string]> {
  const { exit, out, err } = await cluster.run(...args);
  return [exit, out, err];
}

test("a unit goes through all states with fleet's words", async () => {
  const path = await file("hello.service");
  assert.deepEqual(await run("submit", path), [0, "Unit hello.service inactive\n", ""]);
  assert.deepEqual(await run("submit", path), [0, "", ""]);
  assert.deepEqual(await run("load", "hello"), [0, `Unit hello.service loaded on ${HERE}\n`, ""]);
  assert.deepEqual(await run("start", "hello.service"), [
    0,
    `Unit hello.service launched on ${HERE}\n`,
    "",
  ]);
  assert.deepEqual(await run("start", "hello.service"), [0, "", ""]);
  assert.deepEqual(await run("load", "hello"), [
    1,
    "",
    "Unit hello.service is launched; use stop\n",
  ]);
  assert.deepEqual(await run("restart", "hello"), [
    0,
    `Unit hello.service restarted on ${HERE}\n`,
    "",
  ]);
  assert.equal((await cluster.unit("hello.service"))?.restarts, 1);
  assert.deepEqual(await run("stop", "hello"), [
    0,
    `Unit hello.service loaded on ${HERE}\n`,
    "Successfully stopped units [hello.service].\n",
  ]);
  assert.deepEqual(await run("stop", "hello"), [0, "", "Successfully stopped units [].\n"]);
  assert.deepEqual(await run("unload", "hello"), [
    0,
    "Unit hello.service inactive\n",
    "Successfully unloaded units [hello.service].\n",
  ]);
  assert.deepEqual(await run("unload", "hello"), [0, "", "Successfully unloaded units [].\n"]);
  assert.equal((await run("stop", "hello"))[0], 1);
  assert.equal((await run("restart", "hello"))[0], 1);
  assert.deepEqual(await run("destroy", "hello", "nosuch"), [
    3,
    "Destroyed hello.service\n",
    "Unit nosuch.service not found\n",
  ]);
  assert.equal(await cluster.unit("hello.service"), undefined);
});

test("names that do not exist exit 3, the others are done all the same", async () => {
  await run("start", await file("there.service"));
  for (const [command, past] of [
    ["restart", undefined],
    ["stop", "stopped"],
    ["unload", "unloaded"],
  ] as const) {
    const [exit, , err] = await run(command, "absent", "there");
    assert.equal(exit, 3, command);
    assert.match(err, /^Unit absent\.service not found\n/);
    if (past !== undefined) assert.match(err, new RegExp(`Successfully ${past} units \\[there`));
  }
  assert.deepEqual((await run("start", "absent"))[0], 3);
  assert.deepEqual(await run("cat", "absent"), [3, "", "Unit absent.service not found\n"]);
  assert.deepEqual(await run("status", "absent"), [3, "", "Unit absent.service does not exist.\n"]);
  assert.equal((await run("journal", "absent"))[0], 3);
  await run("destroy", "there");
});

test("an empty word, as of a variable that is not set, is wrong usage", async () => {
  for (const command of [
    "submit",
    "start",
    "stop",
    "destroy",
    "status",
    "journal",
    "diff",
    "kill",
  ]) {
    const [exit, out, err] = await run(command, "");
    assert.deepEqual([exit, out, err], [2, "", "a UNIT or FILE is empty\n"], command);
  }
});

test("a name that is too long for a file is refused as a name", async () => {
  const [exit, , err] = await run("start", "a".repeat(257));
  assert.deepEqual([exit, /unit name exceeds maximum length/.test(err)], [2, true]);
});

test("submit of changed files changes nothing and names all of them", async () => {
  const a = await file("changed-a.service");
  const b = await file("changed-b.service");
  await run("submit", a, b);
  const manifest = (await cluster.unit("changed-a.service"))?.manifest;
  await file("changed-a.service", `${SERVICE}# more\n`);
  await file("changed-b.service", `${SERVICE}# more\n`);
  const c = await file("changed-c.service");
  const [exit, out, err] = await run("submit", c, a, b);
  assert.deepEqual([exit, out], [1, ""]);
  assert.equal(
    err,
    `Unit changed-a.service in registry differs from local unit file ${a}. Add --replace to override.\n` +
      `Unit changed-b.service in registry differs from local unit file ${b}. Add --replace to override.\n`,
  );
  assert.equal(await cluster.unit("changed-c.service"), undefined);
  assert.equal((await run("submit", "--replace", a))[0], 0);
  assert.notEqual((await cluster.unit("changed-a.service"))?.manifest, manifest);
  assert.match((await run("submit", "--replace", a))[1], /^Found same Unit\(changed-a\.service\)/);
});

test("a unit file that is refused is named with its line, and nothing of the command is done", async () => {
  const good = await file("good.service");
  const bad = await file("bad.service", "[Service]\nno assignment\n");
  const [exit, out, err] = await run("start", good, bad);
  assert.deepEqual([exit, out], [2, ""]);
  assert.match(err, /^Error creating units: bad\.service:2/);
  assert.equal(await cluster.unit("good.service"), undefined);
});

test("start --replace runs the new content", async () => {
  const path = await file("replaced.service");
  await run("start", path);
  await file("replaced.service", `${SERVICE}ExecStop=/bin/true\n`);
  assert.match(
    (await run("start", path))[2],
    /^WARNING: Unit replaced\.service in registry differs/,
  );
  assert.deepEqual(await run("start", "--replace", path), [
    0,
    `Unit replaced.service launched on ${HERE}\n`,
    "",
  ]);
  assert.equal((await run("cat", "replaced"))[1], `${SERVICE}ExecStop=/bin/true\n`);
});

test("cat gives back what was submitted byte for byte, drop-ins after it", async () => {
  const content = "# comment\n\n[Service]\nExecStart=/bin/true \\\n  -x\n\n";
  const path = await file("bytes.service", content);
  await run("submit", path);
  assert.deepEqual(await run("cat", "bytes"), [0, content, ""]);
  await file("bytes.service.d/10-more.conf", "[Service]\nNice=5\n");
  await run("submit", "--replace", path);
  assert.deepEqual(await run("cat", "bytes"), [
    0,
    `${content}\n# bytes.service.d/10-more.conf\n[Service]\nNice=5\n`,
    "",
  ]);
});

test("instances are made from the template in the registry", async () => {
  await run("submit", await file("web@.service"));
  const elsewhere = join(cluster.directory, "elsewhere");
  const [exit, out] = await run("start", join(elsewhere, "web@1"), join(elsewhere, "web@2"));
  assert.equal(exit, 0);
  assert.deepEqual(out.split("\n").sort(), [
    "",
    `Unit web@1.service launched on ${HERE}`,
    `Unit web@2.service launched on ${HERE}`,
  ]);
  assert.equal((await run("cat", "web@1"))[1], SERVICE);
});

test("a unit that cannot be placed ends start with its reason; it stays wanted", async () => {
  cluster.behaviours.set("picky.service", {
    blocked: [
      {
        reason: { type: "metadata-differs", requirement: "disk=tape" },
        machines: 1,
        examples: [M1],
      },
    ],
  });
  const path = await file("picky.service");
  const [exit, out, err] = await run("start", path);
  assert.deepEqual([exit, out], [1, ""]);
  assert.match(
    err,
    /^Unit picky\.service cannot be placed: MachineMetadata=disk=tape does not hold \(1 machine: 1111aaaa\.\.\.\/10\.0\.0\.1\)\n {2}it stays wanted/,
  );
  assert.equal((await cluster.unit("picky.service"))?.desired, "launched");
  const limited = await run("start", "--timeout", "1", path);
  assert.equal(limited[0], 4);
  assert.match(limited[2], /timed out waiting for unit picky\.service to report state launched/);
  assert.match((await run("status", "picky"))[2], /cannot be placed: MachineMetadata=disk=tape/);
  assert.match((await run("list-unit-files"))[2], /picky\.service cannot be placed/);
  // What could not be placed can be taken back (by what is wanted, not by what is).
  assert.equal((await run("stop", "picky"))[0], 0);
  assert.equal((await run("unload", "picky"))[0], 0);
});

test("a failed start says what systemd says and where to look", async () => {
  cluster.behaviours.set("broken.service", {
    state: {
      active: "failed",
      sub: "failed",
      result: "exit-code",
      start: { restarts: 0, outcome: "failed" },
    },
  });
  const [exit, out, err] = await run("start", await file("broken.service"));
  assert.deepEqual([exit, out], [1, ""]);
  assert.equal(
    err,
    `Unit broken.service failed to start on ${HERE}: state failed (failed), result exit-code\n` +
      "  look further with: fleetctl-ts journal broken.service; try again with: fleetctl-ts restart broken.service\n",
  );
  const [, rows] = await run("list-units", "--no-legend", "--fields", "unit,active");
  assert.match(rows, /^broken\.service\t+failed$/m);
});

test("no command asks the daemon more often than it has to", async () => {
  const path = await file("asked.service");
  const asked = async (...args: readonly string[]) => {
    const [exit, , err] = await run("--debug", ...args);
    assert.equal(exit, 0, err);
    return [...err.matchAll(/^DEBUG (\w+) \S+ [/]fleet[/]v2[/](\S+) 200$/gm)].map(
      ([, method, path]) => `${method} ${path}`,
    );
  };
  assert.deepEqual(await asked("list-units"), ["GET units?machines=1"]);
  assert.deepEqual(await asked("list-unit-files"), ["GET units?machines=1"]);
  assert.deepEqual(await asked("submit", path), ["GET units?unit=asked.service", "POST apply"]);
  assert.deepEqual(await asked("start", path), [
    "GET units?unit=asked.service&machines=1",
    "POST apply",
    "POST watch",
  ]);
});

test("a finished oneshot has started", async () => {
  cluster.behaviours.set("once.service", { state: { active: "inactive", sub: "dead" } });
  assert.equal((await run("start", await file("once.service")))[0], 0);
});

test("a global unit is waited for on all its machines", async () => {
  await cluster.addMachine(M2, { address: "10.0.0.2" });
  cluster.behaviours.set("everywhere.service", { machines: [M1, M2] });
  const path = await file("everywhere.service", GLOBAL);
  assert.deepEqual(await run("start", path), [
    0,
    "Unit everywhere.service launched on 2 machines\n",
    "",
  ]);
  assert.deepEqual(await run("restart", "everywhere"), [
    0,
    "Unit everywhere.service restarted on 2 machines\n",
    "",
  ]);
  assert.equal((await run("stop", "everywhere"))[0], 0);
  assert.equal((await run("destroy", "everywhere"))[0], 0);
  await cluster.write({ type: "delete", key: cluster.keys.machine(M2) });
});

test("--no-block says what was triggered, once, and does not wait", async () => {
  cluster.behaviours.set("idle.service", { idle: true });
  const path = await file("idle.service");
  assert.deepEqual(await run("start", "--no-block", path), [
    0,
    "Triggered unit idle.service start\n",
    "",
  ]);
  assert.deepEqual(await run("stop", "--no-block", "idle"), [
    0,
    "Triggered unit idle.service stop\n",
    "",
  ]);
  assert.deepEqual(await run("destroy", "--no-block", "idle"), [0, "Destroyed idle.service\n", ""]);
});

test("stop on a machine that is away says so; destroy succeeds and says what will happen", async () => {
  await cluster.addMachine(M2, { address: "10.0.0.2" });
  cluster.behaviours.set("far.service", { machines: [M2] });
  await run("start", await file("far.service"));
  await cluster.loseMachine(M2);
  cluster.behaviours.set("far.service", { idle: true });
  const [exit, , err] = await run("stop", "far");
  assert.equal(exit, 1);
  assert.match(
    err,
    /machine 5555aaaa\.\.\. is away\n {2}it may still run there; it is stopped when/,
  );
  assert.deepEqual(await run("destroy", "far"), [
    0,
    "Destroyed far.service\n",
    "Machine 5555aaaa... is away: far.service may still run there and is stopped when the machine returns\n",
  ]);
});

test("300 units start with one request and one watch", async () => {
  const template = await file("many@.service");
  const names = Array.from({ length: 300 }, (_, index) => template.replace("@", `@${index}`));
  const { exit, out, err } = await cluster.run("--debug", "start", ...names);
  assert.equal(exit, 0);
  assert.equal(out.match(/launched on/g)?.length, 300);
  assert.equal(err.match(/POST .*\/apply/g)?.length, 1);
  assert.equal(err.match(/POST .*\/watch/g)?.length, 1);
  assert.equal((await run("destroy", ...names))[0], 0);
});

test("more than one request takes goes out in several, all or none of it", async () => {
  const comment = `# ${"x".repeat(1_000)}\n`.repeat(600);
  const names = Array.from({ length: 8 }, (_, index) => `large${index}.service`);
  const paths = await Promise.all(names.map((name) => file(name, comment + SERVICE)));
  const bad = await file("large-bad.service", `${comment}[Service]\nno assignment\n`);
  const [refused, , err] = await run("submit", ...paths, bad);
  assert.deepEqual([refused, /^Error creating units: large-bad\.service:602/.test(err)], [2, true]);
  assert.equal(await cluster.unit("large0.service"), undefined);
  const submitted = await cluster.run("--debug", "submit", ...paths);
  assert.equal(submitted.exit, 0);
  assert.equal(submitted.out, names.map((name) => `Unit ${name} inactive\n`).join(""));
  assert.equal(submitted.err.match(/POST .*\/apply 200/g)?.length, 2);
  assert.equal((await run("destroy", ...names))[0], 0);
});

test("list commands have fleet's columns, exactly", async () => {
  await cluster.addMachine("4444", { address: "", metadata: {} });
  assert.deepEqual(await run("list-machines"), [
    0,
    "MACHINE\t\tIP\t\tMETADATA\n1111aaaa...\t10.0.0.1\tdisk=ssd\n4444...\t\t-\t\t-\n",
    "",
  ]);
  await cluster.write({ type: "delete", key: cluster.keys.machine("4444") });
  await run("start", await file("listed.service"));
  const [, files] = await run("list-unit-files", "--fields", "unit,dstate,state,target");
  assert.ok(files.startsWith("UNIT\t\t\tDSTATE\t\tSTATE\t\tTARGET\n"));
  assert.ok(files.includes(`listed.service\t\tlaunched\tlaunched\t${HERE}\n`));
  const [, json] = await run("list-units", "-o", "json");
  const row = JSON.parse(json).find(({ unit }: { unit: string }) => unit === "listed.service");
  assert.deepEqual([row.machineId, row.active, row.sub], [M1, "active", "running"]);
});

test("status gives systemctl's exit status, journal passes its options", async () => {
  await run("start", await file("shown.service"));
  assert.deepEqual(await run("status", "shown"), [3, "status of shown.service\n", ""]);
  const [exit, out] = await run("journal", "-n", "5", "shown");
  assert.equal(exit, 0);
  assert.match(out, / m1 app\[7\]: --unit=shown\.service --no-pager --lines=5 --output=json /);
  assert.match(
    (await run("journal", "--since", "-1h", "-p", "err", "-g", "a b", "-o", "cat", "shown"))[1],
    /^--unit=shown\.service --no-pager --lines=all .* --since=-1h --priority=err --grep=a b\n$/,
  );
  assert.match((await run("journal", "--machine", "9", "shown"))[2], /Machine 9 not found/);
});

test("what journalctl refuses fails once, also where it would be followed", async () => {
  await run("start", await file("refused.service"));
  for (const follow of [[], ["-f"]]) {
    const journal = await run("journal", ...follow, "-p", "nonsense", "refused");
    assert.deepEqual(journal, [1, "", "Unknown log level nonsense\n"]);
  }
});

test("journals of several units, also of a pattern and a template, come with their source", async () => {
  const template = await file("said@.service");
  await run("submit", template);
  await run("start", "said@1", "said@2");
  for (const args of [["said@1", "said@2"], ["said@*"], ["said@"], ["said@{1..2}"]]) {
    const [exit, out, err] = await run("journal", "-o", "cat", ...args);
    assert.deepEqual([exit, err], [0, ""]);
    const sources = out.split("\n").map((line) => line.split(" | ")[0]);
    assert.deepEqual(sources.sort(), ["", "said@1.service@1111aaaa", "said@2.service@1111aaaa"]);
  }
  assert.deepEqual(await run("journal", "nothing@*"), [
    3,
    "",
    "No unit is, or was, named nothing@*\n",
  ]);
});

test("a pattern stands for all units it matches, a directory for its files, - for standard input", async () => {
  const folder = dirname(await file("kept/one.service"));
  await file("kept/two.service");
  await file("kept/notes.txt");
  assert.deepEqual(
    (await run("submit", folder))[1],
    "Unit one.service inactive\nUnit two.service inactive\n",
  );
  const content = await readFile(join(folder, "one.service"), "utf8");
  const stdin = (text: string) => ({ readIn: async () => text });
  const piped = await cluster.runWith(stdin(content), "submit", "--name", "three", "-");
  assert.deepEqual(piped, { exit: 0, out: "Unit three.service inactive\n", err: "" });
  const destroyed = await cluster.runWith(stdin("one\ntwo.service\n"), "destroy", "-");
  assert.equal(destroyed.out, "Destroyed one.service\nDestroyed two.service\n");
  assert.equal((await run("destroy", "thre?"))[1], "Destroyed three.service\n");
  assert.deepEqual(await run("destroy", "thre?"), [3, "", "Unit thre? not found\n"]);
});

test("diff shows what --replace would change, and exits 1 if anything", async () => {
  const path = await file("changed.service");
  await run("submit", path);
  assert.deepEqual(await run("diff", path), [0, "", ""]);
  await writeFile(path, `${await readFile(path, "utf8")}Nice=5\n`);
  const [exit, out] = await run("diff", path);
  assert.equal(exit, 1);
  assert.match(
    out,
    /^--- registry\/changed.service\n\+\+\+ .*changed.service\n@@ -\d,\d \+\d,\d @@\n[\s\S]*\n\+Nice=5\n$/,
  );
});

test("-o json gives a list of results", async () => {
  const path = await file("told.service");
  const [exit, out] = await run("start", "-o", "json", path);
  assert.equal(exit, 0);
  assert.deepEqual(JSON.parse(out), [
    {
      unit: "told.service",
      outcome: "done",
      state: "launched",
      machines: [M1],
      message: `Unit told.service launched on ${HERE}`,
    },
  ]);
  const [missing, list] = await run("stop", "-o", "json", "told", "absent");
  assert.equal(missing, 3);
  assert.deepEqual(
    JSON.parse(list).map((one: { unit: string; outcome: string }) => [one.unit, one.outcome]),
    [
      ["absent.service", "not-found"],
      ["told.service", "done"],
    ],
  );
});

test("kill, reload and reset-failed go to the machine that has the unit", async () => {
  await run("start", await file("acted.service"));
  assert.deepEqual(await run("kill", "-s", "hup", "acted"), [
    0,
    `Unit acted.service signalled on ${HERE}\n`,
    "",
  ]);
  assert.equal((await run("reload", "acted"))[0], 0);
  assert.equal((await run("reset-failed", "absent"))[0], 3);
  assert.match((await run("kill", "-s", "SIGNOPE", "acted"))[2], /no such signal/);
});

test("events are told as they happen", async () => {
  const end = new AbortController();
  const lines: string[] = [];
  const told = cluster.runWith(
    {
      signal: end.signal,
      writeOut: (text) => {
        lines.push(JSON.parse(String(text)));
      },
    },
    ...["events", "-o", "json", "lived*"],
  );
  const path = await file("lived.service");
  const hear = (event: string) =>
    waitFor({
      what: `${event} is told`,
      deadlineMs: 20_000,
      everyMs: 10,
      look: async () => lines.map((line) => Object(line).event),
      until: (seen) => seen.includes(event),
    });
  // Until it listens, units may come and go unheard.
  for (;;) {
    await run("start", path);
    await run("destroy", "lived");
    if (lines.length > 0) break;
  }
  await hear("destroyed");
  const kinds = new Set(lines.map((line) => Object(line).event));
  assert.ok(
    ["submitted", "placed", "state"].some((kind) => kinds.has(kind)),
    [...kinds].join(),
  );
  end.abort();
  assert.equal((await told).exit, 0);
});

test("a shell is offered commands, options, units and machines", async () => {
  const offered = async (...words: readonly string[]) => {
    const [exit, out] = await run("__complete", "--", ...words);
    assert.equal(exit, 0);
    return out.split("\n");
  };
  await run("submit", await file("offered.service"));
  assert.ok((await offered("sta")).includes("status"));
  assert.ok((await offered("list-units", "--no")).includes("--no-legend"));
  assert.ok((await offered("stop", "off")).includes("offered.service"));
  assert.ok((await offered("start", "off")).includes(":files"));
  assert.ok((await offered("status", "--machine", "")).includes(M1));
  assert.ok((await offered("ssh", "--unit=")).includes("--unit=offered.service"));
  assert.deepEqual((await offered("list-units", "-o", "")).slice(0, 2), ["table", "json"]);
  assert.ok((await offered("completion", "")).includes("fish"));
});

test("a machine that is away is forgotten by the beginning of its id, a present one is not", async () => {
  await cluster.loseMachine("7777");
  assert.deepEqual(await run("forget", "777..."), [0, "Forgot machine 7777\n", ""]);
  assert.equal((await run("forget", "777"))[0], 3);
  assert.equal((await run("forget", M1))[0], 1);
});

test("rejoin says what became of the units, and why it takes its time", async () => {
  assert.deepEqual(await run("rejoin", "--keep"), [
    0,
    "Rejoined the cluster, kept units [keep.service].\n",
    "",
  ]);
  const [code, out, err] = await run("rejoin", "--discard");
  assert.deepEqual([code, out], [0, "Rejoined the cluster, discarded units [discard.service].\n"]);
  assert.match(err, /^waiting until .* agent_ttl/);
});

test("without an engine every command says so", async () => {
  await cluster.write({ type: "delete", key: cluster.keys.leader });
  assert.match((await run("list-units"))[2], /^NOTICE: no engine is running/);
  cluster.behaviours.set("waits.service", { idle: true });
  const [exit, , err] = await run("start", "--timeout", "0.3", await file("waits.service"));
  assert.equal(exit, 4);
  assert.match(err, /^NOTICE: no engine is running/);
  assert.match(err, /waits\.service: waiting for the engine to place it/);
  await cluster.lead();
});

test("a daemon that restarts while a command waits is waited for", async () => {
  cluster.behaviours.set("slow.service", { idle: true });
  const path = await file("slow.service");
  const starting = cluster.run("start", path);
  await waitFor({
    what: "the command waits",
    deadlineMs: 10_000,
    everyMs: 10,
    look: async () => cluster.waiting,
    until: (count) => count > 0,
  });
  await cluster.restartApi();
  cluster.behaviours.delete("slow.service");
  await cluster.touch("slow.service");
  const { exit, out } = await starting;
  assert.deepEqual([exit, out], [0, `Unit slow.service launched on ${HERE}\n`]);
});

test("a command that waits says once that the registry is away", async (context) => {
  context.after(() => cluster.notices.splice(0));
  cluster.behaviours.set("patient.service", { idle: true });
  let said = "";
  const writeError = (text: string) => {
    said += text;
  };
  const starting = cluster.runWith({ writeError }, "start", await file("patient.service"));
  const waits = (what: string, until: () => boolean) =>
    waitFor({ what, deadlineMs: 10_000, everyMs: 10, look: async () => until(), until: Boolean });
  await waits("the command waits", () => cluster.waiting > 0);
  cluster.notices.push({ code: "registry-away", message: "the registry is away: why" });
  await cluster.touch("patient.service");
  await waits("it is said", () => said !== "");
  cluster.notices.splice(0, 1, { code: "registry-away", message: "the registry is away: still" });
  cluster.behaviours.delete("patient.service");
  await cluster.touch("patient.service");
  assert.equal((await starting).exit, 0);
  assert.equal(said, "NOTICE: the registry is away: why\n");
});

test("a daemon that falls silent while a command waits is asked again, which is said", async () => {
  cluster.behaviours.set("silent.service", { idle: true });
  const clock = new VirtualClock();
  let said = "";
  const writeError = (text: string) => {
    said += text;
  };
  const path = await file("silent.service");
  const starting = cluster.runWith({ clock, writeError }, "start", path);
  const timeGoesOnUntil = (what: string, advanceMs: number, until: () => boolean) =>
    waitFor({
      ...{ what, deadlineMs: 10_000, everyMs: 10, until },
      look: () => clock.advance(advanceMs),
    });
  await timeGoesOnUntil("the command waits", 250, () => said.includes("for the engine"));
  await clock.advance(15_000);
  await timeGoesOnUntil("it is said", 10, () => said.includes("no word"));
  cluster.behaviours.delete("silent.service");
  await cluster.touch("silent.service");
  let isDone = false;
  void starting.then(() => {
    isDone = true;
  });
  await timeGoesOnUntil("it asks again", 100, () => isDone);
  assert.equal((await starting).exit, 0);
  assert.equal(said.match(/no word from fleetd-ts while waiting: trying again\n/g)?.length, 1);
});

test("a unit that someone else destroys while a command waits for it ends the waiting", async () => {
  cluster.behaviours.set("raced.service", { idle: true });
  const starting = cluster.run("start", await file("raced.service"));
  await waitFor({
    what: "the start was asked for",
    deadlineMs: 10_000,
    everyMs: 10,
    look: () => cluster.unit("raced.service"),
    until: (record) => record !== undefined,
  });
  await run("destroy", "--no-block", "raced");
  const { exit, err } = await starting;
  assert.deepEqual([exit, err], [1, "Unit raced.service was destroyed meanwhile\n"]);
});

test("a registry that does not answer is reported, not waited for", async (context) => {
  const lost = await PlayedCluster.open();
  context.after(() => lost.close());
  await lost.store.close();
  for (const command of [["list-units"], ["list-machines"], ["start", await file("a.service")]]) {
    const { exit, out, err } = await lost.run(...command);
    assert.deepEqual([exit, out], [1, ""]);
    assert.match(err, /embedded registry/);
  }
});

test("-o json prints one document, or says on standard error why there is none", async () => {
  const web = await file("json/web.service");
  await run("start", web);
  const fits = await file("json/fits-nowhere.service", `${SERVICE}[X-Fleet]\nMachineID=0000\n`);
  await run("start", fits);
  for (const command of [
    `submit ${web}`,
    `submit ${web} ${fits}`,
    `submit --replace ${fits}`,
    `submit ${await file("json/new.service")} ${web}`,
    "submit nosuch",
    "load web",
    "start web",
    "start --no-block web",
    "start nosuch*",
    "restart web nosuch",
    "stop web web nosuch",
    "stop nosuch*",
    "unload web",
    "cat web",
    "cat nosuch",
    "status web nosuch",
    "kill web nosuch",
    "reload nosuch",
    "reset-failed web",
    `diff ${web}`,
    "list-units",
    "list-unit-files",
    "list-groups",
    "list-machines",
    "explain web",
    "explain nosuch fits-nowhere",
    "explain nosuch*",
    `plan ${web}`,
    "plan nosuch",
    `verify ${web} nosuch.service`,
    `cordon ${M1}`,
    `uncordon ${M1}`,
    "cordon nosuch",
    `set-metadata ${M1} a=b`,
    `set-metadata --reset ${M1} a`,
    `evacuate ${M1}`,
    "rebalance --plan",
    "register mail/provider mail.example.org:25",
    "services",
    "service mail",
    "links",
    "deregister mail/provider",
    "deregister mail/provider",
    "graph web",
    "graph nosuch",
    "rejoin --keep",
    `forget ${M1}`,
    "version",
    "destroy web new fits-nowhere nosuch",
  ]) {
    const [exit, out, err] = await run(...command.split(" "), "-o", "json");
    if (out === "") assert.ok(exit !== 0 && err !== "", `${command}: exit ${exit}, nothing said`);
    else assert.doesNotThrow(() => JSON.parse(out), `${command}: ${out}`);
    if (/nosuch\b/.test(command)) assert.match(`${out}${err}`, /nosuch/, command);
  }
});
