import { readFileSync, readlinkSync } from "node:fs";

/** A listening socket that systemd opened for the daemon (sd_listen_fds(3)). */
export interface PassedSocket {
  readonly fd: number;
  readonly entrance: "unix" | "tcp";
  /** Of a TCP socket. */
  readonly port?: number;
}

const FIRST_FD = 3;
const LISTENING = "0A";

/** What was passed to this very process; helpers that it starts are not to take it for theirs. */
export function takePassedSockets(env: NodeJS.ProcessEnv, pid: number): readonly PassedSocket[] {
  const isOurs = env["LISTEN_PID"] === String(pid);
  const count = isOurs ? Number(env["LISTEN_FDS"] ?? 0) : 0;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete env[name];
  return Array.from({ length: count }, (_, index) => describeSocket(FIRST_FD + index));
}

/** The kernel's tables name sockets by inode; one that is in none of TCP's is a unix socket. */
function describeSocket(fd: number): PassedSocket {
  const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1];
  for (const table of ["tcp", "tcp6"]) {
    const lines = readFileSync(`/proc/self/net/${table}`, "utf8").trim().split("\n").slice(1);
    for (const line of lines) {
      const [, local = "", , state, , , , , , found] = line.trim().split(/\s+/);
      if (found !== inode || state !== LISTENING) continue;
      return { fd, entrance: "tcp", port: Number.parseInt(local.split(":")[1] ?? "", 16) };
    }
  }
  return { fd, entrance: "unix" };
}
