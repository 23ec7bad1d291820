#!/usr/bin/env node
import { systemClock } from "../runtime/system-clock.ts";
import { runCommandLine } from "./program.ts";

// The reader went away (`| head`): nobody is left to write to.
process.stdout.on("error", (error: Error & { code?: string }) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

// No top-level await: the single executable is not a module.
void runCommandLine(process.argv.slice(2), {
  clock: systemClock,
  environment: process.env,
  writeOut: (text) => process.stdout.write(text),
  writeError: (text) => process.stderr.write(text),
  width: process.stdout.isTTY && process.stderr.isTTY ? process.stderr.columns : undefined,
}).then((exit) => {
  process.exitCode = exit;
});
