import { spawn } from "node:child_process";
import { FleetError } from "../runtime/errors.ts";
import { EXIT_FAILED } from "./exit-code.ts";
import { parseHostPort, shellQuote } from "./remote.ts";

/** What the client's options say of ssh; all else is ~/.ssh/config's. */
export interface SshOptions {
  readonly username: string | undefined;
  readonly timeoutSeconds: number | undefined;
  /** False: any key is accepted and none is kept. */
  readonly strict: boolean;
  readonly knownHostsFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly tunnel: string | undefined;
}

export interface SshCommand {
  readonly address: string;
  readonly port: number | undefined;
  readonly forwardAgent: boolean;
  /** A single word is for the remote shell to take apart; of several, each arrives as it is. None: a shell. */
  readonly command: readonly string[];
}

/** Runs the system's own ssh on this terminal, so that keys, known hosts and ~/.ssh/config hold. Gives its exit status. */
export function runSsh(options: SshOptions, command: SshCommand): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn("ssh", sshArguments(options, command), { stdio: "inherit" });
    child.once("error", (error) =>
      reject(new FleetError("host-io", `cannot run ssh: ${error.message}`, { cause: error })),
    );
    child.once("close", (code) => resolve(code ?? EXIT_FAILED));
  });
}

export function sshArguments(options: SshOptions, command: SshCommand): readonly string[] {
  const { address, port, forwardAgent } = command;
  const words = command.command;
  return [
    ...commonArguments(options),
    ...(options.tunnel === undefined ? [] : ["-o", `ProxyCommand=${throughTunnel(options)}`]),
    ...(port === undefined ? [] : ["-p", String(port)]),
    ...(forwardAgent ? ["-A"] : []),
    "--",
    address,
    ...(words.length === 1 ? words : words.length === 0 ? [] : [words.map(shellQuote).join(" ")]),
  ];
}

function commonArguments(options: SshOptions): readonly string[] {
  const { username, timeoutSeconds, strict, knownHostsFile, keyFile } = options;
  const settings = [
    ...(timeoutSeconds === undefined ? [] : [`ConnectTimeout=${Math.ceil(timeoutSeconds)}`]),
    // The quotes are for ssh, which takes several files.
    ...(knownHostsFile === undefined ? [] : [`UserKnownHostsFile="${knownHostsFile}"`]),
    ...(strict
      ? []
      : ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]),
  ];
  return [
    ...(username === undefined ? [] : ["-l", username]),
    ...(keyFile === undefined ? [] : ["-i", keyFile]),
    // The first value of an option counts.
    ...settings.reverse().flatMap((setting) => ["-o", setting]),
  ];
}

/** A shell runs it, after ssh has put in %h and %p. */
function throughTunnel(options: SshOptions): string {
  const { tunnel = "" } = options;
  const host = parseHostPort(tunnel);
  if (host === undefined) {
    throw new FleetError("usage", `--tunnel ${tunnel}: expect host or host:port`);
  }
  const port = host.port === undefined ? [] : ["-p", String(host.port)];
  const words = ["ssh", ...commonArguments(options), ...port];
  return `${words.map(shellQuote).join(" ").replaceAll("%", "%%")} -W '[%h]:%p' -- ${shellQuote(host.host)}`;
}
