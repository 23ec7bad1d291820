import { lstatSync, mkdirSync, renameSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { DropIn, Manifest } from "../units/manifest.ts";
import { templateOf, validateUnitName } from "../units/unit-name.ts";
import {
  attempt,
  dropInNames,
  isDirectory,
  isFile,
  list,
  makeDirectory,
  makeLink,
  readLink,
  readText,
  removeIfEmpty,
  type Undo,
} from "./dbus-disk.ts";
import { fenceDropIn, tokenOf } from "./dbus-fence.ts";
import type { HeldUnit } from "./systemd.ts";

/** Name of the drop-in that every unit gets from us; no manifest may have one of this name. */
export const OWN_DROP_IN = "50-fleet-ts.conf";

/** Of a fenced unit only. */
export const FENCE_DROP_IN = "99-fleet-ts-fence.conf";

const OWN_DROP_IN_FILE = ".after-daemon.conf";
const TEMPORARY = ".new-";

export interface UnitFilesOptions {
  /** Ours alone: `<unit>` and `<unit>.d/<name>.conf`, byte for byte. */
  readonly unitsDirectory: string;
  /** systemd's runtime directory, where we have symbolic links only, each to a file of ours. */
  readonly linkDirectory: string;
  readonly daemonUnit: string;
  readonly fenceDirectory: string;
}

/**
 * Files of the held units. A unit is held from the moment its file has its name: it gets that last, and loses it last.
 *
 * Links are made by hand and not with LinkUnitFiles, which has the same effect: 300 units take 5 ms either way, but the call
 * would replace a link of the host's (force) or fail for one of ours (no force), it takes no drop-ins, and it needs the bus.
 * Everything is synchronous: both directories are in memory (/run), where a call costs a few microseconds and
 * the detour over the thread pool ten times that.
 */
export class UnitFiles {
  readonly #options: UnitFilesOptions;
  #temporaries = 0;
  #touchedMs = 0;

  private constructor(options: UnitFilesOptions) {
    this.#options = options;
  }

  /** Finishes what a crash has left half done. */
  static open(options: UnitFilesOptions): UnitFiles {
    const files = new UnitFiles(options);
    const { unitsDirectory, linkDirectory, daemonUnit } = options;
    mkdirSync(unitsDirectory, { recursive: true, mode: 0o755 });
    mkdirSync(linkDirectory, { recursive: true, mode: 0o755 });
    files.#removeLeftovers();
    files.#keep(
      join(unitsDirectory, OWN_DROP_IN_FILE),
      `# Stops with the system before ${daemonUnit} does, so that it can still report that.\n[Unit]\nAfter=${daemonUnit}\n`,
    );
    return files;
  }

  /** systemd's name for the unit's file (FragmentPath). */
  linkPath(unit: string): string {
    return join(this.#options.linkDirectory, unit);
  }

  filePath(unit: string): string {
    return join(this.#options.unitsDirectory, unit);
  }

  isHeld(unit: string): boolean {
    return isFile(this.filePath(unit));
  }

  units(): readonly string[] {
    return list(this.#options.unitsDirectory)
      .filter((name) => validateUnitName(name) === undefined && this.isHeld(name))
      .sort();
  }

  held(): readonly HeldUnit[] {
    return this.units().flatMap((unit) => {
      const held = this.read(unit);
      return held === undefined ? [] : [held];
    });
  }

  read(unit: string): HeldUnit | undefined {
    const content = readText(this.filePath(unit));
    if (content === undefined) return undefined;
    const directory = `${this.filePath(unit)}.d`;
    const dropIns: DropIn[] = [];
    let fencingToken: number | undefined;
    for (const name of dropInNames(directory)) {
      const text = readText(join(directory, name));
      if (name === FENCE_DROP_IN) fencingToken = tokenOf(text);
      else if (text !== undefined) dropIns.push({ name, content: text });
    }
    const manifest: Manifest = { content, dropIns };
    return { unit, manifest, ...(fencingToken === undefined ? {} : { fencingToken }) };
  }

  /**
   * All that can run out of space (contents, directories, links) comes before the first change of what is there; if it fails, what was
   * made for it is gone again.
   */
  put(held: HeldUnit, options: { readonly ownDropIn: boolean }): void {
    const { unit, manifest } = held;
    const dropIns = [...manifest.dropIns, ...this.#fenceDropIn(held)];
    const renames: (readonly [from: string, to: string])[] = [];
    const undo: Undo = [];
    const stage = (path: string, content: string) => {
      const temporary = this.#temporary(path);
      undo.push(() => unlinkSync(temporary));
      writeFileSync(temporary, content, { mode: 0o644 });
      renames.push([temporary, path]);
    };
    const file = this.filePath(unit);
    const wanted = new Set(dropIns.map((dropIn) => dropIn.name));
    try {
      if (wanted.size > 0) makeDirectory(`${file}.d`, undo);
      for (const { name, content } of dropIns) stage(join(`${file}.d`, name), content);
      stage(file, manifest.content);
      this.#link(unit, options.ownDropIn ? [...wanted, OWN_DROP_IN] : [...wanted], undo);
    } catch (error) {
      for (const step of undo.reverse()) attempt(step);
      throw error;
    }
    for (const [from, to] of renames) renameSync(from, to);
    if (!options.ownDropIn) this.#unlinkDropIn(unit, OWN_DROP_IN);
    for (const name of dropInNames(`${file}.d`)) {
      if (!wanted.has(name)) this.#removeDropIn(unit, name);
    }
    if (wanted.size === 0) removeIfEmpty(`${file}.d`);
  }

  remove(unit: string): void {
    const file = this.filePath(unit);
    if (this.#isOwnLink(this.linkPath(unit), file)) unlinkSync(this.linkPath(unit));
    for (const name of dropInNames(`${file}.d`)) this.#removeDropIn(unit, name);
    this.#unlinkDropIn(unit, OWN_DROP_IN);
    removeIfEmpty(`${this.linkPath(unit)}.d`);
    removeIfEmpty(`${file}.d`);
    if (this.isHeld(unit)) unlinkSync(file);
  }

  /**
   * systemd looks for new files when the time of a directory on its path differs from the one it remembers. Two changes within one tick of the
   * kernel's clock (4 ms) have the same time, and the second would go unseen: the time is set to one that was never there.
   */
  touch(nowMs: number): void {
    this.#touchedMs = Math.max(nowMs, this.#touchedMs + 0.01);
    utimesSync(this.#options.linkDirectory, this.#touchedMs / 1000, this.#touchedMs / 1000);
  }

  /**
   * Files of the host that have one of `names`, by name, in the directories of systemd's UnitPath. The template of an instance counts: the
   * host's `foo@.service` makes every `foo@x.service` a unit of the host. Links to a file of ours are not the host's.
   */
  foreign(names: readonly string[], searchPath: readonly string[]): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const directory of searchPath) {
      const entries = new Set(list(directory));
      for (const name of names) {
        if (found.has(name)) continue;
        const hit = [name, templateOf(name)].find(
          (candidate) =>
            candidate !== undefined &&
            entries.has(candidate) &&
            this.ownerOf(join(directory, candidate)) === undefined,
        );
        if (hit !== undefined) found.set(name, join(directory, hit));
      }
    }
    return found;
  }

  /** The file that systemd would load the unit from: of that name, in the first directory that has one. */
  fragmentOf(unit: string, searchPath: readonly string[]): string | undefined {
    for (const directory of searchPath) {
      const path = `${directory}/${unit}`;
      if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) return path;
    }
    return undefined;
  }

  /** The unit of ours whose file `path` leads to: its file, its link or a link to either (Alias=). */
  ownerOf(path: string): string | undefined {
    const { unitsDirectory, linkDirectory } = this.#options;
    let at = path;
    for (let hops = 0; hops < 3; hops += 1) {
      if (dirname(at) === unitsDirectory) return basename(at);
      const link = readLink(at);
      if (link === undefined) return undefined;
      const target = resolve(dirname(at), link);
      if (dirname(target) !== unitsDirectory && dirname(target) !== linkDirectory) return undefined;
      at = target;
    }
    return undefined;
  }

  /** Makes the links of a unit that is held; true if one was missing. */
  restoreLinks(unit: string, options: { readonly ownDropIn: boolean }): boolean {
    const undo: Undo = [];
    const names = dropInNames(`${this.filePath(unit)}.d`);
    this.#link(unit, options.ownDropIn ? [...names, OWN_DROP_IN] : names, undo);
    return undo.length > 0;
  }

  #fenceDropIn({ fencingToken }: HeldUnit): readonly DropIn[] {
    if (fencingToken === undefined) return [];
    const content = fenceDropIn(this.#options.fenceDirectory, fencingToken);
    return [{ name: FENCE_DROP_IN, content }];
  }

  #link(unit: string, dropIns: readonly string[], undo: Undo): void {
    makeLink(this.linkPath(unit), this.filePath(unit), undo);
    if (dropIns.length === 0) return;
    const directory = `${this.linkPath(unit)}.d`;
    makeDirectory(directory, undo);
    for (const name of dropIns) makeLink(join(directory, name), this.#dropInFile(unit, name), undo);
  }

  #dropInFile(unit: string, name: string): string {
    return name === OWN_DROP_IN
      ? join(this.#options.unitsDirectory, OWN_DROP_IN_FILE)
      : join(`${this.filePath(unit)}.d`, name);
  }

  #removeDropIn(unit: string, name: string): void {
    this.#unlinkDropIn(unit, name);
    unlinkSync(join(`${this.filePath(unit)}.d`, name));
  }

  #unlinkDropIn(unit: string, name: string): void {
    const link = join(`${this.linkPath(unit)}.d`, name);
    if (this.#isOwnLink(link, this.#dropInFile(unit, name))) unlinkSync(link);
  }

  #isOwnLink(path: string, target: string): boolean {
    return readLink(path) === target;
  }

  #temporary(path: string): string {
    this.#temporaries += 1;
    return join(
      dirname(path),
      `${TEMPORARY}${process.pid}-${this.#temporaries}-${basename(path)}`.slice(0, 250),
    );
  }

  /** Rewriting the same would make systemd take every unit that reads it for changed. */
  #keep(path: string, content: string): void {
    if (readText(path) === content) return;
    const temporary = this.#temporary(path);
    writeFileSync(temporary, content, { mode: 0o644 });
    renameSync(temporary, path);
  }

  /** Contents without their name yet, drop-ins of no unit, and links of ours that lead nowhere. */
  #removeLeftovers(): void {
    const { unitsDirectory, linkDirectory } = this.#options;
    for (const name of list(unitsDirectory)) {
      const path = join(unitsDirectory, name);
      if (name.startsWith(TEMPORARY)) unlinkSync(path);
      else if (name.endsWith(".d")) {
        for (const inner of list(path)) {
          const orphan = !this.isHeld(name.slice(0, -2)) || inner.startsWith(TEMPORARY);
          if (orphan) unlinkSync(join(path, inner));
        }
        removeIfEmpty(path);
      }
    }
    for (const name of list(linkDirectory)) {
      const path = join(linkDirectory, name);
      if (!isDirectory(path)) this.#unlinkDangling(path);
      else if (/[.](d|wants|requires|upholds)$/.test(name)) {
        const unlinked = list(path).filter((inner) => this.#unlinkDangling(join(path, inner)));
        if (unlinked.length > 0) removeIfEmpty(path);
      }
    }
  }

  #unlinkDangling(path: string): boolean {
    const link = readLink(path);
    if (link === undefined || isFile(path)) return false;
    if (!resolve(dirname(path), link).startsWith(`${this.#options.unitsDirectory}/`)) return false;
    unlinkSync(path);
    return true;
  }
}
