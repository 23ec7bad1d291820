import { machineView } from "../cluster/machine-view.ts";
import { unitView } from "../cluster/unit-view.ts";
import type { MachineView, UnitStateView, UnitView } from "../cluster/views.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { mapBounded } from "./bounded.ts";
import type { KeyKind, Keys } from "./keys.ts";
import { EMPTY_SUMMARY, type ManifestCache } from "./manifest-cache.ts";
import {
  clusterIdRecord,
  decodeRecord,
  leaderRecord,
  machineRecord,
  operatorRecord,
  rosterRecord,
  stateRecord,
} from "./records.ts";
import {
  type CallOptions,
  type KeyValue,
  READ_KEYS_MAX,
  type Revision,
  readAll,
  type Store,
} from "./store.ts";
import { UnitTable } from "./unit-table.ts";

const READS_PARALLEL = 64;
/** Up to so many keys are read one by one before reading whole prefixes is taken to be cheaper. */
const POINT_READS_MAX = 400;
/** A page of a prefix costs about as much as so many single keys. */
const POINT_READS_PER_PAGE = 50;
const COMPACTION_RETRIES_MAX = 3;

export interface ReadOptions extends CallOptions {
  /** As of this revision instead of the newest. */
  readonly revision?: Revision | undefined;
}

export interface ClusterRead {
  readonly revision: Revision;
  readonly clusterId?: string;
  /** Machine that holds the engine lease. */
  readonly leader?: string;
}

export interface UnitsRead {
  readonly revision: Revision;
  /** In order of name. */
  readonly units: readonly UnitView[];
}

export interface FactsRead {
  readonly revision: Revision;
  readonly table: UnitTable;
  readonly present: ReadonlySet<string>;
}

/** Everything the API shows, each answer consistent as of one revision. Reading a few units costs by units and machines, not by the registry. */
export class ViewReader {
  readonly #store: Store;
  readonly #keys: Keys;
  readonly #manifests: ManifestCache;
  readonly #logger: Logger;

  constructor(options: {
    readonly store: Store;
    readonly keys: Keys;
    readonly manifests: ManifestCache;
    readonly logger: Logger;
  }) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#manifests = options.manifests;
    this.#logger = options.logger;
  }

  /** Without `names`: every unit. Absent names are left out. */
  async units(names?: readonly string[], options: ReadOptions = {}): Promise<UnitsRead> {
    return await this.#retryCompacted(options, async () => {
      const { revision, table, present } = await this.facts(names, options);
      const facts = table.names().flatMap((name) => table.facts(name) ?? []);
      const summaries = await this.#manifests.summaries(
        facts.map(({ unit }) => unit.manifest),
        options,
      );
      const units = facts.map((one) =>
        unitView(one, summaries.get(one.unit.manifest) ?? EMPTY_SUMMARY, present),
      );
      return { revision, units };
    });
  }

  /** What views are made of; of `names` only, or of all units. */
  async facts(names: readonly string[] | undefined, options: ReadOptions): Promise<FactsRead> {
    const machines = await this.#all("machines", options);
    const { revision } = machines.header;
    const pinned = { ...options, revision };
    const present = new Set(machines.items.map((item) => this.#machineId(item)));
    const table = new UnitTable({ keys: this.#keys, logger: this.#logger });
    const items =
      names === undefined || (await this.#isMany(names.length * (4 + present.size), pinned))
        ? await this.#prefixes(names, pinned)
        : await this.#points(names, present, pinned);
    for (const item of items) table.put(item);
    return { revision, table, present };
  }

  /** Names of all units, in order; their contents are not read. */
  async unitNames(options: ReadOptions = {}): Promise<{ revision: Revision; names: string[] }> {
    const prefix = this.#keys.all("units");
    const { signal, deadlineMs, revision } = options;
    const read = await readAll(
      this.#store,
      { prefix },
      { signal, deadlineMs, revision, keysOnly: true },
    );
    return {
      revision: read.header.revision,
      names: read.items.map((item) => item.key.slice(prefix.length)),
    };
  }

  /** What present machines report, in order of unit and machine. */
  async states(
    filter: { readonly unit?: string | undefined; readonly machineId?: string | undefined },
    options: ReadOptions = {},
  ): Promise<{ revision: Revision; states: readonly (UnitStateView & { unit: string })[] }> {
    return await this.#retryCompacted(options, async () => {
      const machines = await this.#all("machines", options);
      const { revision } = machines.header;
      const pinned = { ...options, revision };
      const present = machines.items.map((item) => this.#machineId(item));
      const wanted = present.filter((id) => (filter.machineId ?? id) === id);
      const { unit } = filter;
      const items =
        unit !== undefined
          ? await this.#gets(
              wanted.map((id) => this.#keys.state(id, unit)),
              pinned,
            )
          : (
              await mapBounded(wanted, READS_PARALLEL, async (id) => {
                const prefix = this.#keys.statesOf(id);
                return (await readAll(this.#store, { prefix }, pinned)).items;
              })
            ).flat();
      const states = items.flatMap((item) => {
        const parsed = this.#keys.parse(item.key);
        if (parsed?.kind !== "states") return [];
        const record = this.#decode(stateRecord, item);
        if (record === undefined) return [];
        return [{ ...record, unit: parsed.unit, machineId: parsed.machineId }];
      });
      const order = (state: { unit: string; machineId: string }) =>
        `${state.unit}\0${state.machineId}`;
      return { revision, states: states.sort((a, b) => (order(a) < order(b) ? -1 : 1)) };
    });
  }

  /** Machines that are present, known from before, or that operators set something on; in order of id. */
  async machines(
    options: ReadOptions = {},
  ): Promise<{ revision: Revision; machines: readonly MachineView[] }> {
    return await this.#retryCompacted(options, async () => {
      const present = await this.#all("machines", options);
      const { revision } = present.header;
      const pinned = { ...options, revision };
      const [roster, operators, [leaderItem]] = await Promise.all([
        this.#all("roster", pinned),
        this.#all("operators", pinned),
        this.#gets([this.#keys.leader], pinned),
      ]);
      const machines = this.#decodeById(machineRecord, present.items);
      const known = this.#decodeById(rosterRecord, roster.items);
      const settings = this.#decodeById(operatorRecord, operators.items);
      const leader = leaderItem && this.#decode(leaderRecord, leaderItem)?.machine;
      // Settings for a machine never seen wait for it without being one.
      const ids = [...new Set([...machines.keys(), ...known.keys()])].sort();
      return {
        revision,
        machines: ids.map((id) =>
          machineView({
            id,
            machine: machines.get(id),
            roster: known.get(id),
            operator: settings.get(id),
            leader: id === leader,
          }),
        ),
      };
    });
  }

  async cluster(options: ReadOptions = {}): Promise<ClusterRead> {
    const { revision: asOf, ...call } = options;
    const { clusterId: idKey, leader: leaderKey } = this.#keys;
    const read = { keys: [idKey, leaderKey], revision: asOf };
    const { header, items } = await this.#store.readKeys(read, call);
    const revision = asOf ?? header.revision;
    const idItem = items.find(({ key }) => key === idKey);
    const leaderItem = items.find(({ key }) => key === leaderKey);
    const clusterId = idItem && this.#decode(clusterIdRecord, idItem)?.id;
    const leader = leaderItem && this.#decode(leaderRecord, leaderItem)?.machine;
    return {
      revision,
      ...(clusterId === undefined ? {} : { clusterId }),
      ...(leader === undefined ? {} : { leader }),
    };
  }

  /** Whether reading `count` keys one by one costs more than reading every unit's keys. */
  async #isMany(count: number, options: ReadOptions): Promise<boolean> {
    if (count <= POINT_READS_MAX) return false;
    const { names } = await this.unitNames(options);
    // Units, placements, assignments, states: about four pages per thousand units.
    return count > Math.ceil(names.length / 1_000) * 4 * POINT_READS_PER_PAGE;
  }

  async #prefixes(
    names: readonly string[] | undefined,
    options: ReadOptions,
  ): Promise<readonly KeyValue[]> {
    const kinds: readonly KeyKind[] = ["units", "placements", "assignments", "states", "blocked"];
    const reads = await Promise.all(kinds.map((kind) => this.#all(kind, options)));
    const items = reads.flatMap((read) => read.items);
    if (names === undefined) return items;
    const wanted = new Set(names);
    return items.filter((item) => wanted.has(item.key.slice(item.key.lastIndexOf("/") + 1)));
  }

  async #points(
    names: readonly string[],
    present: ReadonlySet<string>,
    options: ReadOptions,
  ): Promise<readonly KeyValue[]> {
    const first = await this.#gets(
      names.flatMap((name) => [
        this.#keys.unit(name),
        this.#keys.placement(name),
        this.#keys.blocked(name),
        ...[...present].map((id) => this.#keys.state(id, name)),
      ]),
      options,
    );
    const table = new UnitTable({ keys: this.#keys, logger: this.#logger });
    for (const item of first) table.put(item);
    const globals = names.filter((name) => table.facts(name)?.unit.global === true);
    // A machine that is away keeps its assignment of a global unit.
    const machineIds = globals.length === 0 ? [] : await this.#knownMachineIds(present, options);
    const second = await this.#gets(
      names.flatMap((name) => {
        if (globals.includes(name)) return machineIds.map((id) => this.#keys.assignment(id, name));
        const placed = table.facts(name)?.placement?.machine;
        return placed === undefined ? [] : [this.#keys.assignment(placed, name)];
      }),
      options,
    );
    return [...first, ...second];
  }

  async #knownMachineIds(
    present: ReadonlySet<string>,
    options: ReadOptions,
  ): Promise<readonly string[]> {
    const roster = await readAll(
      this.#store,
      { prefix: this.#keys.all("roster") },
      { ...options, keysOnly: true },
    );
    return [...new Set([...present, ...roster.items.map((item) => this.#machineId(item))])];
  }

  async #all(kind: KeyKind, options: ReadOptions) {
    return await readAll(this.#store, { prefix: this.#keys.all(kind) }, options);
  }

  /** Those of the keys that exist. */
  async #gets(keys: readonly string[], options: ReadOptions): Promise<readonly KeyValue[]> {
    const { revision, ...call } = options;
    const items: KeyValue[] = [];
    for (let first = 0; first < keys.length; first += READ_KEYS_MAX) {
      const chunk = { keys: keys.slice(first, first + READ_KEYS_MAX), revision };
      items.push(...(await this.#store.readKeys(chunk, call)).items);
    }
    return items;
  }

  #machineId(item: KeyValue): string {
    return item.key.slice(item.key.lastIndexOf("/") + 1);
  }

  #decodeById<S extends Parameters<typeof decodeRecord>[0]>(
    schema: S,
    items: readonly KeyValue[],
  ): Map<string, ReturnType<typeof decodeRecord<S>>> {
    return new Map(
      items.flatMap((item) => {
        const record = this.#decode(schema, item);
        return record === undefined ? [] : [[this.#machineId(item), record] as const];
      }),
    );
  }

  #decode<S extends Parameters<typeof decodeRecord>[0]>(
    schema: S,
    item: KeyValue,
  ): ReturnType<typeof decodeRecord<S>> | undefined {
    try {
      return decodeRecord(schema, item.key, item.value);
    } catch (error) {
      if (!isFleetError(error, "record-unreadable")) throw error;
      this.#logger.warn("record-unreadable", { key: item.key });
      return undefined;
    }
  }

  /** The store may forget the pinned revision in the middle; unless the caller pinned it, the newest does as well. */
  async #retryCompacted<T>(options: ReadOptions, read: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await read();
      } catch (error) {
        const again =
          options.revision === undefined &&
          attempt < COMPACTION_RETRIES_MAX &&
          isFleetError(error, "store-compacted");
        if (!again) throw error;
      }
    }
  }
}
