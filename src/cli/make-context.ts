import { Chalk } from "chalk";
import type { Notice } from "../api/protocol.ts";
import type { Context, Paint, Result } from "./context.ts";
import { FleetClient } from "./fleet-client.ts";
import { HttpClient } from "./http-client.ts";
import type { Remote, TunnelTarget } from "./remote.ts";
import type { GlobalOptions, Terminal } from "./terminal.ts";
import { WaitingLine } from "./waiting-line.ts";

const SSH_TIMEOUT_SECONDS = 10;

export interface OpenContext {
  readonly context: Context;
  /** Prints the results that were to be printed at the end, and closes what was opened. */
  readonly close: () => Promise<void>;
}

/** `json`: results are collected and printed as one list at the end. */
export function openContext(
  options: GlobalOptions,
  terminal: Terminal,
  json: boolean,
): OpenContext {
  const { clock, drained, pipeIn, readIn } = terminal;
  const ended = new AbortController();
  const signal = AbortSignal.any([terminal.signal, ended.signal]);
  const waitingLine = new WaitingLine({ clock, write: terminal.writeError, width: terminal.width });
  const write = (text: string | Uint8Array) => {
    waitingLine.clear();
    terminal.writeOut(text);
  };
  const out = (line: string) => write(`${line}\n`);
  const err = (line: string) => {
    waitingLine.clear();
    terminal.writeError(`${line}\n`);
  };
  const results: Result[] = [];
  let remote: Promise<Remote> | undefined;
  const openRemote = () => {
    remote ??= terminal.openRemote(remoteSettings(options, terminal, err));
    return remote;
  };
  const http = new HttpClient({
    clock,
    endpoint: options.endpoint,
    deadlineMs: options.requestTimeout * 1_000,
    tls: { caFile: options.caFile, certFile: options.certFile, keyFile: options.keyFile },
    ...(options.tunnel === undefined ? {} : { connect: throughTunnel(openRemote) }),
    ...(options.debug === true ? { debug: (text: string) => err(`DEBUG ${text}`) } : {}),
  });
  const paint = makePaint(terminal);
  const tell = (result: Result) => {
    if (json) results.push(result);
    else if (result.outcome === "done" || result.outcome === "triggered") out(result.message);
    else err(result.outcome === "failed" ? paint.bad(result.message) : result.message);
  };
  const context: Context = {
    client: new FleetClient(http, noticePrinter(err)),
    ...{ clock, write, out, err, tell, json, drained, readIn, pipeIn, waitingLine, paint, signal },
    remote: openRemote,
    ssh: {
      username: options.sshUsername,
      timeoutSeconds: options.sshTimeout,
      strict: options.strictHostKeyChecking !== false,
      knownHostsFile: options.knownHostsFile,
      keyFile: options.sshKeyFile,
      tunnel: options.tunnel,
    },
  };
  const close = async () => {
    ended.abort(new Error("the command is over"));
    if (json && results.length > 0) out(JSON.stringify(results, undefined, 2));
    const opened = await remote?.catch(() => undefined);
    opened?.close();
  };
  return { context, close };
}

function remoteSettings(options: GlobalOptions, terminal: Terminal, say: (line: string) => void) {
  return {
    tunnel: options.tunnel,
    username: options.sshUsername,
    timeoutMs: (options.sshTimeout ?? SSH_TIMEOUT_SECONDS) * 1_000,
    strict: options.strictHostKeyChecking !== false,
    knownHostsFile: options.knownHostsFile,
    keyFile: options.sshKeyFile,
    environment: terminal.environment,
    ask: terminal.ask,
    say,
  };
}

function throughTunnel(open: () => Promise<Remote>) {
  return async (target: TunnelTarget) => (await open()).connect(target);
}

function makePaint(terminal: Terminal): Paint {
  const enabled = hasColours(terminal);
  const colours = new Chalk({ level: enabled ? 1 : 0 });
  const hues = [
    ...[colours.cyan, colours.yellow, colours.green, colours.magenta, colours.blue],
    ...[colours.cyanBright, colours.yellowBright, colours.greenBright, colours.magentaBright],
  ];
  return {
    good: colours.green,
    bad: colours.red,
    dim: colours.dim,
    strong: colours.bold,
    hue: (index, text) => hues[index % hues.length]?.(text) ?? text,
    enabled,
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
