#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { getAsset, isSea } from "node:sea";
import { parentPort, Worker } from "node:worker_threads";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import { ownUnit } from "../runtime/own-unit.ts";
import { openLogger } from "../runtime/pino-logger.ts";
import { ownArguments, type Program, runProgram } from "../runtime/program.ts";
import { ServiceNotifier } from "../runtime/service-notifier.ts";
import { systemClock } from "../runtime/system-clock.ts";
import { systemRandom } from "../runtime/system-random.ts";
import { Ambassador } from "./ambassador.ts";
import { AMBASSADOR_USAGE, type AmbassadorSpec, parseAmbassador } from "./arguments.ts";
import { handedOverSockets } from "./handed-over.ts";
import { findHandles } from "./node-handles.ts";
import { serveThread } from "./node-thread.ts";
import { nodeThreadsProxy } from "./node-threads.ts";
import type { DataPlane, Endpoint } from "./proxy.ts";
import { serveStatus } from "./status-server.ts";

const logger = openLogger({
  debug: false,
  prefixLevel: process.env["JOURNAL_STREAM"] !== undefined,
});

const program: Program<AmbassadorSpec> = {
  name: "fleet-ambassador",
  usage: AMBASSADOR_USAGE,
  parse: readSpec,
  run: async (spec, { signal }) => {
    const consumer = spec.consumer ?? ownUnit() ?? "fleet-ambassador";
    const ambassador = new Ambassador({
      ...spec,
      clock: systemClock,
      random: systemRandom,
      logger,
      notifier: new ServiceNotifier(process.env),
      proxy:
        spec.dataPlane === "node"
          ? nodeThreadsProxy({
              clock: systemClock,
              logger,
              handles: findHandles(process.version),
              startThread,
              threads: spec.threads ?? defaultThreads(),
            })
          : await openNft(consumer),
      consumer,
      stateFile: spec.stateFile ?? runtimeFile("backends.json"),
      handedOver: handedOverSocket,
    });
    process.on("SIGHUP", () => {
      try {
        ambassador.reload(readSpec(ownArguments()));
      } catch (error) {
        if (!isFleetError(error)) throw error;
        logger.error("not-reloaded", { error: errorMessage(error) });
      }
    });
    const closeStatus =
      spec.statusSocket === undefined
        ? async () => undefined
        : await serveStatus(spec.statusSocket, ambassador);
    await ambassador.run(signal).finally(closeStatus);
    return 0;
  },
};

/** More gained nothing where backends and clients share the machine. */
function defaultThreads(): number {
  return Math.min(2, availableParallelism());
}

/** This program again, which finds itself in a thread then. An executable holds its text as an asset (build/main.ts). */
function startThread(): Worker {
  if (isSea()) return new Worker(getAsset("main", "utf8"), { eval: true });
  const [, file = ""] = process.argv;
  return new Worker(file);
}

/** Loaded only where it is asked for. */
async function openNft(name: string): Promise<DataPlane> {
  const { openNftProxy } = await import("./nft-proxy.ts");
  return await openNftProxy({ clock: systemClock, name });
}

function readSpec(args: readonly string[]): AmbassadorSpec {
  const { optionsFile } = parseAmbassador(args);
  if (optionsFile === undefined) return parseAmbassador(args);
  let text: string;
  try {
    text = readFileSync(optionsFile, "utf8");
  } catch (error) {
    throw new FleetError("usage", `--options: ${errorMessage(error)}`);
  }
  const spec = parseAmbassador(args, text);
  if (spec.links.length > 0) return spec;
  throw new FleetError("usage", `no service is given, neither here nor in ${optionsFile}`);
}

/** In the unit's RuntimeDirectory=, where it has one. */
function runtimeFile(name: string): string | undefined {
  const [directory] = (process.env["RUNTIME_DIRECTORY"] ?? "").split(":");
  return directory === undefined || directory === "" ? undefined : join(directory, name);
}

const handedOver = handedOverSockets(process.env, process.pid);

function handedOverSocket(name: string): Endpoint {
  const [only, another] = handedOver;
  const socket =
    handedOver.find((one) => one.name === name) ?? (another === undefined ? only : undefined);
  if (socket !== undefined) return { type: "fd", fd: socket.fd, protocol: socket.protocol };
  const names = handedOver.map((one) => one.name).join(", ") || "none";
  throw new FleetError("usage", `systemd hands over no socket named ${name} (there are: ${names})`);
}

if (parentPort === null) void runProgram(program);
else {
  const handles = findHandles(process.version);
  serveThread(parentPort, { clock: systemClock, logger, handles });
}
