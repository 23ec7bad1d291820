import type { Outlook } from "../cluster/outlook.ts";
import type { ApplyResult, UnitChange } from "../cluster/unit-change.ts";
import type { UnitView } from "../cluster/views.ts";
import type { SourceRecord } from "../registry/source-record.ts";

/**
 * What a sync needs of the cluster. Adapters: the client's, over HTTP (`src/cli/sync-cluster.ts`), and the daemon's, on its own registry
 * (`src/daemon/registry-sync-cluster.ts`). Failures are FleetErrors, retriable when the cluster may answer later.
 */
export interface SyncCluster {
  /** Every unit, by name. */
  units(signal: AbortSignal): Promise<ReadonlyMap<string, UnitView>>;
  /** Results in order of the changes. Throws FleetError `unit-invalid` when one of them is invalid; nothing is done then. */
  apply(changes: readonly UnitChange[], signal: AbortSignal): Promise<readonly ApplyResult[]>;
  /** What would become of the units, and of those that they set in motion. Nothing is done. */
  preview(changes: readonly UnitChange[], signal: AbortSignal): Promise<readonly Outlook[]>;
  /** First each unit as it is (undefined: not there), then every change, until `signal` aborts or the connection is lost. */
  watch(names: readonly string[], signal: AbortSignal): AsyncIterable<UnitNews>;
  source(name: string, signal: AbortSignal): Promise<StoredSource>;
  /** Resolves once the record is another than that of `revision`, or after a while. */
  sourceChanged(name: string, revision: number, signal: AbortSignal): Promise<void>;
  writeSource(name: string, source: StoredSource, signal: AbortSignal): Promise<StoredSource>;
}

export interface UnitNews {
  readonly name: string;
  readonly view: UnitView | undefined;
}

export interface StoredSource {
  /** Undefined: there is none yet. */
  readonly record: SourceRecord | undefined;
  /** Of the record as read; 0 without one. */
  readonly revision: number;
}
