import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ClusterTrust } from "../../src/agent/cluster-trust.ts";
import { MemoryFolder } from "../../src/agent/memory-host.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import {
  deleteKey,
  openVirtualWorld,
  putRecord,
  readRecord,
  type VirtualWorld,
} from "../support/virtual-world.ts";

function trustIn(
  world: VirtualWorld,
  persistent = new MemoryFolder(),
  volatile = new MemoryFolder(),
) {
  const { store, keys, random } = world;
  const trust = new ClusterTrust({ store, keys, random, persistent, volatile });
  return { trust, persistent, volatile };
}

describe("ClusterTrust", () => {
  test("founds a cluster in an empty registry and trusts it from then on", async () => {
    const world = openVirtualWorld();
    const { trust, persistent } = trustIn(world);
    const first = await trust.check();
    assert.equal(first.type, "trusted");
    assert.deepEqual(await readRecord(world.store, world.keys.clusterId), {
      id: trust.membership().clusterId,
    });
    const again = trustIn(world, persistent);
    assert.deepEqual(await again.trust.check(), first);
  });

  test("two machines that begin at once are of one cluster", async () => {
    const world = openVirtualWorld();
    const [one, two] = await Promise.all([
      trustIn(world).trust.check(),
      trustIn(world).trust.check(),
    ]);
    assert.deepEqual(one, two);
  });

  test("is detached from a registry without a cluster id and does not found a second one (I5)", async () => {
    const world = openVirtualWorld();
    const { trust } = trustIn(world);
    await trust.check();
    await deleteKey(world.store, world.keys.clusterId);
    assert.deepEqual(await trust.check(), { type: "detached", why: { type: "no-cluster" } });
    assert.equal(await readRecord(world.store, world.keys.clusterId), undefined);
  });

  test("is detached from a foreign cluster", async () => {
    const world = openVirtualWorld();
    const { trust } = trustIn(world);
    await trust.check();
    const stored = trust.membership().clusterId;
    await putRecord(world.store, world.keys.clusterId, { id: "foreign" });
    assert.deepEqual(await trust.check(), {
      type: "detached",
      why: { type: "other-cluster", found: "foreign", stored },
    });
  });

  test("is detached from another store that carries the same cluster id", async () => {
    const world = openVirtualWorld();
    const { trust, persistent } = trustIn(world);
    await trust.check();
    const other = openVirtualWorld(2);
    await putRecord(other.store, other.keys.clusterId, { id: trust.membership().clusterId });
    for (let write = 0; write < 5; write += 1)
      await putRecord(other.store, "/elsewhere", { write });
    assert.deepEqual(await trustIn(other, persistent).trust.check(), {
      type: "detached",
      why: { type: "other-store" },
    });
  });

  test("is detached from an older state of the same store", async () => {
    const world = openVirtualWorld();
    const { trust } = trustIn(world);
    await trust.check();
    trust.saw(1_000);
    const verdict = await trust.check();
    assert.equal(verdict.type, "detached");
    assert.equal(verdict.type === "detached" && verdict.why.type, "older-revision");
  });

  test("remembers over a restart what it has seen", async () => {
    const world = openVirtualWorld();
    const { trust, persistent } = trustIn(world);
    await trust.check();
    trust.saw(50);
    await trust.save();
    const verdict = await trustIn(world, persistent).trust.check();
    assert.deepEqual(verdict.type === "detached" && verdict.why.type, "older-revision");
  });

  test("remembers over a kill what units rest on, until an operator adopts what is there (I5)", async () => {
    const world = openVirtualWorld();
    const { trust, persistent, volatile } = trustIn(world);
    await trust.check();
    trust.saw(50);
    await trust.remember();
    const killed = trustIn(world, persistent, volatile).trust;
    const verdict = await killed.check();
    assert.deepEqual(verdict.type === "detached" && verdict.why.type, "older-revision");
    await killed.adopt(await killed.found());
    const tooEarly = await trustIn(world, persistent, volatile).trust.check();
    assert.equal(tooEarly.type, "detached");
    await killed.confirm();
    assert.equal((await trustIn(world, persistent, volatile).trust.check()).type, "trusted");
  });

  test("stays detached from an older state that has grown on, also over a restart, until an operator adopts it (I5)", async () => {
    const world = openVirtualWorld();
    const { trust, persistent } = trustIn(world);
    await trust.check();
    trust.saw(10);
    const verdict = await trust.check();
    assert.equal(verdict.type, "detached");
    for (let write = 0; write < 20; write += 1)
      await putRecord(world.store, "/elsewhere", { write });
    assert.deepEqual(await trust.check(), verdict);
    const next = trustIn(world, persistent).trust;
    assert.deepEqual(await next.check(), verdict);
    await next.adopt(await next.found());
    await next.confirm();
    assert.equal((await next.check()).type, "trusted");
    assert.equal((await trustIn(world, persistent).trust.check()).type, "trusted");
  });

  test("does not mistake an answer for older that a watch has overtaken", async () => {
    const world = openVirtualWorld();
    const { trust } = trustIn(world);
    await trust.check();
    const answer = trust.check();
    trust.saw(1_000);
    assert.equal((await answer).type, "trusted");
  });

  test("is attached again once an operator adopts what is there", async () => {
    const world = openVirtualWorld();
    const { trust } = trustIn(world);
    await trust.check();
    await deleteKey(world.store, world.keys.clusterId);
    await trust.adopt(await trust.found());
    await trust.confirm();
    assert.equal((await trust.check()).type, "trusted");
  });

  test("refuses a damaged record instead of founding anew", async () => {
    const world = openVirtualWorld();
    const { trust, persistent } = trustIn(world);
    await persistent.write("cluster", "{");
    await assert.rejects(
      trust.check(),
      (error) => isFleetError(error, "host-io") && /damaged/.test(error.message),
    );
  });
});
