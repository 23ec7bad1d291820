import { prepareCommandLine } from "../../src/cli/program.ts";
import { openSsh2Remote } from "../../src/cli/ssh2-remote.ts";
import type { Terminal } from "../../src/cli/terminal.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";

export interface CliResult {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line in this process, without a terminal. */
export async function runCli(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  terminal: Partial<Terminal> = {},
): Promise<CliResult> {
  let out = "";
  let err = "";
  const exit = await prepareCommandLine()(args, {
    clock: systemClock,
    environment,
    writeOut: (text) => {
      out += typeof text === "string" ? text : Buffer.from(text).toString();
    },
    writeError: (text) => {
      err += text;
    },
    width: undefined,
    drained: async () => {},
    readIn: async () => "",
    pipeIn: (socket) => socket.end(),
    ask: async () => undefined,
    openRemote: openSsh2Remote,
    signal: new AbortController().signal,
    ...terminal,
  });
  return { exit, out, err };
}
