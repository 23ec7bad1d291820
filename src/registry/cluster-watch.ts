import { unitView } from "../cluster/unit-view.ts";
import type { UnitView } from "../cluster/views.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { errorMessage, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Random } from "../runtime/random.ts";
import { Waker } from "../runtime/waker.ts";
import type { Keys } from "./keys.ts";
import { EMPTY_SUMMARY, type ManifestCache } from "./manifest-cache.ts";
import type { CallOptions, Change, Revision, Store } from "./store.ts";
import {
  Listener,
  type Listening,
  type Told,
  type UnitListener,
  type WatchUpdate,
} from "./unit-listener.ts";
import { UnitTable, unitOfKey } from "./unit-table.ts";
import type { ReadOptions, ViewReader } from "./view-reader.ts";
import { Session } from "./watch-session.ts";

const RETRY = { firstMs: 100, maxMs: 2_000 };
/** How often a watching daemon asks whether the registry is still there: a watch alone does not tell. */
const PROBE_MS = 2_000;
const PROBE_DEADLINE_MS = 2_500;
/** What views of machines are made of, besides the lead. */
const MACHINE_KINDS: readonly string[] = ["machines", "roster", "operators"];

interface WatchedUnit {
  listeners: number;
  /** Changes up to this revision are in the table; undefined until it was read once. */
  revision: Revision | undefined;
  /** Reads in progress. */
  reading: number;
  /** By key: what changed since the first of them began. */
  readonly missed: Map<string, Change>;
}

/**
 * One watch over the registry for any number of listeners, each of some units. It exists only while somebody listens, reads only units
 * that somebody asked for, and makes views from memory. A slow listener costs nothing: what it missed is a set of names.
 */
export class ClusterWatch {
  readonly #store: Store;
  readonly #keys: Keys;
  readonly #reader: ViewReader;
  readonly #manifests: ManifestCache;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;

  readonly #listeners = new Set<Listener>();
  readonly #units = new Map<string, WatchedUnit>();
  #table: UnitTable;
  readonly #present = new Set<string>();
  #leader = false;
  #reachable = true;
  /** All changes up to here were taken. */
  #revision: Revision = 0;
  #machinesRevision: Revision = 0;
  #readings = 0;
  /** Reads that units already taken wait for. */
  #late = 0;
  /** A unit that came could not be read. */
  #isGap = false;
  readonly #arrival = new Waker();
  #session: Session | undefined;

  constructor(options: {
    readonly store: Store;
    readonly keys: Keys;
    readonly reader: ViewReader;
    readonly manifests: ManifestCache;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
  }) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#reader = options.reader;
    this.#manifests = options.manifests;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#logger = options.logger;
    this.#table = new UnitTable({ keys: this.#keys, logger: this.#logger });
  }

  /** How many listeners there are. Without any, nothing runs. */
  get listenerCount(): number {
    return this.#listeners.size;
  }

  /** Listeners are told of all changes up to here; undefined while some of it has to be read. */
  get revision(): Revision | undefined {
    return this.#late > 0 || this.#isGap ? undefined : this.#revision;
  }

  /** Whether it comes to that revision before `signal` aborts. */
  async reaches(revision: Revision, signal: AbortSignal): Promise<boolean> {
    for (;;) {
      if ((this.revision ?? 0) >= revision) return true;
      if (signal.aborted) return false;
      await this.#arrival.woken(signal);
    }
  }

  /**
   * Reads the units once; the first update has all of them. Throws when the registry is away. Whoever opened it closes it. `machines`:
   * no units, and an update whenever a machine may look different.
   */
  async open(
    names: readonly string[] | "all" | "kept" | "machines",
    call: CallOptions = {},
  ): Promise<UnitListener> {
    const listener: Listener = new Listener(typeof names === "string" ? names : new Set(names), {
      take: (dirty, told, what) => this.#update(dirty, told, what),
      close: () => this.#remove(listener),
    });
    this.#add(listener);
    try {
      const session = this.#session;
      await session?.ready(call.signal);
      if (names === "all" || names === "kept") {
        this.#isGap = false;
        this.#track((await this.#reader.unitNames(call)).names);
      }
      const wanted = listener.names ?? this.#units.keys();
      const fresh = [...wanted].filter((name) => this.#units.get(name)?.revision === undefined);
      if (fresh.length > 0) await this.#read(fresh, call);
      listener.touch(wanted === listener.names ? wanted : [...this.#units.keys()]);
    } catch (error) {
      listener.close();
      throw error;
    }
    // Also a listener of no units is told of the cluster.
    listener.wake();
    return listener;
  }

  #add(listener: Listener): void {
    this.#listeners.add(listener);
    this.#track(listener.names ?? []);
    for (const name of listener.names ?? []) {
      const unit = this.#units.get(name);
      if (unit !== undefined) unit.listeners += 1;
    }
    this.#session ??= this.#start();
  }

  get #isListenedTo(): boolean {
    for (const { what } of this.#listeners) if (what !== "kept") return true;
    return false;
  }

  get #hasAll(): boolean {
    for (const { names } of this.#listeners) if (names === undefined) return true;
    return false;
  }

  #track(names: Iterable<string>): void {
    for (const name of names) {
      if (this.#units.has(name)) continue;
      const unit = { listeners: 0, revision: undefined, reading: 0, missed: new Map() };
      this.#units.set(name, unit);
    }
  }

  #remove(listener: Listener): void {
    if (!this.#listeners.delete(listener)) return;
    for (const name of listener.names ?? []) {
      const unit = this.#units.get(name);
      if (unit !== undefined) unit.listeners -= 1;
    }
    if (!this.#hasAll) {
      for (const name of listener.names ?? [...this.#units.keys()]) {
        if (this.#units.get(name)?.listeners !== 0) continue;
        this.#units.delete(name);
        this.#table.forget(name);
      }
    }
    if (this.#listeners.size > 0) return;
    this.#session?.end();
    this.#session = undefined;
  }

  #start(): Session {
    const session = new Session();
    this.#reachable = true;
    const broken = (error: unknown) => {
      // What is not an operating failure is a bug: it ends the daemon as any uncaught error does.
      if (!session.signal.aborted) throw error;
    };
    void this.#run(session).catch(broken);
    void this.#probe(session).catch(broken);
    return session;
  }

  async #run(session: Session): Promise<void> {
    const { signal } = session;
    let failures = 0;
    while (!signal.aborted) {
      try {
        const revision = await this.#resync(session);
        failures = 0;
        const range = { prefix: this.#keys.prefix };
        for await (const batch of this.#store.watch({
          range,
          fromRevision: revision + 1,
          signal,
        })) {
          if (batch.type === "reset") {
            this.#logger.info("watch-reset", { why: batch.why });
            break;
          }
          this.#take(batch.changes, batch.revision);
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!isFleetError(error)) throw error;
        this.#logger.warn("watch-failed", { error: errorMessage(error) });
        session.fail(error);
        this.#setReachable(false);
      }
      failures += 1;
      const delayMs = backoffMs(failures, RETRY, this.#random.fraction());
      await sleep(this.#clock, delayMs, signal).catch(() => {});
    }
  }

  /** Reads who is present, then every unit that was read before: whatever changed while there was no watch is seen. */
  async #resync(session: Session): Promise<Revision> {
    const call = { signal: session.signal, deadlineMs: PROBE_DEADLINE_MS };
    const { revision, present } = await this.#reader.facts([], call);
    const cluster = await this.#reader.cluster({ ...call, revision });
    this.#present.clear();
    for (const id of present) this.#present.add(id);
    this.#leader = cluster.leader !== undefined;
    this.#setReachable(true);
    this.#isGap = false;
    const hasAll = this.#hasAll;
    if (hasAll) this.#track((await this.#reader.unitNames({ ...call, revision })).names);
    const names = [...this.#units.keys()].filter((name) => {
      const unit = this.#units.get(name);
      return unit !== undefined && (hasAll || unit.revision !== undefined || unit.reading > 0);
    });
    if (revision < this.#revision) this.#forgetRead();
    // As of the very revision that the watch goes on from.
    if (names.length > 0) await this.#read(names, { ...call, revision });
    this.#revision = revision;
    this.#machinesRevision = revision;
    this.#readings += 1;
    session.open();
    for (const listener of this.#listeners) listener.touch(names);
    this.#arrival.wake();
    return revision;
  }

  /** The registry was emptied or put back to an earlier state: nothing of what was read is newer than what it says now. */
  #forgetRead(): void {
    for (const [name, unit] of this.#units) {
      unit.revision = undefined;
      unit.missed.clear();
      this.#table.forget(name);
    }
  }

  /** A read is newer than all that the watch gave out before it began; what comes meanwhile is applied on top of it. */
  async #read(names: readonly string[], call: ReadOptions): Promise<void> {
    const reading = new Map<string, WatchedUnit>();
    for (const name of names) {
      const unit = this.#units.get(name);
      if (unit === undefined) continue;
      unit.reading += 1;
      reading.set(name, unit);
    }
    try {
      const { revision, table } = await this.#reader.facts(names, call);
      const hashes = names.flatMap((name) => table.facts(name)?.unit.manifest ?? []);
      await this.#manifests.summaries(hashes, call);
      for (const [name, unit] of reading) {
        const outdated = unit.revision !== undefined && unit.revision >= revision;
        if (outdated || this.#units.get(name) !== unit) continue;
        unit.revision = revision;
        this.#table.move(name, table);
        for (const change of unit.missed.values()) {
          if (revisionOf(change) > revision) this.#table.apply(change);
        }
      }
    } finally {
      for (const unit of reading.values()) {
        unit.reading -= 1;
        if (unit.reading === 0) unit.missed.clear();
      }
    }
    this.#touch(new Set(names));
  }

  #take(changes: readonly Change[], revision: Revision): void {
    this.#revision = revision;
    const dirty = new Set<string>();
    let cluster = false;
    const hasAll = this.#hasAll;
    for (const change of changes) {
      const key = change.type === "put" ? change.item.key : change.key;
      const name = unitOfKey(this.#keys, key);
      if (name !== undefined) {
        if (hasAll && !this.#units.has(name)) this.#readNew(name, revision);
        if (this.#takeUnit(name, key, change)) dirty.add(name);
        continue;
      }
      if (key === this.#keys.leader) {
        this.#leader = change.type === "put";
        cluster = true;
      }
      const parsed = this.#keys.parse(key);
      if (key === this.#keys.leader || MACHINE_KINDS.includes(parsed?.kind ?? "")) {
        this.#machinesRevision = revision;
        cluster = true;
      }
      if (parsed?.kind !== "machines") continue;
      const present = change.type === "put";
      if (this.#present.has(parsed.machineId) === present) continue;
      if (present) this.#present.add(parsed.machineId);
      else this.#present.delete(parsed.machineId);
      cluster = true;
      for (const unit of this.#units.keys()) {
        if (this.#table.concerns(unit, parsed.machineId)) dirty.add(unit);
      }
    }
    if (cluster) for (const listener of this.#listeners) listener.wake();
    this.#announce(dirty);
    this.#arrival.wake();
  }

  /** A unit that came while somebody listens to all. */
  #readNew(name: string, revision: Revision): void {
    this.#track([name]);
    const session = this.#session;
    const call = { signal: session?.signal, deadlineMs: PROBE_DEADLINE_MS, revision };
    this.#later(this.#read([name], call)).catch((error: unknown) => {
      if (!isFleetError(error) && session?.signal.aborted === false) throw error;
      this.#isGap = true;
      // Read at its next change, as one that came then.
      this.#logger.debug("unit-unread", { unit: name, error: errorMessage(error) });
      if (this.#units.get(name)?.listeners === 0) this.#units.delete(name);
    });
  }

  #takeUnit(name: string, key: string, change: Change): boolean {
    const unit = this.#units.get(name);
    if (unit === undefined) return false;
    if (unit.reading > 0) unit.missed.set(key, change);
    if (unit.revision === undefined || revisionOf(change) <= unit.revision) return false;
    this.#table.apply(change);
    if (unit.listeners === 0 && unit.reading === 0 && this.#table.isEmpty(name)) {
      this.#units.delete(name);
      this.#table.forget(name);
    }
    return true;
  }

  /** Tells listeners of changed units, those with a manifest not seen before once it was read. */
  #announce(names: Set<string>): void {
    const unknown: string[] = [];
    const late = new Set<string>();
    for (const name of names) {
      const hash = this.#table.facts(name)?.unit.manifest;
      if (hash === undefined || this.#manifests.knownSummary(hash) !== undefined) continue;
      unknown.push(hash);
      late.add(name);
      names.delete(name);
    }
    this.#touch(names);
    if (late.size === 0) return;
    const call = { signal: this.#session?.signal, deadlineMs: PROBE_DEADLINE_MS };
    const read = this.#manifests.summaries(unknown, call).catch((error: unknown) => {
      this.#logger.debug("manifest-unread", { error: errorMessage(error) });
    });
    void this.#later(read.then(() => this.#touch(late)));
  }

  /** Updates meanwhile are not whole; when they are again everybody is told. */
  async #later(work: Promise<void>): Promise<void> {
    this.#late += 1;
    try {
      await work;
    } finally {
      this.#late -= 1;
      if (this.#late === 0) for (const listener of this.#listeners) listener.wake();
      this.#arrival.wake();
    }
  }

  #touch(names: ReadonlySet<string>): void {
    if (names.size === 0) return;
    for (const listener of this.#listeners) listener.touch(names);
  }

  #setReachable(reachable: boolean): void {
    if (this.#reachable === reachable) return;
    this.#reachable = reachable;
    for (const listener of this.#listeners) listener.wake();
  }

  async #probe({ signal }: Session): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#clock, PROBE_MS, signal).catch(() => {});
      if (signal.aborted) return;
      if (!this.#isListenedTo) continue;
      try {
        const range = { key: this.#keys.clusterId };
        await this.#store.read(
          { range, keysOnly: true },
          { signal, deadlineMs: PROBE_DEADLINE_MS },
        );
        this.#setReachable(true);
      } catch (error) {
        if (signal.aborted) return;
        if (!isFleetError(error)) throw error;
        this.#setReachable(false);
      }
    }
  }

  /** Undefined when there is nothing new. */
  #update(dirty: ReadonlySet<string>, told: Told, what: Listening): WatchUpdate | undefined {
    const clusterChanged = told.leader !== this.#leader || told.reachable !== this.#reachable;
    const present = what === "all" ? [...this.#present].sort() : undefined;
    const presentChanged = present !== undefined && present.join(" ") !== told.present;
    const machinesChanged = what === "machines" && told.machinesRevision !== this.#machinesRevision;
    const isWholeAgain = told.isPartial && this.#late === 0;
    const isNews = clusterChanged || presentChanged || machinesChanged || isWholeAgain;
    if (dirty.size === 0 && !isNews) return undefined;
    told.isPartial = this.#late > 0;
    told.machinesRevision = this.#machinesRevision;
    told.present = present?.join(" ");
    told.leader = this.#leader;
    told.reachable = this.#reachable;
    const units: UnitView[] = [];
    const gone: string[] = [];
    for (const name of [...dirty].sort()) {
      const facts = this.#table.facts(name);
      if (facts === undefined) gone.push(name);
      else {
        const summary = this.#manifests.knownSummary(facts.unit.manifest) ?? EMPTY_SUMMARY;
        units.push(unitView(facts, summary, this.#present));
      }
    }
    const state = { clusterChanged, leader: this.#leader, reachable: this.#reachable };
    const read = { readings: this.#readings, machinesRevision: this.#machinesRevision };
    const revision = this.#late > 0 ? undefined : this.#revision;
    return { units, gone, ...(presentChanged ? { present } : {}), ...state, ...read, revision };
  }
}

function revisionOf(change: Change): Revision {
  return change.type === "put" ? change.item.modRevision : change.modRevision;
}
