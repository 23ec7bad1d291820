import type { CancelTimer, Clock } from "../runtime/clock.ts";
import { type Manifest, manifestHash } from "../units/manifest.ts";
import { templateOf } from "../units/unit-name.ts";
import { MemoryUnit, type Run } from "./memory-unit.ts";
import { readBehaviour } from "./memory-unit-text.ts";
import type { Fence, HeldUnit, UnitStatus } from "./systemd.ts";

export interface HostUnit {
  readonly path: string;
  readonly content: string;
}

/** Told of changes, as signals of the bus would. */
export interface MachineListener {
  changed(unit: string): void;
  stopping(): void;
  busLost(): void;
  busRestored(): void;
}

const FIRST_PID = 1_000;
/** Nothing fenced may start. */
const NO_FENCE: Fence = { units: [], stopAtMs: Number.NEGATIVE_INFINITY, killAtMs: 0 };

/**
 * A machine for the simulation: its systemd, the files of /run that fleet-ts keeps there, and the ways in which it can fail. It outlives the
 * daemons that come and go on it; each has a `MemorySystemd` of its own. The same calls at the same times do the same.
 */
export class MemoryMachine {
  readonly clock: Clock;
  /** Every run of every unit, in order of start, over all boots. */
  readonly runs: Run[] = [];
  /** Job on the daemon's own unit. */
  ownJob: "restart" | "stop" | "none" = "none";
  /** The next so many writes find the disk full. */
  failingWrites = 0;
  isStopping = false;
  isBusUp = true;
  /** How long systemd takes to take a call up. */
  callMs = 0;
  readonly #files = new Map<string, HeldUnit>();
  readonly #enabled = new Set<string>();
  readonly #hostUnits = new Map<string, HostUnit>();
  readonly #loaded = new Map<string, MemoryUnit>();
  readonly #listeners = new Set<MachineListener>();
  #fence = NO_FENCE;
  #cancelFall: CancelTimer = () => {};
  #falling: Promise<unknown> = Promise.resolve();
  #fallen: readonly string[] = [];
  #pids = FIRST_PID;

  constructor(options: { readonly clock: Clock }) {
    this.clock = options.clock;
  }

  listen(listener: MachineListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // ---- what fleet-ts keeps on it

  held(): readonly HeldUnit[] {
    return [...this.#files.values()].sort((a, b) => (a.unit < b.unit ? -1 : 1));
  }

  isHeld(unit: string): boolean {
    return this.#files.has(unit);
  }

  /** Path of the unit that the host has under this name, an instance's template included. */
  hostPath(unit: string): string | undefined {
    const template = templateOf(unit);
    const found =
      this.#hostUnits.get(unit) ??
      (template === undefined ? undefined : this.#hostUnits.get(template));
    return found?.path;
  }

  /** True if systemd has to reload before the unit is what was written. */
  put(held: HeldUnit): boolean {
    const { unit, manifest } = held;
    const before = this.#files.get(unit)?.manifest;
    this.#files.set(unit, held);
    const { installs } = readBehaviour(unit, manifest);
    const linksChanged = installs !== this.#enabled.has(unit);
    if (installs) this.#enabled.add(unit);
    else this.#enabled.delete(unit);
    const wanted = (text: Manifest) => readBehaviour(unit, text).wantedBy.join(" ");
    const moved = before !== undefined && wanted(before) !== wanted(manifest);
    return linksChanged || moved || this.needsReload(unit);
  }

  remove(unit: string): boolean {
    this.#files.delete(unit);
    const loaded = this.#loaded.get(unit);
    loaded?.resetFailed();
    this.#forgetIdle(unit);
    return this.#enabled.delete(unit) || this.#loaded.has(unit);
  }

  /** The unit in memory is of another file than the one on disk. */
  needsReload(unit: string): boolean {
    const loaded = this.#loaded.get(unit);
    const file = this.#files.get(unit)?.manifest;
    return loaded !== undefined && file !== undefined && loaded.hash !== manifestHash(file);
  }

  isEnabled(unit: string): boolean {
    return this.#enabled.has(unit);
  }

  reload(): void {
    for (const [unit, loaded] of this.#loaded) {
      const file = this.#files.get(unit)?.manifest;
      if (file !== undefined && loaded.path === "") loaded.reread(file);
    }
  }

  // ---- the fence

  fence(fence: Fence): void {
    this.#cancelFall();
    if (this.clock.monotonicMs() >= this.#fence.stopAtMs) this.#fall();
    this.#fence = fence;
    if (fence.units.length > 0) this.#cancelFall = this.#timer(fence.stopAtMs, () => this.#fall());
  }

  /** Resolves when all that the fence had to stop so far has stopped. */
  get fallOver(): Promise<unknown> {
    return this.#falling;
  }

  #fall(): void {
    const { units, killAtMs } = this.#fence;
    this.#fence = NO_FENCE;
    if (units.length === 0) return;
    const running = units
      .flatMap((unit) => this.#loaded.get(unit) ?? [])
      .filter(({ isIdle }) => !isIdle);
    if (this.#fallen.length === 0) this.#fallen = running.map(({ unit }) => unit);
    const stops = running.map((unit) => unit.stop().done);
    const cancelKill = this.#timer(killAtMs, () => {
      for (const unit of running) unit.kill();
    });
    this.#falling = Promise.all([this.#falling, ...stops]).then(cancelKill);
  }

  #timer(atMs: number, work: () => void): CancelTimer {
    return this.clock.setTimer(Math.max(0, atMs - this.clock.monotonicMs()), work);
  }

  fallen(): readonly string[] {
    return this.#fallen;
  }

  forgetFallen(units: readonly string[]): void {
    if (this.#fallen.join() === units.join()) this.#fallen = [];
  }

  // ---- units

  /** Loads a held unit that is not in memory. Undefined: no such unit, or not one of ours. */
  ownUnit(unit: string): MemoryUnit | undefined {
    const loaded = this.#loaded.get(unit);
    if (loaded !== undefined)
      return loaded.path === "" && this.#files.has(unit) ? loaded : undefined;
    const file = this.#files.get(unit)?.manifest;
    if (file === undefined || this.#hostUnits.has(unit)) return undefined;
    return this.#load(unit, file, "");
  }

  status(unit: string): UnitStatus | undefined {
    const status = (this.#loaded.get(unit) ?? this.ownUnit(unit))?.status();
    this.#forgetIdle(unit);
    return status;
  }

  runsOf(unit: string): readonly Run[] {
    return this.runs.filter((run) => run.unit === unit);
  }

  // ---- what the host does by itself

  /** A unit that the machine has from elsewhere. */
  addHostUnit(unit: string, host: HostUnit, options: { readonly running?: boolean } = {}): void {
    this.#hostUnits.set(unit, host);
    if (options.running) {
      this.#load(unit, { content: host.content, dropIns: [] }, host.path).start();
    }
  }

  /** `systemctl start|stop|reset-failed|kill` by the machine's administrator. */
  byHand(verb: "start" | "stop" | "reset-failed", unit: string): void {
    const target = this.#loaded.get(unit) ?? this.ownUnit(unit);
    if (verb === "start") target?.start();
    else if (verb === "stop") target?.stop();
    else target?.resetFailed();
    this.#forgetIdle(unit);
  }

  /** The main process dies. */
  crash(unit: string, exitCode = 1): void {
    this.#loaded.get(unit)?.exit(exitCode);
  }

  /** What the start of a target pulls in: held units that are enabled for it. */
  reachTarget(target: string): void {
    for (const { unit, manifest } of this.held()) {
      const { wantedBy } = readBehaviour(unit, manifest);
      if (this.#enabled.has(unit) && wantedBy.includes(target)) this.ownUnit(unit)?.start();
    }
  }

  // ---- what befalls it

  breakBus(): void {
    if (!this.isBusUp) return;
    this.isBusUp = false;
    for (const listener of [...this.#listeners]) listener.busLost();
  }

  restoreBus(): void {
    if (this.isBusUp) return;
    this.isBusUp = true;
    for (const listener of [...this.#listeners]) listener.busRestored();
  }

  /** An orderly shutdown begins: every unit is asked to stop. Ends with `boot()`. */
  shutDown(): void {
    this.isStopping = true;
    for (const listener of [...this.#listeners]) listener.stopping();
    for (const unit of [...this.#loaded.keys()].sort()) this.#loaded.get(unit)?.stop();
  }

  /** Power is gone or back after a shutdown: nothing runs, /run is empty. Files of the host stay, except those of /run. */
  boot(): void {
    for (const unit of [...this.#loaded.keys()].sort()) this.#loaded.get(unit)?.cutPower();
    this.#loaded.clear();
    this.#files.clear();
    this.#enabled.clear();
    this.#cancelFall();
    this.#fence = NO_FENCE;
    this.#fallen = [];
    for (const [unit, host] of this.#hostUnits) {
      if (host.path.startsWith("/run/")) this.#hostUnits.delete(unit);
    }
    this.isStopping = false;
    this.callMs = 0;
    this.ownJob = "none";
    this.restoreBus();
  }

  #load(unit: string, manifest: Manifest, path: string): MemoryUnit {
    const loaded = new MemoryUnit({
      unit,
      manifest,
      path,
      clock: this.clock,
      runs: this.runsOf(unit).length,
      nextPid: () => {
        this.#pids += 1;
        return this.#pids;
      },
      begin: (run) => this.#begin(run),
      mayStart: () =>
        this.#files.get(unit)?.fencingToken === undefined ||
        this.clock.monotonicMs() < this.#fence.stopAtMs,
      onChange: () => {
        for (const listener of [...this.#listeners]) listener.changed(unit);
        // In a task of its own: the unit is in the middle of a step.
        queueMicrotask(() => this.#forgetIdle(unit));
      },
    });
    this.#loaded.set(unit, loaded);
    return loaded;
  }

  #begin(run: Run): (endedBy: "stop" | "exit" | "power") => void {
    const index = this.runs.push(run) - 1;
    return (endedBy) => {
      this.runs[index] = { ...run, endMs: this.clock.monotonicMs(), endedBy };
    };
  }

  /** systemd keeps no unit in memory that is inactive and that nobody names: its counters go with it. */
  #forgetIdle(unit: string): void {
    if (this.#loaded.get(unit)?.isForgettable === true) this.#loaded.delete(unit);
  }
}
