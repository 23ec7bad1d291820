import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { GitWorkTree } from "../support/git-work-tree.ts";
import type { Lab } from "../support/lab.ts";
import { destroyAll, places, runEachOnce, unitsOn } from "../support/lab-units.ts";
import { SyncWatch, untilSource } from "../support/sync-watch.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 3, settings: { agent_ttl: "6s", boot_grace: "2s" } });
let watches: SyncWatch[] = [];
let trees = 0;

afterEach(async () => {
  for (const watch of watches) await watch.stop();
  watches = [];
  await destroyAll(fixture.lab);
});

const SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n";

/** A work tree of this test's own; its name is also the source's. */
function newTree(files: Readonly<Record<string, string>>): GitWorkTree & { readonly name: string } {
  trees += 1;
  const name = `tree-${trees}`;
  const tree = new GitWorkTree(join(fixture.lab.dir, name));
  for (const [path, text] of Object.entries(files)) tree.write(path, text);
  tree.commit("First");
  return Object.assign(tree, { name });
}

async function sync(...args: readonly string[]) {
  const { code, stdout, stderr } = await fixture.lab.fleetctl("sync", ...args);
  return { code, text: `${stdout}${stderr}` };
}

async function watch(tree: { readonly directory: string }, ...args: readonly string[]) {
  const started = await SyncWatch.start(fixture.lab, 1, ...args, tree.directory);
  watches.push(started);
  return started;
}

async function invocations(lab: Lab, units: readonly string[]): Promise<readonly string[]> {
  return (await unitsOn(lab, units)).map(({ unit, invocation }) => `${unit} ${invocation}`);
}

async function running(lab: Lab, units: readonly string[]): Promise<readonly string[]> {
  const found = await places(lab, units);
  return units.filter((unit) => found[unit]?.length === 1);
}

test("moved files, a deleted directory, the limit of prune, an emptied tree and a force-push", async () => {
  const { lab } = fixture;
  const all = ["a.service", "b.service", "c.service", "d.service", "e.service"];
  const tree = newTree({
    "web/a.service": SLEEPER,
    "web/b.service": SLEEPER,
    "db/c.service": SLEEPER,
    "db/d.service": SLEEPER,
    "e.service": SLEEPER,
  });
  const first = tree.git("rev-parse", "HEAD");
  const planned = await sync("--plan", tree.directory);
  assert.equal(planned.code, 0);
  assert.match(planned.text, /5 to create/);
  assert.match(planned.text, /a\.service would go to /);
  assert.deepEqual(await running(lab, all), []);
  assert.equal((await sync(tree.directory)).code, 0);
  assert.deepEqual(await running(lab, all), all);

  const before = await invocations(lab, all);
  tree.git("mv", "web", "front");
  tree.commit("Move");
  assert.equal((await sync("--prune", tree.directory)).code, 0);
  assert.deepEqual(await invocations(lab, all), before, "nothing was restarted");
  const groups = (await lab.fleetctl("list-groups")).stdout;
  assert.match(groups, /front/);
  assert.doesNotMatch(groups, /web/);

  tree.remove("db");
  tree.commit("Without a database");
  const kept = await sync(tree.directory);
  assert.match(kept.text, /c\.service: it is no longer in the tree: --prune destroys it/);
  assert.deepEqual(await running(lab, all), all);
  assert.equal((await sync("--prune", tree.directory)).code, 0);
  await lab.waitFor({
    what: "c and d are gone",
    deadlineMs: 20_000,
    look: () => running(lab, all),
    until: (units) => units.join() === "a.service,b.service,e.service",
  });

  tree.remove("front");
  tree.remove("e.service");
  tree.write("f.service", SLEEPER);
  tree.commit("Something else");
  const limited = await sync("--prune", tree.directory);
  assert.match(limited.text, /3 of \d units would be destroyed at once/);
  assert.equal((await running(lab, [...all, "f.service"])).length, 4);
  tree.remove("f.service");
  tree.commit("Nothing");
  const emptied = await sync("--prune", "--prune-limit", "100", tree.directory);
  assert.match(emptied.text, /the tree is empty, so nothing is destroyed/);
  assert.equal((await running(lab, [...all, "f.service"])).length, 4);

  tree.git("reset", "--quiet", "--hard", first);
  assert.equal((await sync("--prune", tree.directory)).code, 0);
  await lab.waitFor({
    what: "exactly the units of the first commit run",
    deadlineMs: 20_000,
    look: () => running(lab, [...all, "f.service"]),
    until: (units) => units.join() === all.join(),
  });
});

test("one bad file stops the whole commit, with its line, and what ran before runs on", async () => {
  const { lab } = fixture;
  const tree = newTree({ "a.service": SLEEPER });
  await sync(tree.directory);
  const before = await invocations(lab, ["a.service"]);
  tree.write("a.service", `${SLEEPER}Restart=always\n`);
  tree.write("b.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nReplicas=some\n");
  tree.commit("Broken");
  const refused = await sync(tree.directory);
  assert.equal(refused.code, 1);
  assert.match(refused.text, /b\.service:4/);
  assert.deepEqual(await invocations(lab, ["a.service"]), before);
  assert.deepEqual(await running(lab, ["b.service"]), []);
});

test("what is done by hand is put right, or with --no-heal only shown, and a command hears of it", async () => {
  const { lab } = fixture;
  const units = ["a.service", "b.service", "c.service"];
  const tree = newTree(Object.fromEntries(units.map((unit) => [unit, SLEEPER])));
  const watching = await watch(tree);
  await runEachOnce(lab, units);
  await untilSource(lab, {
    name: tree.name,
    what: "it runs",
    until: ({ running }) => running !== undefined,
    explain: () => watching.said,
  });
  await lab.unitFile("c.service", `${SLEEPER}Environment=BY=hand\n`);
  const replaced = await lab.fleetctl("start", "--replace", "--no-block", "c.service");
  assert.equal(replaced.code, 0, replaced.stderr);
  await lab.fleetctl("stop", "--no-block", "a.service");
  await lab.fleetctl("destroy", "--no-block", "b.service");
  const body = async () =>
    (await lab.api(1, "/fleet/v2/units")) as {
      units: { name: string; manifest: string; desired: string }[];
    };
  await lab.waitFor({
    what: "all three are as the tree says",
    deadlineMs: 40_000,
    look: body,
    until: ({ units: listed }) =>
      listed.filter(({ desired }) => desired === "launched").length === 3 &&
      new Set(listed.map(({ manifest }) => manifest)).size === 1,
    explain: async () => watching.said,
  });
  await runEachOnce(lab, units);
  await watching.stop();

  const log = join(lab.dir, "told");
  await lab.unitFile("tell.sh", `echo "$FLEET_SYNC_OUTCOME" >> ${log}\n`);
  const notify = `sh ${join(lab.dir, "tell.sh")}`;
  const showing = await watch(tree, "--no-heal", "--poll", "1", "--notify", notify);
  await lab.waitFor({
    what: "the command was told that it runs",
    deadlineMs: 20_000,
    look: () => showing.said,
    until: (text) => text.includes("is running"),
  });
  await lab.fleetctl("stop", "a.service");
  await untilSource(lab, {
    name: tree.name,
    what: "the drift is noted",
    until: ({ drift }) => drift?.length === 1,
    explain: () => showing.said,
  });
  const status = (await lab.fleetctl("sync", "status", tree.name)).stdout;
  assert.match(status, /drift +> start a\.service \(is loaded, should be launched\)/);
  assert.deepEqual(await running(lab, units), ["b.service", "c.service"]);
  const { readFile } = await import("node:fs/promises");
  await lab.waitFor({
    what: "the command was told of both",
    deadlineMs: 20_000,
    look: async () => await readFile(log, "utf8").catch(() => ""),
    until: (text) => text === "running\ndrifted\n",
  });
});

test("rollback pins, resume goes on, suspend does nothing at all", async () => {
  const { lab } = fixture;
  const tree = newTree({ "a.service": SLEEPER });
  const { name } = tree;
  const one = tree.git("rev-parse", "HEAD");
  const watching = await watch(tree);
  const reached = (commit: string) =>
    untilSource(lab, {
      name,
      what: `${commit} runs`,
      until: ({ running }) => running?.id === commit,
      explain: () => watching.said,
    });
  await reached(one);
  tree.write("b.service", SLEEPER);
  const two = tree.commit("Two");
  await reached(two);
  assert.equal((await sync("rollback", name)).code, 0);
  await reached(one);
  tree.write("c.service", SLEEPER);
  const three = tree.commit("Three");
  await lab.fleetctl("list-units");
  assert.deepEqual(await running(lab, ["c.service"]), [], "it is pinned");
  assert.match((await sync("status", name)).text, /pinned +to /);
  assert.equal((await sync("resume", name)).code, 0);
  await reached(three);
  assert.equal((await sync("suspend", name)).code, 0);
  await lab.waitFor({
    what: "it says that it is suspended",
    deadlineMs: 20_000,
    look: async () => watching.said,
    until: (text) => text.includes("suspended"),
  });
  tree.write("d.service", SLEEPER);
  const four = tree.commit("Four");
  assert.equal((await sync(tree.directory)).code, 1);
  assert.deepEqual(await running(lab, ["d.service"]), []);
  assert.equal((await sync("resume", name)).code, 0);
  await reached(four);
  const history = (await sync("history", name)).text.trim().split("\n");
  assert.deepEqual(
    history.map((line) => /"(\w+)" by Ada <ada@example\.com> +\(.+@.+\)$/.exec(line)?.[1]),
    ["Four", "Three", "First", "Two", "First"],
  );
  for (const word of ["status", "history", "rollback", "suspend", "resume"]) {
    assert.deepEqual(await sync(word, "nosuch"), { code: 3, text: "there is no source nosuch\n" });
  }
});

test("instances are rolled one after the other, and a version that does not stay up goes back", async () => {
  const { lab } = fixture;
  const instances = ["w@1.service", "w@2.service", "w@3.service"];
  const text = (what: string) =>
    `[Service]\nExecStart=${what}\n[X-Fleet]\nReplicas=3\nMaxUnavailable=1\nMinReadySec=1\n`;
  const tree = newTree({ "w@.service": text("/bin/sleep infinity"), "x.service": SLEEPER });
  assert.equal((await sync(tree.directory)).code, 0);
  tree.write("w@.service", text("/bin/sleep 1d"));
  tree.commit("Good");
  const good = await sync(tree.directory);
  assert.equal(good.code, 0, good.text);
  const since = (await unitsOn(lab, instances)).map(({ activeSinceUs }) => activeSinceUs);
  const [first = 0, second = 0, third = 0] = since;
  assert.ok(second - first >= 1_000_000 && third - second >= 1_000_000, since.join(" "));
  const before = await invocations(lab, [...instances.slice(1), "x.service"]);
  tree.write("w@.service", text("/bin/false"));
  tree.write("y.service", SLEEPER);
  tree.commit("Bad");
  const bad = await sync(tree.directory);
  assert.equal(bad.code, 1);
  assert.match(
    bad.text,
    /w@1\.service: (did not stay active for 1 s|its start ended in exit-code)/,
  );
  assert.match(bad.text, /back at .*"Good"/);
  await runEachOnce(lab, instances);
  assert.deepEqual(await invocations(lab, [...instances.slice(1), "x.service"]), before);
  await lab.waitFor({
    what: "what only the bad version had is gone",
    deadlineMs: 20_000,
    look: () => unitsOn(lab, ["y.service"]),
    until: (found) => found.length === 0,
  });
  const again = await sync(tree.directory);
  assert.equal(again.code, 1);
  assert.match(again.text, /still rejected/);
  tree.git("revert", "--no-edit", "HEAD");
  assert.equal((await sync(tree.directory)).code, 0);
  assert.deepEqual(await invocations(lab, [...instances.slice(1), "x.service"]), before);
});

test("a person's unit, and another source's, are left alone until they are adopted", async () => {
  const { lab } = fixture;
  await lab.unitFile("a.service", SLEEPER);
  await lab.fleetctl("start", "a.service");
  const one = newTree({ "a.service": `${SLEEPER}Restart=always\n`, "b.service": SLEEPER });
  const refused = await sync("--prune", one.directory);
  assert.match(refused.text, /a\.service: a person submitted it: --adopt takes it over/);
  const before = await invocations(lab, ["a.service"]);
  const two = newTree({ "b.service": `${SLEEPER}Restart=always\n`, "c.service": SLEEPER });
  const others = await sync("--prune", two.directory);
  assert.match(others.text, new RegExp(`b\\.service: it belongs to the source ${one.name}`));
  await runEachOnce(lab, ["a.service", "b.service", "c.service"]);
  assert.deepEqual(await invocations(lab, ["a.service"]), before);
  assert.equal((await sync("--adopt", one.directory)).code, 0);
  assert.notDeepEqual(await invocations(lab, ["a.service"]), before);
  // What is another source's is never pruned.
  one.remove("b.service");
  one.commit("Without b");
  two.remove("c.service");
  two.commit("Without c");
  assert.equal((await sync("--prune", two.directory)).code, 0);
  assert.deepEqual(await running(lab, ["a.service", "b.service"]), ["a.service", "b.service"]);
  await rm(two.directory, { recursive: true });
  assert.notEqual((await sync("--prune", two.directory)).code, 0);
  assert.deepEqual(await running(lab, ["a.service", "b.service"]), ["a.service", "b.service"]);
});

test("a running unit reloads, or goes on, when its file asks for that", async () => {
  const { lab } = fixture;
  const units = ["keeps.service", "reloads.service", "restarts.service"];
  const file = (version: number, more: string) =>
    `[Unit]\nDescription=Version ${version}\n${SLEEPER}${more}`;
  const write = (tree: GitWorkTree, version: number) => {
    tree.write("keeps.service", file(version, "[X-Fleet]\nOnUpdate=none\n"));
    const reload = "ExecReload=/bin/sh -c 'echo reloaded >> /run/reloads'\n";
    tree.write("reloads.service", file(version, `${reload}[X-Fleet]\nOnUpdate=reload\n`));
    tree.write("restarts.service", file(version, "[X-Fleet]\nOnUpdate=reload\n"));
  };
  const tree = newTree({});
  write(tree, 1);
  tree.commit("One");
  assert.equal((await sync(tree.directory)).code, 0);
  const before = await unitsOn(lab, units);
  write(tree, 2);
  tree.commit("Two");
  const done = await sync(tree.directory);
  assert.equal(done.code, 0, done.text);
  const after = await unitsOn(lab, units);
  const same = after.map((unit, at) => unit.invocation === before[at]?.invocation);
  assert.deepEqual(same, [true, true, false]);
  const [, reloads] = after;
  const { stdout } = await lab.exec(reloads?.machine ?? 0, "cat", "/run/reloads");
  assert.equal(stdout, "reloaded\n");
  const update = async () =>
    (await lab.fleetctl("list-units", "--no-legend", "--fields", "unit,update")).stdout
      .trim()
      .split("\n")
      .map((line) => line.trim().replace(/\s+/, " "));
  assert.deepEqual(await update(), [
    "keeps.service kept",
    "reloads.service -",
    "restarts.service -",
  ]);
  assert.equal((await lab.fleetctl("restart", "keeps.service")).code, 0);
  assert.deepEqual((await update())[0], "keeps.service -");
});
