import { readFileSync } from "node:fs";
import type { Clock } from "../runtime/clock.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { StartOutcome } from "../units/unit-state.ts";
import { BUS, type DbusCall } from "./dbus-bus.ts";
import { DbusConnection, type DbusSignal } from "./dbus-connection.ts";
import { DbusFence } from "./dbus-fence.ts";
import { Jobs } from "./dbus-jobs.ts";
import {
  MANAGER_INTERFACE,
  MANAGER_PATH,
  Manager,
  managerCall,
  PROPERTIES_INTERFACE,
  SYSTEMD,
  UNIT_INTERFACE,
} from "./dbus-manager.ts";
import { unitOfCgroup, unitPath } from "./dbus-names.ts";
import type { SignalHeader } from "./dbus-signal-filter.ts";
import { forgottenStatus, StatusReader } from "./dbus-status.ts";
import { UnitFiles } from "./dbus-unit-files.ts";
import { UnitJobs } from "./dbus-unit-jobs.ts";
import { onDisk, UnitWriter } from "./dbus-unit-writer.ts";
import type { Fence, HeldUnit, Systemd, SystemdEvent, UnitStatus, WriteResult } from "./systemd.ts";
import { SystemdEvents } from "./systemd-events.ts";

export interface DbusSystemdOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** fleet.conf's `units_directory`. */
  readonly unitsDirectory?: string;
  readonly linkDirectory?: string;
  readonly fenceDirectory?: string;
  readonly socketPath?: string;
  /** The daemon's unit, which all others stop before. */
  readonly daemonUnit?: string;
  /** The unit this process is in; by default what /proc/self/cgroup says. */
  readonly ownUnit?: string;
  readonly callDeadlineMs?: number;
}

const OWN_JOB_DEADLINE_MS = 1_000;
/** Generators of the host run first, and they may be slow. */
const RELOAD_DEADLINE_MS = 90_000;

const PROPERTIES_CHANGED = "PropertiesChanged";

/**
 * Few and constant rules: the bus forgets none by itself and allows 512. Of the two signals a unit sends at each change, only the smaller one
 * (of the Unit interface) comes through; every shutdown, reboot and kexec starts shutdown.target.
 */
const MATCH_RULES: readonly string[] = [
  `type='signal',sender='${SYSTEMD}',interface='${PROPERTIES_INTERFACE}',member='${PROPERTIES_CHANGED}',arg0='${UNIT_INTERFACE}'`,
  `type='signal',sender='${SYSTEMD}',interface='${MANAGER_INTERFACE}',member='JobRemoved'`,
  `type='signal',sender='${SYSTEMD}',interface='${MANAGER_INTERFACE}',member='JobNew',arg2='shutdown.target'`,
  `type='signal',sender='${SYSTEMD}',interface='${MANAGER_INTERFACE}',member='Reloading'`,
  `type='signal',sender='${BUS}',interface='${BUS}',member='NameOwnerChanged',arg0='${SYSTEMD}'`,
];

/** The machine's systemd over the system bus. Rejects with `systemd-unavailable` or `host-io` when it cannot begin. */
export async function openDbusSystemd(options: DbusSystemdOptions): Promise<Systemd> {
  const files = onDisk(() =>
    UnitFiles.open({
      unitsDirectory: options.unitsDirectory ?? "/run/fleet/units",
      linkDirectory: options.linkDirectory ?? "/run/systemd/system",
      daemonUnit: options.daemonUnit ?? "fleetd-ts.service",
      fenceDirectory: fenceDirectory(options),
    }),
  );
  return await DbusSystemd.open(options, files);
}

class DbusSystemd implements Systemd {
  readonly #options: DbusSystemdOptions;
  readonly #files: UnitFiles;
  readonly #jobs: Jobs;
  readonly #connection: DbusConnection;
  readonly #manager: Manager;
  readonly #statuses: StatusReader;
  readonly #events: SystemdEvents;
  readonly #writer: UnitWriter;
  readonly #unitJobs: UnitJobs;
  readonly #fence: DbusFence;
  /** Held units by the path their signals come from. */
  readonly #paths: Map<string, string>;
  /** Held units that systemd had not in memory when they were written, and that have not changed since: it has nothing to say of them. */
  readonly #unknown = new Set<string>();
  /** Units that are being written, and have not changed since that began. */
  readonly #unheard = new Set<string>();
  #reloading = 0;

  static async open(options: DbusSystemdOptions, files: UnitFiles): Promise<DbusSystemd> {
    const jobs = new Jobs(options.clock);
    const paths = new Map(files.units().map((unit) => [unitPath(unit), unit]));
    // Signals come only after the last await below.
    let systemd: DbusSystemd | undefined;
    const connection = await DbusConnection.open({
      socketPath: options.socketPath ?? "/run/dbus/system_bus_socket",
      clock: options.clock,
      logger: options.logger,
      callDeadlineMs: options.callDeadlineMs ?? 10_000,
      wants: (signal) => systemd?.wants(signal) ?? false,
      awaitedSignals: () => jobs.waitingCount,
      onSignal: (signal) => systemd?.receive(signal),
      setUp: subscribe,
      onLost: () => systemd?.lost(),
      onRestored: () => systemd?.restored(),
    });
    systemd = new DbusSystemd({ options, files, jobs, connection, paths });
    if (await systemd.#writer.restore()) await systemd.reload();
    return systemd;
  }

  private constructor(parts: {
    options: DbusSystemdOptions;
    files: UnitFiles;
    jobs: Jobs;
    connection: DbusConnection;
    paths: Map<string, string>;
  }) {
    const { options, files, jobs, connection } = parts;
    const { clock } = options;
    const manager = new Manager(connection);
    this.#options = options;
    this.#files = files;
    this.#jobs = jobs;
    this.#connection = connection;
    this.#paths = parts.paths;
    this.#manager = manager;
    this.#statuses = new StatusReader({
      manager,
      clock,
      isHeld: (unit) => files.isHeld(unit),
    });
    this.#events = new SystemdEvents({
      clock,
      read: (units, onAsk) => {
        const held = units.filter((unit) => this.#paths.has(unitPath(unit)));
        return this.#statuses.read(held, { onAsk });
      },
    });
    this.#writer = new UnitWriter({
      manager,
      files,
      wallMs: () => clock.wallMs(),
      onUnknown: (unit) => {
        if (this.#unheard.has(unit)) this.#unknown.add(unit);
      },
    });
    this.#unitJobs = new UnitJobs({ manager, connection, jobs, files, clock });
    this.#fence = onDisk(
      () => new DbusFence({ manager, clock, directory: fenceDirectory(options) }),
    );
  }

  async held(): Promise<readonly HeldUnit[]> {
    return onDisk(() => this.#files.held());
  }

  async write(units: readonly HeldUnit[], signal?: AbortSignal): Promise<readonly WriteResult[]> {
    // Before the write: a change that a unit makes at once is not to be missed.
    const isNew = units.map(({ unit }) => !this.#paths.has(unitPath(unit)));
    for (const { unit } of units) {
      this.#paths.set(unitPath(unit), unit);
      this.#unheard.add(unit);
    }
    try {
      return await this.#writer.write(units, signal);
    } finally {
      for (const [index, { unit }] of units.entries()) {
        this.#unheard.delete(unit);
        if (isNew[index] && !this.#files.isHeld(unit)) this.#letGo(unit);
      }
    }
  }

  async remove(
    units: readonly string[],
    signal?: AbortSignal,
  ): Promise<{ readonly reloadNeeded: boolean }> {
    try {
      return { reloadNeeded: await this.#writer.remove(units, signal) };
    } finally {
      for (const unit of units) if (!this.#files.isHeld(unit)) this.#letGo(unit);
    }
  }

  async reload(signal?: AbortSignal): Promise<void> {
    this.#reloading += 1;
    try {
      await this.#manager.call("Reload", "", [], { deadlineMs: RELOAD_DEADLINE_MS, signal });
      this.#writer.reloaded();
    } finally {
      this.#reloading -= 1;
    }
  }

  async start(
    unit: string,
    signal?: AbortSignal,
    seen?: UnitStatus,
  ): Promise<Exclude<StartOutcome, "pending">> {
    onDisk(() => this.#fence.takeRefusal(unit));
    this.#unknown.delete(unit);
    this.#events.expect(unit);
    const outcome = await this.#unitJobs.start(unit, {
      signal,
      isLoaded: seen && seen.load !== "",
    });
    return onDisk(() => this.#fence.takeRefusal(unit)) ? "canceled" : outcome;
  }

  stop(unit: string, signal?: AbortSignal): Promise<void> {
    this.#events.expect(unit);
    return this.#unitJobs.stop(unit, signal);
  }

  fence(fence: Fence, signal?: AbortSignal): Promise<void> {
    return this.#fence.set(fence, signal);
  }

  async fallen(): Promise<readonly string[]> {
    return onDisk(() => this.#fence.fallen());
  }

  async forgetFallen(units: readonly string[]): Promise<void> {
    onDisk(() => this.#fence.forgetFallen(units));
  }

  resetFailed(unit: string, signal?: AbortSignal): Promise<void> {
    return this.#unitJobs.resetFailed(unit, signal);
  }

  reloadUnit(unit: string, signal?: AbortSignal): Promise<void> {
    return this.#unitJobs.reloadUnit(unit, signal);
  }

  kill(unit: string, signalNumber: number, signal?: AbortSignal): Promise<void> {
    return this.#unitJobs.kill(unit, signalNumber, signal);
  }

  status(units: readonly string[], signal?: AbortSignal): Promise<readonly UnitStatus[]> {
    return this.#events.readFor(units, (onAsk) => this.#statuses.read(units, { signal, onAsk }));
  }

  async glance(unit: string, signal?: AbortSignal): Promise<UnitStatus> {
    if (this.#unknown.has(unit)) return forgottenStatus(unit);
    const isLoaded = (await this.#manager.loadedPath(unit, signal)) !== undefined;
    const [status] = isLoaded ? await this.status([unit], signal) : [];
    return status ?? forgottenStatus(unit);
  }

  events(signal: AbortSignal): AsyncIterable<SystemdEvent> {
    return this.#events.subscribe(signal);
  }

  async ownJob(): Promise<"restart" | "stop" | "none"> {
    const unit = this.#options.ownUnit ?? unitOfCgroup(readFileSync("/proc/self/cgroup", "utf8"));
    if (unit === undefined) return "none";
    const options = { deadlineMs: OWN_JOB_DEADLINE_MS };
    try {
      const path = await this.#manager.loadedPath(unit, AbortSignal.timeout(OWN_JOB_DEADLINE_MS));
      const job = path === undefined ? undefined : await this.#manager.job(path, options);
      if (job === undefined) return "none";
      const type = await this.#manager.text(job.path, `${SYSTEMD}.Job`, "JobType", options);
      if (type === "restart" || type === "try-restart") return "restart";
      return type === "stop" ? "stop" : "none";
    } catch {
      return "none";
    }
  }

  async isSystemStopping(): Promise<boolean> {
    return (
      (await this.#manager.text(MANAGER_PATH, MANAGER_INTERFACE, "SystemState")) === "stopping"
    );
  }

  async close(): Promise<void> {
    this.#events.close();
    await this.#connection.close();
  }

  wants({ path, member }: SignalHeader): boolean {
    if (member === PROPERTIES_CHANGED) {
      // The path says all there is to know, so nobody decodes the signal.
      const unit = this.#paths.get(path);
      if (unit === undefined) return false;
      this.#unheard.delete(unit);
      this.#unknown.delete(unit);
      if (this.#events.hasSubscribers) this.#events.changed(unit);
      return false;
    }
    return member !== "JobRemoved" || this.#jobs.waitingCount > 0;
  }

  receive({ path, member, body }: DbusSignal): void {
    if (member === "NameOwnerChanged") {
      // A systemd that joins the bus anew knows nothing of us.
      this.#connection.drop();
    } else if (path !== MANAGER_PATH) {
      return;
    } else if (member === "JobRemoved") {
      this.#jobs.removed(Number(body[0]), String(body[3]));
    } else if (member === "Reloading") {
      if (body[0] === false && this.#reloading === 0) this.#events.tell("resync");
    } else if (member === "JobNew") {
      void this.#tellIfStopping();
    }
  }

  lost(): void {
    this.#jobs.lose();
    // What changes from here on goes unheard.
    this.#unheard.clear();
    this.#unknown.clear();
  }

  restored(): void {
    this.#events.tell("resync");
    void this.#tellIfStopping();
  }

  async #tellIfStopping(): Promise<void> {
    try {
      if (await this.isSystemStopping()) this.#events.tell("system-stopping");
    } catch (error) {
      if (!isFleetError(error)) throw error;
    }
  }

  #letGo(unit: string): void {
    this.#paths.delete(unitPath(unit));
    this.#unknown.delete(unit);
    this.#events.forget(unit);
  }
}

function fenceDirectory({ fenceDirectory: said }: DbusSystemdOptions): string {
  return said ?? "/run/fleet/fence";
}

async function subscribe(call: (call: DbusCall) => Promise<unknown>): Promise<void> {
  for (const rule of MATCH_RULES) {
    const path = "/org/freedesktop/DBus";
    const body = [rule];
    await call({
      destination: BUS,
      path,
      interface: BUS,
      member: "AddMatch",
      signature: "s",
      body,
    });
  }
  await call(managerCall("Subscribe", "", []));
}
