import type { Keys } from "../registry/keys.ts";
import { grantLease, HeldLease } from "../registry/lease.ts";
import {
  decodeRecord,
  encodeRecord,
  type MachineRecord,
  machineRecord,
  rosterRecord,
} from "../registry/records.ts";
import type { KeyValue, Revision, Store } from "../registry/store.ts";
import type { Clock } from "../runtime/clock.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Host } from "./host.ts";

/** What the daemon says of its machine, besides who holds it. */
export type MachineDescription = Pick<
  MachineRecord,
  | "address"
  | "api"
  | "automatic"
  | "metadata"
  | "version"
  | "format"
  | "capacity"
  | "overcommit"
  | "leaving"
>;

export interface PresenceOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly host: Host;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly ttlMs: number;
  /** Names this process. */
  readonly nonce: string;
  readonly describe: () => Promise<MachineDescription>;
}

/** The machine is present: its record hangs on this lease. */
export interface HeldPresence {
  readonly lease: HeldLease;
  /** Mod revision of the machine's record: transactions compare it, so a displaced daemon writes nothing. */
  readonly revision: number;
}

const LEASE_RECORD = "lease";

/**
 * Takes the machine's record. Same boot: a new process takes over at once and keeps the lease. Other boot: the old record has to
 * end first; one that outlives its ttl is renewed by somebody, so the machine id is a duplicate.
 */
export async function acquirePresence(
  options: PresenceOptions,
  signal: AbortSignal,
): Promise<HeldPresence> {
  const { store, keys, host, logger } = options;
  const key = keys.machine(host.machineId);
  for (;;) {
    signal.throwIfAborted();
    const { header, items } = await store.read({ range: { key } }, { signal });
    const item = items[0];
    if (item === undefined) {
      const held = await create(options, key, signal);
      if (held !== undefined) return held;
      continue;
    }
    const record = decodeRecord(machineRecord, item.key, item.value);
    const found = { item, record, revision: header.revision };
    if (record.bootId === host.bootId) {
      const held = await takeOver(options, found, signal);
      if (held !== undefined) return held;
      continue;
    }
    logger.info("presence-wait", {
      why: "the machine's record of its last boot has not ended yet",
      ttlMs: record.ttlMs,
    });
    await waitForEnd(options, found, signal);
  }
}

/** The machine's record as it was read at a revision. */
interface FoundRecord {
  readonly item: KeyValue;
  readonly record: MachineRecord;
  readonly revision: Revision;
}

async function create(
  options: PresenceOptions,
  key: string,
  signal: AbortSignal,
): Promise<HeldPresence | undefined> {
  const { store, keys, host, clock, ttlMs } = options;
  const lease =
    (await storedLease(options, signal)) ?? (await grantLease(store, clock, ttlMs, { signal }));
  await host.volatile.write(LEASE_RECORD, lease.leaseId);
  const record = await makeRecord(options, lease.leaseId);
  const rosterKey = keys.roster(host.machineId);
  const roster = (await store.read({ range: { key: rosterKey } }, { signal })).items[0];
  const { header, applied } = await store.transact(
    {
      comparisons: [{ type: "created-at", key, revision: 0 }],
      operations: [
        { type: "put", key, value: encodeRecord(record), leaseId: lease.leaseId },
        { type: "put", key: rosterKey, value: rosterValue(options, roster, record) },
      ],
    },
    { signal },
  );
  return applied ? { lease, revision: header.revision } : undefined;
}

async function takeOver(
  options: PresenceOptions,
  found: FoundRecord,
  signal: AbortSignal,
): Promise<HeldPresence | undefined> {
  const { store, host, clock, ttlMs } = options;
  const { item, record } = found;
  const sentMs = clock.monotonicMs();
  const alive = await store.keepLeaseAlive(record.leaseId, { signal });
  if (alive === undefined) {
    // The store is about to delete the record; wait for that instead of asking in a circle.
    await waitForEnd(options, found, signal);
    return undefined;
  }
  // With another ttl a new one. The old one is left to end by itself: what hangs on it is written anew meanwhile.
  const lease =
    record.ttlMs === ttlMs
      ? new HeldLease({ store, clock, lease: alive, sentMs })
      : await grantLease(store, clock, ttlMs, { signal });
  await host.volatile.write(LEASE_RECORD, lease.leaseId);
  const value = encodeRecord({ ...record, ...(await makeRecord(options, lease.leaseId)) });
  const { header, applied } = await store.transact(
    {
      comparisons: [{ type: "modified-at", key: item.key, revision: item.modRevision }],
      operations: [{ type: "put", key: item.key, value, leaseId: lease.leaseId }],
    },
    { signal },
  );
  return applied ? { lease, revision: header.revision } : undefined;
}

/** A lease of this boot that outlived the machine's record, e.g. when somebody deleted the record by hand. */
async function storedLease(
  options: PresenceOptions,
  signal: AbortSignal,
): Promise<HeldLease | undefined> {
  const { store, host, clock } = options;
  const leaseId = await host.volatile.read(LEASE_RECORD);
  if (leaseId === undefined) return undefined;
  const sentMs = clock.monotonicMs();
  const lease = await store.keepLeaseAlive(leaseId, { signal });
  return lease && new HeldLease({ store, clock, lease, sentMs });
}

async function makeRecord(options: PresenceOptions, leaseId: string): Promise<MachineRecord> {
  const { host, nonce, ttlMs } = options;
  return { ...(await options.describe()), nonce, bootId: host.bootId, leaseId, ttlMs };
}

function rosterValue(
  options: PresenceOptions,
  item: KeyValue | undefined,
  record: MachineRecord,
): string {
  const nowMs = options.clock.wallMs();
  const known = item && decodeRecord(rosterRecord, item.key, item.value);
  return encodeRecord({
    ...known,
    firstSeenMs: known?.firstSeenMs ?? nowMs,
    lastBootMs: known !== undefined && known.bootId === record.bootId ? known.lastBootMs : nowMs,
    bootId: record.bootId,
    address: record.address,
    metadata: record.metadata,
    automatic: record.automatic,
  });
}

/** So often the record is read again while it is waited for. */
const LOOKS = 4;

/**
 * Waits for the record to be deleted or changed, as long as a lease can last while the registry answers: a registry that was away gives every lease a full
 * ttl again, so a read that fails ends the wait, and the next one begins anew. The margin covers the store's own granularity and a change of its leader.
 */
async function waitForEnd(
  options: PresenceOptions,
  found: FoundRecord,
  signal: AbortSignal,
): Promise<void> {
  const { store, host } = options;
  const { item, record } = found;
  const waitMs = record.ttlMs + Math.max(3_000, record.ttlMs / 3);
  for (let look = 0; look < LOOKS; look += 1) {
    if (await endsWithin(options, found, { waitMs: waitMs / LOOKS, signal })) return;
    const { items } = await store.read({ range: { key: item.key } }, { signal });
    if (items[0]?.modRevision !== item.modRevision) return;
  }
  const mine = (await options.describe()).address;
  throw new FleetError(
    "duplicate-machine",
    `machine id ${host.machineId} is in use by another machine (${record.address || "no address"}, boot ${record.bootId}; ` +
      `this one: ${mine || "no address"}, boot ${host.bootId}): give one of them a new /etc/machine-id (systemd-machine-id-setup)`,
  );
}

async function endsWithin(
  { store, clock }: PresenceOptions,
  { item, revision }: FoundRecord,
  { waitMs, signal }: { readonly waitMs: number; readonly signal: AbortSignal },
): Promise<boolean> {
  try {
    await withDeadline(
      clock,
      {
        deadlineMs: waitMs,
        signal,
        onDeadline: () => new FleetError("timed-out", "the record did not end"),
      },
      async (ended) => {
        // Not from the record's own revision: that may be compacted long since.
        const fromRevision = revision + 1;
        const watch = store.watch({ range: { key: item.key }, fromRevision, signal: ended });
        for await (const batch of watch) if (batch !== undefined) return;
      },
    );
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (isFleetError(error, "timed-out")) return false;
    const message = `cannot wait for the machine's old record: ${errorMessage(error)}`;
    throw new FleetError("store-unavailable", message, { retriable: true, cause: error });
  }
}
