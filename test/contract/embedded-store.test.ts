import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { describeStoreContract } from "./store-contract.ts";
import type { StoreFixture } from "./store-contract-fixture.ts";

describeStoreContract("embedded, in memory", {
  open: async () => openFixture(undefined),
  supports: { connection: false },
});

describeStoreContract("embedded, in a file", {
  open: async () => openFixture(mkdtempSync(join(tmpdir(), "fleet-ts-registry-"))),
  supports: { connection: false },
});

function openFixture(directory: string | undefined): StoreFixture {
  const clock = new VirtualClock();
  const file = directory && join(directory, "registry.db");
  const store = openEmbeddedStore({ file, clock, random: new SeededRandom(1) });
  return {
    store,
    other: store,
    prefix: "/contract/",
    leaseTtlMs: 5_000,
    elapse: (durationMs) => clock.advance(durationMs),
    compact: async (revision) => store.compact(revision),
    async close() {
      await store.close();
      if (directory !== undefined) rmSync(directory, { recursive: true });
    },
  };
}
