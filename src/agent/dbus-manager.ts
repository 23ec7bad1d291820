import type { DbusCall } from "./dbus-bus.ts";
import type { DbusConnection } from "./dbus-connection.ts";
import { refusalName } from "./dbus-errors.ts";

export const SYSTEMD = "org.freedesktop.systemd1";
export const MANAGER_PATH = "/org/freedesktop/systemd1";
export const UNIT_INTERFACE = "org.freedesktop.systemd1.Unit";
export const MANAGER_INTERFACE = "org.freedesktop.systemd1.Manager";
export const PROPERTIES_INTERFACE = "org.freedesktop.DBus.Properties";

const NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit";
const DESTRUCTIVE = "org.freedesktop.systemd1.TransactionIsDestructive";

interface CallOptions {
  readonly about?: string;
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** One line of ListUnitsByNames. */
export interface ListedUnit {
  readonly name: string;
  readonly load: string;
  readonly active: string;
  readonly sub: string;
  readonly path: string;
  readonly hasJob: boolean;
}

/** systemd's own interface, typed (org.freedesktop.systemd1(5)). Replies are cast here and nowhere else. */
export class Manager {
  readonly #connection: DbusConnection;

  constructor(connection: DbusConnection) {
    this.#connection = connection;
  }

  call(
    member: string,
    signature: string,
    body: readonly unknown[],
    options: CallOptions = {},
  ): Promise<unknown> {
    return this.#connection.call(managerCall(member, signature, body, options));
  }

  /** Makes a job for the unit, by a method with a job mode; gives back its number. */
  async makeJob(
    method: "StartUnit" | "StopUnit" | "ReloadUnit",
    unit: string,
    options: { readonly mode: "replace" | "fail"; readonly signal: AbortSignal | undefined },
  ): Promise<number> {
    const { mode, signal } = options;
    const call = managerCall(method, "ss", [unit, mode], { about: unit, signal });
    const path = await this.#connection.callForJob(call);
    return Number(String(path).slice("/org/freedesktop/systemd1/job/".length));
  }

  /** Loads the unit of an object path that is not loaded, as every look at a unit's path does. */
  property(path: string, owner: string, name: string, options: CallOptions = {}): Promise<unknown> {
    return this.#connection.call({
      destination: SYSTEMD,
      path,
      interface: PROPERTIES_INTERFACE,
      member: "Get",
      signature: "ss",
      body: [owner, name],
      ...options,
    });
  }

  async text(
    path: string,
    owner: string,
    name: string,
    options: CallOptions = {},
  ): Promise<string> {
    return String(await this.property(path, owner, name, options));
  }

  /** Object path of a unit that systemd has in memory, under this name or an alias; loads nothing. */
  async loadedPath(unit: string, signal?: AbortSignal): Promise<string | undefined> {
    try {
      return String(await this.call("GetUnit", "s", [unit], { about: unit, signal }));
    } catch (error) {
      if (refusalName(error) === NO_SUCH_UNIT) return undefined;
      throw error;
    }
  }

  /** In the order of `units`, names systemd has to take as valid. Loads those that are not. */
  async listByNames(
    units: readonly string[],
    signal?: AbortSignal,
  ): Promise<readonly ListedUnit[]> {
    if (units.length === 0) return [];
    const rows = (await this.call("ListUnitsByNames", "as", [units], { signal })) as [
      string,
      string,
      string,
      string,
      string,
      string,
      string,
      number,
    ][];
    return rows.map(([name, , load, active, sub, , path, job]) => ({
      name,
      load,
      active,
      sub,
      path,
      hasJob: job !== 0,
    }));
  }

  /** Number of the unit's job. */
  async job(
    path: string,
    options: CallOptions = {},
  ): Promise<{ id: number; path: string } | undefined> {
    const [id, jobPath] = (await this.property(path, UNIT_INTERFACE, "Job", options)) as [
      number,
      string,
    ];
    return id === 0 ? undefined : { id, path: jobPath };
  }

  async searchPath(signal?: AbortSignal): Promise<readonly string[]> {
    const value = await this.property(MANAGER_PATH, MANAGER_INTERFACE, "UnitPath", { signal });
    return value as string[];
  }

  /** Paths of the links that enabling made anew. */
  async enable(unit: string, signal?: AbortSignal): Promise<readonly string[]> {
    const [, changes] = (await this.call("EnableUnitFiles", "asbb", [[unit], true, true], {
      about: unit,
      signal,
    })) as [boolean, [string, string, string][]];
    return changes.filter(([type]) => type === "symlink").map(([, path]) => path);
  }

  /** True if a link was taken away. */
  async disable(unit: string, signal?: AbortSignal): Promise<boolean> {
    const changes = await this.call("DisableUnitFiles", "asb", [[unit], true], {
      about: unit,
      signal,
    });
    return (changes as unknown[]).length > 0;
  }
}

export function managerCall(
  member: string,
  signature: string,
  body: readonly unknown[],
  options: CallOptions = {},
): DbusCall {
  return {
    destination: SYSTEMD,
    path: MANAGER_PATH,
    interface: MANAGER_INTERFACE,
    member,
    ...(signature === "" ? {} : { signature, body }),
    ...options,
  };
}

/** Whether systemd has no such unit in memory. */
export function isNotLoaded(error: unknown): boolean {
  return refusalName(error) === NO_SUCH_UNIT;
}

/** Whether systemd will not start anything that jobs it has would stop: those of a shutdown. */
export function isAgainstJobs(error: unknown): boolean {
  return refusalName(error) === DESTRUCTIVE;
}
