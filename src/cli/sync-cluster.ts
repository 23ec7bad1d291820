import type { SourceBody, WatchLine } from "../api/protocol.ts";
import type { Outlook } from "../cluster/outlook.ts";
import type { ApplyResult, UnitChange } from "../cluster/unit-change.ts";
import type { UnitView } from "../cluster/views.ts";
import { FleetError } from "../runtime/errors.ts";
import type { StoredSource, SyncCluster, UnitNews } from "../sync/sync-cluster.ts";
import type { FleetClient } from "./fleet-client.ts";
import { ApiError } from "./http-client.ts";

/** The cluster as a sync sees it, through the API. */
export class ApiSyncCluster implements SyncCluster {
  readonly #client: FleetClient;

  constructor(client: FleetClient) {
    this.#client = client;
  }

  async units(): Promise<ReadonlyMap<string, UnitView>> {
    const units = await retriable(this.#client.units({ patient: true }));
    return new Map(units.map((unit) => [unit.name, unit]));
  }

  async apply(changes: readonly UnitChange[]): Promise<readonly ApplyResult[]> {
    return await retriable(this.#client.apply(changes));
  }

  async preview(changes: readonly UnitChange[]): Promise<readonly Outlook[]> {
    return (await retriable(this.#client.plan(changes))).outlooks;
  }

  async *watch(names: readonly string[], signal: AbortSignal): AsyncGenerator<UnitNews> {
    try {
      for await (const line of this.#client.watch(names, signal)) yield* newsOf(line);
    } catch (error) {
      throw asRetriable(error);
    }
  }

  async source(name: string): Promise<StoredSource> {
    try {
      const { record, revision } = await this.#client.source(name);
      return { record, revision };
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) {
        return { record: undefined, revision: 0 };
      }
      throw asRetriable(error);
    }
  }

  async sourceChanged(name: string, revision: number, signal: AbortSignal): Promise<void> {
    await retriable(this.#client.sourceChanged(name, revision, signal));
  }

  async writeSource(name: string, { record, revision }: StoredSource): Promise<StoredSource> {
    if (record === undefined) throw new TypeError("a source is written with its record");
    const body: SourceBody = { name, record, revision };
    return await retriable(this.#client.putSource(body));
  }
}

function* newsOf(line: WatchLine): Iterable<UnitNews> {
  if (line.type === "unit") yield { name: line.unit.name, view: line.unit };
  else if (line.type === "gone") yield { name: line.name, view: undefined };
}

async function retriable<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw asRetriable(error);
  }
}

/** A daemon without its registry, or one that restarts, is back soon; whoever follows a tree tries again. */
function asRetriable(error: unknown): unknown {
  if (!(error instanceof ApiError)) return error;
  const passes = error.status >= 500 || error.status === 409;
  const code = error.status === 400 ? "unit-invalid" : "api-refused";
  return new FleetError(code, error.message, { retriable: passes, cause: error });
}
