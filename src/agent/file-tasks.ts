import type { ManifestCache } from "../registry/manifest-cache.ts";
import { FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Manifest } from "../units/manifest.ts";
import type { Assignments } from "./assignments.ts";
import { describeManifest, type Holdings, type ManifestFacts } from "./holdings.ts";
import type { Lanes } from "./lanes.ts";
import type { LeaseFence } from "./lease-fence.ts";
import type { AgentTask, DesiredUnit } from "./reconcile.ts";
import type { Systemd } from "./systemd.ts";
import type { Step, UnheldUnits } from "./unheld-units.ts";

export interface FileTasksOptions {
  readonly logger: Logger;
  readonly systemd: Systemd;
  readonly holdings: Holdings;
  readonly assignments: Assignments;
  readonly manifests: ManifestCache;
  readonly lanes: Lanes;
  readonly unheld: UnheldUnits;
  readonly fence: LeaseFence;
  /** The unit has changed: look at it again, and publish its state. */
  readonly onChange: (unit: string) => void;
  readonly onFiles: () => void;
  /** It no longer occupies the machine. */
  readonly letGo: (unit: string) => Promise<void>;
}

/** Manifests that are to be written in this pass, by hash. */
export type Manifests = ReadonlyMap<
  string,
  { readonly manifest: Manifest; readonly facts: ManifestFacts }
>;

interface Write {
  readonly task: AgentTask;
  readonly desired: DesiredUnit;
  readonly known: { readonly manifest: Manifest; readonly facts: ManifestFacts };
}

function writesOf(steps: readonly Step[], manifests: Manifests): readonly Write[] {
  return steps.flatMap(({ task, desired }) => {
    const known = desired && manifests.get(desired.manifest);
    return task.type === "write" && desired !== undefined && known !== undefined
      ? [{ task, desired, known }]
      : [];
  });
}

/** Writing and removing unit files: in batches, with at most one daemon-reload each. */
export class FileTasks {
  readonly #options: FileTasksOptions;
  #reloadDue = false;

  constructor(options: FileTasksOptions) {
    this.#options = options;
  }

  /** What an earlier pass was kept from. */
  async reloadIfDue(signal: AbortSignal): Promise<void> {
    if (!this.#reloadDue) return;
    await this.#options.systemd.reload(signal);
    this.#reloadDue = false;
  }

  async fetchManifests(units: readonly string[], signal: AbortSignal): Promise<Manifests> {
    const { assignments, holdings, manifests } = this.#options;
    const hashes = new Set<string>();
    for (const unit of units) {
      const manifest = assignments.get(unit)?.manifest;
      const file = holdings.file(unit);
      const isSame =
        file?.manifest === manifest &&
        (file?.fencing === undefined || file.fencingToken === assignments.get(unit)?.fencingToken);
      if (manifest !== undefined && !isSame) hashes.add(manifest);
    }
    const found = new Map<string, { manifest: Manifest; facts: ManifestFacts }>();
    for (const [hash, manifest] of await manifests.manifests(hashes, { signal })) {
      found.set(hash, { manifest, facts: describeManifest(manifest) });
    }
    return found;
  }

  async write(steps: readonly Step[], manifests: Manifests, signal: AbortSignal): Promise<void> {
    const { systemd, holdings, lanes, logger, unheld } = this.#options;
    const writes = await this.#fenced(writesOf(steps, manifests), signal);
    if (writes.length === 0) return;
    const results = await systemd.write(
      writes.map(({ desired: { unit, fencingToken }, known: { manifest } }) => ({
        unit,
        manifest,
        fencingToken,
      })),
      signal,
    );
    for (const [index, { task, desired, known }] of writes.entries()) {
      const result = results[index];
      unheld.forgetClaim(task.unit);
      if (result?.type === "written") {
        const { fencingToken } = desired;
        holdings.setFile({ unit: task.unit, manifest: known.manifest, fencingToken }, known.facts);
        this.#reloadDue ||= result.reloadNeeded;
        lanes.forgive(task.unit);
        logger.info("task-done", task);
      } else if (result?.type === "name-taken") {
        unheld.refuse(desired, result.path);
      } else {
        const message = result?.message ?? "systemd gave no answer";
        lanes.fail(
          task.unit,
          "write",
          new FleetError(result?.code ?? "host-io", message, { retriable: true }),
        );
        logger.warn("task-failed", { ...task, error: message });
      }
    }
    await this.reloadIfDue(signal);
    // Asking makes systemd load the unit; one that is started next is loaded then.
    const kept = writes
      .filter(({ desired }) => desired.target === "loaded")
      .map(({ task }) => task.unit);
    if (kept.length > 0) {
      for (const status of await systemd.status(kept, signal)) holdings.setStatus(status);
    }
    for (const { task } of writes) this.#options.onChange(task.unit);
    this.#options.onFiles();
  }

  /** Without those that the fence cannot be put around now: they are tried again. */
  async #fenced(writes: readonly Write[], signal: AbortSignal): Promise<readonly Write[]> {
    const { fence, lanes, logger } = this.#options;
    const ready: Write[] = [];
    for (const write of writes) {
      const { task, known } = write;
      try {
        const { fencing } = known.facts;
        if (fencing !== undefined) await fence.cover(task.unit, fencing, signal);
        ready.push(write);
      } catch (error) {
        if (!isFleetError(error)) throw error;
        lanes.fail(task.unit, "write", error);
        logger.warn("task-failed", { ...task, error: error.message });
        this.#options.onChange(task.unit);
      }
    }
    return ready;
  }

  async remove(steps: readonly Step[], signal: AbortSignal): Promise<void> {
    const { systemd, logger, letGo } = this.#options;
    const removals = steps.filter(({ task }) => task.type === "remove");
    if (removals.length === 0) return;
    const { reloadNeeded } = await systemd.remove(
      removals.map(({ task }) => task.unit),
      signal,
    );
    this.#reloadDue ||= reloadNeeded;
    await this.reloadIfDue(signal);
    for (const { task } of removals) {
      await letGo(task.unit);
      this.#options.onChange(task.unit);
      logger.info("task-done", task);
    }
  }
}
