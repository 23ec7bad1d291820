#!/usr/bin/env node
import { open } from "node:fs/promises";
import type { Writable } from "node:stream";
import { isatty } from "node:tty";
import { startupSnapshot } from "node:v8";
import { systemClock } from "../runtime/system-clock.ts";
import { prepareCommandLine } from "./program.ts";
import { StandardOutput } from "./standard-output.ts";

const runCommandLine = prepareCommandLine();

if (startupSnapshot.isBuildingSnapshot()) {
  // The single executable is being built: it starts with what is in memory when this has come to its end.
  void loadCommon();
  startupSnapshot.setDeserializeMainFunction(main);
} else main();

/** What most commands use, without what cannot be kept, as Node's date formats. */
async function loadCommon(): Promise<void> {
  systemClock.monotonicMs();
  process.getBuiltinModule("node:net");
  process.getBuiltinModule("node:tty");
  await import("./make-context.ts");
  await import("./commands/create.ts");
  await import("./commands/list.ts");
  await import("./commands/withdraw.ts");
  const { warmUp } = await import("./warm-up.ts");
  await warmUp({ clock: systemClock });
}

function main(): void {
  const output = new StandardOutput(openStream);
  void runCommandLine(process.argv.slice(2), {
    clock: systemClock,
    environment: process.env,
    writeOut: (text) => output.write(text),
    drained: () => output.drained(),
    writeError: (text) => {
      output.flush();
      process.stderr.write(text);
    },
    width: isatty(1) && isatty(2) ? process.stderr.columns : undefined,
    readIn,
    pipeIn: (socket) => process.stdin.pipe(socket),
    ask,
    openRemote: async (settings) => (await import("./ssh2-remote.ts")).openSsh2Remote(settings),
    signal: new AbortController().signal,
  }).then((exit) =>
    // Whatever a command that ran out of time still waits for; all that was written goes out first.
    output.end().then(() => process.exit(exit), exitFor),
  );
}

function openStream(): Writable {
  return process.stdout.on("error", exitFor);
}

function exitFor(error: Error & { code?: string }): never {
  // The reader went away (`| head`): nobody is left to write to.
  if (error.code === "EPIPE") process.exit(0);
  process.stderr.write(`cannot write: ${error.message}\n`);
  process.exit(1);
}

async function readIn(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk));
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
}

async function ask(question: string): Promise<string | undefined> {
  const terminal = await open("/dev/tty", "r+").catch(() => undefined);
  if (terminal === undefined) return undefined;
  try {
    await terminal.write(question);
    // A terminal gives out whole lines.
    const { bytesRead, buffer } = await terminal.read(Buffer.alloc(1024), 0, 1024, null);
    return buffer.toString("utf8", 0, bytesRead).trimEnd();
  } finally {
    await terminal.close();
  }
}
