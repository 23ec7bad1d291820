import { chmodSync, chownSync, lstatSync, readFileSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import { errorMessage, FleetError } from "./errors.ts";

/** Connections that wait to be taken: all clients of a daemon may come back at once. */
export const BACKLOG_MAX = 4_096;

export interface UnixSocketSpec {
  readonly path: string;
  /** Permissions, e.g. 0o660. */
  readonly mode: number;
  /** Name or number of the group that owns it. */
  readonly group?: string | undefined;
}

/**
 * Listens on a unix socket that nobody but root can open before its mode is set; a socket file that nobody listens behind (left by a process that
 * was killed) is replaced. `what`: who listens, for messages.
 */
export async function listenUnix(
  server: Server,
  { path, mode, group }: UnixSocketSpec,
  what: string,
): Promise<void> {
  await removeStaleSocket(path, what);
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error) => {
      const message = `${what} cannot listen on ${path}: ${error.message}`;
      reject(new FleetError("config-invalid", message, { cause: error }));
    };
    server.once("error", onError);
    // The socket is made within the call.
    const umask = process.umask(0o177);
    try {
      server.listen({ path, backlog: BACKLOG_MAX }, () => {
        server.removeListener("error", onError);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
  if (group !== undefined) chownSync(path, -1, groupId(group, path));
  chmodSync(path, mode);
}

async function removeStaleSocket(path: string, what: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  const inUse =
    !found.isSocket() ||
    (await new Promise<boolean>((resolve) => {
      const probe = connect(path);
      probe.once("connect", () => {
        probe.destroy();
        resolve(true);
      });
      probe.once("error", () => resolve(false));
    }));
  if (inUse) {
    const why = found.isSocket()
      ? "another process listens there"
      : "there is a file that is no socket";
    throw new FleetError("config-invalid", `${what} cannot listen on ${path}: ${why}`);
  }
  unlinkSync(path);
}

function groupId(group: string, path: string): number {
  if (/^\d+$/.test(group)) return Number(group);
  let text: string;
  try {
    text = readFileSync("/etc/group", "utf8");
  } catch (error) {
    throw new FleetError("config-invalid", `cannot read /etc/group: ${errorMessage(error)}`);
  }
  const id = text
    .split("\n")
    .find((entry) => entry.startsWith(`${group}:`))
    ?.split(":")[2];
  if (id === undefined)
    throw new FleetError("config-invalid", `there is no group "${group}" for ${path}`);
  return Number(id);
}
