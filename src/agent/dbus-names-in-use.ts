import { validateUnitName } from "../units/unit-name.ts";
import { type Manager, UNIT_INTERFACE } from "./dbus-manager.ts";
import type { UnitFiles } from "./dbus-unit-files.ts";
import { readUnitText } from "./dbus-unit-text.ts";
import type { HeldUnit } from "./systemd.ts";

export interface NameInUse {
  /** File of the host's unit that has the name, or a name that enabling would use (I11); empty for one without a file. */
  readonly takenBy: string | undefined;
  /** systemd has a unit of ours in memory under this name. */
  readonly isInMemory: boolean;
}

/**
 * Who has the names that writing these units would use: files of the host anywhere on systemd's path, and what systemd has in memory without
 * a file, or of one that is gone. Looks into each directory once, and loads nothing.
 */
export async function lookUpNames(
  units: readonly HeldUnit[],
  options: {
    readonly manager: Manager;
    readonly files: UnitFiles;
    readonly signal: AbortSignal | undefined;
  },
): Promise<ReadonlyMap<string, NameInUse>> {
  const { manager, files, signal } = options;
  const valid = units.filter(({ unit }) => validateUnitName(unit) === undefined);
  const wanted = new Map(
    valid.map(({ unit, manifest }) => [unit, [unit, ...readUnitText(unit, manifest).installNames]]),
  );
  const names = [...new Set([...wanted.values()].flat())];
  const onDisk = files.foreign(names, await manager.searchPath(signal));
  const inMemory = new Map<string, string | undefined>();
  await Promise.all(
    names.map(async (name) => {
      // Of other units: a name with a specifier (Alias=%p.service), which systemd fills in.
      if (validateUnitName(name) !== undefined) return;
      const fragment = await loadedFragment(manager, name, signal);
      if (fragment !== undefined) inMemory.set(name, fragment);
    }),
  );
  // A file of ours, also under the name of an alias, or of a unit that is removed and that systemd has not forgotten yet.
  const isOurs = (name: string, fragment: string) =>
    fragment === files.linkPath(name) || files.ownerOf(fragment) !== undefined;
  const takenBy = (name: string) => {
    const fragment = inMemory.get(name);
    if (fragment === undefined || isOurs(name, fragment)) return onDisk.get(name);
    return onDisk.get(name) ?? fragment;
  };
  return new Map(
    [...wanted].map(([unit, used]) => [
      unit,
      {
        takenBy: used.map(takenBy).find((path) => path !== undefined),
        isInMemory: inMemory.has(unit),
      },
    ]),
  );
}

/** FragmentPath of a unit that systemd has in memory and knows more of than that somebody mentions it. */
async function loadedFragment(
  manager: Manager,
  name: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const path = await manager.loadedPath(name, signal);
  if (path === undefined) return undefined;
  const [load, fragment] = await Promise.all([
    manager.text(path, UNIT_INTERFACE, "LoadState", { signal }),
    manager.text(path, UNIT_INTERFACE, "FragmentPath", { signal }),
  ]);
  return load === "not-found" ? undefined : fragment;
}
