import { createHash } from "node:crypto";
import { readFile, realpath, stat } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import type { Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import { FolderTree } from "./folder-tree.ts";
import type { SignatureRule } from "./git-signature.ts";
import { GitTree } from "./git-tree.ts";
import type { WatchedPath } from "./stirred-files.ts";
import type { TreeSource } from "./tree.ts";

export interface OpenTreeOptions {
  readonly clock: Clock;
  /** `DIR` or `URL`, and `#BRANCH`, `#BRANCH:PATH` or `#:PATH` behind it. */
  readonly location: string;
  /** Of a work tree: what lies there, committed or not. */
  readonly dirty: boolean;
  readonly signatures: SignatureRule | undefined;
  /** Where copies of repositories are kept. */
  readonly cacheDirectory: string;
  readonly pollMs: number;
}

/** What a location on the command line or in fleet.conf names. Throws FleetError `usage` with what is wrong with it. */
export async function openTree(options: OpenTreeOptions): Promise<TreeSource> {
  const { clock, location, dirty, signatures, cacheDirectory, pollMs } = options;
  const { place, branch, path } = parseLocation(location);
  const key = createHash("sha256").update(location).digest("hex").slice(0, 16);
  const git = { clock, branch, pollMs, signatures, directory: join(cacheDirectory, key) };
  if (isUrl(place)) {
    if (dirty) throw usage(`${place}: --dirty is for a directory on this machine`);
    return new GitTree({ ...git, url: place, path, watched: [] });
  }
  const directory = await existingDirectory(place);
  const repository = await findRepository(directory);
  const plain = repository === undefined || (dirty && repository.workTree !== undefined);
  if (plain) {
    const wants = branch !== undefined ? "a branch" : signatures !== undefined && "signatures";
    if (wants)
      throw usage(`${place}: there is no git repository here, so there can be no ${wants}`);
    return new FolderTree({ clock, directory: join(directory, path), pollMs });
  }
  const below = repository.workTree === undefined ? "" : relative(repository.workTree, directory);
  return new GitTree({
    ...git,
    url: repository.workTree ?? directory,
    path: [below, path].filter((part) => part !== "").join("/"),
    watched: repository.watched,
  });
}

/** Whether it can be reached from any machine. `user@host:path` is ssh to git. */
export function isUrl(place: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(place) || /^[^/\s]+@[^/\s]+:/.test(place);
}

interface Location {
  readonly place: string;
  readonly branch: string | undefined;
  readonly path: string;
}

export function parseLocation(location: string): Location {
  const hash = location.lastIndexOf("#");
  const place = hash === -1 ? location : location.slice(0, hash);
  const rest = hash === -1 ? "" : location.slice(hash + 1);
  const colon = rest.indexOf(":");
  const branch = colon === -1 ? rest : rest.slice(0, colon);
  const path = colon === -1 ? "" : rest.slice(colon + 1).replace(/^\/+|\/+$/g, "");
  if (place === "") throw usage(`"${location}": name a directory or a URL`);
  if (path.split("/").some((part) => part === ".." || part === ".")) {
    throw usage(`${location}: the path has to stay inside of the tree`);
  }
  // Anything else could be read by git as an option or as two names.
  if (branch !== "" && !/^[A-Za-z0-9_][A-Za-z0-9_./@+-]*$/.test(branch)) {
    throw usage(`${location}: ${branch} is no name of a branch`);
  }
  return { place, branch: branch === "" ? undefined : branch, path };
}

async function existingDirectory(place: string): Promise<string> {
  try {
    const directory = await realpath(resolve(place));
    if ((await stat(directory)).isDirectory()) return directory;
    throw usage(`${place} is not a directory`);
  } catch (error) {
    if (error instanceof FleetError) throw error;
    throw usage(`${place} is not a directory`);
  }
}

interface Repository {
  /** Undefined: it is bare, or the directory is the `.git` itself. */
  readonly workTree: string | undefined;
  readonly watched: readonly WatchedPath[];
}

/** The repository that the directory is in, told by its files: no git runs there. */
async function findRepository(directory: string): Promise<Repository | undefined> {
  if ((await isFile(join(directory, "HEAD"))) && (await isThere(join(directory, "objects")))) {
    return { workTree: undefined, watched: refsOf(directory) };
  }
  for (let at = directory; ; at = dirname(at)) {
    const gitDirectory = await gitDirectoryOf(at);
    if (gitDirectory !== undefined) return { workTree: at, watched: refsOf(gitDirectory) };
    if (at === dirname(at)) return undefined;
  }
}

async function gitDirectoryOf(workTree: string): Promise<string | undefined> {
  const git = join(workTree, ".git");
  if (await isThere(join(git, "HEAD"))) return git;
  // Of `git worktree` and of submodules it is a file that says where.
  const text = await readFile(git, "utf8").catch(() => "");
  const named = /^gitdir: (.+)$/m.exec(text)?.[1];
  return named === undefined ? undefined : resolve(workTree, named);
}

function refsOf(gitDirectory: string): readonly WatchedPath[] {
  return [
    { path: gitDirectory, deep: false },
    { path: join(gitDirectory, "refs"), deep: true },
  ];
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

async function isFile(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

function usage(message: string): FleetError {
  return new FleetError("usage", message);
}
