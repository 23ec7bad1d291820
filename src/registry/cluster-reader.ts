import type { ClusterState } from "../cluster/cluster-state.ts";
import { FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { ClusterSnapshot } from "./cluster-snapshot.ts";
import type { Keys } from "./keys.ts";
import type { CallOptions, KeyValue, Revision, Store } from "./store.ts";

export interface ClusterStateRead {
  readonly revision: Revision;
  /** The caller's own: it may be changed. */
  readonly cluster: ClusterState;
}

const ATTEMPTS_MAX = 3;

/** The whole cluster as of one revision, as the engine sees it. Costs as much as the registry holds: for questions that people ask. */
export async function readCluster(
  options: { readonly store: Store; readonly keys: Keys; readonly logger: Logger },
  call: CallOptions,
): Promise<ClusterStateRead> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await readOnce(options, call);
    } catch (error) {
      // The revision that is read may be forgotten meanwhile.
      if (attempt === ATTEMPTS_MAX || !isFleetError(error, "store-compacted")) throw error;
    }
  }
}

/** Page by page, so that no more than one page is held besides what is made of it. */
async function readOnce(
  { store, keys, logger }: Parameters<typeof readCluster>[0],
  call: CallOptions,
): Promise<ClusterStateRead> {
  const snapshot = new ClusterSnapshot(keys, (key) => logger.warn("record-unreadable", { key }));
  const range = { prefix: keys.prefix };
  let last: KeyValue | undefined;
  let first: { readonly revision: Revision; readonly storeId: string } | undefined;
  for (let more = true; more; ) {
    const page = await store.read({ range, revision: first?.revision, after: last?.key }, call);
    first ??= page.header;
    if (page.header.storeId !== first.storeId) {
      throw new FleetError("store-future-revision", "the store was replaced while it was read");
    }
    await snapshot.add(page.items);
    last = page.items.at(-1);
    more = page.more;
  }
  return { revision: first?.revision ?? 0, cluster: snapshot.cluster };
}
