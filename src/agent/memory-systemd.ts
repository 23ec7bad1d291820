import { sleep } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import { parseUnitName, validateUnitName } from "../units/unit-name.ts";
import type { StartOutcome } from "../units/unit-state.ts";
import type { MachineListener, MemoryMachine } from "./memory-machine.ts";
import { readBehaviour } from "./memory-unit-text.ts";
import {
  type Fence,
  type HeldUnit,
  type Systemd,
  type SystemdEvent,
  type UnitStatus,
  unknownStatus,
  type WriteResult,
} from "./systemd.ts";
import { SystemdEvents } from "./systemd-events.ts";

/** HUP, INT, PIPE, TERM: a main process that they end has ended well (systemd.service(5)). */
const CLEAN_SIGNALS: readonly number[] = [1, 2, 13, 15];
/** QUIT, ABRT, KILL; the simulation's processes take no notice of others. */
const DEADLY_SIGNALS: readonly number[] = [3, 6, 9];

type StartEnd = Exclude<StartOutcome, "pending">;

/**
 * One daemon's view of a simulated machine. `close()` is also how a daemon that is killed lets go: whatever it still waits for fails, and the
 * machine goes on without it.
 */
export class MemorySystemd implements Systemd {
  readonly #machine: MemoryMachine;
  readonly #events: SystemdEvents;
  readonly #leave: () => void;
  readonly #closing = new AbortController();

  constructor(machine: MemoryMachine) {
    this.#machine = machine;
    this.#events = new SystemdEvents({
      clock: machine.clock,
      read: (units) => this.status(units.filter((unit) => machine.isHeld(unit))),
    });
    const events = this.#events;
    const listener: MachineListener = {
      changed(unit) {
        if (events.hasSubscribers && machine.isBusUp && machine.isHeld(unit)) events.changed(unit);
      },
      stopping: () => events.tell("system-stopping"),
      busLost() {},
      busRestored: () => events.tell("resync"),
    };
    this.#leave = machine.listen(listener);
  }

  async held(): Promise<readonly HeldUnit[]> {
    return this.#machine.held();
  }

  async write(units: readonly HeldUnit[], signal?: AbortSignal): Promise<readonly WriteResult[]> {
    await this.#call(signal);
    return units.map((held) => this.#writeOne(held));
  }

  async remove(
    units: readonly string[],
    signal?: AbortSignal,
  ): Promise<{ readonly reloadNeeded: boolean }> {
    await this.#call(signal);
    let reloadNeeded = false;
    for (const unit of units) {
      if (!this.#machine.isHeld(unit)) continue;
      reloadNeeded = this.#machine.remove(unit) || reloadNeeded;
      this.#events.forget(unit);
    }
    return { reloadNeeded };
  }

  async reload(signal?: AbortSignal): Promise<void> {
    await this.#call(signal);
    this.#machine.reload();
  }

  async start(unit: string, signal?: AbortSignal): Promise<StartEnd> {
    await this.#call(signal);
    const job = this.#machine.ownUnit(unit)?.start();
    if (job === undefined) {
      const message = `systemd refused StartUnit of ${unit}: no such unit of ours, or a bad file`;
      throw new FleetError("systemd-refused", message);
    }
    return startEnd(await this.#orAborted(job.done, signal));
  }

  async stop(unit: string, signal?: AbortSignal): Promise<void> {
    await this.#call(signal);
    for (;;) {
      const own = this.#machine.ownUnit(unit);
      if (own === undefined || own.isIdle) return;
      await this.#orAborted(own.stop().done, signal);
    }
  }

  async fence(fence: Fence, signal?: AbortSignal): Promise<void> {
    await this.#call(signal);
    this.#machine.fence(fence);
    await this.#orAborted(this.#machine.fallOver, signal);
  }

  async fallen(): Promise<readonly string[]> {
    return this.#machine.fallen();
  }

  async forgetFallen(units: readonly string[]): Promise<void> {
    this.#machine.forgetFallen(units);
  }

  async resetFailed(unit: string, signal?: AbortSignal): Promise<void> {
    await this.#call(signal);
    if (this.#machine.isHeld(unit)) this.#machine.byHand("reset-failed", unit);
  }

  async reloadUnit(unit: string, signal?: AbortSignal): Promise<void> {
    await this.#call(signal);
    if (this.#machine.ownUnit(unit)?.isReloadable === true) return;
    throw new FleetError("systemd-refused", `will not reload ${unit}: nothing of ours to reload`);
  }

  async kill(unit: string, signalNumber: number, signal?: AbortSignal): Promise<void> {
    await this.#call(signal);
    const own = this.#machine.ownUnit(unit);
    if (own?.hasProcesses !== true) {
      throw new FleetError("systemd-refused", `will not kill ${unit}: nothing of ours runs`);
    }
    const clean = CLEAN_SIGNALS.includes(signalNumber);
    if (clean || DEADLY_SIGNALS.includes(signalNumber)) own.exit(clean ? 0 : 128 + signalNumber);
  }

  async status(units: readonly string[], signal?: AbortSignal): Promise<readonly UnitStatus[]> {
    await this.#call(signal);
    return units.map((unit) => this.#machine.status(unit) ?? unknownStatus(unit));
  }

  async glance(unit: string, signal?: AbortSignal): Promise<UnitStatus> {
    const [status] = await this.status([unit], signal);
    return status ?? unknownStatus(unit, "");
  }

  events(signal: AbortSignal): AsyncIterable<SystemdEvent> {
    return this.#events.subscribe(signal);
  }

  async ownJob(): Promise<"restart" | "stop" | "none"> {
    return this.#machine.isBusUp ? this.#machine.ownJob : "none";
  }

  async isSystemStopping(): Promise<boolean> {
    await this.#call();
    return this.#machine.isStopping;
  }

  async close(): Promise<void> {
    this.#leave();
    this.#events.close();
    this.#closing.abort(unavailable("the connection to systemd is closed"));
  }

  /** A call is a message: nothing of it happens before the caller has gone on. */
  async #call(signal?: AbortSignal): Promise<void> {
    await Promise.resolve();
    signal?.throwIfAborted();
    const { clock, callMs } = this.#machine;
    if (callMs > 0) await sleep(clock, callMs, this.#closing.signal);
    this.#closing.signal.throwIfAborted();
    if (!this.#machine.isBusUp) throw unavailable("cannot reach systemd: the bus is away");
  }

  #writeOne(held: HeldUnit): WriteResult {
    const { unit, manifest } = held;
    const machine = this.#machine;
    const problem = validateUnitName(unit);
    if (problem !== undefined) return { type: "failed", code: "systemd-refused", message: problem };
    const behaviour = readBehaviour(unit, manifest);
    for (const name of [unit, ...behaviour.installNames]) {
      const path = machine.hostPath(name);
      if (path !== undefined) return { type: "name-taken", path };
    }
    if (machine.failingWrites > 0) {
      machine.failingWrites -= 1;
      return { type: "failed", code: "host-io", message: "cannot write unit files: disk is full" };
    }
    const misnamed = behaviour.aliases.find((name) => parseUnitName(name)?.type !== behaviour.type);
    if (misnamed !== undefined) {
      const message = `systemd refused EnableUnitFiles of ${unit}: bad alias ${misnamed}`;
      return { type: "failed", code: "systemd-refused", message };
    }
    return { type: "written", reloadNeeded: machine.put(held) };
  }

  async #orAborted<T>(done: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const closing = this.#closing.signal;
    let onAbort = () => {};
    const aborted = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal?.aborted === true ? signal.reason : closing.reason);
    });
    signal?.addEventListener("abort", onAbort, { once: true });
    closing.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([done, aborted]);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      closing.removeEventListener("abort", onAbort);
    }
  }
}

function startEnd(result: string): StartEnd {
  switch (result) {
    case "done":
    case "dependency":
    case "canceled":
    case "timeout":
    case "skipped":
      return result;
    default:
      return "failed";
  }
}

function unavailable(message: string): FleetError {
  return new FleetError("systemd-unavailable", message, { retriable: true });
}
