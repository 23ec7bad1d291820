import type { Keys } from "../registry/keys.ts";
import type { HeldLease } from "../registry/lease.ts";
import { readEndpoint } from "../registry/service-records.ts";
import {
  type Comparison,
  type KeyValue,
  type Operation,
  READ_KEYS_MAX,
  type Store,
} from "../registry/store.ts";
import type { Clock } from "../runtime/clock.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { Loop } from "../runtime/loop.ts";
import type { Random } from "../runtime/random.ts";

/** The machine's presence as the agent holds it: what this machine writes hangs on its lease and compares its record. */
export interface Presence {
  readonly lease: Pick<HeldLease, "leaseId">;
  readonly revision: number;
}

/** A text that survives the daemon and dies with the boot. */
export interface VolatileFolder {
  read(name: string): Promise<string | undefined>;
  write(name: string, text: string): Promise<void>;
}

export type EntryState =
  | { readonly type: "registered" | "gone" }
  | { readonly type: "pending"; readonly why: string };

interface Wanted {
  readonly value: string;
  readonly onState: (state: EntryState) => void;
}

interface Found {
  readonly value: string;
  readonly modRevision: number;
  /** Another machine's, or an operator's: left alone. */
  readonly foreign: string | undefined;
  /** It hangs on an earlier lease of this machine, and goes with it. */
  readonly isPassing: boolean;
}

export interface PublisherOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly machineId: string;
  readonly folder: VolatileFolder;
  /** How long a new daemon leaves alone what the last one registered, so that its owners can come back. */
  readonly reconnectMs: number;
}

/** Survives the daemon in /run/fleet: every key that may be in the registry because of this machine. */
const JOURNAL = "endpoints";
const FOREIGN_RECHECK_MS = 500;
const BATCH = 50;
const AWAY: EntryState = { type: "pending", why: "the registry is away" };

/**
 * Keeps the endpoints and links of this machine in the registry equal to what is wanted. Every transaction compares the machine's own record and the key as
 * it was read, so a displaced or detached daemon writes nothing (I5), and nobody else's key is changed (I3).
 */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #loop: Loop;
  readonly #wanted = new Map<string, Wanted>();
  /** Told when their keys are gone. */
  readonly #leaving = new Map<string, Wanted["onState"]>();
  /** What the registry has, of all keys in question; undefined: has to be read. */
  #found: Map<string, Found> | undefined;
  #presence: Presence | undefined;
  #journal = new Set<string>();
  #awaited: ReadonlySet<string> = new Set();
  #awaitUntilMs = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
    const backoff = { firstMs: 100, maxMs: 2_000 };
    this.#loop = new Loop({
      ...options,
      name: "endpoints",
      backoff,
      pass: (signal) => this.#pass(signal),
    });
  }

  /** Reads what the last daemon has left. */
  async load(): Promise<void> {
    const text = await this.#options.folder.read(JOURNAL);
    this.#journal = new Set(text === undefined ? [] : text.split("\n").filter(Boolean));
    this.#awaited = new Set(this.#journal);
    this.#awaitUntilMs = this.#options.clock.monotonicMs() + this.#options.reconnectMs;
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#loop.run(signal);
  }

  setPresence(presence: Presence | undefined): void {
    this.#presence = presence;
    this.#found = undefined;
    if (presence === undefined) for (const { onState } of this.#wanted.values()) onState(AWAY);
    this.#loop.wake();
  }

  want(key: string, value: string, onState: Wanted["onState"]): void {
    this.#wanted.set(key, { value, onState });
    this.#leaving.delete(key);
    if (this.#presence === undefined) onState(AWAY);
    this.#loop.wake();
  }

  /** No daemon after this one waits for it either. */
  unwant(key: string, onState: Wanted["onState"] = () => undefined): void {
    this.#wanted.delete(key);
    this.#awaited = new Set([...this.#awaited].filter((one) => one !== key));
    this.#leaving.set(key, onState);
    this.#loop.wake();
  }

  async #pass(signal: AbortSignal): Promise<number | undefined> {
    const presence = this.#presence;
    if (presence === undefined) return undefined;
    try {
      return await this.#write(presence, signal);
    } catch (error) {
      // Whatever was written may or may not be there.
      this.#found = undefined;
      if (isFleetError(error))
        this.#tellPending(`the registry does not take it: ${errorMessage(error)}`);
      throw error;
    }
  }

  async #write(presence: Presence, signal: AbortSignal): Promise<number | undefined> {
    const nowMs = this.#options.clock.monotonicMs();
    const waitMs = this.#awaitUntilMs - nowMs;
    const awaited = waitMs > 0 ? this.#awaited : new Set<string>();
    const all = new Set([...this.#journal, ...this.#wanted.keys(), ...this.#leaving.keys()]);
    const found = this.#found ?? new Map<string, Found>();
    this.#found = found;
    const unread = [...all].filter((key) => !found.has(key) || found.get(key)?.foreign);
    await this.#read(found, unread, presence, signal);
    const due = [...all].sort().filter((key) => this.#isDue(key, found, awaited));
    if (due.length > 0) await this.#remember([...this.#journal, ...due]);
    for (let first = 0; first < due.length; first += BATCH) {
      const batch = due.slice(first, first + BATCH);
      await this.#writeBatch({ presence, batch, found }, signal);
    }
    const blocked = this.#tell(found);
    if (this.#presence !== presence) return 0;
    const kept = [...this.#journal].filter((key) => this.#wanted.has(key) || awaited.has(key));
    await this.#remember(kept);
    for (const key of found.keys()) if (!this.#journal.has(key)) found.delete(key);
    if (blocked) return FOREIGN_RECHECK_MS;
    return kept.some((key) => !this.#wanted.has(key)) ? waitMs : undefined;
  }

  #isDue(key: string, found: ReadonlyMap<string, Found>, awaited: ReadonlySet<string>): boolean {
    const now = found.get(key);
    if (now?.foreign !== undefined) return false;
    const wanted = this.#wanted.get(key)?.value;
    if (wanted === undefined && awaited.has(key)) return false;
    return now?.value !== wanted || (wanted !== undefined && now?.isPassing === true);
  }

  async #read(
    found: Map<string, Found>,
    keys: readonly string[],
    presence: Presence,
    signal: AbortSignal,
  ): Promise<void> {
    for (let first = 0; first < keys.length; first += READ_KEYS_MAX) {
      const asked = keys.slice(first, first + READ_KEYS_MAX);
      const { items } = await this.#options.store.readKeys({ keys: asked }, { signal });
      for (const key of asked) found.delete(key);
      for (const item of items) {
        const { key, value, modRevision, leaseId } = item;
        const foreign = this.#foreign(item, presence);
        const isPassing = leaseId !== presence.lease.leaseId;
        found.set(key, { value, modRevision, foreign, isPassing });
      }
    }
  }

  #foreign(item: KeyValue, { lease }: Presence): string | undefined {
    if (item.leaseId === lease.leaseId) return undefined;
    const { keys, machineId } = this.#options;
    const parsed = keys.parse(item.key);
    if (parsed?.kind === "links" && parsed.machineId === machineId) return undefined;
    try {
      // An earlier lease of this machine: whoever has its record now may write what hangs on it.
      const machine = readEndpoint(keys, item)?.machine ?? "an operator";
      return machine === machineId ? undefined : machine;
    } catch {
      return "a record that cannot be read";
    }
  }

  async #writeBatch(
    {
      presence,
      batch,
      found,
    }: { presence: Presence; batch: readonly string[]; found: Map<string, Found> },
    signal: AbortSignal,
  ): Promise<void> {
    const { store, keys, machineId } = this.#options;
    const { leaseId } = presence.lease;
    const own = keys.machine(machineId);
    const comparisons: Comparison[] = [
      { type: "modified-at", key: own, revision: presence.revision },
    ];
    const operations: Operation[] = [];
    for (const key of batch) {
      const value = this.#wanted.get(key)?.value;
      comparisons.push({ type: "modified-at", key, revision: found.get(key)?.modRevision ?? 0 });
      operations.push(
        value === undefined ? { type: "delete", key } : { type: "put", key, value, leaseId },
      );
    }
    const { header, applied } = await store.transact({ comparisons, operations }, { signal });
    if (!applied) {
      throw new FleetError(
        "conflict",
        "the machine's record or an endpoint was changed by somebody else meanwhile",
        { retriable: true },
      );
    }
    for (const operation of operations) {
      if (operation.type === "delete") found.delete(operation.key);
      else {
        const { key, value } = operation;
        const written = { modRevision: header.revision, foreign: undefined, isPassing: false };
        found.set(key, { value, ...written });
      }
    }
  }

  /** Tells the owners how it stands; true when something waits for somebody else's key to go. */
  #tell(found: ReadonlyMap<string, Found>): boolean {
    let blocked = false;
    for (const [key, { value, onState }] of [...this.#wanted]) {
      const now = found.get(key);
      if (now?.foreign !== undefined) {
        blocked = true;
        onState({ type: "pending", why: `this instance is registered by ${now.foreign}` });
      } else if (now?.value === value) onState({ type: "registered" });
    }
    for (const [key, onState] of [...this.#leaving]) {
      const now = found.get(key);
      if (now !== undefined && now.foreign === undefined) continue;
      this.#leaving.delete(key);
      onState({ type: "gone" });
    }
    return blocked;
  }

  #tellPending(why: string): void {
    for (const { onState } of [...this.#wanted.values()]) onState({ type: "pending", why });
  }

  async #remember(keys: readonly string[]): Promise<void> {
    const next = new Set(keys);
    if (next.size === this.#journal.size && keys.every((key) => this.#journal.has(key))) return;
    this.#journal = next;
    await this.#options.folder.write(JOURNAL, [...next].sort().join("\n"));
  }
}
