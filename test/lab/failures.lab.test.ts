import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { destroyAll, runEachOnce, startUnits, unitJournal, unitsOn } from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 3, settings: { agent_ttl: "6s", boot_grace: "2s" } });

afterEach(() => destroyAll(fixture.lab));

const ROAMER = [
  "[Unit]",
  "StartLimitBurst=2",
  "[Service]",
  "Restart=on-failure",
  "RestartSec=100ms",
  "ExecStart=/bin/sh -c 'cd /var/roamer && exec sleep infinity'",
  "[X-Fleet]",
  "OnFailure=move",
  "",
].join("\n");

test("a unit that systemd has given up is moved until it finds a machine where it runs; start tries it again", async () => {
  const { lab } = fixture;
  await lab.unitFile("roamer.service", ROAMER);
  await lab.fleetctl("start", "--no-block", "roamer.service");
  const reason = async () => {
    const listed = ["list-unit-files", "--no-legend", "--fields", "unit,reason"];
    return (await lab.fleetctl(...listed)).stdout;
  };
  await lab.waitFor({
    what: "it has failed on all machines and stays",
    deadlineMs: 60_000,
    look: reason,
    until: (text) => /it failed on .* no other machine takes it/.test(text),
  });
  for (const machine of lab.machines) {
    const journal = await unitJournal(lab, machine, "roamer.service");
    assert.ok(journal.length > 0, `it was tried on m${machine}`);
    await lab.exec(machine, "mkdir", "-p", "/var/roamer");
  }
  const { code, stdout, stderr } = await lab.fleetctl("start", "roamer.service");
  assert.equal(code, 0, `${stdout}${stderr}`);
  await runEachOnce(lab, ["roamer.service"]);
});

test("a new content of a global unit reaches one machine after the other, and stops where it does not run", async () => {
  const { lab } = fixture;
  const text = (marker: string, command = "exec sleep infinity") =>
    `[Service]\nType=exec\nExecStart=/bin/sh -c 'echo ${marker}; ${command}'\nExecStartPost=/bin/sleep 1\n[X-Fleet]\nGlobal=true\n`;
  await startUnits(lab, { "all.service": text("one") });
  await lab.unitFile("all.service", text("two"));
  const replaced = await lab.fleetctl("start", "--replace", "all.service");
  assert.equal(replaced.code, 0, replaced.stderr);
  const ups: number[] = [];
  for (const machine of lab.machines) {
    const journal = await unitJournal(lab, machine, "all.service");
    ups.push(journal.find((entry) => entry.text === "two")?.atUs ?? 0);
  }
  const [first = 0, second = 0, third = 0] = ups.toSorted((a, b) => a - b);
  // Each takes a second to start.
  assert.ok(second - first > 900_000 && third - second > 900_000, ups.join(" "));
  await lab.unitFile("all.service", text("three", "exit 1"));
  await lab.fleetctl("start", "--replace", "--no-block", "all.service");
  await lab.waitFor({
    what: "the change has come to a stop",
    deadlineMs: 30_000,
    look: () => unitsOn(lab, ["all.service"]),
    until: (units) => units.some(({ active }) => active === "failed"),
  });
  const states = (await unitsOn(lab, ["all.service"])).map(({ active }) => active).sort();
  assert.deepEqual(states, ["active", "active", "failed"]);
});
