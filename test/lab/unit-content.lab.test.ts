import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { property, sleeper, unitJournal } from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 1, registry: "embedded" });

async function dropIn(unit: string, name: string, text: string): Promise<void> {
  const folder = join(fixture.lab.dir, `${unit}.d`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name), text);
}

async function description(unit: string): Promise<string> {
  return await property(fixture.lab, { machine: 1, unit, name: "Description" });
}

test("drop-ins of a template count for its instances, beside their own", async () => {
  const { lab } = fixture;
  await lab.unitFile("d@.service", sleeper());
  await dropIn("d@.service", "10-all.conf", "[Unit]\nDescription=all %i\n");
  await dropIn("d@2.service", "20-own.conf", "[Unit]\nDescription=own %i\n");
  await lab.unitFile("d@3.service", sleeper("Environment=OWN=1\n"));
  assert.equal((await lab.fleetctl("submit", "d@.service")).code, 0);
  const started = await lab.fleetctl("start", "d@1", "d@2", "d@3");
  assert.equal(started.code, 0, started.stderr);
  assert.equal(await description("d@1.service"), "all 1");
  assert.equal(await description("d@2.service"), "own 2");
  assert.equal(await description("d@3.service"), "all 3");
  assert.match((await lab.fleetctl("cat", "d@2")).stdout, /all %i.*own %i/s);
});

test("a chain of units starts step by step on one machine", async () => {
  const { lab } = fixture;
  const step = (name: string) =>
    `[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/echo ${name} done\n`;
  const beside = (peers: string) => `[X-Fleet]\nMachineOf=${peers}\n`;
  const before = "c-pull.service c-storage.service c-network.service";
  await lab.unitFile("c-pull.service", step("pull"));
  await lab.unitFile("c-storage.service", step("storage") + beside("c-pull.service"));
  await lab.unitFile("c-network.service", step("network") + beside("c-pull.service"));
  const unit = `[Unit]\nRequires=${before}\nAfter=${before}\n${sleeper()}`;
  await lab.unitFile("c.service", unit + beside(before));
  const started = await lab.fleetctl("start", "c", "c-pull", "c-storage", "c-network");
  assert.equal(started.code, 0, started.stderr);
  for (const name of ["pull", "storage", "network"]) {
    const entries = await unitJournal(lab, 1, `c-${name}.service`);
    assert.equal(entries.filter(({ text }) => text === `${name} done`).length, 1);
  }
  assert.equal(
    await property(lab, { machine: 1, unit: "c.service", name: "ActiveState" }),
    "active",
  );
});

test("an old unit of fleet is refused, and runs with --lenient after a warning", async () => {
  const { lab } = fixture;
  await lab.unitFile("old.service", sleeper("[X-Fleet]\nX-Peers=a\nMachineMetadata=ssd\n"));
  const strict = await lab.fleetctl("start", "old");
  assert.equal(strict.code, 2);
  assert.match(strict.stderr, /old\.service:\d+:1: unrecognized requirement .*"X-Peers"/);
  const lenient = await lab.fleetctl("start", "--lenient", "old");
  assert.equal(lenient.code, 0, lenient.stderr);
  assert.match(lenient.stderr, /WARNING: old\.service:\d+:1: MachineMetadata=ssd: /);
  // Later commands need not say it again, nor does a daemon that starts anew.
  await lab.daemon(1, "restart");
  const again = await lab.fleetctl("start", "old");
  assert.deepEqual([again.code, again.stderr], [0, ""]);
});
