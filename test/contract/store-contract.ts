import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkCalls } from "./store-contract-calls.ts";
import type { Check, StoreContractOptions } from "./store-contract-fixture.ts";
import { checkLeases } from "./store-contract-leases.ts";
import { checkReads } from "./store-contract-reads.ts";
import { checkTransactions } from "./store-contract-transactions.ts";
import { checkWatches } from "./store-contract-watches.ts";

/** A test that has not ended by then waits for something that never comes. */
const TEST_TIMEOUT_MS = 120_000;

/**
 * What every adapter of the Store port must do. An adapter's test file is about twenty lines:
 *
 *     describeStoreContract("embedded, in memory", {
 *       open: async () => ({ store, other: store, prefix: "/t/", ... }),
 *       supports: { connection: false },
 *     });
 *
 * `open` is called once per test and gives a fixture (store-contract-fixture.ts) whose store has no keys
 * below `prefix`; nobody else writes to that store while the test runs.
 * The suite waits by polling and by reading watches to a marker, so a slow machine only makes it slower.
 */
export function describeStoreContract(name: string, options: StoreContractOptions): void {
  const check: Check = (title, body) => {
    it(title, { timeout: TEST_TIMEOUT_MS }, async () => {
      const fixture = await options.open();
      try {
        await body(fixture);
      } finally {
        await fixture.close();
      }
    });
  };
  describe(`store contract: ${name}`, () => {
    check("the fixture has a connection to cut exactly when the store has one", async (fixture) => {
      assert.equal(fixture.connection !== undefined, options.supports.connection);
    });
    describe("read()", () => checkReads(check));
    describe("transact()", () => checkTransactions(check));
    describe("watch()", () => checkWatches(check, options.supports));
    describe("leases", () => checkLeases(check));
    describe("every call", () => checkCalls(check, options.supports));
  });
}
