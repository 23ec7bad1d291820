import { availableParallelism, networkInterfaces } from "node:os";
import { Agent, type AgentStatus } from "../agent/agent.ts";
import { openDbusSystemd } from "../agent/dbus-systemd.ts";
import type { Host } from "../agent/host.ts";
import { openLinuxHost } from "../agent/linux-host.ts";
import type { Systemd } from "../agent/systemd.ts";
import { JournalNudge } from "../api/journal-nudge.ts";
import type { ListenSpec } from "../api/listen.ts";
import { processUnitLogs } from "../api/process-unit-logs.ts";
import type { ActionRequest, Notice } from "../api/protocol.ts";
import { type Api, startApi } from "../api/server.ts";
import { Dns } from "../dns/dns.ts";
import { runEngine } from "../engine/engine.ts";
import { previewPlan } from "../engine/preview.ts";
import { Registrar, type RegistrarOptions } from "../registrar/registrar.ts";
import { openEmbeddedStore } from "../registry/embedded-store.ts";
import { openEtcdStore } from "../registry/etcd-store.ts";
import { makeKeys } from "../registry/keys.ts";
import { RECORD_FORMAT } from "../registry/records.ts";
import { Registry } from "../registry/registry.ts";
import type { Store } from "../registry/store.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { systemClock } from "../runtime/system-clock.ts";
import { systemRandom } from "../runtime/system-random.ts";
import type { UnixSocketSpec } from "../runtime/unix-socket.ts";
import { VERSION } from "../runtime/version.ts";
import type { Config } from "./config.ts";
import { EngineSwitch } from "./engine-switch.ts";
import { collectAtRest } from "./heap-rest.ts";
import { LiveConfig } from "./live-config.ts";
import { type PassedSocket, takePassedSockets } from "./passed-sockets.ts";
import { DaemonReport } from "./report.ts";
import { SyncDuty } from "./sync-duty.ts";
import { readOptional } from "./tls-files.ts";
import { writeState } from "./write-state.ts";

/** How long handing units over may take before the daemon goes anyway; the unit's TimeoutStopSec= is longer. */
const HAND_OVER_MAX_MS = 170_000;

export interface DaemonOptions {
  readonly config: Config;
  /** Reads the configuration again. Throws FleetError. */
  readonly load: () => Config;
  readonly logger: Logger & { setDebug(debug: boolean): void };
}

/**
 * Runs agent, engine candidate and API of this machine until a signal says to end. SIGHUP: reads the configuration again; SIGUSR1: writes down how things
 * stand.
 */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const { config, logger } = options;
  const live = new LiveConfig(options);
  // Until there is something to be done for them: they would end the daemon, or open Node's debugger.
  for (const name of ["SIGHUP", "SIGUSR1"]) process.on(name, () => undefined);
  const sockets = takePassedSockets(process.env, process.pid);
  logger.info("starting", { version: VERSION, registry: config.registry });
  for (const note of config.notes) logger.warn("configuration", { note });
  if (config.registryIsImplied && config.registry === "embedded") {
    logger.warn("single-machine", {
      why: "neither registry nor etcd_servers is set: this machine is a cluster by itself",
    });
  }
  const host = await openLinuxHost({
    volatileDirectory: config.runDirectory,
    persistentDirectory: config.stateDirectory,
  });
  const systemd = await openDbusSystemd({
    clock: systemClock,
    logger,
    unitsDirectory: config.unitsDirectory,
  });
  const store = await openStore(config, logger);
  try {
    await runMachine({ config, live, sockets, logger, host, systemd, store });
  } finally {
    await store.close();
    await systemd.close();
  }
}

interface Machine {
  /** As it was at the start. */
  readonly config: Config;
  readonly live: LiveConfig;
  /** That systemd opened for the API. */
  readonly sockets: readonly PassedSocket[];
  readonly logger: DaemonOptions["logger"];
  readonly host: Host;
  readonly systemd: Systemd;
  readonly store: Store;
}

async function runMachine(machine: Machine): Promise<void> {
  const { config, live, logger, host, systemd, store } = machine;
  const shared = {
    store,
    logger,
    clock: systemClock,
    random: systemRandom,
    keys: makeKeys(config.keyPrefix),
  };
  const nonce = systemRandom.id();
  const report: DaemonReport = new DaemonReport({
    clock: systemClock,
    env: process.env,
    statusLine: (role) => statusLine(agent, role),
  });
  const { liveness } = report;
  const registry = new Registry(shared);
  const syncDuty = makeSyncDuty(config, registry, logger);
  const engine = new EngineSwitch((expected, signal) =>
    runEngine({
      ...shared,
      machineId: host.machineId,
      nonce,
      format: RECORD_FORMAT,
      expected,
      registryLostMs: () => agent.registryLostMs,
      liveness,
      onLead: (leads) => {
        report.lead(leads);
        syncDuty?.lead(leads);
      },
      options: { bootGraceMs: config.bootGraceMs, lossWindowMs: live.config.agentTtlMs },
      signal,
    }),
  );
  const agent = new Agent({
    ...shared,
    systemd,
    host,
    nonce,
    get ttlMs() {
      return live.config.agentTtlMs;
    },
    handbackMs: config.handbackMs,
    liveness,
    startsWithoutRegistry: config.startWithoutRegistry,
    startParallelism: config.startParallelism ?? 24 * availableParallelism(),
    describe: () => describeMachine(machine),
    onPresence: (presence) => registrar.setPresence(presence),
    onStatus: (status) => {
      report.tell();
      dns.setRegistry(status.type === "attached");
      // Away, what was last said holds; by a registry that is not the machine's own nothing is said at all.
      if (status.type !== "away") {
        registrar.setCluster(status.type === "attached" ? status : undefined);
      }
      if (status.type === "attached" && !config.disableEngine) engine.on(status);
      // An engine outlives an outage by itself; with the wrong registry it has nothing to decide.
      if (status.type === "detached") engine.off();
    },
  });
  const registrar = makeRegistrar(config, host, shared);
  const dns = new Dns({ ...shared, services: registrar.services, read: registry.read });
  const parts = { machine, agent, registrar, engine, registry, report };
  const closeDns = await openDns(dns, config);
  try {
    await runParts(parts);
  } finally {
    await syncDuty?.stop();
    await closeDns();
  }
}

/** Until a signal, or the first part that ends; then everything is taken down in order. */
async function runParts(parts: {
  readonly machine: Machine;
  readonly agent: Agent;
  readonly registrar: Registrar;
  readonly engine: EngineSwitch;
  readonly registry: Registry;
  readonly report: DaemonReport;
}): Promise<void> {
  const { machine, agent, registrar, engine, registry, report } = parts;
  const { config, logger, systemd } = machine;
  const running = new AbortController();
  collectAtRest(systemClock, running.signal);
  const ended = agent.run(running.signal);
  const registered = registrar.run(servicesSocket(config), running.signal);
  // Awaited at the end; until then a failure ends the daemon below.
  registered.catch(() => undefined);
  let api: Api | undefined;
  try {
    api = await openApi({ machine, agent, registry, signal: running.signal });
    actOnSignals({ ...parts, api }, running.signal);
    report.begin(running.signal);
    const failed = await Promise.race([
      nextSignal(),
      ended.then(() => undefined),
      registered.then(() => undefined),
      engine.crashed,
    ]);
    if (failed !== undefined) logger.info("ending", { signal: failed });
    await engine.stop();
    if (await handsOver(config, systemd)) {
      await agent.leave(AbortSignal.any([AbortSignal.timeout(HAND_OVER_MAX_MS), abortOnSignal()]));
    }
  } finally {
    running.abort();
    await engine.stop();
    await ended;
    await registered;
    await api?.close();
  }
}

/** Those that do not end the daemon. */
function actOnSignals(
  { machine, agent, report, api }: Omit<Parameters<typeof runParts>[0], "engine"> & { api: Api },
  signal: AbortSignal,
): void {
  const { live, logger, host } = machine;
  const onReload = () => {
    if (!live.reload((tls) => api.setTls(tls))) return;
    logger.setDebug(live.config.verbose);
    agent.describeAnew();
  };
  const onDump = () => {
    const { role } = report;
    const { status, isLeaving, held } = agent;
    const state = { version: VERSION, machine: host.machineId, role, status, isLeaving, held };
    void writeState(live.config, { ...state, addresses: api.addresses }, logger);
  };
  process.on("SIGHUP", onReload);
  process.on("SIGUSR1", onDump);
  signal.addEventListener("abort", () => {
    process.off("SIGHUP", onReload);
    process.off("SIGUSR1", onDump);
  });
}

function makeSyncDuty(config: Config, registry: Registry, logger: Logger): SyncDuty | undefined {
  const settings = config.sync;
  const cacheDirectory = `${config.stateDirectory}/sync`;
  return (
    settings && new SyncDuty({ settings, registry, clock: systemClock, logger, cacheDirectory })
  );
}

async function openApi(parts: {
  readonly machine: Machine;
  readonly agent: Agent;
  readonly registry: Registry;
  readonly signal: AbortSignal;
}): Promise<Api> {
  const { machine, agent, registry, signal } = parts;
  const { config, live, logger, host, systemd } = machine;
  return await startApi({
    registry,
    daemon: {
      machineId: host.machineId,
      version: VERSION,
      singleMachine: config.registry === "embedded",
      notices: () => notices(agent.status),
      rejoin: (mode) => agent.rejoin(mode, signal),
      act: (unit, action, signal) => act(systemd, { unit, action, signal }),
    },
    logs: processUnitLogs({ nudge: new JournalNudge(systemClock, journalFiles(host)) }),
    clock: systemClock,
    logger,
    listen: listenSpecs(machine),
    hosts: await ownNames(config, host),
    previewPlan,
    peers: {
      get tls() {
        return live.tls;
      },
    },
    pageLimit: config.tokenLimit,
    syncSecret: readOptional(config.syncSecretFile)?.trim(),
  });
}

async function openDns(dns: Dns, { dnsListen }: Config): Promise<() => Promise<void>> {
  return dnsListen === undefined ? async () => undefined : await dns.open(dnsListen);
}

function makeRegistrar(
  config: Config,
  host: Host,
  shared: Pick<RegistrarOptions, "store" | "keys" | "clock" | "random" | "logger">,
): Registrar {
  const { publicIp, serviceNames, skyDns } = config;
  return new Registrar({
    ...shared,
    machineId: host.machineId,
    folder: host.volatile,
    address: async () => publicIp ?? (await host.facts()).address,
    isOwnAddress: (address) => address === publicIp || isOwnAddress(address),
    serviceNames,
    skyDns,
    // Clients try again within half a second. Counted from the start of this process: a daemon that was killed with a sidekick leaves nothing for longer
    // than a lease would.
    reconnectMs: Math.max(1_000, Math.min(5_000, config.agentTtlMs) - systemClock.monotonicMs()),
  });
}

function servicesSocket({ servicesSocket, servicesGroup }: Config): UnixSocketSpec {
  const mode = servicesGroup === undefined ? 0o600 : 0o660;
  return { path: servicesSocket, mode, group: servicesGroup };
}

/** Of the system's units: on disk, or in memory where journald keeps nothing. */
function journalFiles({ machineId }: Host): readonly string[] {
  return ["/var", "/run"].map((place) => `${place}/log/journal/${machineId}/system.journal`);
}

/** Loopback is nobody else's way to this machine. */
function isOwnAddress(address: string): boolean {
  return Object.values(networkInterfaces())
    .flatMap((infos) => infos ?? [])
    .some((info) => !info.internal && info.address === address);
}

/**
 * Only a stop for good hands over. At a restart, or when somebody killed the process, the next daemon adopts what runs (I4). A machine that is the whole
 * cluster has nobody to hand over to.
 */
async function handsOver(config: Config, systemd: Systemd): Promise<boolean> {
  if (config.registry === "embedded") return false;
  if ((await systemd.ownJob()) === "stop") return true;
  // Without an answer nothing is stopped: the system does that by itself when it goes down.
  return await systemd.isSystemStopping().catch((error: unknown) => {
    if (isFleetError(error)) return false;
    throw error;
  });
}

/** Beside the agent: such an action changes nothing that it wants or remembers. */
async function act(
  systemd: Systemd,
  asked: { readonly unit: string; readonly action: ActionRequest; readonly signal: AbortSignal },
): Promise<void> {
  const { unit, action, signal } = asked;
  switch (action.action) {
    case "reload":
      return await systemd.reloadUnit(unit, signal);
    case "kill":
      return await systemd.kill(unit, action.signal, signal);
    case "reset-failed":
      return await systemd.resetFailed(unit, signal);
  }
}

async function openStore(config: Config, logger: Logger): Promise<Store> {
  if (config.registry === "embedded") {
    return openEmbeddedStore({
      file: `${config.stateDirectory}/registry.db`,
      clock: systemClock,
      random: systemRandom,
    });
  }
  return await openEtcdStore({
    servers: config.etcdServers,
    clock: systemClock,
    random: systemRandom,
    logger,
    username: config.etcdUsername,
    password: config.etcdPassword,
    ca: readOptional(config.etcdCaFile),
    cert: readOptional(config.etcdCertFile),
    key: readOptional(config.etcdKeyFile),
  });
}

async function describeMachine({ live, sockets, host }: Machine) {
  const { config } = live;
  const facts = await host.facts();
  const address = config.publicIp ?? facts.address;
  const [listening] = [...config.listen, ...sockets.filter(({ entrance }) => entrance === "tcp")];
  const port = listening?.port;
  return {
    address,
    ...(port === undefined || address === ""
      ? {}
      : { api: address.includes(":") ? `[${address}]:${port}` : `${address}:${port}` }),
    automatic: facts.automatic,
    metadata: config.metadata,
    version: VERSION,
    format: RECORD_FORMAT,
    capacity: facts.capacity,
    ...(config.overcommit === undefined ? {} : { overcommit: { ...config.overcommit } }),
  };
}

/** A unix socket of systemd's stands in for the daemon's own. */
function listenSpecs({ config, live, sockets }: Machine): readonly ListenSpec[] {
  const mode = config.apiGroup === undefined ? 0o600 : 0o660;
  const access = { tls: live.tls, insecure: config.insecure };
  const passed = sockets.map(({ fd, entrance }) => ({
    type: "fd" as const,
    fd,
    entrance,
    ...access,
  }));
  const own = { type: "unix", path: config.apiSocket, mode, group: config.apiGroup } as const;
  return [
    ...passed,
    ...(passed.some(({ entrance }) => entrance === "unix") ? [] : [own]),
    ...config.listen.map((address) => ({ type: "tcp" as const, ...address, ...access })),
  ];
}

async function ownNames(config: Config, host: Host): Promise<readonly string[]> {
  const { address, automatic } = await host.facts();
  return [config.publicIp ?? "", address, automatic["hostname"] ?? ""].filter(
    (name) => name !== "",
  );
}

/** For `systemctl status`: role, units, registry. */
function statusLine(agent: Agent, role: "leads" | "follows"): string {
  const { status, heldCount, isLeaving } = agent;
  const units = `${heldCount} ${heldCount === 1 ? "unit" : "units"}`;
  switch (status.type) {
    case "attached":
      return isLeaving
        ? `handing over: ${units} left`
        : `${role === "leads" ? "leads the cluster" : "in the cluster"}, ${units}, registry answers`;
    case "away":
      return `${units} run on, the registry is away: ${status.why}`;
    case "detached":
      return `detached, ${units} run on: the registry is not this machine's, nothing is changed; see fleetctl-ts rejoin --help`;
  }
}

function notices(status: AgentStatus): readonly Notice[] {
  switch (status.type) {
    case "attached":
      return [];
    case "away":
      return [{ code: "registry-away", message: `the registry is away: ${status.why}` }];
    case "detached":
      return [{ code: "detached", message: detachedMessage(status) }];
  }
}

function detachedMessage({ why }: Extract<AgentStatus, { type: "detached" }>): string {
  const what = {
    "no-cluster": "the registry has been emptied",
    "other-cluster": "the registry is another cluster's",
    "other-store": "another store answers in the registry's place",
    "older-revision": "the registry is older than what this machine has seen of it",
  }[why.type];
  return `this machine is detached: ${what}; it starts and stops nothing until fleetctl-ts rejoin --keep (or --discard) is run on it`;
}

async function nextSignal(): Promise<NodeJS.Signals> {
  return await new Promise((resolve) => {
    for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, resolve);
  });
}

/** A second signal ends the hand-over at once. */
function abortOnSignal(): AbortSignal {
  const controller = new AbortController();
  void nextSignal().then(() => controller.abort());
  return controller.signal;
}
