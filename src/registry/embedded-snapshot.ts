import type { KeyValue, Lease, Revision } from "./store.ts";

/** The state of an embedded store at one moment, without its past. */
export interface EmbeddedSnapshot {
  readonly storeId: string;
  readonly revision: Revision;
  readonly items: readonly KeyValue[];
  readonly leases: readonly Lease[];
}

/** The revision of a store that was never written to, as in etcd. */
export const EMPTY_REVISION = 1;
