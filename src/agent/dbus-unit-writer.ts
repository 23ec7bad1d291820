import { isDeepStrictEqual } from "node:util";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Manifest } from "../units/manifest.ts";
import { validateUnitName } from "../units/unit-name.ts";
import { isNotLoaded, type Manager, UNIT_INTERFACE } from "./dbus-manager.ts";
import { OWN_DROP_IN, type UnitFiles } from "./dbus-unit-files.ts";
import { readUnitText } from "./dbus-unit-text.ts";
import type { HeldUnit, WriteResult } from "./systemd.ts";

export interface UnitWriterOptions {
  readonly manager: Manager;
  readonly files: UnitFiles;
  readonly wallMs: () => number;
}

interface Written {
  /** Something systemd may have read differently before. */
  readonly changed: boolean;
  readonly linksChanged: boolean;
}

/** Puts units on the machine and takes them off, and knows when systemd has to read its files again for it. */
export class UnitWriter {
  readonly #options: UnitWriterOptions;

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
        changed = files.restoreLinks(unit, { ownDropIn: text.stopsBeforeDaemon }) || changed;
        if (text.installs) changed = (await manager.enable(unit)).length > 0 || changed;
      } catch (error) {
        // The agent writes the unit again and hears the reason then.
        if (isFleetError(error, "systemd-unavailable", "systemd-deadline")) throw error;
      }
    }
    if (changed) this.#touch();
    return changed;
  }

  async write(units: readonly HeldUnit[], signal?: AbortSignal): Promise<readonly WriteResult[]> {
    const { manager } = this.#options;
    const results: (WriteResult | undefined)[] = units.map((held) => invalid(held));
    const taken = await this.#taken(units, await manager.searchPath(signal), signal);
    const written = new Map<number, Written>();
    for (const [index, held] of units.entries()) {
      if (results[index] !== undefined) continue;
      const path = taken.get(held.unit);
      if (path !== undefined) {
        results[index] = { type: "name-taken", path };
        continue;
      }
      try {
        written.set(index, await this.#put(held, signal));
      } catch (error) {
        if (isFleetError(error, "systemd-unavailable", "systemd-deadline")) throw error;
        results[index] = failure(error);
      }
    }
    this.#touch();
    const stale = await Promise.all(
      units.map(({ unit }, index) => {
        const done = written.get(index);
        return done !== undefined && this.#isStale(unit, done, signal);
      }),
    );
    return results.map((result, index) => {
      return result ?? { type: "written", reloadNeeded: stale[index] ?? false };
    });
  }

  async remove(units: readonly string[], signal?: AbortSignal): Promise<boolean> {
    const { files, manager } = this.#options;
    let linksChanged = false;
    const removed: string[] = [];
    for (const unit of units) {
      const manifest = files.read(unit);
      if (manifest === undefined || validateUnitName(unit) !== undefined) continue;
      if (readUnitText(unit, manifest).installs) {
        linksChanged = (await manager.disable(unit, signal)) || linksChanged;
      }
      onDisk(() => files.remove(unit));
      removed.push(unit);
    }
    if (removed.length === 0) return false;
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

  async #put(held: HeldUnit, signal: AbortSignal | undefined): Promise<Written> {
    const { files, manager } = this.#options;
    const { unit, manifest } = held;
    const before = files.read(unit);
    const text = readUnitText(unit, manifest);
    const put = (what: Manifest) => {
      const { stopsBeforeDaemon } = readUnitText(unit, what);
      onDisk(() => files.put({ unit, manifest: what }, { ownDropIn: stopsBeforeDaemon }));
    };
    const changed = !isDeepStrictEqual(before, manifest);
    const wasInstalled = before !== undefined && readUnitText(unit, before).installs;
    let linksChanged = false;
    // Takes the unit's link along, which put() makes again.
    if (wasInstalled && changed) linksChanged = await manager.disable(unit, signal);
    put(manifest);
    if (!text.installs) return { changed, linksChanged };
    try {
      this.#touch();
      const links = await manager.enable(unit, signal);
      return { changed, linksChanged: linksChanged || links.length > 0 };
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

  /** Units that the host has: by its files, and by what systemd has in memory (without a file, or of a file that is gone). */
  async #taken(
    units: readonly HeldUnit[],
    searchPath: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<ReadonlyMap<string, string>> {
    const { files } = this.#options;
    const taken = new Map<string, string>();
    const wanted = units.flatMap(({ unit, manifest }) => {
      if (validateUnitName(unit) !== undefined) return [];
      const others = readUnitText(unit, manifest).installNames;
      return [unit, ...others].map((name) => ({ unit, name }));
    });
    const names = [...new Set(wanted.map(({ name }) => name))];
    const onDiskByHost = files.foreign(names, searchPath);
    const inMemory = await Promise.all(
      names.map(async (name) => {
        if (validateUnitName(name) !== undefined) return undefined;
        return await this.#foreignInMemory(name, signal);
      }),
    );
    for (const { unit, name } of wanted) {
      const path = onDiskByHost.get(name) ?? inMemory[names.indexOf(name)];
      if (path !== undefined && !taken.has(unit)) taken.set(unit, path);
    }
    return taken;
  }

  async #foreignInMemory(
    name: string,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    const { manager, files } = this.#options;
    const path = await manager.loadedPath(name, signal);
    if (path === undefined) return undefined;
    const [load, fragment] = await Promise.all([
      manager.text(path, UNIT_INTERFACE, "LoadState", { signal }),
      manager.text(path, UNIT_INTERFACE, "FragmentPath", { signal }),
    ]);
    if (load === "not-found" || fragment === files.linkPath(name)) return undefined;
    // A file of ours under the name of an alias or, after removal, of a unit systemd has not forgotten yet.
    return files.ownerOf(fragment) === undefined ? fragment : undefined;
  }

  /** Asked after the write: a unit systemd loads from now on has the new file. */
  async #isStale(
    unit: string,
    { changed, linksChanged }: Written,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    if (linksChanged) return true;
    const { manager } = this.#options;
    const path = await manager.loadedPath(unit, signal);
    if (path === undefined) return false;
    // For a name that another unit merely mentions, systemd looks again by itself when the unit is started.
    const load = await manager.text(path, UNIT_INTERFACE, "LoadState", { signal });
    if (load === "not-found") return false;
    // systemd compares times of files, and takes two writes within one tick of the clock for one.
    if (changed) return true;
    return (await manager.property(path, UNIT_INTERFACE, "NeedDaemonReload", { signal })) === true;
  }

  #touch(): void {
    onDisk(() => this.#options.files.touch(this.#options.wallMs()));
  }
}

function invalid({ unit, manifest }: HeldUnit): WriteResult | undefined {
  const problem = validateUnitName(unit);
  if (problem !== undefined) return refused(problem);
  const seen = new Set<string>([OWN_DROP_IN]);
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
