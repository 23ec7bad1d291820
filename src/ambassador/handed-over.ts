import { readFileSync, readlinkSync } from "node:fs";

/** A socket that systemd has bound and handed over, see sd_listen_fds(3). */
export interface HandedOver {
  readonly fd: number;
  /** FileDescriptorName= of the socket unit, its own name if that says none. */
  readonly name: string;
  readonly protocol: "stream" | "datagram";
}

const FIRST_FD = 3;

/** Sockets meant for this process, in systemd's order; `env` is left as it is. */
export function handedOverSockets(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): readonly HandedOver[] {
  if (env["LISTEN_PID"] !== String(pid)) return [];
  const count = Number(env["LISTEN_FDS"] ?? 0);
  const names = (env["LISTEN_FDNAMES"] ?? "").split(":");
  const datagrams = ["udp", "udp6"].flatMap(inodesOf);
  return Array.from({ length: Number.isInteger(count) ? count : 0 }, (_, index) => {
    const fd = FIRST_FD + index;
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? "";
    const protocol = datagrams.includes(inode) ? "datagram" : "stream";
    return { fd, name: names[index] ?? "", protocol };
  });
}

/** Column 10 of /proc/net/udp: see proc(5). */
function inodesOf(table: string): readonly string[] {
  const rows = readFileSync(`/proc/self/net/${table}`, "utf8").trim().split("\n").slice(1);
  return rows.map((row) => row.trim().split(/\s+/)[9] ?? "");
}
