import { once } from "node:events";
import { chmod, stat, unlink } from "node:fs/promises";
import { connect, type ListenOptions, type Server } from "node:net";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import type { BoundAddress, Endpoint } from "./proxy.ts";

/** Connections that the kernel completes while this process is busy; net.core.somaxconn may lower it. */
const BACKLOG = 4_096;

/** Resolves when `server` takes connections there. */
export async function listenStream(server: Server, endpoint: Endpoint): Promise<BoundAddress> {
  const backlog = BACKLOG;
  switch (endpoint.type) {
    case "tcp":
      await listen(server, { host: endpoint.host, port: endpoint.port, backlog });
      break;
    case "fd":
      await listen(server, { fd: endpoint.fd, backlog });
      break;
    case "unix":
      await removeStale(endpoint.path);
      await listen(server, { path: endpoint.path, backlog });
      if (endpoint.mode !== undefined) await chmod(endpoint.path, endpoint.mode);
      break;
    case "udp":
      throw new RangeError("a stream server takes no datagrams");
  }
  const address = server.address();
  if (address !== null && typeof address === "object")
    return { type: "tcp", host: address.address, port: address.port };
  return { type: "unix", host: address ?? "", port: 0 };
}

async function listen(
  server: Server,
  options: ListenOptions & { readonly fd?: number },
): Promise<void> {
  const where =
    options.path ??
    (options.fd === undefined ? `${options.host}:${options.port}` : `fd ${options.fd}`);
  try {
    server.listen(options);
    await once(server, "listening");
  } catch (error) {
    throw addressError(where, error);
  }
}

export function addressError(where: string, cause: unknown): FleetError {
  return new FleetError("proxy-address", `cannot listen on ${where}: ${errorMessage(cause)}`, {
    cause,
  });
}

/** A socket file that nobody listens behind is what a killed process leaves. */
async function removeStale(path: string): Promise<void> {
  const file = await stat(path).catch(() => undefined);
  if (file?.isSocket() !== true) return;
  const probe = connect(path);
  try {
    await once(probe, "connect");
  } catch (error) {
    const isStale = error instanceof Error && "code" in error && error.code === "ECONNREFUSED";
    if (isStale) await unlink(path);
  } finally {
    probe.destroy();
  }
}
