import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { GitWorkTree } from "../test/support/git-work-tree.ts";
import { Lab } from "../test/support/lab.ts";
import { runOk } from "../test/support/run.ts";
import { followUnits, isActive } from "./follow-units.ts";
import type { Bench, BenchContext } from "./harness.ts";
import { destroyAll, fleetctl, SLEEPER, writeUnits } from "./lab-units.ts";

const FILL = 200;
const UNCHANGED = 5_000;

export const bench: Bench = {
  about:
    "a directory of unit files under git: one commit, a tree without changes, a cluster from empty",
  references: {
    "sync.one_p50_ms": "Flux, Argo CD: minutes by polling, seconds with a webhook",
    "sync.noop_5000_ms": "kubectl diff of as many objects: tens of seconds",
    "sync.fill_200_ratio": "fleetctl-ts start of the same files: 1",
  },
  async run(context) {
    const lab = await Lab.open({ machines: 3 });
    try {
      await fill(lab, context);
      await one(lab, context);
      await unchanged(lab, context);
    } finally {
      await lab.close();
    }
  },
};

/** From nothing to all active, by sync and by start, in turn. */
async function fill(lab: Lab, context: BenchContext): Promise<void> {
  for (let round = 1; round <= context.rounds; round += 1) {
    const prefix = `start-${round}`;
    const names = await writeUnits(lab, { prefix, count: FILL, text: SLEEPER });
    const started = await timeUntilActive(lab, names, () => fleetctl(lab, "start", ...names));
    await destroyAll(lab, names);
    const tree = new GitWorkTree(join(lab.dir, `tree-${round}`));
    const synced = names.map((name) => name.replace("start-", "sync-"));
    for (const name of synced) tree.write(`units/${name}`, SLEEPER);
    tree.commit("All");
    const took = await timeUntilActive(lab, synced, () => fleetctl(lab, "sync", tree.directory));
    await destroyAll(lab, synced);
    context.note(`fill ${round}: sync ${took.toFixed(0)} ms, start ${started.toFixed(0)} ms`);
    context.record({ name: "sync.fill_200_ms", unit: "ms", value: took });
    context.record({ name: "sync.fill_200_ratio", unit: "", value: took / started });
  }
}

async function timeUntilActive(
  lab: Lab,
  names: readonly string[],
  run: () => Promise<unknown>,
): Promise<number> {
  const active = followUnits({
    endpoint: await lab.endpoint(1),
    units: names,
    deadlineMs: 120_000,
    until: (units) => names.every((name) => isActive(units.get(name))),
  });
  const beganMs = performance.now();
  const [endMs] = await Promise.all([active, run()]);
  return endMs - beganMs;
}

/** From the end of `git commit` to the new version active, with a watching client. */
async function one(lab: Lab, context: BenchContext): Promise<void> {
  const tree = new GitWorkTree(join(lab.dir, "watched"));
  for (let index = 1; index <= 20; index += 1) tree.write(`other-${index}.service`, SLEEPER);
  tree.write("one.service", text(0));
  tree.commit("First");
  const endpoint = await lab.endpoint(1);
  const [node = "", ...args] = client(endpoint, "sync", "--watch", tree.directory);
  const watching = spawn(node, args, {
    env: { ...process.env, ...clientEnvironment(lab) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    watching.stdout.resume();
    await untilVersion(endpoint, 0);
    for (let round = 1; round <= 4 * context.rounds; round += 1) {
      tree.write("one.service", text(round));
      tree.git("add", "--all");
      const running = untilVersion(endpoint, round);
      tree.git("commit", "--quiet", "-m", `Version ${round}`);
      const beganMs = performance.now();
      context.record({ name: "sync.one_p50_ms", unit: "ms", value: (await running) - beganMs });
    }
  } finally {
    watching.kill();
  }
  await destroyAll(lab, [
    "one.service",
    ...Array.from({ length: 20 }, (_, i) => `other-${i + 1}.service`),
  ]);
}

function text(version: number): string {
  return `[Unit]\nDescription=Version ${version}\n${SLEEPER}`;
}

/** The client that is deployed. */
function client(endpoint: string, ...args: readonly string[]): readonly string[] {
  const file = join(import.meta.dirname, "../dist/fleetctl-ts.cjs");
  return [process.execPath, file, `--endpoint=${endpoint}`, ...args];
}

function clientEnvironment(lab: Lab): Readonly<Record<string, string>> {
  return { XDG_CACHE_HOME: join(lab.dir, "cache") };
}

/** When the machine reports the unit active with this version's content. */
async function untilVersion(endpoint: string, version: number): Promise<number> {
  return await followUnits({
    endpoint,
    units: ["one.service"],
    deadlineMs: 60_000,
    until: (units) => {
      const unit = units.get("one.service");
      const [state] = unit?.states ?? [];
      return (
        isActive(unit) &&
        unit?.description === `Version ${version}` &&
        state?.manifest === unit.manifest
      );
    },
  });
}

/** A whole run of the client that finds nothing to do, and writes nothing. */
async function unchanged(lab: Lab, context: BenchContext): Promise<void> {
  const tree = new GitWorkTree(join(lab.dir, "large"));
  const inactive = `${SLEEPER}[X-Fleet]\nState=inactive\n`;
  for (let index = 0; index < UNCHANGED; index += 1) {
    tree.write(`group-${index % 50}/unit-${index}.service`, inactive);
  }
  tree.commit("All");
  await fleetctl(lab, "sync", tree.directory);
  const endpoint = await lab.endpoint(1);
  const before = await revision(lab);
  for (let round = 1; round <= context.rounds; round += 1) {
    const beganMs = performance.now();
    await runOk(client(endpoint, "sync", tree.directory), { env: clientEnvironment(lab) });
    const value = performance.now() - beganMs;
    context.record({ name: "sync.noop_5000_ms", unit: "ms", value });
  }
  assert.equal(await revision(lab), before, "a sync without changes wrote to the registry");
}

/** Of the keys that a sync could write; presence goes on meanwhile. */
async function revision(lab: Lab): Promise<string> {
  const kinds = ["units", "files", "sources"];
  const newest = kinds.map(async (kind) => {
    const { stdout } = await lab.etcdctl(
      "get",
      "--prefix",
      `/fleet-ts/${kind}/`,
      "--sort-by=MODIFY",
      "--order=DESCEND",
      "--limit=1",
      "-w",
      "fields",
    );
    return /"ModRevision" : (\d+)/.exec(stdout)?.[1] ?? "";
  });
  return (await Promise.all(newest)).join(" ");
}
