import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
} from "node:fs";

/** Steps that take back what was made, to be done from the last to the first. */
export type Undo = (() => void)[];

export function makeLink(path: string, target: string, undo: Undo): void {
  if (readLink(path) === target) return;
  symlinkSync(target, path);
  undo.push(() => unlinkSync(path));
}

export function makeDirectory(path: string, undo: Undo): void {
  if (isDirectory(path)) return;
  mkdirSync(path, { mode: 0o755 });
  undo.push(() => rmdirSync(path));
}

export function removeIfEmpty(directory: string): void {
  attempt(() => rmdirSync(directory));
}

export function dropInNames(directory: string): readonly string[] {
  return list(directory)
    .filter((name) => name.endsWith(".conf") && !name.startsWith("."))
    .sort();
}

export function list(directory: string): readonly string[] {
  return isThere(directory) ? (attempt(() => readdirSync(directory)) ?? []) : [];
}

export function readText(path: string): string | undefined {
  return isThere(path) ? attempt(() => readFileSync(path, "utf8")) : undefined;
}

export function readLink(path: string): string | undefined {
  return isThere(path) ? attempt(() => readlinkSync(path)) : undefined;
}

export function isFile(path: string): boolean {
  return attempt(() => statSync(path, { throwIfNoEntry: false })?.isFile()) ?? false;
}

export function isDirectory(path: string): boolean {
  return attempt(() => lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) ?? false;
}

/** Asked first where there is often nothing: an error costs ten times as much. */
function isThere(path: string): boolean {
  return attempt(() => lstatSync(path, { throwIfNoEntry: false })) !== undefined;
}

/** Undefined where there is no such thing, or it is something else. Other errors are the disk's. */
export function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (typeof code === "string" && EXPECTED.has(code)) return undefined;
    throw error;
  }
}

const EXPECTED: ReadonlySet<string> = new Set([
  "ENOENT",
  "ENOTDIR",
  "EINVAL",
  "EISDIR",
  "ENOTEMPTY",
  "EEXIST",
]);
