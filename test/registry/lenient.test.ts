import assert from "node:assert/strict";
import { test } from "node:test";
import { ManifestTable } from "../../src/cluster/manifest-table.ts";
import { readRequirements } from "../../src/cluster/read-requirements.ts";
import type { UnitChange } from "../../src/cluster/unit-change.ts";
import { Registry } from "../../src/registry/registry.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { manifestHash } from "../../src/units/manifest.ts";
import { openVirtualWorld, readRecord } from "../support/virtual-world.ts";

/** A good unit under most names; without an instance the metadata is malformed. */
const CONTENT = "[Service]\nExecStart=/bin/a\n[X-Fleet]\nMachineMetadata=rack=%i\n";
const HASH = manifestHash({ content: CONTENT, dropIns: [] });

function openRegistry() {
  const { clock, random, store, keys } = openVirtualWorld();
  const registry = new Registry({ store, keys, clock, random, logger: silentLogger });
  const apply = (...changes: readonly UnitChange[]) => registry.apply(changes);
  const file = async () => await readRecord(store, keys.file(HASH));
  return { registry, apply, file };
}

test("what is refused strictly is taken leniently, and the engine reads it the same way", async () => {
  const { registry, apply } = openRegistry();
  const change = { type: "submit", name: "a.service", content: CONTENT } as const;
  const strict = await apply(change);
  assert(strict.type === "invalid");
  assert.match(strict.message, /^a\.service:4:1: MachineMetadata=rack=%i: /);
  const lenient = await apply({ ...change, lenient: true });
  assert(lenient.type === "applied");
  const manifest = await registry.manifest("a.service");
  assert(manifest !== undefined);
  assert.deepEqual(readRequirements("a.service", manifest).metadata, []);
  assert.throws(() => readRequirements("a.service", { ...manifest, lenient: false }));
});

test("instances of a lenient template are lenient", async () => {
  const { registry, apply } = openRegistry();
  const content = "[Service]\nExecStart=/bin/a\n[X-Fleet]\nX-Old=1\nMachineID=%i\n";
  await apply({ type: "submit", name: "a@.service", content, lenient: true });
  await apply({ type: "submit", name: "a@1.service" });
  const manifest = await registry.manifest("a@1.service");
  assert(manifest !== undefined);
  assert.equal(readRequirements("a@1.service", manifest).machineId, "1");
});

test("one content is kept once, leniently from the first unit on that needs it", async () => {
  const { apply, file } = openRegistry();
  await apply({ type: "submit", name: "a@1.service", content: CONTENT });
  assert.equal((await file())?.["lenient"], undefined);
  await apply({ type: "submit", name: "a.service", content: CONTENT, lenient: true });
  assert.equal((await file())?.["lenient"], true);
  await apply({ type: "submit", name: "a@2.service", content: CONTENT });
  assert.equal((await file())?.["lenient"], true);
});

test("the engine reads a unit anew when its manifest becomes lenient", () => {
  const table = new ManifestTable(readRequirements);
  const record = { content: CONTENT, dropIns: [] };
  table.addUser(HASH, "a.service");
  table.set(HASH, { record, createRevision: 1, modRevision: 1 });
  assert.equal(table.constraints(HASH, "a.service").type, "problem");
  const lenient = { ...record, lenient: true };
  const changed = table.set(HASH, { record: lenient, createRevision: 1, modRevision: 2 });
  assert.deepEqual(changed, ["a.service"]);
  assert.equal(table.constraints(HASH, "a.service").type, "known");
});
