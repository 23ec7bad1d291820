import { isDeepStrictEqual } from "node:util";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import { validateUnitName } from "../units/unit-name.ts";
import { isNotLoaded, type Manager, UNIT_INTERFACE } from "./dbus-manager.ts";
import { lookUpNames, type NameInUse } from "./dbus-names-in-use.ts";
import { FENCE_DROP_IN, OWN_DROP_IN, type UnitFiles } from "./dbus-unit-files.ts";
import { readUnitText } from "./dbus-unit-text.ts";
import type { HeldUnit, WriteResult } from "./systemd.ts";

export interface UnitWriterOptions {
  readonly manager: Manager;
  readonly files: UnitFiles;
  readonly wallMs: () => number;
  /** A unit was written that systemd has not in memory. */
  readonly onUnknown: (unit: string) => void;
}

interface Changes {
  /** Something systemd may have read differently before. */
  readonly changed: boolean;
  readonly linksChanged: boolean;
  /** There was no such unit of ours before. */
  readonly isNew: boolean;
}

interface Written extends Changes {
  /** systemd had this unit of ours in memory before. */
  readonly wasInMemory: boolean;
}

/** Puts units on the machine and takes them off, and knows when systemd has to read its files again for it. */
export class UnitWriter {
  readonly #options: UnitWriterOptions;
  /** A call broke off after it had changed something, so that its answer never said what has to be reloaded. */
  #owesReload = false;

  constructor(options: UnitWriterOptions) {
    this.#options = options;
  }

  /** Links and enablement of held units that a crash came in between. True if systemd has to reload for it. */
  async restore(): Promise<boolean> {
    const { files, manager } = this.#options;
    let changed = false;
    for (const { unit, manifest } of files.held()) {
      const text = readUnitText(unit, manifest);
      try {
        const ownDropIn = text.stopsBeforeDaemon;
        changed = onDisk(() => files.restoreLinks(unit, { ownDropIn })) || changed;
        if (text.installs) changed = (await manager.enable(unit)).length > 0 || changed;
      } catch (error) {
        // The agent writes the unit again and hears the reason then.
        if (!isFleetError(error, "systemd-refused", "host-io")) throw error;
      }
    }
    if (changed) this.#touch();
    return changed;
  }

  async write(units: readonly HeldUnit[], signal?: AbortSignal): Promise<readonly WriteResult[]> {
    const { manager, files, onUnknown } = this.#options;
    const problems = units.map((held) => invalid(held));
    const names = await lookUpNames(units, { manager, files, signal });
    return await this.#owing(async () => {
      const outcomes: (WriteResult | Written)[] = [];
      for (const [index, held] of units.entries()) {
        const problem = problems[index];
        outcomes.push(problem ?? (await this.#writeOne(held, names.get(held.unit), signal)));
      }
      this.#touch();
      return await Promise.all(
        outcomes.map(async (outcome, index): Promise<WriteResult> => {
          if ("type" in outcome) return outcome;
          const unit = units[index]?.unit ?? "";
          if (!outcome.wasInMemory) onUnknown(unit);
          return { type: "written", reloadNeeded: await this.#isStale(unit, outcome, signal) };
        }),
      );
    });
  }

  /** systemd has read everything anew. */
  reloaded(): void {
    this.#owesReload = false;
  }

  async remove(units: readonly string[], signal?: AbortSignal): Promise<boolean> {
    return await this.#owing(() => this.#remove(units, signal));
  }

  async #remove(units: readonly string[], signal: AbortSignal | undefined): Promise<boolean> {
    const { files, manager } = this.#options;
    let linksChanged = this.#owesReload;
    const removed: string[] = [];
    for (const unit of units) {
      const manifest = files.read(unit)?.manifest;
      if (manifest === undefined || validateUnitName(unit) !== undefined) continue;
      if (readUnitText(unit, manifest).installs) {
        linksChanged = (await manager.disable(unit, signal)) || linksChanged;
      }
      onDisk(() => files.remove(unit));
      removed.push(unit);
    }
    if (removed.length === 0) return linksChanged;
    this.#touch();
    const remembered = await Promise.all(removed.map((unit) => this.#forget(unit, signal)));
    return linksChanged || remembered.includes(true);
  }

  /** Clears the failed state; true if systemd still has the unit in memory then, because another unit names it. */
  async #forget(unit: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { manager, files } = this.#options;
    const path = await manager.loadedPath(unit, signal);
    if (path === undefined) return false;
    const fragment = await manager.text(path, UNIT_INTERFACE, "FragmentPath", { signal });
    if (fragment !== files.linkPath(unit) && fragment !== files.filePath(unit)) return false;
    try {
      await manager.call("ResetFailedUnit", "s", [unit], { about: unit, signal });
    } catch (error) {
      if (!isNotLoaded(error)) throw error;
      return false;
    }
    return (await manager.loadedPath(unit, signal)) !== undefined;
  }

  async #owing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#owesReload = true;
      throw error;
    }
  }

  async #writeOne(
    held: HeldUnit,
    name: NameInUse | undefined,
    signal: AbortSignal | undefined,
  ): Promise<WriteResult | Written> {
    if (name?.takenBy !== undefined) return { type: "name-taken", path: name.takenBy };
    try {
      return { ...(await this.#put(held, signal)), wasInMemory: name?.isInMemory ?? false };
    } catch (error) {
      return failure(error);
    }
  }

  async #put(held: HeldUnit, signal: AbortSignal | undefined): Promise<Changes> {
    const { files, manager } = this.#options;
    const { unit, manifest } = held;
    const before = files.read(unit);
    const text = readUnitText(unit, manifest);
    const put = (what: HeldUnit) => {
      const { stopsBeforeDaemon } = readUnitText(unit, what.manifest);
      onDisk(() => files.put(what, { ownDropIn: stopsBeforeDaemon }));
    };
    const changed = !isSame(before, held);
    // Touching the same file again would make systemd take the unit for changed.
    if (!changed) onDisk(() => files.restoreLinks(unit, { ownDropIn: text.stopsBeforeDaemon }));
    const wasInstalled = before !== undefined && readUnitText(unit, before.manifest).installs;
    let linksChanged = false;
    // Takes the unit's link along, which put() makes again.
    if (wasInstalled && changed) linksChanged = await manager.disable(unit, signal);
    if (changed) put(held);
    const isNew = before === undefined;
    if (!text.installs) return { changed, linksChanged, isNew };
    try {
      this.#touch();
      const links = await manager.enable(unit, signal);
      return { changed, linksChanged: linksChanged || links.length > 0, isNew };
    } catch (error) {
      await manager.disable(unit).catch(() => false);
      if (before === undefined) onDisk(() => files.remove(unit));
      else {
        put(before);
        if (wasInstalled) await manager.enable(unit).catch(() => []);
      }
      throw error;
    }
  }

  /**
   * What systemd had in memory before the write is stale if anything changed: it compares times of files itself, and takes two writes within one
   * tick of the clock for one. What it has loaded since is the new file, but for a race that its comparison does see; of a new unit there is
   * nothing old to load.
   */
  async #isStale(
    unit: string,
    { changed, linksChanged, isNew, wasInMemory }: Written,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    if (linksChanged || this.#owesReload) return true;
    if (isNew && !wasInMemory) return false;
    const { manager } = this.#options;
    const path = await manager.loadedPath(unit, signal);
    if (path === undefined) return false;
    if (wasInMemory && changed) return true;
    return (await manager.property(path, UNIT_INTERFACE, "NeedDaemonReload", { signal })) === true;
  }

  #touch(): void {
    onDisk(() => this.#options.files.touch(this.#options.wallMs()));
  }
}

function isSame(before: HeldUnit | undefined, after: HeldUnit): boolean {
  return (
    before !== undefined &&
    before.fencingToken === after.fencingToken &&
    isDeepStrictEqual(before.manifest, after.manifest)
  );
}

function invalid({ unit, manifest }: HeldUnit): WriteResult | undefined {
  const problem = validateUnitName(unit);
  if (problem !== undefined) return refused(problem);
  const seen = new Set<string>([OWN_DROP_IN, FENCE_DROP_IN]);
  for (const { name } of manifest.dropIns) {
    if (!/^[^./][^/\0]*[.]conf$/.test(name) || Buffer.byteLength(name) > 200) {
      return refused(`drop-in ${JSON.stringify(name)} is not the name of a .conf file`);
    }
    if (seen.has(name)) return refused(`drop-in name ${name} is in use`);
    seen.add(name);
  }
  return undefined;
}

function refused(message: string): WriteResult {
  return { type: "failed", code: "systemd-refused", message };
}

function failure(error: unknown): WriteResult {
  if (isFleetError(error, "systemd-refused", "host-io")) {
    const code = error.code === "host-io" ? "host-io" : "systemd-refused";
    return { type: "failed", code, message: error.message };
  }
  throw error;
}

/** Errors of the file system have a code of the system's; everything else is a mistake of ours. */
export function onDisk<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Error) || !("syscall" in error)) throw error;
    const message = `cannot write unit files: ${errorMessage(error)}`;
    throw new FleetError("host-io", message, { retriable: true, cause: error });
  }
}
