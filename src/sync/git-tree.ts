import type { Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import { type GitCall, GitProgram, unavailable } from "./git-program.ts";
import { type SignatureRule, whyUntrusted } from "./git-signature.ts";
import { stirredFiles, type WatchedPath } from "./stirred-files.ts";
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

export interface GitTreeOptions {
  readonly clock: Clock;
  /** A URL, or a directory with a work tree or a bare repository. */
  readonly url: string;
  /** Branch or tag; without it what HEAD names there. */
  readonly branch: string | undefined;
  /** Folder inside of the repository; empty: all of it. */
  readonly path: string;
  /** Of our own copy, for this source alone. */
  readonly directory: string;
  /** Directories whose files change with every commit: those of a repository on this machine. */
  readonly watched: readonly WatchedPath[];
  /** How often to look when nothing stirs. */
  readonly pollMs: number;
  /** Only commits that it vouches for are trusted; without it all are. */
  readonly signatures: SignatureRule | undefined;
}

const WANTED = "refs/fleet/wanted";
const RECORD = ["%H", "%an <%ae>", "%ct", "%s"].join("%x00");

/**
 * Commits of one branch. They are fetched into a repository of our own and read from its objects: nothing is checked out, so no hook, filter,
 * attribute, submodule or configuration of the repository has a say.
 */
export class GitTree implements TreeSource {
  readonly description: string;
  readonly #options: GitTreeOptions;
  readonly #git: GitProgram;

  constructor(options: GitTreeOptions) {
    this.#options = options;
    this.#git = new GitProgram(options);
    const branch = options.branch === undefined ? "" : `#${options.branch}`;
    this.description = withoutPassword(options.url) + branch + (options.path && `:${options.path}`);
  }

  async newest(call: TreeCall): Promise<TreeVersion> {
    const { url, branch = "HEAD" } = this.#options;
    const fetch = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"];
    const { code, words } = await this.#git.run(
      [...fetch, "--end-of-options", url, `+${branch}:${WANTED}`],
      call,
    );
    if (code !== 0) {
      throw unavailable(`cannot fetch ${this.description}: ${withoutPassword(words)}`);
    }
    await this.#git.tidy(call);
    const version = await this.find(WANTED, call);
    if (version === undefined) throw unavailable(`${this.description} has no commit`);
    return version;
  }

  async find(id: string, call: TreeCall): Promise<TreeVersion | undefined> {
    const log = ["log", "-1", "--no-show-signature", `--format=${RECORD}`];
    const { code, out } = await this.#git.run([...log, "--end-of-options", `${id}^{commit}`], call);
    if (code !== 0) return undefined;
    const [commit = "", author = "", seconds = "", subject = ""] = out
      .toString("utf8")
      .replace(/\n$/, "")
      .split("\0");
    return { id: commit, author, subject, committedMs: Number(seconds) * 1_000 };
  }

  async distrust({ id: commit }: TreeVersion, call: TreeCall): Promise<string | undefined> {
    const { signatures } = this.#options;
    if (signatures === undefined) return undefined;
    return await whyUntrusted(this.#git, { commit, signatures, call });
  }

  async read(version: TreeVersion, call: TreeCall): Promise<Tree> {
    const listed = await this.#list(version.id, call);
    const problems: TreeProblem[] = [];
    const wanted: Entry[] = [];
    for (const entry of listed) {
      if (entry.mode === SYMLINK) problems.push(linkProblem(entry.path));
      else if (entry.bytes > TREE_FILE_BYTES_MAX) {
        problems.push({ path: entry.path, message: `is larger than ${TREE_FILE_BYTES_MAX} bytes` });
      } else wanted.push(entry);
    }
    const files: TreeFile[] = [];
    for (const [index, bytes] of (await this.#contents(wanted, call)).entries()) {
      const path = wanted[index]?.path ?? "";
      const text = decodeText(path, bytes);
      if ("problem" in text) problems.push(text.problem);
      else files.push({ path, content: text.content });
    }
    return { files, problems };
  }

  async stirred({ signal }: TreeCall): Promise<void> {
    const { clock, watched, pollMs } = this.#options;
    await stirredFiles({ clock, paths: watched, pollMs, signal });
  }

  /** Only what a unit could be made of. */
  async #list(commit: string, call: GitCall): Promise<readonly Entry[]> {
    const { path } = this.#options;
    const root = path === "" ? commit : `${commit}:${path}`;
    const { code, out } = await this.#git.run(["ls-tree", "-r", "-l", "-z", root], call);
    if (code !== 0) {
      const short = commit.slice(0, 10);
      throw new FleetError("not-found", `${this.description}: ${short} has no folder ${path}`);
    }
    const entries: Entry[] = [];
    for (const line of out.toString("utf8").split("\0")) {
      const match = /^(\d+) (\w+) ([0-9a-f]+) +(\d+|-)\t(.*)$/s.exec(line);
      if (match === null) continue;
      const [, mode = "", type = "", object = "", size = "", path = ""] = match;
      if (type !== "blob" || pathKind(path) === undefined) continue;
      entries.push({ mode, object, bytes: Number(size), path });
    }
    if (entries.length > TREE_FILES_MAX) {
      throw new FleetError(
        "unit-invalid",
        `${this.description}: more than ${TREE_FILES_MAX} files`,
      );
    }
    return entries;
  }

  async #contents(entries: readonly Entry[], call: GitCall): Promise<readonly Buffer[]> {
    if (entries.length === 0) return [];
    const input = entries.map(({ object }) => `${object}\n`).join("");
    const { out } = await this.#git.run(["cat-file", "--batch"], { ...call, input });
    const contents: Buffer[] = [];
    let at = 0;
    for (const { object } of entries) {
      const end = out.indexOf("\n", at);
      const header = out.subarray(at, end).toString("latin1");
      const size = /^[0-9a-f]+ blob (\d+)$/.exec(header)?.[1];
      if (end === -1 || size === undefined) {
        throw unavailable(`${this.description}: object ${object} cannot be read`);
      }
      contents.push(out.subarray(end + 1, end + 1 + Number(size)));
      at = end + 1 + Number(size) + 1;
    }
    return contents;
  }
}

const SYMLINK = "120000";

interface Entry {
  readonly mode: string;
  readonly object: string;
  readonly bytes: number;
  readonly path: string;
}

/** `https://user:secret@host` is no text for logs and registries. */
function withoutPassword(text: string): string {
  return text.replace(/(\w+:\/\/)[^/@\s]*@/g, "$1");
}
