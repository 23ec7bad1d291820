import type { Clock } from "../runtime/clock.ts";
import type { Keys } from "./keys.ts";
import { grantLease } from "./lease.ts";
import { decodeRecord, encodeRecord, placementRecord } from "./records.ts";
import type { CallOptions, Store } from "./store.ts";

/** A unit, with those tied to it, is to go from one machine to another. */
export interface MoveRequest {
  readonly unit: string;
  readonly from: string;
  readonly to: string;
}

/**
 * `refused`: the engine found that it cannot be done as asked. `overtaken`: the unit is not where it was thought to be, or a move of it
 * was asked for already. `unheard`: no engine has taken it up, and none will.
 */
export type MoveOutcome = "moving" | "refused" | "overtaken" | "unheard";

/** So long an engine may take a move up. Nobody renews the lease, so that no move can happen later by surprise. */
const LIFE_MS = 10_000;

export interface MoveRequestOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly clock: Clock;
}

/** Asks the engine for one move, and waits until that is used up one way or the other: 10 s at most. */
export async function requestMove(
  { store, keys, clock }: MoveRequestOptions,
  { unit, from, to }: MoveRequest,
  call: CallOptions = {},
): Promise<MoveOutcome> {
  const placementKey = keys.placement(unit);
  const [item] = (await store.read({ range: { key: placementKey } }, call)).items;
  if (item === undefined) return "overtaken";
  const placement = decodeRecord(placementRecord, placementKey, item.value);
  if (placement.machine !== from || placement.moving !== undefined) return "overtaken";
  const lease = await grantLease(store, clock, LIFE_MS, call);
  const moveKey = keys.move(unit);
  const value = encodeRecord({ from, to, identity: placement.identity });
  const { applied, header } = await store.transact(
    {
      comparisons: [
        { type: "modified-at", key: placementKey, revision: item.modRevision },
        { type: "created-at", key: moveKey, revision: 0 },
      ],
      operations: [{ type: "put", key: moveKey, value, leaseId: lease.leaseId }],
    },
    call,
  );
  if (!applied) {
    await lease.revoke(call);
    return "overtaken";
  }
  const fromRevision = header.revision + 1;
  const isUsedUp = await untilGone({ store, key: moveKey, fromRevision, clock, call });
  await lease.revoke(call);
  if (!isUsedUp) return "unheard";
  const [after] = (await store.read({ range: { key: placementKey } }, call)).items;
  const now = after && decodeRecord(placementRecord, placementKey, after.value);
  return now?.machine === to ? "moving" : "refused";
}

/** False when the lease ran out first, or the watch ended. */
async function untilGone(options: {
  readonly store: Store;
  readonly key: string;
  readonly fromRevision: number;
  readonly clock: Clock;
  readonly call: CallOptions;
}): Promise<boolean> {
  const { store, key, fromRevision, clock, call } = options;
  const end = new AbortController();
  // A little earlier than the lease, so that its end is not taken for an answer.
  const cancel = clock.setTimer(LIFE_MS - LEASE_MARGIN_MS, () => end.abort());
  const signal =
    call.signal === undefined ? end.signal : AbortSignal.any([end.signal, call.signal]);
  try {
    for await (const batch of store.watch({ range: { key }, fromRevision, signal })) {
      return batch.type === "changes";
    }
    return false;
  } finally {
    cancel();
    call.signal?.throwIfAborted();
  }
}

const LEASE_MARGIN_MS = 1_000;
