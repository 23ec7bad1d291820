import type { Keys } from "../registry/keys.ts";
import { grantLease, type HeldLease } from "../registry/lease.ts";
import {
  clusterFormatRecord,
  clusterIdRecord,
  decodeRecord,
  encodeRecord,
  machineRecord,
} from "../registry/records.ts";
import { type KeyValue, type Revision, readAll, type Store } from "../registry/store.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";

/** The cluster an engine may lead. */
export interface ExpectedCluster {
  readonly clusterId: string;
  readonly storeId: string;
}

export interface CampaignOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly machineId: string;
  readonly nonce: string;
  /** Newest record format this engine understands. */
  readonly format: number;
  readonly expected: ExpectedCluster;
  readonly leaderTtlMs: number;
}

export interface Lead {
  readonly lease: HeldLease;
  /** Create revision of the leader's key: the fencing token (I2). */
  readonly token: Revision;
}

/** How often to look again at what no watch tells of. */
const RECHECK_MS = 5_000;

/**
 * Waits until no engine leads, then takes the lead. Several may try: the store lets one create the key. Throws when the store does not
 * answer; `signal` ends it.
 */
export async function campaign(options: CampaignOptions, signal: AbortSignal): Promise<Lead> {
  const { store, keys, clock, logger } = options;
  for (;;) {
    signal.throwIfAborted();
    const why = await whyNotLead(options, signal);
    if (why !== undefined) {
      logger.warn("engine-stands-back", { why });
      await sleep(clock, RECHECK_MS, signal);
      continue;
    }
    const { header, items } = await store.read({ range: { key: keys.leader } }, { signal });
    if (items[0] !== undefined) {
      await untilVacant(options, header.revision + 1, signal);
      continue;
    }
    const lead = await tryLead(options, signal);
    if (lead !== undefined) return lead;
  }
}

async function tryLead(options: CampaignOptions, signal: AbortSignal): Promise<Lead | undefined> {
  const { store, keys, clock, machineId, nonce, format, leaderTtlMs } = options;
  const lease = await grantLease(store, clock, leaderTtlMs, { signal });
  const { leaseId } = lease;
  const value = encodeRecord({ machine: machineId, nonce, format });
  try {
    const { applied, header } = await store.transact(
      {
        comparisons: [{ type: "created-at", key: keys.leader, revision: 0 }],
        operations: [{ type: "put", key: keys.leader, value, leaseId }],
      },
      { signal },
    );
    if (applied) return { lease, token: header.revision };
  } catch (error) {
    // The key may be there: without its lease it goes at once, or by itself within the ttl.
    await giveBack(lease);
    if (isFleetError(error, "store-denied")) return undefined;
    throw error;
  }
  await giveBack(lease);
  return undefined;
}

const REVOKE_DEADLINE_MS = 1_000;

/** Ends the lease so that another engine can lead at once. If that fails the lease ends by itself. */
export async function giveBack(lease: HeldLease): Promise<void> {
  try {
    await lease.revoke({ deadlineMs: REVOKE_DEADLINE_MS });
  } catch (error) {
    if (!(error instanceof FleetError)) throw error;
  }
}

/** Resolves when the leader's key is gone, or when it is better to look again. */
async function untilVacant(
  { store, keys }: Pick<CampaignOptions, "store" | "keys">,
  fromRevision: Revision,
  signal: AbortSignal,
): Promise<void> {
  for await (const batch of store.watch({ range: { key: keys.leader }, fromRevision, signal })) {
    if (batch.type === "reset") return;
    if (batch.changes.some(({ type }) => type === "delete")) return;
  }
}

/** Another cluster, or machines whose records this engine cannot fully read: then it must not decide anything. */
async function whyNotLead(
  options: CampaignOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { store, keys, expected, format } = options;
  const cluster = await store.read({ range: { prefix: `${keys.prefix}cluster/` } }, { signal });
  if (cluster.header.storeId !== expected.storeId) return "another store answers";
  const why = whyNotCluster(keys, cluster.items, options);
  if (why !== undefined) return why;
  const { items } = await readAll(store, { prefix: keys.all("machines") }, { signal });
  const highest = highestFormat(items);
  return highest > format ? `a machine writes record format ${highest}` : undefined;
}

/** Looks at the records of the cluster itself among `items`. */
export function whyNotCluster(
  keys: Keys,
  items: readonly KeyValue[],
  { expected, format }: Pick<CampaignOptions, "expected" | "format">,
): string | undefined {
  const id = items.find(({ key }) => key === keys.clusterId);
  if (id === undefined) return "the registry has no cluster id";
  if (decodeRecord(clusterIdRecord, id.key, id.value).id !== expected.clusterId) {
    return "the registry belongs to another cluster";
  }
  const minimum = items.find(({ key }) => key === keys.clusterFormat);
  if (minimum === undefined) return undefined;
  const needed = decodeRecord(clusterFormatRecord, minimum.key, minimum.value).minimum;
  return needed > format ? `the cluster needs record format ${needed}` : undefined;
}

function highestFormat(machines: readonly KeyValue[]): number {
  let highest = 0;
  for (const { key, value } of machines) {
    try {
      highest = Math.max(highest, decodeRecord(machineRecord, key, value).format);
    } catch (error) {
      // Probably newer; the planner leaves such a machine alone.
      if (!isFleetError(error, "record-unreadable")) throw error;
    }
  }
  return highest;
}
