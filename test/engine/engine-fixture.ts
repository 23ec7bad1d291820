import { runEngine } from "../../src/engine/engine.ts";
import { openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { makeKeys } from "../../src/registry/keys.ts";
import { encodeRecord } from "../../src/registry/records.ts";
import type { Store } from "../../src/registry/store.ts";
import { readAll } from "../../src/registry/store.ts";
import { type Logger, silentLogger } from "../../src/runtime/logger.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { manifestHash } from "../../src/units/manifest.ts";

export const keys = makeKeys();
const TTL_MS = 9_000;
/** Of every daemon. */
const NONCE = "n";

interface Running {
  readonly stop: () => Promise<void>;
  readonly done: Promise<void>;
}

/** A registry in memory with engines and machines that are told what to do. Time is virtual. */
export class EngineFixture {
  readonly clock = new VirtualClock();
  readonly random = new SeededRandom(7);
  readonly store: Store = openEmbeddedStore({ clock: this.clock, random: this.random });
  readonly errors: string[] = [];
  readonly #running: Running[] = [];
  readonly #leases = new Map<string, string>();
  readonly #bootMs = new Map<string, number>();
  readonly #logger: Logger = {
    ...silentLogger,
    error: (event, fields) => this.errors.push(`${event} ${JSON.stringify(fields)}`),
  };
  #clusterId = "";
  #storeId = "";

  async open(): Promise<void> {
    this.#clusterId = this.random.id();
    const { header } = await this.put(keys.clusterId, { id: this.#clusterId });
    this.#storeId = header.storeId;
  }

  async close(): Promise<void> {
    await Promise.all(this.#running.map(({ stop }) => stop()));
    await this.store.close();
  }

  engine(
    machineId: string,
    options: {
      clock?: VirtualClock;
      format?: number;
      store?: Store;
      clusterId?: string;
      registryLostMs?: () => number | undefined;
    } = {},
  ): Running {
    const controller = new AbortController();
    const done = runEngine({
      store: options.store ?? this.store,
      keys,
      clock: options.clock ?? this.clock,
      random: this.random,
      logger: this.#logger,
      machineId,
      nonce: NONCE,
      format: options.format ?? 1,
      expected: { clusterId: options.clusterId ?? this.#clusterId, storeId: this.#storeId },
      ...(options.registryLostMs === undefined ? {} : { registryLostMs: options.registryLostMs }),
      signal: controller.signal,
    });
    const stop = async () => {
      controller.abort();
      await done;
    };
    const running = { stop, done };
    this.#running.push(running);
    return running;
  }

  put(key: string, record: object, leaseId?: string) {
    const value = encodeRecord(record);
    return this.store.transact({
      comparisons: [],
      operations: [{ type: "put", key, value, leaseId }],
    });
  }

  async delete(key: string): Promise<void> {
    await this.store.transact({ comparisons: [], operations: [{ type: "delete", key }] });
  }

  async unit(name: string, xFleet = "", desired = "launched"): Promise<void> {
    const content = `[Service]\nExecStart=/bin/true\n[X-Fleet]\n${xFleet}\n`;
    const manifest = { content, dropIns: [] };
    const hash = manifestHash(manifest);
    const record = { desired, manifest: hash, restarts: 0, global: xFleet === "Global=true" };
    await this.store.transact({
      comparisons: [],
      operations: [
        { type: "put", key: keys.file(hash), value: encodeRecord(manifest) },
        { type: "put", key: keys.unit(name), value: encodeRecord(record) },
      ],
    });
  }

  /** The machine boots, or says something new; its keys hang on a lease that lasts until `die`. */
  async machine(id: string, spec: object = {}): Promise<void> {
    let leaseId = this.#leases.get(id);
    if (leaseId === undefined) {
      leaseId = (await this.store.grantLease(3_600_000)).leaseId;
      this.#leases.set(id, leaseId);
      this.#bootMs.set(id, this.clock.wallMs());
    }
    const record = {
      nonce: NONCE,
      bootId: "b",
      leaseId,
      ttlMs: TTL_MS,
      address: "",
      automatic: {},
      metadata: {},
      version: "0",
      format: 1,
      capacity: { cpus: 1, memoryBytes: 1, tasks: 1 },
      leaving: false,
      ...spec,
    };
    const lastBootMs = this.#bootMs.get(id);
    await this.put(keys.roster(id), { firstSeenMs: 0, lastBootMs, bootId: "b", address: "" });
    await this.put(keys.machine(id), record, leaseId);
  }

  async machines(...ids: string[]): Promise<void> {
    for (const id of ids) await this.machine(id);
  }

  async die(id: string): Promise<void> {
    await this.store.revokeLease(this.#leases.get(id) ?? "");
    this.#leases.delete(id);
  }

  async state(id: string, unit: string, more: object = {}): Promise<void> {
    const record = {
      manifest: "",
      hash: "",
      current: "launched",
      load: "loaded",
      active: "active",
      sub: "running",
      result: "",
      mainPid: 1,
      sinceMs: 0,
      ...more,
    };
    await this.put(keys.state(id, unit), record, this.#leases.get(id));
  }

  async read(key: string): Promise<Record<string, unknown> | undefined> {
    const { items } = await this.store.read({ range: { key } });
    return items[0] === undefined ? undefined : JSON.parse(items[0].value);
  }

  async placedOn(unit: string): Promise<unknown> {
    return (await this.read(keys.placement(unit)))?.["machine"];
  }

  async leader(): Promise<unknown> {
    return (await this.read(keys.leader))?.["machine"];
  }

  async keysBelow(prefix: string): Promise<string[]> {
    const { items } = await readAll(this.store, { prefix });
    return items.map(({ key }) => key.slice(prefix.length));
  }
}
