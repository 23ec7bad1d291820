/**
 * Tree port: a directory of unit files as of one version. Adapters: `git-tree.ts` (commits, read from git's objects), `folder-tree.ts` (what
 * lies there now).
 */
export interface TreeSource {
  /** For messages: the directory or URL, and the branch. Without passwords. */
  readonly description: string;
  /** The newest version. Throws FleetError `tree-unavailable` (retriable) when it cannot be reached. */
  newest(call: TreeCall): Promise<TreeVersion>;
  /** Why the version must not be applied, whatever is in it; undefined when it may be. */
  distrust(version: TreeVersion, call: TreeCall): Promise<string | undefined>;
  /** A version by its id, full or shortened; undefined when there is no such one. */
  find(id: string, call: TreeCall): Promise<TreeVersion | undefined>;
  read(version: TreeVersion, call: TreeCall): Promise<Tree>;
  /** Resolves when there may be a newer version: something stirred, or it is time to look. */
  stirred(call: TreeCall): Promise<void>;
}

export interface TreeCall {
  readonly signal?: AbortSignal | undefined;
}

export interface TreeVersion {
  /** Commit: 40 or 64 hexadecimal digits. Folder: `folder-` and a hash of what is in it. */
  readonly id: string;
  /** `Ada <ada@example.com>`; empty for folders. */
  readonly author: string;
  /** First line of the commit's message; empty for folders. */
  readonly subject: string;
  /** Unix milliseconds. */
  readonly committedMs: number;
}

export interface Tree {
  /** Files that could be unit files or drop-ins, and `.fleetignore`, in order of path. */
  readonly files: readonly TreeFile[];
  /** What cannot be read for what it is: links, bytes that are not UTF-8. */
  readonly problems: readonly TreeProblem[];
}

export interface TreeFile {
  /** From the root of the tree, parts between `/`. */
  readonly path: string;
  readonly content: string;
}

export interface TreeProblem {
  readonly path: string;
  readonly message: string;
}

export const IGNORE_FILE = ".fleetignore";

/** Of one file. A unit with its drop-ins may have as much. */
export const TREE_FILE_BYTES_MAX = 1024 * 1024;

/** A tree with more is not one of unit files. */
export const TREE_FILES_MAX = 50_000;
