import { Agent, type AgentStatus } from "../../src/agent/agent.ts";
import { MemorySystemd } from "../../src/agent/memory-systemd.ts";
import { EngineSwitch } from "../../src/daemon/engine-switch.ts";
import { runEngine } from "../../src/engine/engine.ts";
import type { Keys } from "../../src/registry/keys.ts";
import { RECORD_FORMAT } from "../../src/registry/records.ts";
import type { Store } from "../../src/registry/store.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import type { Logger } from "../../src/runtime/logger.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { FaultSystemd, faultHost, type SystemdObserver } from "./fault-machine.ts";
import { FaultStore, type OnTransaction } from "./fault-store.ts";
import { ProcessGate } from "./process-gate.ts";
import { ProcessClock } from "./sim-clock.ts";
import type { SimMachine } from "./sim-machine.ts";
import { TUNING } from "./tuning.ts";
import { machineMetadata } from "./workload.ts";

export interface SimDaemonOptions {
  readonly machine: SimMachine;
  readonly store: Store;
  readonly keys: Keys;
  readonly seed: number;
  readonly logger: Logger;
  readonly observer: (daemon: SimDaemon) => SystemdObserver;
  readonly onTransaction: OnTransaction;
  readonly onStatus: (daemon: SimDaemon, status: AgentStatus) => void;
  readonly onBusy: (stack: string) => void;
  /** The process has ended: by itself (an error, or none), or killed. */
  readonly onEnd: (daemon: SimDaemon, error: unknown) => void;
}

const HAND_OVER_MAX_MS = 170_000;

/** One process of fleetd-ts: agent and engine candidate, wired as the real daemon wires them. */
export class SimDaemon {
  readonly machine: SimMachine;
  readonly nonce: string;
  readonly gate: ProcessGate;
  readonly agent: Agent;
  /** It hands its units over. */
  isLeaving = false;
  isEnding = false;
  readonly startedMs: number;
  attachedMs = Number.POSITIVE_INFINITY;
  /** Units whose stop an earlier daemon has asked for, or this one, without seeing its end. */
  readonly unfinished = new Set<string>();
  diedMs = Number.POSITIVE_INFINITY;
  readonly #options: SimDaemonOptions;
  readonly #clock: ProcessClock;
  readonly #life = new AbortController();
  readonly #running = new AbortController();
  readonly #systemd: MemorySystemd;
  readonly #engine: EngineSwitch;
  #ended = false;

  constructor(options: SimDaemonOptions) {
    const { machine, keys, logger } = options;
    this.#options = options;
    this.machine = machine;
    for (const [name, text] of machine.volatile) {
      if (text.includes('"stopping":true')) this.unfinished.add(name.replace("started/", ""));
    }
    const random = new SeededRandom(options.seed);
    this.nonce = random.id();
    this.gate = new ProcessGate({
      kill: () => this.kill(),
      nowMs: () => machine.clock.monotonicMs(),
      onBusy: options.onBusy,
    });
    this.#clock = new ProcessClock(machine.clock);
    this.startedMs = machine.clock.monotonicMs();
    this.#systemd = new MemorySystemd(machine.memory);
    const clock = this.#clock;
    const host = faultHost(machine.host, this.gate);
    const store = new FaultStore({
      inner: options.store,
      clock,
      link: machine.link,
      gate: this.gate,
      life: this.#life.signal,
      onTransaction: options.onTransaction,
    });
    const shared = { store, keys, clock, random, logger, nonce: this.nonce };
    this.#engine = new EngineSwitch((expected, signal) =>
      runEngine({
        ...shared,
        machineId: host.machineId,
        format: RECORD_FORMAT,
        expected,
        registryLostMs: () => this.agent.registryLostMs,
        options: TUNING.engine,
        signal,
      }),
    );
    this.agent = new Agent({
      ...shared,
      host,
      systemd: new FaultSystemd({
        inner: this.#systemd,
        gate: this.gate,
        observer: options.observer(this),
      }),
      ttlMs: TUNING.ttlMs,
      handbackMs: TUNING.handbackMs,
      startsWithoutRegistry: true,
      startParallelism: TUNING.startParallelism,
      describe: async () => ({
        ...(await host.facts()),
        metadata: machineMetadata(machine.index),
        version: "0",
        format: RECORD_FORMAT,
      }),
      onStatus: (status) => this.#onStatus(status),
    });
  }

  run(): void {
    const finish = (error: unknown) => {
      if (this.#ended) return;
      this.#ended = true;
      this.diedMs = this.#clock.monotonicMs();
      this.#options.onEnd(this, error);
    };
    this.#engine.crashed.catch((error: unknown) => {
      this.#engine.off();
      this.#running.abort();
      finish(error);
    });
    this.agent.run(this.#running.signal).then(async () => {
      await this.#engine.stop();
      finish(undefined);
    }, finish);
  }

  /** kill -9. */
  kill(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.diedMs = this.#clock.monotonicMs();
    this.gate.die();
    this.#clock.kill();
    this.#life.abort();
    void this.#systemd.close();
    this.#options.onEnd(this, "killed");
  }

  /** SIGSTOP. */
  hang(): void {
    this.#clock.freeze();
    this.gate.freeze();
  }

  /** SIGCONT. */
  goOn(): void {
    this.#clock.thaw();
    this.gate.thaw();
  }

  /** SIGTERM: at a restart everything is left as it is, otherwise the units are handed over. */
  async end(how: "restart" | "stop"): Promise<void> {
    this.isEnding = true;
    await this.#engine.stop();
    try {
      if (how === "stop") await this.#handOver();
    } finally {
      this.#running.abort();
    }
  }

  async #handOver(): Promise<void> {
    this.isLeaving = true;
    const deadline = new AbortController();
    const cancel = this.#clock.setTimer(HAND_OVER_MAX_MS, () => deadline.abort());
    try {
      await this.agent.leave(deadline.signal);
    } catch (error) {
      // Nobody says why it ends: then it hands nothing over.
      if (!isFleetError(error)) throw error;
    } finally {
      cancel();
    }
  }

  async rejoin(): Promise<void> {
    await this.agent.rejoin("keep", this.#running.signal);
  }

  #onStatus(status: AgentStatus): void {
    if (status.type === "attached") {
      this.attachedMs = this.#clock.monotonicMs();
      this.#engine.on(status);
    }
    if (status.type === "detached") this.#engine.off();
    this.#options.onStatus(this, status);
  }
}
