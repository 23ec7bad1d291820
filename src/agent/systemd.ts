import type { Manifest } from "../units/manifest.ts";
import type { StartOutcome, SystemdState } from "../units/unit-state.ts";

/**
 * Systemd port: the units of one machine. Adapters: `dbus-systemd.ts` (the machine's systemd over D-Bus),
 * `memory-systemd.ts` (simulation). One contract suite holds for both.
 *
 * "Held" units are those fleet-ts has put on the machine: their file is in its own directory
 * (/run/fleet/units), their drop-ins and links are its own. Every other unit is the host's, and no method here ever
 * writes, loads, stops or removes one (I11).
 *
 * Errors are `FleetError`s: `systemd-unavailable` (bus or systemd away; retriable), `systemd-deadline` (retriable),
 * `systemd-refused` (with systemd's own words), `host-io` (disk full, read-only; retriable).
 */
export interface Systemd {
  /** What is held, read from disk, so it is true after any crash. A file cut off half-way is never seen: writes are atomic. */
  held(): Promise<readonly HeldUnit[]>;

  /**
   * Writes file and drop-ins of each unit, links it into systemd's search path (runtime) and enables its [Install] section. Repeating
   * it is harmless. Results come in the order of `units`; one unit's failure does not touch the others.
   * Does not make systemd re-read anything: that is `reload`, once per batch, when a result asks for it.
   */
  write(units: readonly HeldUnit[], signal?: AbortSignal): Promise<readonly WriteResult[]>;

  /**
   * Disables, unlinks and deletes held units, and forgets their failed state. The units have to be stopped. Names that are not held are
   * left alone. `reloadNeeded` as for `write`.
   */
  remove(
    units: readonly string[],
    signal?: AbortSignal,
  ): Promise<{ readonly reloadNeeded: boolean }>;

  /** systemd's daemon-reload. Resolves when it is over. */
  reload(signal?: AbortSignal): Promise<void>;

  /**
   * Asks systemd to start a held unit (job mode `replace`) and resolves when that job has ended. Aborting gives up waiting;
   * the job goes on. A unit that is active already: `done`. `seen`: what a glance has just said of it, which spares asking that again.
   */
  start(
    unit: string,
    signal?: AbortSignal,
    seen?: UnitStatus,
  ): Promise<Exclude<StartOutcome, "pending">>;

  /** Asks systemd to stop a held unit and resolves when ExecStop and ExecStopPost have run (I8). A unit that is not there: resolves. */
  stop(unit: string, signal?: AbortSignal): Promise<void>;

  /**
   * The fence of units that say Fencing=strict, from this call on, in place of the one before: at `stopAtMs` (this clock's monotonic time) systemd stops these units
   * by itself, even if this process is dead or stopped; from then on it lets no fenced unit start either, whoever asks for it: the job ends, and `start` is `canceled`. What has not ended at
   * `killAtMs` is killed. Units need not be there yet; none takes the fence away. A call that fails leaves the earlier fence standing;
   * one that is overdue falls before the new one takes its place. Resolves when all that had to stop until then has stopped.
   */
  fence(fence: Fence, signal?: AbortSignal): Promise<void>;

  /** The units that ran when the fence fell, until `forgetFallen`. */
  fallen(): Promise<readonly string[]>;

  /** Of a fall that stopped these; of another one since nothing is forgotten. */
  forgetFallen(units: readonly string[]): Promise<void>;

  /** Clears the failed state and the start-limit counter, so that the next start is not refused for earlier ones. */
  resetFailed(unit: string, signal?: AbortSignal): Promise<void>;

  /**
   * Asks systemd to reload a held unit that runs (ExecReload=) and resolves when that is over. `systemd-refused`: it is not held, does not run,
   * has nothing to reload with, or that failed.
   */
  reloadUnit(unit: string, signal?: AbortSignal): Promise<void>;

  /** Sends a signal, by its number, to every process of a held unit. `systemd-refused`: it is not held or has none. */
  kill(unit: string, signalNumber: number, signal?: AbortSignal): Promise<void>;

  /** What systemd says of each of these units now, in the order asked. A unit it does not know: load `not-found`, active `inactive`, sub `dead`. */
  status(units: readonly string[], signal?: AbortSignal): Promise<readonly UnitStatus[]>;

  /**
   * As `status` of one held unit, but systemd is not made to load it: one that it has not in memory is inactive, and `load` is empty. Costs a
   * fraction where that is so.
   */
  glance(unit: string, signal?: AbortSignal): Promise<UnitStatus>;

  /**
   * What happens from now on, until `signal` aborts. State changes of held units carry the new status; several quick ones may be told as
   * the last. `resync` means that something may have been missed (bus or systemd restarted): read `status` again.
   */
  events(signal: AbortSignal): AsyncIterable<SystemdEvent>;

  /**
   * Why this daemon is being ended: the type of the job on its own unit, `none` when there is no job or no own unit.
   * Answers `none` rather than fail.
   */
  ownJob(): Promise<"restart" | "stop" | "none">;

  /** Whether the system as a whole is shutting down. */
  isSystemStopping(): Promise<boolean>;

  close(): Promise<void>;
}

export interface HeldUnit {
  readonly unit: string;
  readonly manifest: Manifest;
  /** It is fenced: it starts only inside the fence, and finds this number in FLEET_FENCING_TOKEN. */
  readonly fencingToken?: number | undefined;
}

export interface Fence {
  readonly units: readonly string[];
  readonly stopAtMs: number;
  readonly killAtMs: number;
}

export type WriteResult =
  | { readonly type: "written"; readonly reloadNeeded: boolean }
  /** The machine has this unit from elsewhere; `path` is its file, empty for one without a file. Nothing was written. */
  | { readonly type: "name-taken"; readonly path: string }
  /** Nothing of this unit is left behind on disk that was not there before. */
  | {
      readonly type: "failed";
      readonly code: "systemd-refused" | "host-io";
      readonly message: string;
    };

export interface UnitStatus extends SystemdState {
  readonly unit: string;
  /** Result property of the unit's type: `success`, `exit-code`, `start-limit-hit`, ...; empty where the type has none. */
  readonly result: string;
  /** 0: none. */
  readonly mainPid: number;
  /** When `active` last changed: Unix milliseconds of the machine's wall clock, 0 when never. */
  readonly sinceMs: number;
  /** A start, stop or restart job is queued or running. */
  readonly hasJob: boolean;
}

export type SystemdEvent =
  | { readonly type: "status"; readonly status: UnitStatus }
  | { readonly type: "resync" }
  /** A shutdown, reboot or kexec of the machine has begun. */
  | { readonly type: "system-stopping" };

export function isRunning(status: SystemdState): boolean {
  return status.active !== "inactive" && status.active !== "failed";
}

/** Of a unit that systemd says nothing of. `load` empty: it has not been asked yet. */
export function unknownStatus(unit: string, load: "" | "not-found" = "not-found"): UnitStatus {
  return {
    unit,
    load,
    active: "inactive",
    sub: "dead",
    result: "",
    mainPid: 0,
    sinceMs: 0,
    hasJob: false,
  };
}
