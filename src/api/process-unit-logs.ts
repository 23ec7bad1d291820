import { spawn } from "node:child_process";
import { PassThrough } from "node:stream";
import { journalctlArguments } from "../units/journal-query.ts";
import type { JournalNudge } from "./journal-nudge.ts";
import type { TextProcess, UnitLogs } from "./unit-logs.ts";

export interface ProcessUnitLogsOptions {
  /** Program and first arguments, where they are not simply `journalctl` and `systemctl`. */
  readonly journalctl?: readonly string[];
  readonly systemctl?: readonly string[];
  /** Makes journald's news come at once. */
  readonly nudge?: JournalNudge;
}

/** journalctl(1) and systemctl(1) as child processes. */
export function processUnitLogs(options: ProcessUnitLogsOptions = {}): UnitLogs {
  const { journalctl = ["journalctl"], systemctl = ["systemctl"], nudge } = options;
  return {
    journal: (query) => {
      const process = start([...journalctl, ...journalctlArguments(query)]);
      if (query.follow && nudge !== undefined) void process.exitStatus.then(nudge.begin());
      return process;
    },
    status: (unit) => start([...systemctl, "status", "-l", "--no-pager", "--", unit]),
  };
}

function start([program = "", ...args]: readonly string[]): TextProcess {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  const output = new PassThrough();
  child.stdout.pipe(output, { end: false });
  child.stderr.pipe(output, { end: false });
  const exitStatus = new Promise<number>((resolve) => {
    child.once("error", (error) => {
      output.end(`cannot run ${program}: ${error.message}\n`);
      resolve(127);
    });
    // `close` comes after both pipes have given out all they had.
    child.once("close", (code) => {
      output.end();
      resolve(code ?? 128);
    });
  });
  return {
    output,
    exitStatus,
    stop: () => {
      child.kill("SIGTERM");
      output.destroy();
    },
  };
}
