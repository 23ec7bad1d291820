import assert from "node:assert/strict";
import { FleetError } from "../runtime/errors.ts";
import { TRANSACTION_OPERATIONS_MAX, type Transaction } from "./store.ts";

/** What etcd takes in one request by default, so that what works here works there. */
const TRANSACTION_BYTES_MAX = 1.5 * 2 ** 20;

/** Refuses what is too large with `store-too-large`; what can only be a bug fails an assertion. */
export function assertValidTransaction(transaction: Transaction): void {
  const { comparisons, operations } = transaction;
  assertCount(comparisons.length, "comparisons");
  assertCount(operations.length, "operations");
  const keys = new Set<string>();
  let bytes = 0;
  for (const part of [...comparisons, ...operations]) {
    assertValidKey(part.key);
    const value = "value" in part ? part.value : "";
    // Half of a surrogate pair has no UTF-8 and would come back as another character.
    assert.ok(value.isWellFormed(), `value of ${part.key} is no Unicode text`);
    bytes += Buffer.byteLength(part.key) + Buffer.byteLength(value);
  }
  for (const { key } of operations) {
    assert.ok(!keys.has(key), `${key} is written twice in one transaction`);
    keys.add(key);
  }
  if (bytes > TRANSACTION_BYTES_MAX) {
    const todo = `at most ${TRANSACTION_BYTES_MAX} fit: write less at once`;
    throw new FleetError(
      "store-too-large",
      `a transaction of ${bytes} bytes is too large: ${todo}`,
    );
  }
}

function assertValidKey(key: string): void {
  assert.ok(key !== "" && key.isWellFormed(), `${JSON.stringify(key)} is no key`);
}

export function assertCount(count: number, what: string): void {
  if (count <= TRANSACTION_OPERATIONS_MAX) return;
  throw new FleetError(
    "store-too-large",
    `a transaction of ${count} ${what} is too large: at most ${TRANSACTION_OPERATIONS_MAX} fit`,
  );
}
