import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { run, runOk } from "../support/run.ts";

const LAB = resolve(import.meta.dirname, "../../lab");
// lab.sh sweep finds it by this name, should this process die.
let env: Readonly<Record<string, string>>;

before(async () => {
  env = { LAB_DIR: await mkdtemp(`/var/tmp/fleet-ts-lab.${process.pid}.`) };
});
after(async () => {
  await run([join(LAB, "lab.sh"), "down"], { env });
});

test("npm start shows three machines and active units, also when everything is up already", async () => {
  for (const _ of ["from nothing", "again"]) {
    const output = await runOk([join(LAB, "start.sh")], { env });
    assert.match(output, /machines listed: 3 of 3/);
    assert.match(output, /^hello\.service\s+\S+\/\S+\s+active\s+running$/m);
    assert.match(output, /^web@blue\.service\s+\S+\/\S+\s+active\s+running$/m);
    assert.match(output, /^kiosk\.service on \S+, active$/m);
    assert.match(output, /^ {2}└─kiosk-db\.service on \S+, active, \S+ passing$/m);
    assert.equal(output.match(/^global\.service\s.*\sactive\s+running$/gm)?.length, 3);
  }
});

test("lab/fleetctl-ts answers with the first machine's plug pulled, with paths relative to the caller", async () => {
  await runOk([join(LAB, "lab.sh"), "kill", "1"], { env });
  const client = join(LAB, "fleetctl-ts");
  const unit = { cwd: join(LAB, "../examples/units"), env };
  assert.match(await runOk([client, "list-units"], unit), /^hello\.service\s/m);
  const started = await run([client, "submit", "./once.service"], unit);
  assert.equal(started.code, 0, started.stderr);
  assert.match(await runOk([client, "list-unit-files"], { env }), /^once\.service\s/m);
});

test("npm stop leaves nothing, and does nothing when nothing is up", async () => {
  await runOk([join(LAB, "stop.sh")], { env });
  assert.equal(existsSync(env["LAB_DIR"] ?? ""), false);
  assert.equal(await runOk([join(LAB, "stop.sh")], { env }), "nothing is up\n");
});
