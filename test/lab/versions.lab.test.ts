import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type TestContext, test } from "node:test";
import type { Lab } from "../support/lab.ts";
import {
  destroyAll,
  property,
  registryAgrees,
  sleeper,
  startUnits,
  unitsOn,
} from "../support/lab-units.ts";
import { run, runOk } from "../support/run.ts";
import { useLab } from "../support/use-lab.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const fixture = useLab({ machines: 2, settings: { agent_ttl: "15s", boot_grace: "2s" } });

/** The daemon of the commit before this one, as one file. */
async function buildOlderDaemon(t: TestContext): Promise<Buffer> {
  const directory = await mkdtemp("/var/tmp/fleet-ts-older.");
  t.after(() => rm(directory, { recursive: true }));
  const { code } = await run(["git", "-C", PROJECT, "rev-parse", "--verify", "HEAD~1"]);
  if (code !== 0) t.diagnostic("there is no commit before this one here: this one instead");
  const commit = code === 0 ? "HEAD~1" : "HEAD";
  const source = join(directory, "tree");
  await mkdir(source);
  const archive = join(directory, "tree.tar");
  await runOk(["git", "-C", PROJECT, "archive", "-o", archive, commit]);
  await runOk(["tar", "-C", source, "-xf", archive]);
  await symlink(join(PROJECT, "node_modules"), join(source, "node_modules"));
  await runOk([process.execPath, join(source, "build/main.ts")]);
  return await readFile(join(source, "dist/fleetd-ts.cjs"));
}

/** Restarts a machine's daemon as another program; undefined: the one of this tree. */
async function exchange(lab: Lab, machine: number, program: Buffer | undefined): Promise<void> {
  const dropIn = "/etc/systemd/system/fleetd-ts.service.d/older.conf";
  const file = "/var/lib/older/fleetd-ts.cjs";
  if (program === undefined) {
    assert.equal((await lab.exec(machine, "rm", dropIn)).code, 0);
  } else {
    await lab.writeFile(machine, file, program);
    const start = `ExecStart=/opt/node/bin/node ${file}`;
    await lab.writeFile(machine, dropIn, `[Service]\nExecStart=\n${start}\n`);
  }
  assert.equal((await lab.exec(machine, "systemctl", "daemon-reload")).code, 0);
  await lab.daemon(machine, "restart");
  const daemon = { machine, unit: "fleetd-ts.service", name: "ExecStart" };
  assert.equal((await property(lab, daemon)).includes(file), program !== undefined);
}

test("one machine after the other gets an older daemon and then the newer one again: units run on, and new ones start, whichever leads", async (t) => {
  const { lab } = fixture;
  const older = await buildOlderDaemon(t);
  t.after(() => destroyAll(lab));
  const units = await startUnits(lab, {
    "a.service": sleeper("Restart=always\n"),
    "b.service": sleeper("[X-Fleet]\nConflicts=a.service\n"),
    "everywhere.service": sleeper("[X-Fleet]\nGlobal=true\n"),
    "once.service": "[Service]\nType=oneshot\nExecStart=/bin/echo once was here\n",
  });
  const before = await unitsOn(lab, units);
  const steps = [older, undefined].flatMap((program) =>
    lab.machines.map((machine) => ({ machine, program })),
  );
  for (const [index, { machine, program }] of steps.entries()) {
    await exchange(lab, machine, program);
    await lab.waitFor({
      what: "all machines are listed",
      deadlineMs: 60_000,
      look: () => lab.presentMachines(machine),
      until: (present) => present.length === lab.size,
    });
    await startUnits(lab, { [`new${index}.service`]: sleeper() });
    assert.deepEqual(await unitsOn(lab, units), before);
  }
  await registryAgrees(lab, [...units, ...steps.keys().map((index) => `new${index}.service`)]);
});
