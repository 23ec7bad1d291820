import { once } from "node:events";
import { chmod, stat, unlink } from "node:fs/promises";
import { connect, createServer, type ListenOptions, type Server } from "node:net";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import type { BoundAddress, Endpoint } from "./proxy.ts";

/** Connections that the kernel completes while this process is busy; net.core.somaxconn may lower it. */
const BACKLOG = 4_096;

/** Resolves when `server` takes connections there. `reusePort`: beside other threads, and nobody else (TCP only). */
export async function listenStream(
  server: Server,
  endpoint: Endpoint,
  reusePort?: "first" | "joining",
): Promise<BoundAddress> {
  const backlog = BACKLOG;
  switch (endpoint.type) {
    case "tcp": {
      const { host, port } = endpoint;
      // Processes of the same user could listen there too: a connection would reach one or the other.
      if (reusePort === "first") await tryAlone({ host, port });
      await listen(server, { host, port, backlog, reusePort: reusePort !== undefined });
      break;
    }
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

async function tryAlone(where: ListenOptions): Promise<void> {
  const server = createServer();
  await listen(server, where);
  server.close();
  await once(server, "close");
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
