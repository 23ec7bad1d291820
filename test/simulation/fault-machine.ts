import type { Host, RecordFolder } from "../../src/agent/host.ts";
import type {
  Fence,
  HeldUnit,
  Systemd,
  SystemdEvent,
  UnitStatus,
} from "../../src/agent/systemd.ts";
import { never, type ProcessGate } from "./process-gate.ts";

export type SystemdVerb =
  | "write"
  | "remove"
  | "reload"
  | "start"
  | "stop"
  | "reset-failed"
  | "fence";

/** Told before systemd is asked, and with the answer. */
export interface SystemdObserver {
  onWrite(held: HeldUnit): void;
  onRemove(unit: string): void;
  /** Gives back who is told how the start ended. */
  onStart(unit: string): (outcome: string) => void;
  onStop(unit: string): void;
  onCall(verb: SystemdVerb, units: readonly string[]): void;
}

/** Systemd as one process reaches it. */
export class FaultSystemd implements Systemd {
  readonly #inner: Systemd;
  readonly #gate: ProcessGate;
  readonly #observer: SystemdObserver;

  constructor(options: { inner: Systemd; gate: ProcessGate; observer: SystemdObserver }) {
    this.#inner = options.inner;
    this.#gate = options.gate;
    this.#observer = options.observer;
  }

  async held() {
    return await this.#gate.ask(() => this.#inner.held());
  }

  async write(units: readonly HeldUnit[], signal?: AbortSignal) {
    return await this.#gate.effect(() => {
      const names = units.map(({ unit }) => unit);
      this.#observer.onCall("write", names);
      for (const held of units) this.#observer.onWrite(held);
      return this.#inner.write(units, signal);
    });
  }

  async remove(units: readonly string[], signal?: AbortSignal) {
    return await this.#gate.effect(() => {
      this.#observer.onCall("remove", units);
      for (const unit of units) this.#observer.onRemove(unit);
      return this.#inner.remove(units, signal);
    });
  }

  async reload(signal?: AbortSignal) {
    await this.#gate.effect(() => {
      this.#observer.onCall("reload", []);
      return this.#inner.reload(signal);
    });
  }

  async start(unit: string, signal?: AbortSignal, seen?: UnitStatus) {
    return await this.#gate.effect(
      async () => {
        this.#observer.onCall("start", [unit]);
        const onEnd = this.#observer.onStart(unit);
        const outcome = await this.#inner.start(unit, signal, seen);
        await this.#gate.passage();
        onEnd(outcome);
        return outcome;
      },
      { underway: true },
    );
  }

  async stop(unit: string, signal?: AbortSignal) {
    await this.#gate.effect(
      () => {
        this.#observer.onCall("stop", [unit]);
        this.#observer.onStop(unit);
        return this.#inner.stop(unit, signal);
      },
      { underway: true },
    );
  }

  async fence(fence: Fence, signal?: AbortSignal) {
    await this.#gate.effect(() => {
      this.#observer.onCall("fence", fence.units);
      return this.#inner.fence(fence, signal);
    });
  }

  async fallen() {
    return await this.#gate.ask(() => this.#inner.fallen());
  }

  async glance(unit: string, signal?: AbortSignal) {
    return await this.#gate.ask(() => this.#inner.glance(unit, signal));
  }

  async forgetFallen(units: readonly string[]) {
    await this.#gate.effect(() => this.#inner.forgetFallen(units));
  }

  async resetFailed(unit: string, signal?: AbortSignal) {
    await this.#gate.effect(() => {
      this.#observer.onCall("reset-failed", [unit]);
      return this.#inner.resetFailed(unit, signal);
    });
  }

  async reloadUnit(unit: string, signal?: AbortSignal) {
    await this.#gate.effect(() => this.#inner.reloadUnit(unit, signal));
  }

  async kill(unit: string, signalNumber: number, signal?: AbortSignal) {
    await this.#gate.effect(() => this.#inner.kill(unit, signalNumber, signal));
  }

  async status(units: readonly string[], signal?: AbortSignal) {
    return await this.#gate.ask(() => this.#inner.status(units, signal));
  }

  async *events(signal: AbortSignal): AsyncGenerator<SystemdEvent> {
    for await (const event of this.#inner.events(signal)) {
      await this.#gate.passage();
      yield event;
    }
    if (this.#gate.isDead) await never();
  }

  async ownJob() {
    return await this.#gate.ask(() => this.#inner.ownJob());
  }

  async isSystemStopping() {
    return await this.#gate.ask(() => this.#inner.isSystemStopping());
  }

  async close() {
    await this.#inner.close();
  }
}

/** A host as one process reaches it. */
export function faultHost(inner: Host, gate: ProcessGate): Host {
  const folder = (of: RecordFolder): RecordFolder => ({
    read: (name) => gate.ask(() => of.read(name)),
    list: (name) => gate.ask(() => of.list(name)),
    write: (name, text) => gate.effect(() => of.write(name, text)),
    remove: (name) => gate.effect(() => of.remove(name)),
  });
  return {
    machineId: inner.machineId,
    bootId: inner.bootId,
    facts: () => gate.ask(() => inner.facts()),
    volatile: folder(inner.volatile),
    persistent: folder(inner.persistent),
  };
}
