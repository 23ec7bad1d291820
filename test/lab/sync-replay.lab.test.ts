import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { openTree } from "../../src/sync/open-tree.ts";
import { readUnits, type TreeUnit } from "../../src/sync/read-units.ts";
import { GitWorkTree } from "../support/git-work-tree.ts";
import type { Lab } from "../support/lab.ts";
import { destroyAll, unitsOn } from "../support/lab-units.ts";
import { SyncWatch, sourceRecord, untilSource } from "../support/sync-watch.ts";
import { harmlessUnits, UnitHistory } from "../support/unit-history.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 3, settings: { agent_ttl: "6s", boot_grace: "2s" } });

const SEED = Number(process.env["TEST_SEED"] ?? 7);
const FIRST = 200;
const COMMITS = 50;
/** Numbers of commits that are not waited for: the next may supersede them. */
const BURSTS: readonly number[] = [8, 9, 30, 31, 32, 44];
/** One fault about every so many commits. */
const FAULT_EVERY = 6;

/** What the last commit asks for, read as a sync reads it. */
async function wanted(lab: Lab, tree: GitWorkTree): Promise<readonly TreeUnit[]> {
  const source = await openTree({
    clock: systemClock,
    location: tree.directory,
    dirty: false,
    signatures: undefined,
    cacheDirectory: join(lab.dir, "expected"),
    pollMs: 1_000,
  });
  const { units, problems } = readUnits(await source.read(await source.newest({}), {}));
  assert.deepEqual(problems, []);
  return units;
}

async function leader(lab: Lab): Promise<number> {
  const { stdout } = await lab.etcdctl("get", "--print-value-only", "/fleet-ts/engine/leader");
  const { machine } = JSON.parse(stdout) as { machine: string };
  const ids = await Promise.all(lab.machines.map((one) => lab.machineId(one)));
  return ids.indexOf(machine) + 1 || 1;
}

/** Returns at once: what comes next goes on meanwhile. */
async function fault(lab: Lab, kind: "etcd" | "leader" | "daemon"): Promise<void> {
  if (kind === "etcd") {
    await lab.etcd("kill");
    await lab.etcd("start");
    return;
  }
  const machine = kind === "leader" ? await leader(lab) : 1;
  await lab.waitFor({
    what: `m${machine} has a daemon to kill: the one before may have died a moment ago`,
    deadlineMs: 30_000,
    look: async () => (await lab.killDaemon(machine)) ?? true,
    until: (killed) => killed,
  });
}

test("fifty commits on two hundred real units, with daemons, the leader and etcd killed on the way", async () => {
  const { lab } = fixture;
  const random = new SeededRandom(SEED);
  const units = harmlessUnits();
  assert.ok(units.length >= FIRST, `only ${units.length} real units`);
  const tree = new GitWorkTree(join(lab.dir, "real"));
  const history = new UnitHistory({ tree, units, first: FIRST, seed: SEED });
  const kinds = history.kinds();
  assert.equal(kinds.length, COMMITS);
  const watching = await SyncWatch.start(lab, 1, "--prune", "--poll", "5", tree.directory);
  const reached = (commit: string, what: string) =>
    untilSource(lab, {
      name: "real",
      what: `${what} runs`,
      until: ({ running }) => running?.id === commit,
      explain: () => watching.said.slice(-4_000),
    });
  const names = new Set<string>();
  const note = async () => {
    for (const { name } of await wanted(lab, tree)) names.add(name);
  };
  try {
    await reached(tree.git("rev-parse", "HEAD"), "the first commit");
    let good = "";
    const faults: string[] = [];
    for (const [number, kind] of kinds.entries()) {
      const commit = history.commit(kind);
      if (kind === "broken") {
        const record = await untilSource(lab, {
          name: "real",
          what: "the broken commit is rejected",
          until: ({ rejected }) => rejected?.version.id === commit,
          explain: () => watching.said.slice(-4_000),
        });
        assert.equal(record.running?.id, good, "what ran before runs on");
        assert.match(record.rejected?.problems.join() ?? "", /^broken\.service:4/);
        continue;
      }
      await note();
      if (random.fraction() < 1 / FAULT_EVERY) {
        const what = (["etcd", "leader", "daemon"] as const)[Math.floor(random.fraction() * 3)];
        faults.push(`${number} ${what}`);
        await fault(lab, what ?? "daemon");
      }
      if (BURSTS.includes(number)) continue;
      await reached(commit, `commit ${number} (${kind}; faults: ${faults.join(", ")})`);
      good = commit;
    }
    assert.ok(faults.length >= 3, `too few faults with seed ${SEED}: ${faults.join(", ")}`);
    await check(lab, await wanted(lab, tree), [...names]);
    const record = await sourceRecord(lab, "real");
    const outcomes = record?.history.map(({ outcome }) => outcome) ?? [];
    assert.equal(outcomes.filter((outcome) => outcome === "rejected").length, 1);
    assert.equal(outcomes.includes("rolled-back"), false);
  } finally {
    await watching.stop();
    await destroyAll(lab);
  }
});

/** The cluster has exactly these units, as they are written, and the machines run exactly what is to run. */
async function check(lab: Lab, expected: readonly TreeUnit[], ever: readonly string[]) {
  const body = (await lab.api(1, "/fleet/v2/units")) as {
    units: { name: string; manifest: string; desired: string }[];
  };
  const line = (unit: { name: string; desired: string }, hash: string) =>
    `${unit.name} ${unit.desired} ${hash}`;
  assert.deepEqual(
    body.units.map((unit) => line(unit, unit.manifest)).sort(),
    expected.map((unit) => line(unit, unit.hash)).sort(),
  );
  const launched = expected.filter(({ desired }) => desired === "launched");
  const loaded = expected.filter(({ desired }) => desired === "loaded");
  assert.ok(launched.length > 10 && loaded.length > 10);
  const held = [...launched, ...loaded].map(({ name }) => name).sort();
  const plain = ever.filter((name) => !name.includes("@."));
  await lab.waitFor({
    what: "the machines hold each unit that is to be on one once, and nothing else",
    deadlineMs: 40_000,
    look: async () => {
      const found = await unitsOn(lab, plain);
      const active = found.filter((unit) => unit.active === "active").map(({ unit }) => unit);
      return { held: found.map(({ unit }) => unit), active };
    },
    until: ({ held: found, active }) =>
      found.join() === held.join() &&
      active.join() ===
        launched
          .map(({ name }) => name)
          .sort()
          .join(),
  });
}
