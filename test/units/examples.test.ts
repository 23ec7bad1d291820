import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { test } from "node:test";
import { validateManifest } from "../../src/units/manifest.ts";
import { NO_REQUIREMENTS, type Requirements } from "../../src/units/requirements.ts";
import { decodeUnitText } from "../../src/units/unit-file.ts";
import { instanceOf, isTemplate } from "../../src/units/unit-name.ts";

const DIRECTORY = join(import.meta.dirname, "../../examples/units");

/** What each example asks of the scheduler; a template for its instance `1`. */
const EXAMPLES: Readonly<Record<string, Partial<Requirements>>> = {
  "big.service": {
    weight: 5,
    reservation: {
      memory: { type: "absolute", amount: 64 * 1024 * 1024 },
      cores: 0.5,
      tasks: { type: "absolute", amount: 20 },
    },
  },
  "chain/kiosk-ambassador.service": {},
  "chain/kiosk-db-register.service": { machineOf: ["kiosk-db.service"] },
  "chain/kiosk-db.service": { machineOf: ["kiosk-pull.service"] },
  "chain/kiosk-network.service": { machineOf: ["kiosk-pull.service"] },
  "chain/kiosk-pull.service": {},
  "chain/kiosk-storage.service": { machineOf: ["kiosk-pull.service"] },
  "chain/kiosk.service": {
    machineOf: ["kiosk-ambassador.service"],
    conflicts: ["kiosk-db.service"],
  },
  "chain/pull-shop@.service": {},
  "chain/shop-ambassador.service": {},
  "chain/shop-db-register.service": { machineOf: ["shop-db.service"] },
  "chain/shop-db.service": { machineOf: ["pull-shop@db.service"] },
  "chain/shop-network.service": { machineOf: ["pull-shop@db.service"] },
  "chain/shop-storage.service": { machineOf: ["pull-shop@db.service"] },
  "chain/shop.service": {
    machineOf: ["shop-ambassador.service", "pull-shop@app.service"],
    conflicts: ["shop-db.service"],
  },
  "fleet-sync.service": { metadata: [{ key: "units", operator: "in", values: ["here"] }] },
  "global.service": { global: true, maxUnavailable: 2 },
  "hello-next.service": { replaces: ["hello.service"] },
  "hello.service": {},
  "mailbox.service": {},
  "mailbox.socket": { machineOf: ["mailbox.service"] },
  "once.service": {},
  "picky.service": {
    metadata: [
      { key: "lifetime", operator: "not-in", values: ["spot"] },
      { key: "arch", operator: "in", values: ["x64", "arm64"] },
    ],
    notMachineIds: ["0a1b2c3d"],
    preferredMetadata: [
      { key: "disk", operator: "in", values: ["nvme"] },
      { key: "disk", operator: "in", values: ["nvme", "ssd"] },
    ],
  },
  "ping.service": {},
  "pinned@.service": { machineId: "1" },
  "pong.service": { machineOf: ["ping.service"] },
  "report.service": {},
  "report.timer": { machineOf: ["report.service"] },
  "roamer.service": { moveOnFailure: { limit: 2, intervalMs: 600_000 } },
  "spread@.service": { spreadBy: "rack", maxPerMachine: 1 },
  "ssd.service": { metadata: [{ key: "disk", operator: "in" as const, values: ["ssd", "nvme"] }] },
  "vault.service": { fencing: { stopMs: 2_000 } },
  "web@.service": {},
  "worker@.service": { conflicts: ["worker@*.service"] },
};

test("every example is in the table of this test", () => {
  const files = readdirSync(DIRECTORY, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => relative(DIRECTORY, join(parentPath, name)));
  assert.deepEqual(files.sort(), Object.keys(EXAMPLES).sort());
});

for (const [path, requirements] of Object.entries(EXAMPLES)) {
  test(`the example ${path} is valid and asks for what it says`, () => {
    const name = basename(path);
    const content = decodeUnitText(readFileSync(join(DIRECTORY, path)), name);
    const unit = isTemplate(name) ? instanceOf(name, "1") : name;
    assert(unit !== undefined);
    for (const tried of [name, unit]) {
      assert.deepEqual(validateManifest(tried, { content, dropIns: [] }).errors, []);
    }
    const report = validateManifest(unit, { content, dropIns: [] });
    assert.deepEqual(report.requirements, { ...NO_REQUIREMENTS, ...requirements });
    assert.notEqual(report.description, "");
    assert.match(content, /^# [A-Z]/, "says at the top what it shows");
    assert.match(content, /^# {3}fleetctl-ts (start|load|submit) /m, "says how to try it");
  });
}

test("every option of [X-Fleet] has an example", () => {
  const shown = new Set(
    Object.values(EXAMPLES).flatMap((requirements) => Object.keys(requirements)),
  );
  assert.deepEqual([...shown].sort(), Object.keys(NO_REQUIREMENTS).sort());
});

test("systemd has nothing to say about the examples", () => {
  const paths = Object.keys(EXAMPLES)
    .filter((name) => !isTemplate(name))
    .map((name) => join(DIRECTORY, name));
  const { stderr, status } = spawnSync(
    "systemd-analyze",
    ["verify", "--man=no", "--generators=no", "--recursive-errors=no", ...paths],
    { encoding: "utf8" },
  );
  const own = stderr.split("\n").filter((line) => line.includes(DIRECTORY));
  assert.deepEqual(own, []);
  assert.equal(status, 0, stderr);
});
