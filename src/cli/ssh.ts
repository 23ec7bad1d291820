import { spawn } from "node:child_process";
import { FleetError } from "../runtime/errors.ts";
import { EXIT_FAILED } from "./exit-code.ts";

export interface RemoteCommand {
  readonly address: string;
  readonly username: string | undefined;
  readonly port: number | undefined;
  readonly command: readonly string[];
}

/** Runs a command with the system's own ssh, so that its keys, known hosts and configuration hold. Gives the remote exit status. */
export function runOverSsh(remote: RemoteCommand): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn("ssh", sshArguments(remote), { stdio: "inherit" });
    child.once("error", (error) =>
      reject(
        new FleetError("host-io", `cannot run ssh to ${remote.address}: ${error.message}`, {
          cause: error,
        }),
      ),
    );
    child.once("close", (code) => resolve(code ?? EXIT_FAILED));
  });
}

/** The remote shell takes the words apart again, so each is quoted. */
export function sshArguments(remote: RemoteCommand): readonly string[] {
  return [
    ...(remote.username === undefined ? [] : ["-l", remote.username]),
    ...(remote.port === undefined ? [] : ["-p", String(remote.port)]),
    "--",
    remote.address,
    remote.command.map(shellQuote).join(" "),
  ];
}

function shellQuote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
