import { backoffMs } from "../runtime/backoff.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { FleetError, isFleetError } from "../runtime/errors.ts";
import type { StartOutcome } from "../units/unit-state.ts";
import type { DbusConnection } from "./dbus-connection.ts";
import type { JobEnd, Jobs } from "./dbus-jobs.ts";
import { isNotLoaded, type Manager, UNIT_INTERFACE } from "./dbus-manager.ts";
import { unitPath } from "./dbus-names.ts";
import type { UnitFiles } from "./dbus-unit-files.ts";

type StartEnd = Exclude<StartOutcome, "pending">;

export interface UnitJobsOptions {
  readonly manager: Manager;
  readonly connection: DbusConnection;
  readonly jobs: Jobs;
  readonly files: UnitFiles;
  readonly clock: Clock;
}

/** `startedAt` of a unit that systemd does not know. */
const NEVER = 0;
const STOP_AGAIN = { firstMs: 100, maxMs: 5_000 };

/** Starting, stopping and reloading held units. A job is waited for until it ends, also over a loss of the connection. */
export class UnitJobs {
  readonly #options: UnitJobsOptions;
  #unitPath: readonly string[] | undefined;

  constructor(options: UnitJobsOptions) {
    this.#options = options;
  }

  /** `isLoaded`: whether systemd has it in memory, where that is known. */
  async start(
    unit: string,
    options: { readonly signal: AbortSignal | undefined; readonly isLoaded: boolean | undefined },
  ): Promise<StartEnd> {
    const { manager, files } = this.#options;
    const { signal } = options;
    const path = unitPath(unit);
    if (!files.isHeld(unit)) throw foreignUnit(unit, "it is not held here");
    // Reading a property loads a unit that systemd has not in memory, only to be forgotten again: twice the work of the start.
    const isLoaded = options.isLoaded ?? (await manager.loadedPath(unit, signal)) !== undefined;
    const fragment = isLoaded
      ? await manager.text(path, UNIT_INTERFACE, "FragmentPath", { about: unit, signal })
      : files.fragmentOf(unit, await this.#searchPath(signal));
    if (fragment === undefined || !this.#isOwn(unit, fragment)) {
      throw foreignUnit(unit, `the machine has it from ${fragment ?? "elsewhere"}`);
    }
    const before = isLoaded ? await this.#startedAt(path, signal) : NEVER;
    const mode = "replace";
    let end = await this.#job(() => manager.makeJob("StartUnit", unit, { mode, signal }), signal);
    while (end.type === "lost") {
      end = await this.#survive(signal, async () => {
        const found = await this.#job(async () => (await manager.job(path))?.id, signal);
        if (found.type === "removed" || (await manager.job(path)) !== undefined) return found;
        return { type: "removed", result: await this.#judge(path, before) };
      });
    }
    return startEnd(end.result);
  }

  async stop(unit: string, signal?: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    let begun = false;
    for (let attempt = 1; ; attempt += 1) {
      const again = async () => {
        if (!(await this.#needsStop(unit, signal))) return "stopped";
        begun = true;
        return await this.#stopOnce(unit, signal);
      };
      const seen = begun ? await this.#survive(signal, again) : await again();
      if (seen === "stopped") return;
      // Done is looked at again at once; a stop that somebody else's start has taken the place of, a little later.
      if (seen !== "done") await sleep(clock, backoffMs(attempt, STOP_AGAIN), signal);
    }
  }

  async resetFailed(unit: string, signal?: AbortSignal): Promise<void> {
    const { manager } = this.#options;
    if (!(await this.#isLoadedAsOwn(unit, signal))) return;
    await manager
      .call("ResetFailedUnit", "s", [unit], { about: unit, signal })
      .catch(ignoreNotLoaded);
  }

  async reloadUnit(unit: string, signal?: AbortSignal): Promise<void> {
    const { manager } = this.#options;
    await this.#refuseForeign("reload", unit, signal);
    const mode = "fail";
    const end = await this.#job(
      () => manager.makeJob("ReloadUnit", unit, { mode, signal }),
      signal,
    );
    if (end.type === "removed" && end.result === "done") return;
    const how = end.type === "removed" ? end.result : "not seen";
    throw new FleetError("systemd-refused", `the reload of ${unit} ended ${how}`);
  }

  async kill(unit: string, signalNumber: number, signal?: AbortSignal): Promise<void> {
    await this.#refuseForeign("kill", unit, signal);
    await this.#options.manager.call("KillUnit", "ssi", [unit, "all", signalNumber], {
      about: unit,
      signal,
    });
  }

  async #refuseForeign(verb: string, unit: string, signal?: AbortSignal): Promise<void> {
    if (await this.#isLoadedAsOwn(unit, signal)) return;
    throw new FleetError("systemd-refused", `will not ${verb} ${unit}: it is not held here`);
  }

  async #stopOnce(unit: string, signal: AbortSignal | undefined): Promise<string> {
    const { manager } = this.#options;
    const mode = "replace";
    try {
      const end = await this.#job(
        () => manager.makeJob("StopUnit", unit, { mode, signal }),
        signal,
      );
      return end.type === "removed" ? end.result : "done";
    } catch (error) {
      if (isNotLoaded(error)) return "stopped";
      throw error;
    }
  }

  async #needsStop(unit: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { manager } = this.#options;
    if (!(await this.#isLoadedAsOwn(unit, signal))) return false;
    const path = unitPath(unit);
    const active = await manager.text(path, UNIT_INTERFACE, "ActiveState", { signal });
    if (active !== "inactive" && active !== "failed") return true;
    return (await manager.job(path, { signal })) !== undefined;
  }

  async #isLoadedAsOwn(unit: string, signal: AbortSignal | undefined): Promise<boolean> {
    const { manager, files } = this.#options;
    if (!files.isHeld(unit)) return false;
    const path = await manager.loadedPath(unit, signal);
    if (path === undefined) return false;
    return this.#isOwn(unit, await manager.text(path, UNIT_INTERFACE, "FragmentPath", { signal }));
  }

  /** A unit whose file is gone has none: held, so it was ours. */
  #isOwn(unit: string, fragment: string): boolean {
    return fragment === "" || this.#options.files.ownerOf(fragment) === unit;
  }

  #job(begin: () => Promise<number | undefined>, signal: AbortSignal | undefined): Promise<JobEnd> {
    return this.#options.jobs.end(begin, signal);
  }

  /** Repeats a look at systemd until the connection lasts that long. */
  async #survive<T>(signal: AbortSignal | undefined, look: () => Promise<T>): Promise<T> {
    const { connection, clock } = this.#options;
    for (let failures = 1; ; failures += 1) {
      await connection.whenUp(signal);
      try {
        return await look();
      } catch (error) {
        if (!isFleetError(error, "systemd-unavailable", "systemd-deadline")) throw error;
        await sleep(clock, backoffMs(failures, { firstMs: 50, maxMs: 1_000 }), signal);
      }
    }
  }

  /** Monotonic microseconds. */
  async #startedAt(path: string, signal?: AbortSignal): Promise<number> {
    const { manager } = this.#options;
    const property = "InactiveExitTimestampMonotonic";
    return Number(await manager.property(path, UNIT_INTERFACE, property, { signal }));
  }

  /** Where systemd looks for units; it never changes while systemd runs, and a new systemd has the same. */
  async #searchPath(signal?: AbortSignal): Promise<readonly string[]> {
    this.#unitPath ??= await this.#options.manager.searchPath(signal);
    return this.#unitPath;
  }

  /** How a start job ended that nobody saw end. */
  async #judge(path: string, before: number): Promise<string> {
    const active = await this.#options.manager.text(path, UNIT_INTERFACE, "ActiveState");
    if (active === "failed") return "failed";
    if (active === "active" || active === "reloading") return "done";
    if ((await this.#startedAt(path)) !== before) return "done";
    // It never came to it, or systemd has forgotten the unit with its times, as it does with a oneshot that succeeded. A start asked for
    // again must not run that a second time.
    const type = await this.#options.manager
      .text(path, "org.freedesktop.systemd1.Service", "Type")
      .catch(() => "");
    return type === "oneshot" ? "done" : "canceled";
  }
}

/** Results of systemd's start jobs (Manager.JobRemoved); what this version does not know, a later systemd means as some kind of failure. */
function startEnd(result: string): StartEnd {
  switch (result) {
    case "done":
    case "failed":
    case "dependency":
    case "canceled":
    case "timeout":
    case "skipped":
      return result;
    case "collected":
      return "canceled";
    default:
      // invalid, assert, unsupported, once: the same again would end the same way.
      return "failed";
  }
}

function foreignUnit(unit: string, why: string): FleetError {
  return new FleetError("systemd-refused", `will not start ${unit}: ${why}`);
}

function ignoreNotLoaded(error: unknown): void {
  if (!isNotLoaded(error)) throw error;
}
