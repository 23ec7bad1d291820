import { spawn } from "node:child_process";

export interface RunResult {
  /** Exit status; 128 + number where a signal ended it, as shells have it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** The process is killed then, and the call fails. */
  readonly deadlineMs?: number;
}

/** Runs a program to its end. Any exit status is an answer; only a program that cannot start or hangs is an error. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [program = "", ...args] = argv;
  const deadlineMs = options.deadlineMs ?? 120_000;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on("error", () => {}); // it may end without having read everything
    child.stdin.end(options.input ?? "");
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, deadlineMs);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const result = {
        code: code ?? 128 + (signal === "SIGKILL" ? 9 : 15),
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      };
      if (late) reject(new Error(`${argv.join(" ")} took over ${deadlineMs} ms: ${said(result)}`));
      else resolve(result);
    });
  });
}

/** As run(), but any exit status other than 0 is an error that shows what the program said. */
export async function runOk(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.code !== 0) {
    throw new Error(`${argv.join(" ")} ended with ${result.code}: ${said(result)}`);
  }
  return result.stdout;
}

function said(result: RunResult): string {
  return `${result.stdout}${result.stderr}`.trim();
}
