import { Chalk } from "chalk";
import type { Notice } from "../api/protocol.ts";
import type { Context } from "./context.ts";
import { FleetClient } from "./fleet-client.ts";
import { HttpClient } from "./http-client.ts";
import type { GlobalOptions, Terminal } from "./terminal.ts";
import { WaitingLine } from "./waiting-line.ts";

export function makeContext(options: GlobalOptions, terminal: Terminal): Context {
  const { clock } = terminal;
  const waitingLine = new WaitingLine({ clock, write: terminal.writeError, width: terminal.width });
  const write = (text: string | Uint8Array) => {
    waitingLine.clear();
    terminal.writeOut(text);
  };
  const err = (line: string) => {
    waitingLine.clear();
    terminal.writeError(`${line}\n`);
  };
  const http = new HttpClient({
    clock,
    endpoint: options.endpoint,
    deadlineMs: options.requestTimeout * 1_000,
    tls: { caFile: options.caFile, certFile: options.certFile, keyFile: options.keyFile },
    ...(options.debug === true ? { debug: (text: string) => err(`DEBUG ${text}`) } : {}),
  });
  const colours = new Chalk({ level: hasColours(terminal) ? 1 : 0 });
  return {
    client: new FleetClient(http, noticePrinter(err)),
    clock,
    write,
    out: (line) => write(`${line}\n`),
    err,
    waitingLine,
    paint: { good: colours.green, bad: colours.red, dim: colours.dim },
    sshUsername: options.sshUsername,
  };
}

/** https://no-color.org: any value that is not empty. */
function hasColours({ environment, width }: Terminal): boolean {
  return (
    width !== undefined && (environment["NO_COLOR"] ?? "") === "" && environment["TERM"] !== "dumb"
  );
}

/** What an operator should know before anything else; each once per command. */
function noticePrinter(err: (line: string) => void): (notices: readonly Notice[]) => void {
  const told = new Set<string>();
  return (notices) => {
    for (const { code, message } of notices) {
      // It is no trouble, and would be told with every command.
      if (code === "single-machine" || told.has(code)) continue;
      told.add(code);
      err(`NOTICE: ${message}`);
    }
  };
}
