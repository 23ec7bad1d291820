import assert from "node:assert/strict";
import {
  type Check,
  get,
  newestRevision,
  put,
  type StoreFixture,
} from "./store-contract-fixture.ts";

export function checkLeases(check: Check): void {
  checkExpiry(check);
  checkKeys(check);
}

function checkExpiry(check: Check): void {
  check("end only a full ttl after the last keep-alive, with their keys", async (fixture) => {
    const { store, prefix } = fixture;
    const lease = await store.grantLease(fixture.leaseTtlMs);
    assert.ok(lease.ttlMs >= fixture.leaseTtlMs);
    assert.notEqual(lease.leaseId, "");
    await put(store, `${prefix}a`, "1", lease.leaseId);
    for (let round = 0; round < 4; round += 1) {
      await fixture.elapse(lease.ttlMs / 2);
      assert.equal((await get(store, `${prefix}a`))?.leaseId, lease.leaseId);
      assert.deepEqual(await store.keepLeaseAlive(lease.leaseId), lease);
    }
    await untilGone(fixture, `${prefix}a`, lease.ttlMs);
    assert.equal(await store.keepLeaseAlive(lease.leaseId), undefined);
    await assert.rejects(put(store, `${prefix}b`, "", lease.leaseId), { code: "store-denied" });
  });

  check("end without anyone reading or writing, seen by watches", async (fixture) => {
    const { store, prefix } = fixture;
    const lease = await store.grantLease(fixture.leaseTtlMs);
    const fromRevision = (await newestRevision(store, prefix)) + 1;
    const keys = ["a", "b", "c"].map((name) => prefix + name);
    for (const key of keys) await put(store, key, "", lease.leaseId);
    await put(store, `${prefix}stays`, "");
    const missing = new Set(keys);
    const watching = (async () => {
      for await (const batch of store.watch({ range: { prefix }, fromRevision })) {
        assert.ok(batch.type === "changes");
        for (const change of batch.changes) {
          if (change.type !== "delete") continue;
          assert.equal(change.modRevision, batch.revision);
          assert.ok(missing.delete(change.key), `${change.key} must go, and once`);
        }
        if (missing.size === 0) return;
      }
    })();
    for (let step = 0; step < 8; step += 1) await fixture.elapse(lease.ttlMs / 4);
    await watching;
    const left = (await store.read({ range: { prefix } })).items.map((item) => item.key);
    assert.deepEqual(left, [`${prefix}stays`]);
  });

  check("end independently of one another", async (fixture) => {
    const { store, prefix } = fixture;
    const kept = await store.grantLease(fixture.leaseTtlMs);
    const left = await store.grantLease(fixture.leaseTtlMs);
    assert.notEqual(kept.leaseId, left.leaseId);
    await put(store, `${prefix}kept`, "", kept.leaseId);
    await put(store, `${prefix}left`, "", left.leaseId);
    await untilGone(fixture, `${prefix}left`, left.ttlMs, async () => {
      assert.ok(await store.keepLeaseAlive(kept.leaseId));
    });
    assert.ok(await get(store, `${prefix}kept`));
  });
}

function checkKeys(check: Check): void {
  check("take their keys along when revoked; revoking twice is no error", async (fixture) => {
    const { store, prefix } = fixture;
    const lease = await store.grantLease(fixture.leaseTtlMs);
    await put(store, `${prefix}a`, "1", lease.leaseId);
    await put(store, `${prefix}b`, "2");
    await store.revokeLease(lease.leaseId);
    assert.equal(await get(store, `${prefix}a`), undefined);
    assert.equal((await get(store, `${prefix}b`))?.value, "2");
    assert.equal(await store.keepLeaseAlive(lease.leaseId), undefined);
    await store.revokeLease(lease.leaseId);
  });

  check("let go of a key that is put without them or with another one", async (fixture) => {
    const { store, prefix } = fixture;
    const first = await store.grantLease(fixture.leaseTtlMs);
    const second = await store.grantLease(fixture.leaseTtlMs);
    await put(store, `${prefix}off`, "", first.leaseId);
    await put(store, `${prefix}off`, "");
    await put(store, `${prefix}moved`, "", first.leaseId);
    await put(store, `${prefix}moved`, "", second.leaseId);
    await put(store, `${prefix}on`, "");
    await put(store, `${prefix}on`, "", second.leaseId);
    assert.equal((await get(store, `${prefix}moved`))?.leaseId, second.leaseId);
    const off = await get(store, `${prefix}off`);
    assert.ok(off !== undefined && off.leaseId === undefined);
    await store.revokeLease(first.leaseId);
    const left = (await store.read({ range: { prefix } })).items.map((item) => item.key);
    assert.deepEqual(left, [`${prefix}moved`, `${prefix}off`, `${prefix}on`]);
    await store.revokeLease(second.leaseId);
    assert.deepEqual((await store.read({ range: { prefix } })).items, [off]);
  });

  check("that are gone make the whole transaction fail", async (fixture) => {
    const { store, prefix } = fixture;
    const lease = await store.grantLease(fixture.leaseTtlMs);
    await store.revokeLease(lease.leaseId);
    const revision = await newestRevision(store, prefix);
    const operations = [
      { type: "put", key: `${prefix}a`, value: "1" },
      { type: "put", key: `${prefix}b`, value: "2", leaseId: lease.leaseId },
    ] as const;
    await assert.rejects(store.transact({ comparisons: [], operations }), { code: "store-denied" });
    assert.deepEqual((await store.read({ range: { prefix } })).items, []);
    assert.equal(await newestRevision(store, prefix), revision);
    const comparisons = [{ type: "value-is", key: `${prefix}a`, value: "other" }] as const;
    const lost = await store.transact({ comparisons, operations });
    assert.equal(lost.applied, false, "a lost race is told before a lost lease");
  });

  check("come back with a key that is deleted and created anew", async (fixture) => {
    const { store, prefix } = fixture;
    const lease = await store.grantLease(fixture.leaseTtlMs);
    const key = `${prefix}a`;
    await put(store, key, "1", lease.leaseId);
    await store.transact({ comparisons: [], operations: [{ type: "delete", key }] });
    await put(store, key, "2");
    await store.revokeLease(lease.leaseId);
    assert.equal((await get(store, key))?.value, "2");
  });
}

/** Lets time pass until the key is gone: not before a ttl is over, and within ten. */
async function untilGone(
  fixture: StoreFixture,
  key: string,
  ttlMs: number,
  eachStep: () => Promise<void> = async () => {},
): Promise<void> {
  await fixture.elapse(ttlMs / 2);
  await eachStep();
  assert.ok(await get(fixture.store, key), "gone after half a ttl");
  for (let step = 0; step < 40; step += 1) {
    await fixture.elapse(ttlMs / 4);
    await eachStep();
    if ((await get(fixture.store, key)) === undefined) return;
  }
  assert.fail(`${key} is still there after ten times the ttl`);
}
