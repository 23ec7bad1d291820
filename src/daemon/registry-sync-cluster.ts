import type { Outlook } from "../cluster/outlook.ts";
import type { ApplyResult, UnitChange } from "../cluster/unit-change.ts";
import type { UnitView } from "../cluster/views.ts";
import { previewPlan } from "../engine/preview.ts";
import type { Registry } from "../registry/registry.ts";
import type { Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import type { StoredSource, SyncCluster, UnitNews } from "../sync/sync-cluster.ts";

/** The cluster as a sync sees it that runs in the daemon: the registry itself. */
export class RegistrySyncCluster implements SyncCluster {
  readonly #registry: Registry;

  readonly #clock: Clock;

  constructor({ registry, clock }: { readonly registry: Registry; readonly clock: Clock }) {
    this.#registry = registry;
    this.#clock = clock;
  }

  async units(signal: AbortSignal): Promise<ReadonlyMap<string, UnitView>> {
    const { units } = await this.#registry.read.units(undefined, { signal });
    return new Map(units.map((unit) => [unit.name, unit]));
  }

  async apply(
    changes: readonly UnitChange[],
    signal: AbortSignal,
  ): Promise<readonly ApplyResult[]> {
    const outcome = await this.#registry.apply(changes, { signal });
    if (outcome.type === "applied") return outcome.results;
    throw new FleetError("unit-invalid", `${outcome.name}: ${outcome.message}`);
  }

  async preview(changes: readonly UnitChange[], signal: AbortSignal): Promise<readonly Outlook[]> {
    const read = await this.#registry.clusterState({ signal });
    const outcome = await this.#registry.preview(changes, read, { signal });
    if (outcome.type === "invalid") return [];
    const { dirty } = outcome;
    return previewPlan(read.cluster, { dirty, wallMs: this.#clock.wallMs() });
  }

  async *watch(names: readonly string[], signal: AbortSignal): AsyncGenerator<UnitNews> {
    const listener = await this.#registry.watch.open(names, { signal });
    try {
      while (!signal.aborted) {
        const { units, gone } = await listener.next(signal);
        for (const view of units) yield { name: view.name, view };
        for (const name of gone) yield { name, view: undefined };
      }
    } finally {
      listener.close();
    }
  }

  async source(name: string, signal: AbortSignal): Promise<StoredSource> {
    const { record, revision = 0 } = (await this.#registry.sources.get(name, { signal })) ?? {};
    return { record, revision };
  }

  async writeSource(
    name: string,
    { record, revision }: StoredSource,
    signal: AbortSignal,
  ): Promise<StoredSource> {
    if (record === undefined) throw new TypeError("a source is written with its record");
    return await this.#registry.sources.put({ name, record, revision }, { signal });
  }

  async sourceChanged(name: string, revision: number, signal: AbortSignal): Promise<void> {
    await this.#registry.sources.changed(name, revision, signal);
  }
}
