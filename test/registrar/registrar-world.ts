import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryFolder } from "../../src/agent/memory-host.ts";
import type { Registration, ServerMessage } from "../../src/registrar/protocol.ts";
import type { Presence } from "../../src/registrar/publisher.ts";
import { Registrar, type RegistrarOptions } from "../../src/registrar/registrar.ts";
import { ServicesClient } from "../../src/registrar/services-client.ts";
import { readEndpoint } from "../../src/registry/service-records.ts";
import { readAll } from "../../src/registry/store.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { systemRandom } from "../../src/runtime/system-random.ts";
import type { Endpoint } from "../../src/services/endpoint.ts";
import { SwitchedStore } from "../api/switched-store.ts";
import type { Cleanup } from "../support/cleanup.ts";
import { openVirtualWorld, putRecord, type VirtualWorld } from "../support/virtual-world.ts";
import { waitFor } from "../support/wait-for.ts";

export const WEB: Registration = {
  service: "web",
  port: 80,
  protocol: "tcp",
  health: "unknown",
  detail: "",
  weight: 100,
  priority: 0,
  tags: {},
  sinceMs: 0,
};

/** One registry, in memory and on a clock that is moved by hand, with machines whose registrars listen on real sockets. */
export class RegistrarWorld {
  readonly world: VirtualWorld = openVirtualWorld();
  readonly store = new SwitchedStore(this.world.store);
  readonly #t: Cleanup;
  readonly #directory: string;

  constructor(t: Cleanup, directory: string) {
    this.#t = t;
    this.#directory = directory;
  }

  async machine(id: string, options: Partial<RegistrarOptions> = {}): Promise<TestMachine> {
    const machine = new TestMachine(this, { id, path: join(this.#directory, `${id}.sock`) });
    await machine.join();
    await machine.startDaemon(options);
    this.#t.after(() => machine.stopDaemon());
    return machine;
  }

  /** `service/instance host:port health`, in order. */
  async held(): Promise<readonly string[]> {
    const { keys, store } = this.world;
    const { items } = await readAll(store, { prefix: keys.all("services") });
    return items
      .flatMap((item) => readEndpoint(keys, item) ?? [])
      .map((one) => `${one.service}/${one.instance} ${one.host}:${one.port} ${one.health}`);
  }

  /** Moves the clock on, in small steps, until the registry holds this and nothing else. */
  async untilHeld(...expected: readonly string[]): Promise<void> {
    await this.until("the registry holds what it should", async () => {
      const held = await this.held();
      return JSON.stringify(held) === JSON.stringify(expected) ? true : held;
    });
  }

  async until(what: string, look: () => unknown): Promise<void> {
    await waitFor({
      what,
      deadlineMs: 20_000,
      everyMs: 2,
      look: async () => {
        await this.world.clock.advance(20);
        return await look();
      },
      until: (seen) => seen === true,
    });
  }

  /** Lets everything happen that is under way. */
  async pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += 100) {
      await this.world.clock.advance(100);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await new Promise((resolve) => systemClock.setTimer(20, () => resolve(undefined)));
  }
}

export async function openRegistrarWorld(t: Cleanup): Promise<RegistrarWorld> {
  const directory = await mkdtemp(join(tmpdir(), "fleet-registrar-"));
  t.after(() => rm(directory, { recursive: true }));
  return new RegistrarWorld(t, directory);
}

/** One machine: what survives its daemon, and the daemon's registrar. */
export class TestMachine {
  readonly id: string;
  readonly path: string;
  readonly folder = new MemoryFolder();
  address = "10.0.0.1";
  presence: Presence | undefined;
  registrar: Registrar | undefined;
  readonly #world: RegistrarWorld;
  #options: Partial<RegistrarOptions> = {};
  #end: (() => Promise<void>) | undefined;

  constructor(world: RegistrarWorld, { id, path }: { id: string; path: string }) {
    this.#world = world;
    this.id = id;
    this.path = path;
  }

  /** Its record, on a lease that only the world's clock ends. */
  async join(): Promise<void> {
    const { store, keys } = this.#world.world;
    const { leaseId } = await store.grantLease(1_000_000_000);
    const revision = await putRecord(store, keys.machine(this.id), { id: this.id }, leaseId);
    this.presence = { lease: { leaseId }, revision };
    this.registrar?.setPresence(this.presence);
  }

  /** As when the machine is dead beyond its ttl. */
  async die(): Promise<void> {
    const leaseId = this.presence?.lease.leaseId ?? "";
    await this.#world.world.store.revokeLease(leaseId);
  }

  async startDaemon(options: Partial<RegistrarOptions> = this.#options): Promise<void> {
    this.#options = options;
    const { clock, random, keys } = this.#world.world;
    const registrar = new Registrar({
      store: this.#world.store,
      clock,
      random,
      keys,
      logger: silentLogger,
      machineId: this.id,
      folder: this.folder,
      address: async () => this.address,
      isOwnAddress: (host) => host === "10.0.0.9",
      serviceNames: ["*"],
      reconnectMs: 5_000,
      ...options,
    });
    const controller = new AbortController();
    const ended = registrar.run({ path: this.path, mode: 0o600 }, controller.signal);
    this.#end = async () => {
      controller.abort();
      await ended;
    };
    this.registrar = registrar;
    registrar.setCluster({ clusterId: "c", storeId: await this.#storeId() });
    registrar.setPresence(this.presence);
  }

  async stopDaemon(): Promise<void> {
    await this.#end?.();
    this.#end = undefined;
  }

  async #storeId(): Promise<string> {
    const { store, keys } = this.#world.world;
    const range = { key: keys.clusterId };
    const { header, items } = await store.read({ range });
    if (items.length === 0) await putRecord(store, keys.clusterId, { id: "c" });
    return header.storeId;
  }
}

/** A client over the real socket, and what it was told. */
export class TestClient {
  readonly client: ServicesClient;
  readonly told: ServerMessage[] = [];
  /** Newest first of what was said of each service. */
  readonly services = new Map<string, readonly Endpoint[]>();
  readonly #controller = new AbortController();
  readonly #ended: Promise<void>;

  constructor(machine: TestMachine) {
    this.client = new ServicesClient({
      path: machine.path,
      clock: systemClock,
      random: systemRandom,
      onHello: (message) => this.told.push(message),
      onEndpoint: (message) => this.told.push(message),
      onRefused: (message) => this.told.push(message),
      onService: (service, endpoints) => this.services.set(service, endpoints),
    });
    this.#ended = this.client.run(this.#controller.signal);
  }

  /** As when its process is killed. */
  async kill(): Promise<void> {
    this.#controller.abort();
    await this.#ended;
  }

  get lastState(): string {
    const last = this.told.findLast(({ type }) => type === "endpoint" || type === "refused");
    if (last?.type === "endpoint") return `${last.state} ${last.why}`.trim();
    return last?.type === "refused" ? `refused ${last.why}` : "";
  }
}

export function connectClient(t: Cleanup, machine: TestMachine): TestClient {
  const client = new TestClient(machine);
  t.after(() => client.kill());
  return client;
}
