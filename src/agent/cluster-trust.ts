import assert from "node:assert/strict";
import type { Keys } from "../registry/keys.ts";
import { clusterIdRecord, decodeRecord, encodeRecord } from "../registry/records.ts";
import type { CallOptions, KeyValue, Revision, Store, StoreHeader } from "../registry/store.ts";
import { FleetError, isFleetError } from "../runtime/errors.ts";
import type { Random } from "../runtime/random.ts";
import type { RecordFolder } from "./host.ts";

/**
 * Whether the registry that answers is the one this machine belongs to, no older than it has seen (I5). Otherwise the machine is
 * detached: it starts, stops and writes nothing until an operator says `rejoin`.
 */
export type Trust =
  | { readonly type: "trusted"; readonly clusterId: string }
  | { readonly type: "detached"; readonly why: DetachedReason };

export type DetachedReason =
  /** The registry has no cluster id: it was emptied. */
  | { readonly type: "no-cluster" }
  | { readonly type: "other-cluster"; readonly found: string; readonly stored: string }
  /** The id is the same, but another store answers: it was restored or set up anew. */
  | { readonly type: "other-store" }
  | OlderRevision;

interface OlderRevision {
  readonly type: "older-revision";
  readonly found: Revision;
  readonly seen: Revision;
}

export interface FoundCluster {
  readonly header: StoreHeader;
  readonly clusterId: string;
}

interface Membership {
  readonly clusterId: string;
  readonly storeId: string;
  /** At least this revision was seen. Written now and then, so it may lag behind what was seen in memory. */
  readonly revision: Revision;
  /** The registry was once found older than that. It grows again, so this is kept until `rejoin`. */
  readonly older?: OlderRevision | undefined;
}

const RECORD = "cluster";
/** In the volatile folder: what units that run may rest on, in case the process is killed. */
const SEEN_RECORD = "seen";
/** How far the stored revision may lag behind; each write costs an fsync. */
const REVISION_SAVE_STEP = 1_000;

export interface ClusterTrustOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly random: Random;
  readonly persistent: RecordFolder;
  readonly volatile: RecordFolder;
}

export class ClusterTrust {
  readonly #options: ClusterTrustOptions;
  #membership: Membership | undefined;
  #seenRevision: Revision = 0;
  /** Whether the membership is on disk. */
  #confirmed = false;
  /** As of the volatile record. */
  #rememberedRevision: Revision = 0;

  constructor(options: ClusterTrustOptions) {
    this.#options = options;
  }

  /** Only after `check` has said `trusted`. */
  membership(): { readonly clusterId: string; readonly storeId: string } {
    assert(this.#membership !== undefined);
    const { clusterId, storeId } = this.#membership;
    return { clusterId, storeId };
  }

  /** Whether this machine belongs to a cluster whose registry was the right one when it last answered. */
  get isMember(): boolean {
    return this.#membership !== undefined && this.#membership.older === undefined;
  }

  /** Notes that an answer of the trusted store carried this revision. */
  saw(revision: Revision): void {
    if (revision > this.#seenRevision) this.#seenRevision = revision;
  }

  /** Reads `cluster/id` and judges. A machine that belongs to no cluster yet joins the one it finds, or founds one. */
  async check(call: CallOptions = {}): Promise<Trust> {
    if (this.#membership === undefined) {
      this.#membership = await this.#stored();
      this.#confirmed = this.#membership !== undefined;
      this.saw(await this.#remembered());
    }
    this.saw(this.#membership?.revision ?? 0);
    // The answer may be older than what a watch tells while it is under way.
    const seen = this.#seenRevision;
    const { header, clusterId } = await this.#readClusterId(call);
    if (this.#membership === undefined) return this.#join(call);
    const why = this.judge(header, clusterId, seen);
    if (why?.type === "older-revision") await this.#keepOlder(why);
    if (why !== undefined) return { type: "detached", why };
    await this.#keep(header);
    return { type: "trusted", clusterId: this.#membership.clusterId };
  }

  /** Pure part of `check`: undefined means trusted. */
  judge(
    header: StoreHeader,
    clusterId: string | undefined,
    seen: Revision = this.#seenRevision,
  ): DetachedReason | undefined {
    const stored = this.#membership;
    if (stored === undefined) return undefined;
    if (clusterId === undefined) return { type: "no-cluster" };
    if (clusterId !== stored.clusterId) {
      return { type: "other-cluster", found: clusterId, stored: stored.clusterId };
    }
    if (header.storeId !== stored.storeId) return { type: "other-store" };
    if (stored.older !== undefined) return stored.older;
    if (header.revision < seen) return { type: "older-revision", found: header.revision, seen };
    return undefined;
  }

  /** Throws unless the answer is the trusted store's: `item` is `cluster/id` as of the answer's revision. */
  demand(header: StoreHeader, item: KeyValue | undefined): void {
    const why = this.judge(header, item && readClusterId(item));
    if (why !== undefined)
      throw new FleetError("conflict", `the registry is not this machine's any more: ${why.type}`);
    this.saw(header.revision);
  }

  /** The cluster that answers now, trusted or not; one is founded in an empty registry. */
  async found(call: CallOptions = {}): Promise<FoundCluster> {
    const { header, clusterId } = await this.#readClusterId(call);
    return clusterId === undefined ? this.#create(header, call) : { header, clusterId };
  }

  /** Trusts this cluster from now on, but only in memory until `confirm`: a daemon that dies before is detached again. */
  async adopt(cluster: FoundCluster, call: CallOptions = {}): Promise<void> {
    const now = await this.#readClusterId(call);
    if (now.clusterId !== cluster.clusterId || now.header.storeId !== cluster.header.storeId) {
      throw new FleetError("conflict", "the registry changed while rejoining: try again");
    }
    const { revision, storeId } = now.header;
    this.#seenRevision = revision;
    this.#membership = { clusterId: cluster.clusterId, storeId, revision };
    this.#confirmed = false;
  }

  /** Makes what was adopted last. */
  async confirm(): Promise<void> {
    assert(this.#membership !== undefined);
    const membership = { ...this.#membership, revision: this.#seenRevision };
    await this.#options.persistent.write(RECORD, JSON.stringify(membership));
    this.#membership = membership;
    this.#confirmed = true;
    this.#rememberedRevision = 0;
    await this.remember();
  }

  /**
   * To be called before units are touched for what was seen: a process that is killed after that is not to take an older registry, in
   * which these units are unknown, for the right one. Cheap, for it need not survive the boot: the units do not either.
   */
  async remember(): Promise<void> {
    const revision = this.#seenRevision;
    if (!this.#confirmed || revision === this.#rememberedRevision) return;
    const { storeId } = this.membership();
    await this.#options.volatile.write(SEEN_RECORD, JSON.stringify({ storeId, revision }));
    this.#rememberedRevision = revision;
  }

  /** Notes on disk how far the registry was seen; worth a try, no more. */
  async save(): Promise<void> {
    if (!this.#confirmed || this.#membership?.revision === this.#seenRevision) return;
    await this.confirm().catch((error: unknown) => {
      if (!isFleetError(error, "host-io")) throw error;
    });
  }

  /** The older registry grows beyond what was seen of the right one: from then on only this record tells them apart. */
  async #keepOlder(older: OlderRevision): Promise<void> {
    assert(this.#membership !== undefined);
    this.#membership = { ...this.#membership, older };
    await this.#options.persistent.write(RECORD, JSON.stringify(this.#membership));
  }

  async #keep(header: StoreHeader): Promise<void> {
    this.saw(header.revision);
    const savedRevision = this.#membership?.revision ?? 0;
    if (this.#seenRevision - savedRevision >= REVISION_SAVE_STEP) await this.save();
  }

  async #join(call: CallOptions): Promise<Trust> {
    const cluster = await this.found(call);
    await this.adopt(cluster, call);
    try {
      await this.confirm();
    } catch (error) {
      this.#membership = undefined;
      throw error;
    }
    return { type: "trusted", clusterId: cluster.clusterId };
  }

  async #create(header: StoreHeader, call: CallOptions): Promise<FoundCluster> {
    const { store, keys, random } = this.#options;
    const id = random.id();
    const created = await store.transact(
      {
        comparisons: [{ type: "created-at", key: keys.clusterId, revision: 0 }],
        operations: [{ type: "put", key: keys.clusterId, value: encodeRecord({ id }) }],
      },
      call,
    );
    if (created.applied) return { header: created.header, clusterId: id };
    // Two machines may found at once: the loser joins.
    const { clusterId } = await this.#readClusterId(call);
    if (clusterId !== undefined) return { header, clusterId };
    throw new FleetError("store-unavailable", "the registry is being emptied", { retriable: true });
  }

  async #readClusterId(
    call: CallOptions,
  ): Promise<{ header: StoreHeader; clusterId: string | undefined }> {
    const { store, keys } = this.#options;
    const { header, items } = await store.read({ range: { key: keys.clusterId } }, call);
    const item = items[0];
    return { header, clusterId: item && readClusterId(item) };
  }

  async #remembered(): Promise<Revision> {
    const text = await this.#options.volatile.read(SEEN_RECORD);
    const seen = text === undefined ? undefined : parseSeen(text);
    // Of the registry before the last rejoin: it says nothing of this one.
    return seen?.storeId === this.#membership?.storeId ? (seen?.revision ?? 0) : 0;
  }

  async #stored(): Promise<Membership | undefined> {
    const text = await this.#options.persistent.read(RECORD);
    if (text === undefined) return undefined;
    const stored = parseMembership(text);
    if (stored === undefined) {
      throw new FleetError(
        "host-io",
        "the record of the cluster this machine belongs to is damaged: remove it (cluster, in the state directory) only if the registry is the right one",
      );
    }
    return stored;
  }
}

function readClusterId(item: KeyValue): string {
  return decodeRecord(clusterIdRecord, item.key, item.value).id;
}

function parseMembership(text: string): Membership | undefined {
  const seen = parseSeen(text);
  if (typeof seen?.clusterId !== "string") return undefined;
  const { clusterId, storeId, revision } = seen;
  return { clusterId, storeId, revision, older: seen.older as OlderRevision | undefined };
}

interface Seen {
  readonly storeId: string;
  readonly revision: Revision;
  readonly clusterId?: unknown;
  readonly older?: unknown;
}

function parseSeen(text: string): Seen | undefined {
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json !== "object" || json === null) return undefined;
    const { clusterId, storeId, revision, older } = json as Record<string, unknown>;
    if (typeof storeId !== "string" || typeof revision !== "number") return undefined;
    return { storeId, revision, clusterId, older };
  } catch {
    return undefined;
  }
}
