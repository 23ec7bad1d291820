import assert from "node:assert/strict";
import type { CallOptions, Store } from "../../src/registry/store.ts";
import {
  type Check,
  get,
  newestRevision,
  put,
  type StoreContractOptions,
} from "./store-contract-fixture.ts";

export function checkCalls(check: Check, supports: StoreContractOptions["supports"]): void {
  checkAborts(check);
  checkClose(check);
  if (supports.connection) checkUnreachable(check);
  else checkNeverWaits(check);
}

type Call = (options: CallOptions) => Promise<unknown>;

function callsOf(store: Store, prefix: string, leaseId: string): Readonly<Record<string, Call>> {
  const operations = [{ type: "put", key: `${prefix}written`, value: "" }] as const;
  return {
    read: (options) => store.read({ range: { prefix } }, options),
    transact: (options) => store.transact({ comparisons: [], operations }, options),
    grantLease: (options) => store.grantLease(60_000, options),
    keepLeaseAlive: (options) => store.keepLeaseAlive(leaseId, options),
    revokeLease: (options) => store.revokeLease(leaseId, options),
  };
}

function checkAborts(check: Check): void {
  check("ends with the signal's reason, when aborted before", async (fixture) => {
    const { store, prefix } = fixture;
    const { leaseId } = await store.grantLease(fixture.leaseTtlMs);
    const reason = new Error("not wanted any more");
    for (const [name, call] of Object.entries(callsOf(store, prefix, leaseId))) {
      const aborted = async () => await call({ signal: AbortSignal.abort(reason) });
      await assert.rejects(aborted, (error) => error === reason, name);
    }
    assert.equal(await get(store, `${prefix}written`), undefined);
    assert.ok(await store.keepLeaseAlive(leaseId));
  });

  check("ends with the signal's reason, when aborted on its way", async (fixture) => {
    const { store, prefix } = fixture;
    const { leaseId } = await store.grantLease(fixture.leaseTtlMs);
    for (const [name, call] of Object.entries(callsOf(store, prefix, leaseId))) {
      const reason = new Error(`${name} takes too long`);
      const controller = new AbortController();
      const pending = call({ signal: controller.signal });
      controller.abort(reason);
      await assert.rejects(pending, (error) => error === reason, name);
    }
    await put(store, `${prefix}after`, "the store still works");
    assert.ok(await get(store, `${prefix}after`));
  });

  check("is not touched by a signal that aborts afterwards", async ({ store, prefix }) => {
    const controller = new AbortController();
    const { signal } = controller;
    const result = await store.read({ range: { prefix } }, { signal, deadlineMs: 60_000 });
    controller.abort(new Error("late"));
    assert.deepEqual(result.items, []);
  });
}

function checkClose(check: Check): void {
  check("ends with store-closed when the store closes, watches too", async (fixture) => {
    const { store, prefix } = fixture;
    const closed = { code: "store-closed" };
    const { leaseId } = await store.grantLease(fixture.leaseTtlMs);
    const fromRevision = (await newestRevision(store, prefix)) + 1;
    const request = { range: { prefix }, fromRevision };
    const waiting = assert.rejects(store.watch(request)[Symbol.asyncIterator]().next(), closed);
    const inFlight = assert.rejects(store.read({ range: { prefix } }), closed);
    const closing = store.close();
    await Promise.all([waiting, inFlight, closing]);
    for (const [name, call] of Object.entries(callsOf(store, prefix, leaseId))) {
      await assert.rejects(async () => await call({}), closed, name);
    }
    await assert.rejects(store.watch(request)[Symbol.asyncIterator]().next(), closed);
    await store.close();
  });
}

function checkUnreachable(check: Check): void {
  check("ends by its deadline while the store cannot be reached", async (fixture) => {
    const { store, prefix, connection } = fixture;
    assert.ok(connection);
    const { leaseId } = await fixture.other.grantLease(60_000);
    await connection.cut();
    for (const [name, call] of Object.entries(callsOf(store, prefix, leaseId))) {
      await assert.rejects(
        call({ deadlineMs: 300 }),
        { retriable: true, code: /^store-(deadline|unavailable)$/ },
        name,
      );
    }
    const controller = new AbortController();
    const reason = new Error("not wanted any more");
    const pending = store.read({ range: { prefix } }, { signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(pending, (error) => error === reason);
    await connection.mend();
  });

  check("works again after the connection is mended", async (fixture) => {
    const { store, other, prefix, connection } = fixture;
    assert.ok(connection);
    await put(store, `${prefix}k`, "before");
    await connection.cut();
    await put(other, `${prefix}k`, "meanwhile");
    await connection.mend();
    // How soon a client reconnects is its own affair; that it does so without being told is not.
    for (let attempt = 0; ; attempt += 1) {
      const value = await get(store, `${prefix}k`).then(
        (item) => item?.value,
        (error: unknown) => {
          if (attempt >= 100) throw error;
        },
      );
      if (value !== undefined) {
        assert.equal(value, "meanwhile");
        break;
      }
      await fixture.elapse(100);
    }
  });
}

function checkNeverWaits(check: Check): void {
  check("needs no time to pass, so that no deadline is too short", async (fixture) => {
    const { store, prefix } = fixture;
    const { leaseId } = await store.grantLease(fixture.leaseTtlMs);
    for (const call of Object.values(callsOf(store, prefix, leaseId))) {
      await call({ deadlineMs: 1 });
    }
    assert.ok(await get(store, `${prefix}written`));
  });
}
