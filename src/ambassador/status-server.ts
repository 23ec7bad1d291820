import { createServer } from "node:http";
import { listenUnix } from "../runtime/unix-socket.ts";
import type { Ambassador } from "./ambassador.ts";
import { metricsText } from "./metrics.ts";

/** /status (JSON) and /metrics (Prometheus) on a unix socket. Gives back what ends it. */
export async function serveStatus(
  path: string,
  ambassador: Pick<Ambassador, "status" | "isDaemonConnected" | "isReady">,
): Promise<() => Promise<void>> {
  const server = createServer((request, response) => {
    const reply = async () => {
      const links = await ambassador.status();
      const { isDaemonConnected, isReady } = ambassador;
      if (request.url === "/metrics") {
        const stats = links.flatMap((link) => link.stats ?? []);
        response.setHeader("Content-Type", "text/plain; version=0.0.4");
        response.end(metricsText(stats, isDaemonConnected));
        return;
      }
      response.statusCode = request.url === "/status" || request.url === "/" ? 200 : 404;
      response.setHeader("Content-Type", "application/json");
      const body = { ready: isReady, daemonConnected: isDaemonConnected, links };
      response.end(response.statusCode === 200 ? `${JSON.stringify(body, undefined, 2)}\n` : "");
    };
    reply().catch(() => response.destroy());
  });
  server.maxConnections = 16;
  server.setTimeout(10_000);
  await listenUnix(server, { path, mode: 0o660 }, "the status page");
  return async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
}
