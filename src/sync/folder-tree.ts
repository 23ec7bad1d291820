import { createHash } from "node:crypto";
import type { Dirent } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../runtime/clock.ts";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import { unavailable } from "./git-program.ts";
import { stirredFiles } from "./stirred-files.ts";
import {
  TREE_FILE_BYTES_MAX,
  TREE_FILES_MAX,
  type Tree,
  type TreeCall,
  type TreeFile,
  type TreeProblem,
  type TreeSource,
  type TreeVersion,
} from "./tree.ts";
import { decodeText, linkProblem, pathKind } from "./tree-paths.ts";

/** Files as they lie in a directory: its version is what is in it. Versions of the past are gone. */
export class FolderTree implements TreeSource {
  readonly description: string;
  readonly #clock: Clock;
  readonly #directory: string;
  readonly #pollMs: number;
  #last: { readonly version: TreeVersion; readonly tree: Tree } | undefined;

  constructor(options: {
    readonly clock: Clock;
    readonly directory: string;
    readonly pollMs: number;
  }) {
    this.description = options.directory;
    this.#clock = options.clock;
    this.#directory = options.directory;
    this.#pollMs = options.pollMs;
  }

  async newest(): Promise<TreeVersion> {
    const tree = await this.#readAll();
    const hash = createHash("sha256");
    for (const { path, content } of tree.files) hash.update(JSON.stringify([path, content]));
    for (const { path, message } of tree.problems) hash.update(JSON.stringify([path, message]));
    const id = `folder-${hash.digest("hex").slice(0, 40)}`;
    const version = { id, author: "", subject: "", committedMs: this.#clock.wallMs() };
    if (this.#last?.version.id !== id) this.#last = { version, tree };
    return this.#last.version;
  }

  async find(id: string): Promise<TreeVersion | undefined> {
    const version = this.#last?.version;
    return version?.id.startsWith(id) === true ? version : undefined;
  }

  /** Who may write into the directory is the operator's to say. */
  async distrust(): Promise<undefined> {
    return undefined;
  }

  async read(version: TreeVersion): Promise<Tree> {
    if (this.#last?.version.id === version.id) return this.#last.tree;
    throw new FleetError("not-found", `${this.description} has changed since ${version.id}`);
  }

  async stirred({ signal }: TreeCall): Promise<void> {
    const paths = [{ path: this.#directory, deep: true }];
    await stirredFiles({ clock: this.#clock, paths, pollMs: this.#pollMs, signal });
  }

  async #readAll(): Promise<Tree> {
    const files: TreeFile[] = [];
    const problems: TreeProblem[] = [];
    // A mount that is not there leaves an empty directory, or none: only the second can be told here.
    for (const { path, entry } of await this.#list()) {
      if (pathKind(path) === undefined) continue;
      if (entry.isSymbolicLink()) problems.push(linkProblem(path));
      else if (!entry.isFile()) problems.push({ path, message: "is not a file" });
      else {
        const read = await this.#readFile(path);
        if (read === undefined) continue;
        if ("problem" in read) problems.push(read.problem);
        else files.push({ path, content: read.content });
      }
    }
    return { files, problems };
  }

  async #list(): Promise<readonly { readonly path: string; readonly entry: Dirent }[]> {
    const found: { path: string; entry: Dirent }[] = [];
    const folders = [""];
    for (const folder of folders) {
      const entries = await this.#readFolder(folder);
      for (const entry of entries) {
        const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
        if (entry.isDirectory() && !entry.name.startsWith(".")) folders.push(path);
        else if (!entry.isDirectory()) found.push({ path, entry });
      }
      if (found.length + folders.length > TREE_FILES_MAX) {
        const message = `${this.description}: more than ${TREE_FILES_MAX} files`;
        throw new FleetError("unit-invalid", message);
      }
    }
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  async #readFolder(folder: string): Promise<readonly Dirent[]> {
    const path = join(this.#directory, folder);
    try {
      return await readdir(path, { withFileTypes: true });
    } catch (error) {
      // A folder that went away while it was read is as good as deleted; the tree itself is not.
      if (folder !== "" && isAbsent(error)) return [];
      throw unavailable(`cannot read ${path}: ${errorMessage(error)}`);
    }
  }

  async #readFile(path: string) {
    const full = join(this.#directory, path);
    try {
      const { size } = await stat(full);
      if (size > TREE_FILE_BYTES_MAX) {
        return { problem: { path, message: `is larger than ${TREE_FILE_BYTES_MAX} bytes` } };
      }
      return decodeText(path, await readFile(full));
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw unavailable(`cannot read ${full}: ${errorMessage(error)}`);
    }
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
