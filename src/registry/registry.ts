import type { UnitChange } from "../cluster/unit-change.ts";
import type { UnitHistory } from "../cluster/views.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Random } from "../runtime/random.ts";
import type { Manifest } from "../units/manifest.ts";
import { type ChangesCheck, checkChanges } from "./change-check.ts";
import { type ChangePreview, previewChanges } from "./change-preview.ts";
import { type ClusterStateRead, readCluster } from "./cluster-reader.ts";
import { ClusterWatch } from "./cluster-watch.ts";
import { KeptUnits } from "./kept-units.ts";
import type { Keys } from "./keys.ts";
import {
  MachineChanges,
  type MetadataChange,
  type OperatorChange,
  type OperatorOutcome,
} from "./machine-changes.ts";
import { ManifestCache } from "./manifest-cache.ts";
import { type MoveOutcome, type MoveRequest, requestMove } from "./move-requests.ts";
import { decodeRecord, historyRecord, unitRecord } from "./records.ts";
import { Services } from "./services.ts";
import { Sources } from "./sources.ts";
import { type CallOptions, readAll, type Store } from "./store.ts";
import { type ApplyOutcome, UnitChanges } from "./unit-changes.ts";
import { ViewReader } from "./view-reader.ts";

type InvalidChange = Extract<ChangesCheck, { readonly type: "invalid" }>;

export interface RegistryOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Typed access to the registry for whoever serves operators: reads as of one revision, changes, and one shared watch. */
export class Registry {
  readonly #store: Store;
  readonly #keys: Keys;
  readonly #reading: Parameters<typeof readCluster>[0];
  readonly #manifests: ManifestCache;
  readonly #unitChanges: UnitChanges;
  readonly #machineChanges: MachineChanges;
  readonly #clock: Clock;
  readonly read: ViewReader;
  readonly watch: ClusterWatch;
  /** All units, for lists. */
  readonly kept: KeptUnits;
  readonly sources: Sources;
  readonly services: Services;

  constructor(options: RegistryOptions) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#clock = options.clock;
    this.#reading = options;
    this.#manifests = new ManifestCache(options);
    const shared = { ...options, manifests: this.#manifests };
    this.read = new ViewReader(shared);
    this.#unitChanges = new UnitChanges(shared);
    this.#machineChanges = new MachineChanges(options);
    this.sources = new Sources(options);
    this.watch = new ClusterWatch({ ...shared, reader: this.read });
    this.kept = new KeptUnits({ ...options, reader: this.read, watch: this.watch });
    this.services = new Services(options);
  }

  /** For messages: `etcd at ...`. */
  get description(): string {
    return this.#store.description;
  }

  /** The files of a unit; undefined when there is no such unit (or its manifest is lost). */
  async manifest(unit: string, call: CallOptions = {}): Promise<Manifest | undefined> {
    const key = this.#keys.unit(unit);
    const { items } = await this.#store.read({ range: { key } }, call);
    const item = items[0];
    if (item === undefined) return undefined;
    return await this.manifestOf(decodeRecord(unitRecord, key, item.value).manifest, call);
  }

  /** By manifest hash. */
  async manifestOf(hash: string, call: CallOptions = {}): Promise<Manifest | undefined> {
    return await this.#manifests.manifest(hash, call);
  }

  /** Where units were; of those that exist or existed. Without names: of all. In order of name. */
  async history(names: readonly string[], call: CallOptions = {}): Promise<readonly UnitHistory[]> {
    const prefix = this.#keys.all("history");
    const { items } =
      names.length === 0
        ? await readAll(this.#store, { prefix }, call)
        : await this.#store.readKeys({ keys: names.map((name) => this.#keys.history(name)) }, call);
    return items.map(({ key, value }) => ({
      name: key.slice(prefix.length),
      entries: decodeRecord(historyRecord, key, value).entries.map(
        ({ machine, fromMs, untilMs, why }) => ({
          machineId: machine,
          fromMs,
          ...(untilMs === undefined ? {} : { untilMs }),
          ...(why === undefined ? {} : { why }),
        }),
      ),
    }));
  }

  async apply(changes: readonly UnitChange[], call: CallOptions = {}): Promise<ApplyOutcome> {
    return await this.#unitChanges.apply(changes, call);
  }

  /** The whole cluster at one revision, for questions that only that answers. */
  async clusterState(call: CallOptions = {}): Promise<ClusterStateRead> {
    return await readCluster(this.#reading, call);
  }

  /** What `apply` would do, done to a cluster state instead. */
  async preview(
    changes: readonly UnitChange[],
    { cluster, revision }: ClusterStateRead,
    call: CallOptions = {},
  ): Promise<({ readonly type: "previewed" } & ChangePreview) | InvalidChange> {
    const check = checkChanges(changes);
    if (check.type === "invalid") return check;
    const readManifest = (hash: string) => this.#manifests.manifest(hash, call);
    const preview = await previewChanges(check.checked, { cluster, revision, readManifest });
    return { type: "previewed", ...preview };
  }

  /** All or nothing. */
  async changeMetadata(changes: readonly MetadataChange[], call: CallOptions = {}): Promise<void> {
    await this.#machineChanges.changeMetadata(changes, call);
  }

  /** Cordon, drain intent, metadata and confirmed loss of one machine. */
  async changeOperator(
    machineId: string,
    change: OperatorChange,
    call: CallOptions = {},
  ): Promise<OperatorOutcome> {
    return await this.#machineChanges.changeOperator(machineId, change, call);
  }

  /** Asks the engine to move a unit, with those tied to it, and gives back what came of it: within 10 s. */
  async move(request: MoveRequest, call: CallOptions = {}): Promise<MoveOutcome> {
    const options = { store: this.#store, keys: this.#keys, clock: this.#clock };
    return await requestMove(options, request, call);
  }

  /** Takes a machine that is away off the list of known ones. */
  async forget(
    machineId: string,
    call: CallOptions = {},
  ): Promise<"forgotten" | "not-found" | "present"> {
    return await this.#machineChanges.forget(machineId, call);
  }
}
