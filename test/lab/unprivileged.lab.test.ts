import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  destroyAll,
  leftovers,
  property,
  runEachOnce,
  sleeper,
  startUnits,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const FILES = join(import.meta.dirname, "../../systemd/unprivileged");
const fixture = useLab({ machines: 1, settings: { agent_ttl: "6s" } });

test("fleetd-ts runs as a user of its own, with a polkit rule", async () => {
  const { lab } = fixture;
  const file = (name: string) => readFile(join(FILES, name), "utf8");
  const own = await file("fleetd-ts.service.d-unprivileged.conf");
  await lab.writeFile(1, "/etc/systemd/system/fleetd-ts.service.d/unprivileged.conf", own);
  await lab.writeFile(
    1,
    "/etc/polkit-1/rules.d/50-fleet-ts.rules",
    await file("50-fleet-ts.rules"),
  );
  const { code, stderr } = await lab.exec(
    1,
    "sh",
    "-c",
    "echo 'fleet-ts:x:980:980::/:/usr/sbin/nologin' >>/etc/passwd; echo 'fleet-ts:x:980:' >>/etc/group; systemctl daemon-reload; systemctl restart fleetd-ts",
  );
  assert.equal(code, 0, stderr);
  const pid = await property(lab, { machine: 1, unit: "fleetd-ts.service", name: "MainPID" });
  const { stdout } = await lab.exec(1, "stat", "-c", "%U", `/proc/${pid}`);
  assert.equal(stdout.trim(), "fleet-ts");
  const units = {
    "a.service": sleeper("[Install]\nWantedBy=multi-user.target\n"),
    "b.service": sleeper("TimeoutStopSec=500ms\n[X-Fleet]\nFencing=strict\n"),
  };
  await startUnits(lab, units);
  await runEachOnce(lab, Object.keys(units));
  const journal = await lab.fleetctlAt(1, "journal", "a.service");
  assert.match(journal.stdout, /up/);
  const client = ["/opt/node/bin/node", "/opt/app/src/cli/main.ts", "list-machines", "--no-legend"];
  const listed = await lab.exec(1, ...client);
  assert.match(listed.stdout, new RegExp((await lab.machineId(1)).slice(0, 8)), listed.stderr);
  await destroyAll(lab);
  assert.deepEqual(await leftovers(lab, 1), []);
});
