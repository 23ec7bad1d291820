import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ApiContext, DaemonPort } from "../../src/api/context.ts";
import { processUnitLogs } from "../../src/api/process-unit-logs.ts";
import type { ActionRequest, Notice, WatchLine } from "../../src/api/protocol.ts";
import { type ApiOptions, startApi } from "../../src/api/server.ts";
import { openApiDocument } from "../../src/api/v2-openapi.ts";
import { previewPlan } from "../../src/engine/preview.ts";
import type { Keys } from "../../src/registry/keys.ts";
import { Registry } from "../../src/registry/registry.ts";
import type { Store } from "../../src/registry/store.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import type { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import type { Cleanup } from "../support/cleanup.ts";
import { openVirtualWorld, putRecord } from "../support/virtual-world.ts";
import { checkAnswer, type OpenApi, problemOf } from "./json-schema.ts";
import { SwitchedStore } from "./switched-store.ts";

/** What every answer of /fleet/v2 is held to. */
const document = openApiDocument("1.2.3") as OpenApi;

/** Holds the data of a server-sent event to it. */
export function checkEvent(data: unknown): void {
  const problem = problemOf(document, { $ref: "#/components/schemas/WatchEvent" }, data);
  assert.equal(problem, undefined);
}

export const HERE = "aaaa1111bbbb2222cccc3333dddd4444";

/** A daemon's API on a unix socket, over a registry in memory that can be taken away. */
export interface ApiWorld {
  readonly store: SwitchedStore;
  /** The registry's. The API's own is the system's unless given. */
  readonly clock: VirtualClock;
  readonly keys: Keys;
  readonly registry: Registry;
  readonly context: ApiContext;
  /** Where it listens, unless other addresses were asked for. */
  readonly socket: string;
  /** Of the first TCP address. */
  readonly port: number;
  readonly notices: Notice[];
  /** What this daemon was to do with units at once. */
  readonly acts: (readonly [unit: string, action: ActionRequest])[];
  /** The registry forgets all but its newest revision. */
  compact(): Promise<void>;
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
}

export interface CallOptions {
  /** Sent as it is when it is text, as JSON otherwise. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
}

export interface ApiWorldOptions extends Partial<ApiOptions> {
  /** Another world's, to be a second daemon of the same cluster. */
  readonly store?: Store;
  readonly machineId?: string;
}

export async function openApiWorld(t: Cleanup, options: ApiWorldOptions = {}): Promise<ApiWorld> {
  const world = openVirtualWorld();
  const store = new SwitchedStore(options.store ?? world.store);
  const registry = new Registry({
    store,
    keys: world.keys,
    clock: world.clock,
    random: world.random,
    logger: silentLogger,
  });
  const directory = await mkdtemp(join(tmpdir(), "fleet-api-"));
  const socket = join(directory, "fleet.sock");
  const notices: Notice[] = [];
  const acts: [string, ActionRequest][] = [];
  const daemon: DaemonPort = {
    machineId: options.machineId ?? HERE,
    version: "1.2.3",
    singleMachine: false,
    notices: () => notices,
    rejoin: async (mode) => [`${mode}.service`],
    act: async (unit, action) => {
      acts.push([unit, action]);
    },
  };
  const context = {
    registry,
    daemon,
    logs: processUnitLogs({ journalctl: ["/bin/echo"], systemctl: ["/bin/echo"] }),
    previewPlan,
    clock: systemClock,
    logger: silentLogger,
    peers: { tls: undefined },
    syncSecret: undefined,
    pageLimit: 100,
  };
  const api = await startApi({
    ...context,
    listen: [{ type: "unix", path: socket, mode: 0o600 }],
    ...options,
  });
  t.after(async () => {
    await api.close();
    await world.store.close();
    await rm(directory, { recursive: true });
  });
  const tcp = api.addresses.find((address) => address.type === "tcp");
  return {
    port: tcp?.port ?? 0,
    store,
    context,
    clock: world.clock,
    keys: world.keys,
    registry,
    socket,
    notices,
    acts,
    compact: async () => {
      const { header } = await world.store.read({ range: { prefix: "/" } });
      world.store.compact(header.revision);
    },
    call: async (method, path, call = {}) => {
      const answer = await send({ socketPath: socket, method, path }, call);
      const { status, headers, text } = answer;
      checkAnswer(document, { method, path }, { status, type: headers["content-type"], text });
      return answer;
    },
  };
}

/** A request as a client makes it: Content-Type JSON where there is a body, unless headers are given. */
export async function send(
  target: {
    readonly socketPath?: string;
    readonly host?: string;
    readonly port?: number;
    readonly method: string;
    readonly path: string;
  },
  { body, headers }: CallOptions,
): Promise<Answer> {
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const own = text === undefined ? {} : { "content-type": "application/json" };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = request(
      { ...target, agent: false, headers: { ...(headers ?? own) } },
      resolve,
    );
    outgoing.once("error", reject);
    outgoing.end(text);
  });
  let received = "";
  response.setEncoding("utf8");
  for await (const chunk of response) received += chunk;
  return { status: response.statusCode ?? 0, headers: response.headers, text: received };
}

export interface OpenStream {
  readonly response: IncomingMessage;
  /** The next line; undefined when the answer has ended. */
  next(): Promise<WatchLine | undefined>;
  close(): void;
}

export async function openWatch(world: ApiWorld, units: readonly string[]): Promise<OpenStream> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = request(
      {
        socketPath: world.socket,
        method: "POST",
        path: "/fleet/v2/watch",
        agent: false,
        headers: { "content-type": "application/json" },
      },
      resolve,
    );
    outgoing.once("error", reject);
    outgoing.end(JSON.stringify({ units }));
  });
  const lines = linesOf(response);
  return {
    response,
    next: async () => (await lines.next()).value,
    close: () => response.destroy(),
  };
}

async function* linesOf(response: IncomingMessage): AsyncGenerator<WatchLine, undefined> {
  response.setEncoding("utf8");
  let rest = "";
  for await (const chunk of response) {
    const parts = `${rest}${chunk}`.split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const line: WatchLine = JSON.parse(part);
      if (line.type !== "alive") yield line;
    }
  }
  return undefined;
}

interface RegistryWorld {
  readonly store: Store;
  readonly keys: Keys;
  readonly registry: Registry;
}

/** What agents and engine of other programs would have written. */
export async function putMachine(
  world: Omit<RegistryWorld, "registry">,
  id: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await putRecord(world.store, world.keys.machine(id), {
    nonce: "n",
    bootId: "b",
    leaseId: "l",
    ttlMs: 30_000,
    address: "10.0.0.1",
    automatic: {},
    metadata: {},
    version: "1.2.3",
    format: 1,
    capacity: { cpus: 1, memoryBytes: 1, tasks: 1 },
    leaving: false,
    ...more,
  });
}

export async function placeUnit(
  world: RegistryWorld,
  name: string,
  machine: string,
): Promise<void> {
  const { units } = await world.registry.read.units([name]);
  const [unit] = units;
  const { keys, store } = world;
  await putRecord(store, keys.placement(name), { machine, identity: unit?.identity ?? 0 });
  await putRecord(store, keys.assignment(machine, name), {
    identity: unit?.identity ?? 0,
    manifest: unit?.manifest ?? "",
    target: unit?.desired === "launched" ? "launched" : "loaded",
    restarts: unit?.restarts ?? 0,
    global: unit?.global ?? false,
  });
}

export async function reportState(
  world: Omit<RegistryWorld, "registry">,
  name: string,
  machine: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await putRecord(world.store, world.keys.state(machine, name), {
    manifest: "m",
    hash: "93e855a2c82547a14055df04539d78215be81327",
    current: "launched",
    load: "loaded",
    active: "active",
    sub: "running",
    result: "success",
    mainPid: 1,
    sinceMs: 0,
    ...more,
  });
}
