import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { processUnitLogs } from "../../src/api/process-unit-logs.ts";
import type { Notice } from "../../src/api/protocol.ts";
import { type Api, startApi } from "../../src/api/server.ts";
import type { Terminal } from "../../src/cli/terminal.ts";
import { previewPlan } from "../../src/engine/preview.ts";
import { type EmbeddedStore, openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { type Keys, makeKeys } from "../../src/registry/keys.ts";
import {
  type BlockedRecord,
  decodeRecord,
  encodeRecord,
  type MachineRecord,
  type StateRecord,
  type UnitRecord,
  unitRecord,
} from "../../src/registry/records.ts";
import { Registry } from "../../src/registry/registry.ts";
import type { Change, Operation } from "../../src/registry/store.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { systemRandom } from "../../src/runtime/system-random.ts";
import { type CliResult, runCli } from "./run-cli.ts";
import { M1 } from "./views.ts";

/** What the test lets engine and machines make of a unit; by default it runs, is loaded or is taken off as wanted. */
export type Behaviour = {
  readonly machines?: readonly string[];
  readonly state?: Partial<StateRecord>;
  readonly blocked?: BlockedRecord["reasons"];
  /** Nobody does anything. */
  readonly idle?: boolean;
};

/** Says of each unit what it was asked; nothing of those that are called absent; refuses the level "nonsense". */
const FAKE_JOURNALCTL = `all=$*; case $all in *--priority=nonsense*) echo "Unknown log level nonsense" >&2; exit 1;; esac
for word; do case $word in --unit=absent*) ;; --unit=*)
  printf '{"MESSAGE":"%s","_SYSTEMD_UNIT":"%s","__REALTIME_TIMESTAMP":"1000000","__CURSOR":"c","_HOSTNAME":"m1","_COMM":"app","_PID":"7"}\\n' "$all" "\${word#--unit=}"
esac; done`;

/** The real API on the embedded store, with engine and machines played by writing their records. */
export class PlayedCluster {
  readonly directory: string;
  readonly store: EmbeddedStore;
  readonly keys: Keys = makeKeys();
  readonly behaviours = new Map<string, Behaviour>();
  /** What the daemon has to say of itself. */
  readonly notices: Notice[];
  readonly #registry: Registry;
  readonly #startApi: () => Promise<Api>;
  #api: Api;
  readonly #end = new AbortController();
  readonly #played: Promise<void>;

  static async open(): Promise<PlayedCluster> {
    const directory = await mkdtemp(join(tmpdir(), "fleet-cli-"));
    const store = openEmbeddedStore({ clock: systemClock, random: systemRandom });
    const shared = { clock: systemClock, random: systemRandom, logger: silentLogger };
    const notices: Notice[] = [];
    const registry = new Registry({ ...shared, store, keys: makeKeys() });
    const openApi = () =>
      startApi({
        ...shared,
        registry,
        daemon: {
          machineId: M1,
          version: "0.1.0",
          singleMachine: false,
          notices: () => notices,
          rejoin: async (mode) => {
            // As long as its reason is told.
            if (mode === "discard") await pause(1_500);
            return [`${mode}.service`];
          },
          act: async () => {},
        },
        logs: processUnitLogs({
          journalctl: ["sh", "-c", FAKE_JOURNALCTL, "journalctl"],
          systemctl: ["sh", "-c", "echo status of $5; exit 3", "systemctl"],
        }),
        previewPlan,
        listen: [{ type: "unix", path: join(directory, "fleet.sock"), mode: 0o600 }],
      });
    return new PlayedCluster({
      directory,
      store,
      registry,
      notices,
      openApi,
      api: await openApi(),
    });
  }

  private constructor(parts: {
    readonly directory: string;
    readonly store: EmbeddedStore;
    readonly registry: Registry;
    readonly notices: Notice[];
    readonly openApi: () => Promise<Api>;
    readonly api: Api;
  }) {
    this.directory = parts.directory;
    this.store = parts.store;
    this.#registry = parts.registry;
    this.notices = parts.notices;
    this.#startApi = parts.openApi;
    this.#api = parts.api;
    // A test may close the store while it is played.
    this.#played = this.#play().catch((error) => {
      if (!isFleetError(error, "store-closed")) throw error;
    });
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#played;
    await this.#api.close();
    await this.store.close();
    await rm(this.directory, { recursive: true });
  }

  /** How many commands wait for something. */
  get waiting(): number {
    return this.#registry.watch.listenerCount;
  }

  /** As when the daemon is restarted. */
  async restartApi(): Promise<void> {
    await this.#api.close();
    this.#api = await this.#startApi();
  }

  run(...args: readonly string[]): Promise<CliResult> {
    return runCli(args, { FLEETCTL_ENDPOINT: `unix://${join(this.directory, "fleet.sock")}` });
  }

  runWith(terminal: Partial<Terminal>, ...args: readonly string[]): Promise<CliResult> {
    return runCli(
      args,
      { FLEETCTL_ENDPOINT: `unix://${join(this.directory, "fleet.sock")}` },
      terminal,
    );
  }

  async write(...operations: readonly Operation[]): Promise<void> {
    await this.store.transact({ comparisons: [], operations });
  }

  async lead(): Promise<void> {
    const leader = { machine: M1, nonce: "n", format: 1 };
    await this.write({ type: "put", key: this.keys.leader, value: encodeRecord(leader) });
  }

  async addMachine(id: string, change: Partial<MachineRecord> = {}): Promise<void> {
    const record: MachineRecord = {
      nonce: "n",
      bootId: "b",
      leaseId: "1",
      ttlMs: 30_000,
      address: "10.0.0.1",
      automatic: {},
      metadata: { disk: "ssd" },
      version: "0.1.0",
      format: 1,
      capacity: { cpus: 1, memoryBytes: 1, tasks: 1 },
      leaving: false,
      ...change,
    };
    const { address, bootId } = record;
    const roster = { firstSeenMs: 0, lastBootMs: 0, bootId, address };
    await this.write(
      { type: "put", key: this.keys.machine(id), value: encodeRecord(record) },
      { type: "put", key: this.keys.roster(id), value: encodeRecord(roster) },
    );
  }

  /** Its presence ends; what it was assigned stays. */
  async loseMachine(id: string): Promise<void> {
    const roster = { firstSeenMs: 0, lastBootMs: 0, bootId: "b", address: "10.0.0.1" };
    await this.write(
      { type: "delete", key: this.keys.machine(id) },
      { type: "put", key: this.keys.roster(id), value: encodeRecord(roster) },
    );
  }

  async unit(name: string): Promise<UnitRecord | undefined> {
    const key = this.keys.unit(name);
    const [item] = (await this.store.read({ range: { key } })).items;
    return item && decodeRecord(unitRecord, key, item.value);
  }

  /** Writes a unit's record anew, so that engine and machines look at it again. */
  async touch(name: string): Promise<void> {
    const record = await this.unit(name);
    if (record === undefined) return;
    await this.write({ type: "put", key: this.keys.unit(name), value: encodeRecord(record) });
  }

  async #play(): Promise<void> {
    const range = { prefix: this.keys.all("units") };
    const { header } = await this.store.read({ range });
    const request = { range, fromRevision: header.revision + 1, signal: this.#end.signal };
    for await (const batch of this.store.watch(request)) {
      if (batch.type !== "changes") continue;
      for (const change of batch.changes) await this.write(...this.#reaction(change));
    }
  }

  #reaction(change: Change): readonly Operation[] {
    const key = change.type === "put" ? change.item.key : change.key;
    const name = key.slice(this.keys.all("units").length);
    const { machines = [M1], state, blocked, idle } = this.behaviours.get(name) ?? {};
    if (idle === true) return [];
    const put = (target: string, record: object): Operation => ({
      type: "put",
      key: target,
      value: encodeRecord(record),
    });
    const record =
      change.type === "put" ? decodeRecord(unitRecord, key, change.item.value) : undefined;
    const identity = change.type === "put" ? change.item.createRevision : 0;
    if (record === undefined || record.desired === "inactive") {
      return [
        this.keys.placement(name),
        this.keys.blocked(name),
        ...machines.flatMap((id) => [this.keys.assignment(id, name), this.keys.state(id, name)]),
      ].map((target) => ({ type: "delete", key: target }));
    }
    if (blocked !== undefined) {
      return [put(this.keys.blocked(name), { identity, sinceMs: 0, reasons: blocked })];
    }
    const target = record.desired;
    const { manifest, restarts, global } = record;
    const running = target === "launched";
    return [
      ...(global ? [] : [put(this.keys.placement(name), { machine: machines[0], identity })]),
      ...machines.flatMap((id) => [
        put(this.keys.assignment(id, name), { identity, manifest, target, restarts, global }),
        put(this.keys.state(id, name), {
          ...{ identity, manifest, hash: "", current: target, load: "loaded" },
          ...{ active: running ? "active" : "inactive", sub: running ? "running" : "dead" },
          ...{ result: "success", mainPid: 0, sinceMs: 0 },
          ...(running ? { start: { restarts, outcome: "done" } } : {}),
          ...state,
        } satisfies StateRecord),
      ]),
    ];
  }
}
