import { spawn } from "node:child_process";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../runtime/clock.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { FleetError } from "../runtime/errors.ts";

/**
 * Nothing of a repository or of the user decides what runs: no hooks, filters, submodules, helpers or pagers. `safe.directory`: the
 * repository is read through upload-pack, which runs nothing of its configuration, whoever owns it.
 */
const CONFIGURATION = `[core]
	hooksPath = /dev/null
	fsmonitor = false
	attributesFile = /dev/null
[protocol "ext"]
	allow = never
[fetch]
	recurseSubmodules = no
	fsckObjects = true
[gc]
	auto = 0
[maintenance]
	auto = false
[safe]
	directory = *
[gpg "ssh"]
	program = ssh-keygen
[gpg]
	program = gpg
`;
const PROTOCOLS = "file:git:http:https:ssh";
/** Of one call's output; a listing of 50,000 files is 10 MB. */
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;
const WORDS_MAX = 2_000;
const PACKS_MAX = 20;

export interface GitResult {
  readonly code: number;
  readonly out: Buffer;
  /** What git said besides, shortened. */
  readonly words: string;
}

export interface GitCall {
  readonly signal?: AbortSignal | undefined;
  readonly input?: string;
  readonly deadlineMs?: number;
  /** Further `-c` settings. */
  readonly settings?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** The `git` program on a bare repository of our own, with a fixed configuration. */
export class GitProgram {
  readonly #clock: Clock;
  readonly #directory: string;
  readonly #configuration: string;
  #ready: Promise<void> | undefined;

  /** `directory` is made when it is not there; one process at a time may use it. */
  constructor(options: { readonly clock: Clock; readonly directory: string }) {
    this.#clock = options.clock;
    this.#directory = join(options.directory, "repository");
    this.#configuration = join(options.directory, "configuration");
  }

  /** Throws `tree-unavailable` when git is not there or does not end in time; a status other than 0 is a result. */
  async run(args: readonly string[], call: GitCall = {}): Promise<GitResult> {
    this.#ready ??= this.#prepare();
    await this.#ready.catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return await this.#spawn(args, call);
  }

  async #prepare(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await writeFile(this.#configuration, CONFIGURATION);
    const { code, words } = await this.#spawn(["init", "--quiet", "--bare", "--template="], {});
    if (code !== 0) throw unavailable(`cannot prepare ${this.#directory}: ${words}`);
  }

  /** Every fetch leaves a pack, and each costs every look at an object a little. None is thrown away that an old version could need. */
  async tidy(call: GitCall): Promise<void> {
    const names = await readdir(join(this.#directory, "objects/pack"));
    if (names.filter((name) => name.endsWith(".pack")).length <= PACKS_MAX) return;
    await this.run(["repack", "--geometric=2", "-d", "--quiet"], call);
  }

  async #spawn(args: readonly string[], call: GitCall): Promise<GitResult> {
    const { deadlineMs = 60_000, signal } = call;
    const onDeadline = () =>
      unavailable(`git ${args[0]} did not end within ${deadlineMs / 1_000} s`);
    return await withDeadline(this.#clock, { deadlineMs, signal, onDeadline }, (inner) =>
      spawnGit([...settingsOf(call), ...args], call, {
        signal: inner,
        env: this.#environment(call),
      }),
    );
  }

  #environment(call: GitCall): NodeJS.ProcessEnv {
    const { PATH, HOME, SSH_AUTH_SOCK, GIT_SSH_COMMAND, GIT_ASKPASS } = process.env;
    const inherited = { PATH, HOME, SSH_AUTH_SOCK, GIT_SSH_COMMAND, GIT_ASKPASS };
    return {
      ...inherited,
      LC_ALL: "C.UTF-8",
      GIT_DIR: this.#directory,
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_CONFIG_GLOBAL: this.#configuration,
      GIT_ATTR_NOSYSTEM: "1",
      GIT_TERMINAL_PROMPT: "0",
      GIT_ALLOW_PROTOCOL: PROTOCOLS,
      GIT_PROTOCOL_FROM_USER: "0",
      ...call.environment,
    };
  }
}

function settingsOf({ settings = [] }: GitCall): readonly string[] {
  return settings.flatMap((setting) => ["-c", setting]);
}

export function unavailable(message: string): FleetError {
  return new FleetError("tree-unavailable", message, { retriable: true });
}

function spawnGit(
  args: readonly string[],
  { input = "" }: GitCall,
  options: { readonly signal: AbortSignal; readonly env: NodeJS.ProcessEnv },
): Promise<GitResult> {
  return new Promise((resolve, reject) => {
    // A group of its own: git fetch has children that a signal to git alone would leave behind.
    const child = spawn("git", args, { env: options.env, detached: true });
    const chunks: Buffer[] = [];
    let bytes = 0;
    let words = "";
    const end = () => {
      if (child.pid !== undefined) killGroup(child.pid);
    };
    options.signal.addEventListener("abort", end, { once: true });
    child.stdout.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > OUTPUT_BYTES_MAX) end();
      else chunks.push(chunk);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      if (words.length < WORDS_MAX) words += chunk.toString("utf8");
    });
    child.once("error", (error) => {
      options.signal.removeEventListener("abort", end);
      reject(unavailable(`cannot run git: ${error.message}; install git`));
    });
    child.once("close", (code) => {
      options.signal.removeEventListener("abort", end);
      if (bytes > OUTPUT_BYTES_MAX) reject(unavailable(`git ${args[0]}: too much output`));
      else resolve({ code: code ?? 1, out: Buffer.concat(chunks), words: lastWords(words) });
    });
    // A git that ends early closes its input: its status tells.
    child.stdin.on("error", () => {});
    child.stdin.end(input);
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

function lastWords(text: string): string {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return lines.slice(-3).join("; ").slice(0, 500) || "git said nothing";
}
