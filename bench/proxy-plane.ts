// proxy-plane.ts node|nft FIRST_PORT: one of our data planes with its limits and checks, statistics read every second as Prometheus would.
// `bench proxy` runs it bundled, as programs are deployed: stripping types would count as the plane's memory.
import { parentPort, Worker } from "node:worker_threads";
import { openNftProxy } from "../src/ambassador/nft-proxy.ts";
import { findHandles } from "../src/ambassador/node-handles.ts";
import { serveThread } from "../src/ambassador/node-thread.ts";
import { nodeThreadsProxy } from "../src/ambassador/node-threads.ts";
import { silentLogger } from "../src/runtime/logger.ts";
import { systemClock } from "../src/runtime/system-clock.ts";

const [file = "", name, firstPort, threads = "2"] = process.argv.slice(1);
const handles = findHandles(process.version);
const parts = { clock: systemClock, logger: silentLogger, handles };

async function main(): Promise<void> {
  const startThread = () => new Worker(file);
  const plane =
    name === "nft"
      ? await openNftProxy({ name: "bench", clock: systemClock })
      : nodeThreadsProxy({ ...parts, startThread, threads: Number(threads) });
  // The kernel keeps every connection for two minutes, and a translated one must not look like any of them: nft's go to a port of their own,
  // where those of the other planes are not in its way.
  const requests = name === "nft" ? 8098 : 8099;
  for (const [index, port] of [5201, requests, 8200].entries()) {
    const endpoints = [
      { type: "tcp", host: "127.0.0.1", port: Number(firstPort) + index } as const,
    ];
    const link = await plane.open({ name: `link${index}`, endpoints });
    await link.setBackends([
      {
        ...{ id: "a", host: "127.0.0.1", port, health: "passing", weight: 1, priority: 10 },
        ...{ sameMachine: true, presence: "present" },
      },
    ]);
    setInterval(() => void link.stats(), 1_000);
  }
  process.once("SIGTERM", () => void plane.close().then(() => process.exit(0)));
}

if (parentPort === null) await main();
else serveThread(parentPort, parts);
