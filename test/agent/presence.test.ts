import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Host } from "../../src/agent/host.ts";
import { MemoryFolder } from "../../src/agent/memory-host.ts";
import { acquirePresence, type PresenceOptions } from "../../src/agent/presence.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import {
  openVirtualWorld,
  readRecord,
  settled,
  type VirtualWorld,
} from "../support/virtual-world.ts";

const TTL_MS = 15_000;
const NEVER = new AbortController().signal;

function hostOf(bootId: string): Host {
  const facts = {
    address: "10.0.0.1",
    automatic: {},
    capacity: { cpus: 2, memoryBytes: 1, tasks: 1 },
  };
  return {
    machineId: "m1",
    bootId,
    facts: async () => facts,
    volatile: new MemoryFolder(),
    persistent: new MemoryFolder(),
  };
}

function optionsFor(world: VirtualWorld, host: Host, nonce: string): PresenceOptions {
  return {
    store: world.store,
    keys: world.keys,
    clock: world.clock,
    host,
    nonce,
    ttlMs: TTL_MS,
    logger: silentLogger,
    describe: async () => ({
      ...(await host.facts()),
      metadata: {},
      version: "1",
      format: 1,
      leaving: false,
    }),
  };
}

describe("acquirePresence()", () => {
  test("makes the record on a lease, and the machine known to the roster", async () => {
    const world = openVirtualWorld();
    const { lease, revision } = await acquirePresence(optionsFor(world, hostOf("b1"), "n1"), NEVER);
    const record = await readRecord(world.store, world.keys.machine("m1"));
    assert.equal(record?.["leaseId"], lease.leaseId);
    assert.equal(
      (await world.store.read({ range: { key: world.keys.machine("m1") } })).items[0]?.modRevision,
      revision,
    );
    assert.equal((await readRecord(world.store, world.keys.roster("m1")))?.["bootId"], "b1");
    await world.clock.advance(TTL_MS + 1_000);
    assert.equal(await readRecord(world.store, world.keys.machine("m1")), undefined);
    assert.notEqual(await readRecord(world.store, world.keys.roster("m1")), undefined);
  });

  test("takes over at once within a boot and keeps the lease, so nothing that hangs on it ends", async () => {
    const world = openVirtualWorld();
    const host = hostOf("b1");
    const first = await acquirePresence(optionsFor(world, host, "n1"), NEVER);
    const second = await acquirePresence(optionsFor(world, host, "n2"), NEVER);
    assert.equal(second.lease.leaseId, first.lease.leaseId);
    assert.equal((await readRecord(world.store, world.keys.machine("m1")))?.["nonce"], "n2");
    assert.equal(world.clock.monotonicMs(), 0);
  });

  test("waits for the record of the last boot to end", async () => {
    const world = openVirtualWorld();
    await acquirePresence(optionsFor(world, hostOf("b1"), "n1"), NEVER);
    const acquired = acquirePresence(optionsFor(world, hostOf("b2"), "n2"), NEVER);
    await world.clock.advance(TTL_MS + 100);
    await acquired;
    assert.equal((await readRecord(world.store, world.keys.machine("m1")))?.["bootId"], "b2");
  });

  test("refuses a machine id whose record somebody of another boot keeps alive", async () => {
    const world = openVirtualWorld();
    const { lease } = await acquirePresence(optionsFor(world, hostOf("b1"), "n1"), NEVER);
    const keeping = new AbortController();
    const kept = lease.keep(keeping.signal).catch(() => undefined);
    const refused = assert.rejects(
      acquirePresence(optionsFor(world, hostOf("b2"), "n2"), NEVER),
      (error) =>
        isFleetError(error, "duplicate-machine") && /machine id m1 is in use/.test(error.message),
    );
    await world.clock.advance(3 * TTL_MS);
    await refused;
    keeping.abort();
    await kept;
  });

  test("ends when it is told to", async () => {
    const world = openVirtualWorld();
    await acquirePresence(optionsFor(world, hostOf("b1"), "n1"), NEVER);
    const stop = new AbortController();
    const waiting = acquirePresence(optionsFor(world, hostOf("b2"), "n2"), stop.signal);
    await settled();
    stop.abort();
    await assert.rejects(waiting, (error) => error === stop.signal.reason);
  });
});
