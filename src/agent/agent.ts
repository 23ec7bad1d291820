import type { Keys } from "../registry/keys.ts";
import { ManifestCache } from "../registry/manifest-cache.ts";
import type { StateRecord } from "../registry/records.ts";
import type { Store } from "../registry/store.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Liveness } from "../runtime/liveness.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Random } from "../runtime/random.ts";
import { untilFirst } from "../runtime/until-first.ts";
import { Assignments } from "./assignments.ts";
import { ClusterTrust, type DetachedReason } from "./cluster-trust.ts";
import { Handback } from "./handback.ts";
import { Holdings } from "./holdings.ts";
import type { Host } from "./host.ts";
import { Lanes } from "./lanes.ts";
import { LastKnown } from "./last-known.ts";
import { LeaseFence } from "./lease-fence.ts";
import type { HeldPresence, MachineDescription } from "./presence.ts";
import { type RegistrySession, runRegistrySession } from "./registry-session.ts";
import { keepHeldUnits } from "./rejoin.ts";
import { StatePublisher } from "./state-publisher.ts";
import type { Systemd } from "./systemd.ts";
import { TaskRunner } from "./task-runner.ts";
import { unitStateRecord } from "./unit-state-record.ts";

export interface AgentOptions {
  readonly store: Store;
  readonly keys: Keys;
  readonly systemd: Systemd;
  readonly host: Host;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly ttlMs: number;
  readonly startParallelism: number;
  readonly handbackMs: number;
  /** Whether a machine that boots while the registry is away starts what it ran before. */
  readonly startsWithoutRegistry: boolean;
  readonly liveness?: Liveness;
  readonly nonce: string;
  /** Addresses, metadata, version, ...; `leaving` is the agent's own to say. */
  readonly describe: () => Promise<Omit<MachineDescription, "leaving">>;
  readonly onStatus: (status: AgentStatus) => void;
  /** The machine is present, or (undefined) no longer: what else hangs on its lease is written by others. */
  readonly onPresence?: (presence: HeldPresence | undefined) => void;
}

/** How the machine stands towards its cluster. */
export type AgentStatus =
  /** No answer from the registry yet, or none any more. Units run on. */
  | { readonly type: "away"; readonly why: string }
  | { readonly type: "detached"; readonly why: DetachedReason }
  | { readonly type: "attached"; readonly clusterId: string; readonly storeId: string };

const DETACHED_RECHECK_MS = 5_000;
/** So long a machine that boots waits for the registry. */
const REGISTRY_PATIENCE_MS = 5_000;
const LEAVE_RECHECK_MS = 1_000;
const TASK_BACKOFF = { firstMs: 1_000, maxMs: 60_000 };

/**
 * Runs on every machine: keeps systemd as the machine's assignments say and tells the registry what systemd says. Without a registry, or with one
 * that is not its own, it leaves everything as it is (I4, I5).
 */
export class Agent {
  readonly #options: AgentOptions;
  readonly #life = new AbortController();
  readonly #trust: ClusterTrust;
  readonly #holdings: Holdings;
  readonly #assignments: Assignments;
  readonly #lanes: Lanes;
  readonly #handback: Handback;
  readonly #publisher: StatePublisher;
  readonly #runner: TaskRunner;
  readonly #fence: LeaseFence;
  readonly #lastKnown: LastKnown;
  #status: AgentStatus = { type: "away", why: "not asked yet" };
  #mode: "normal" | "hand-over" | "system-stopping" = "normal";
  #session: RegistrySession | undefined;
  #isLost = false;
  /** A registry has answered, this machine's own or another. */
  #wasAnswered = false;
  #beganMs = 0;
  #detachedMs = 0;
  #registryLostMs: number | undefined;
  /** The registry does not know yet what is held here, so nothing may be stopped for it. */
  #rejoining = false;
  /** Cuts the pause between two tries short. */
  #hurry: (() => void) | undefined;
  #wakeLeave: (() => void) | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    const { store, keys, clock, host, logger, systemd } = options;
    const machineId = host.machineId;
    this.#trust = new ClusterTrust({
      store,
      keys,
      random: options.random,
      persistent: host.persistent,
      volatile: host.volatile,
    });
    this.#holdings = new Holdings({ systemd, records: host.volatile });
    this.#assignments = new Assignments({ keys, machineId, logger });
    const look = (unit: string) => {
      this.#runner.mark(unit);
      this.#lastKnown.mark();
      this.#session?.tasks.wake();
    };
    const onState = (unit: string) => {
      this.#publisher.mark(unit);
      this.#session?.states.wake();
      this.#wakeLeave?.();
    };
    this.#lanes = new Lanes({
      clock,
      parallelism: options.startParallelism,
      backoff: TASK_BACKOFF,
      onEnd: (unit) => {
        onState(unit);
        look(unit);
      },
    });
    this.#handback = new Handback({
      store,
      keys,
      clock,
      machineId,
      handbackMs: options.handbackMs,
      onChange: look,
    });
    this.#publisher = new StatePublisher({
      store,
      keys,
      clock,
      machineId,
      stateOf: (unit) => this.#stateOf(unit),
      isPassing: (unit, { current, start, error }) =>
        error === undefined &&
        (start?.outcome === "pending" ||
          (current === "launched") !== (this.#assignments.get(unit)?.target === "launched")),
    });
    this.#fence = new LeaseFence({
      clock,
      logger,
      systemd,
      holdings: this.#holdings,
      onChange: look,
    });
    this.#lastKnown = new LastKnown({
      ...options,
      holdings: this.#holdings,
      assignments: this.#assignments,
      lanes: this.#lanes,
      isAway: () => this.#status.type === "away",
      life: this.#life.signal,
    });
    this.#runner = this.#makeRunner(onState);
  }

  #makeRunner(onState: (unit: string) => void): TaskRunner {
    const { clock, logger, store, keys, systemd } = this.#options;
    return new TaskRunner({
      clock,
      logger,
      systemd,
      holdings: this.#holdings,
      assignments: this.#assignments,
      manifests: new ManifestCache({ store, keys }),
      lanes: this.#lanes,
      handback: this.#handback,
      publisher: this.#publisher,
      fence: this.#fence,
      onFiles: () => this.#lastKnown.mark(),
      mode: () => this.#mode,
      isPresent: () => this.#session?.presence.lease.isValid() === true,
      confirmRegistry: (signal) => this.#confirmRegistry(signal),
      life: this.#life.signal,
      onState,
    });
  }

  get status(): AgentStatus {
    return this.#status;
  }

  /**
   * When the registry was out of this machine's reach last, for so long that its lease ended (monotonic milliseconds). Whoever else is
   * missing then may have the same reason.
   */
  get registryLostMs(): number | undefined {
    return this.#isLost ? this.#options.clock.monotonicMs() : this.#registryLostMs;
  }

  get isLeaving(): boolean {
    return this.#mode !== "normal";
  }

  /** Units that this machine holds, with what is true of them now; by name. */
  get held(): readonly { readonly unit: string; readonly state: StateRecord | undefined }[] {
    return [...this.#holdings.units()].sort().map((unit) => ({ unit, state: this.#stateOf(unit) }));
  }

  /** What the daemon says of its machine, or how long its lease lasts, has changed. Units are left as they are. */
  describeAnew(): void {
    // The next session begins by rewriting the machine's record.
    this.#session?.end();
    this.#hurry?.();
  }

  #stateOf(unit: string): StateRecord | undefined {
    return unitStateRecord(unit, {
      holdings: this.#holdings,
      assignments: this.#assignments,
      lanes: this.#lanes,
      unheldState: (name) => (this.#mode === "normal" ? this.#runner.unheldState(name) : undefined),
    });
  }

  get heldCount(): number {
    return this.#holdings.count;
  }

  /**
   * Runs until `signal` aborts; units are left as they are. Rejects with `duplicate-machine` when another machine or daemon
   * holds this machine's record.
   */
  async run(signal: AbortSignal): Promise<void> {
    this.#beganMs = this.#options.clock.monotonicMs();
    await this.#holdings.load();
    await untilFirst(signal, [
      (running) => this.#followSystemd(running),
      (running) => this.#attend(running),
      (running) => this.#lastKnown.run(running),
      (running) =>
        new Promise<void>((resolve, reject) => {
          this.#lanes.onCrash(reject);
          running.addEventListener("abort", () => resolve(), { once: true });
        }),
    ]).finally(() => this.#life.abort());
    await this.#trust.save().catch(() => undefined);
  }

  /**
   * Hands the machine's units over: stops them, or with the system going down waits until systemd has, and tells the engine of each. The presence goes
   * last. Returns at once when the registry cannot be told: then nothing is stopped (I4).
   */
  async leave(signal: AbortSignal): Promise<void> {
    if (this.#status.type !== "attached") return;
    const systemStopping = await this.#options.systemd.isSystemStopping();
    this.#startLeaving(systemStopping ? "system-stopping" : "hand-over");
    const isEmpty = () =>
      this.#session !== undefined && this.heldCount === 0 && this.#publisher.publishedCount === 0;
    while (!signal.aborted && this.#status.type === "attached") {
      if (isEmpty()) {
        await this.#session?.presence.lease.revoke({ signal }).catch((error: unknown) => {
          // The registry is away: the lease runs out by itself.
          if (!isFleetError(error) || !error.retriable) throw error;
        });
        return;
      }
      await this.#pause(LEAVE_RECHECK_MS, signal, (wake) => {
        this.#wakeLeave = wake;
      });
    }
  }

  /**
   * An operator says that the registry that answers now is this machine's; see docs/operating.md. Not before the machine has been detached for the time of a
   * lease. Gives back the units kept.
   */
  async rejoin(mode: "keep" | "discard", signal: AbortSignal): Promise<readonly string[]> {
    this.#demandDetached();
    // Machines may still run, inside their fences, what this registry says is another's.
    const waitMs = this.#detachedMs + this.#options.ttlMs - this.#options.clock.monotonicMs();
    if (waitMs > 0) await sleep(this.#options.clock, waitMs, signal);
    this.#demandDetached();
    const call = { signal };
    this.#rejoining = true;
    try {
      this.#assignments.forgetAll();
      await this.#trust.adopt(await this.#trust.found(call), call);
      this.#hurry?.();
      const kept =
        mode === "discard"
          ? []
          : await keepHeldUnits({
              ...this.#options,
              holdings: this.#holdings,
              isPublished: (unit) => this.#publisher.isPublished(unit),
              isPresent: () => this.#session !== undefined,
              signal,
            });
      await this.#trust.confirm();
      return kept;
    } finally {
      // From here on the machine stops what the registry does not know.
      this.#rejoining = false;
      for (const unit of this.#holdings.units()) this.#mark(unit);
      // What was assigned meanwhile waits too, on a machine that holds nothing as well.
      this.#session?.tasks.wake();
    }
  }

  #demandDetached(): void {
    if (this.#status.type === "detached") return;
    throw new FleetError("conflict", "this machine is not detached: there is nothing to rejoin");
  }

  /** Follows the registry for as long as it answers and is the right one, again and again. */
  async #attend(signal: AbortSignal): Promise<void> {
    const { logger, ttlMs } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      let pauseMs: number;
      try {
        const trust = await this.#trust.check({ signal });
        if (trust.type === "detached") {
          this.#setStatus(trust);
          pauseMs = DETACHED_RECHECK_MS;
        } else {
          await this.#runSession(signal);
          failures = 0;
          pauseMs = 0;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!isFleetError(error) || error.code === "duplicate-machine") throw error;
        failures += 1;
        if (error.retriable) {
          this.#setStatus({ type: "away", why: errorMessage(error) });
          await this.#startWithoutRegistry();
        } else logger.warn("session-ended", { why: errorMessage(error) });
        pauseMs = backoffMs(
          failures,
          { firstMs: 50, maxMs: ttlMs / 4 },
          this.#options.random.fraction(),
        );
      }
      await this.#pause(pauseMs, signal, (wake) => {
        this.#hurry = wake;
      });
    }
  }

  /** Only right after a boot: later, what should run runs. */
  async #startWithoutRegistry(): Promise<void> {
    const { clock, logger, startsWithoutRegistry } = this.#options;
    if (!startsWithoutRegistry || this.#wasAnswered || !this.#trust.isMember) return;
    if (clock.monotonicMs() - this.#beganMs < REGISTRY_PATIENCE_MS) return;
    await this.#lastKnown.start().catch((error: unknown) => {
      if (!isFleetError(error)) throw error;
      logger.warn("no-start-without-registry", { why: errorMessage(error) });
    });
  }

  /** Sleeps until the time is over or the function given to `onBegin` is called. */
  async #pause(
    durationMs: number,
    signal: AbortSignal,
    onBegin: (wake: () => void) => void,
  ): Promise<void> {
    const pause = new AbortController();
    onBegin(() => pause.abort());
    const ended = AbortSignal.any([signal, pause.signal]);
    await sleep(this.#options.clock, durationMs, ended).catch(() => undefined);
  }

  async #runSession(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await runRegistrySession(
      {
        ...this.#options,
        describe: async () => ({
          ...(await this.#options.describe()),
          leaving: this.#mode !== "normal",
        }),
        trust: this.#trust,
        holdings: this.#holdings,
        assignments: this.#assignments,
        handback: this.#handback,
        publisher: this.#publisher,
        runner: this.#runner,
        fence: this.#fence,
        onAssigned: () => this.#lastKnown.mark(),
        isRejoining: () => this.#rejoining,
        onBegin: (session) => {
          if (this.#isLost) this.#registryLostMs = clock.monotonicMs();
          this.#isLost = false;
          this.#session = session;
          this.#setStatus({ type: "attached", ...this.#trust.membership() });
          this.#options.onPresence?.(session.presence);
        },
        onPresenceLost: () => {
          this.#isLost = true;
        },
        onFlush: () => this.#wakeLeave?.(),
        onEnd: () => {
          this.#session = undefined;
          this.#options.onPresence?.(undefined);
        },
      },
      signal,
    );
  }

  async #followSystemd(signal: AbortSignal): Promise<void> {
    const { systemd } = this.#options;
    for await (const event of systemd.events(signal)) {
      switch (event.type) {
        case "status":
          if (!this.#holdings.has(event.status.unit)) break;
          this.#holdings.setStatus(event.status);
          await this.#holdings.noteBegun(event.status.unit);
          this.#mark(event.status.unit);
          break;
        case "resync":
          await this.#holdings.refresh(signal).catch((error: unknown) => {
            // The next resync asks again.
            if (!isFleetError(error)) throw error;
          });
          for (const unit of this.#holdings.units()) this.#mark(unit);
          break;
        case "system-stopping":
          this.#startLeaving("system-stopping");
          break;
      }
    }
  }

  #mark(unit: string): void {
    this.#publisher.mark(unit);
    this.#runner.mark(unit);
    this.#session?.states.wake();
    this.#session?.tasks.wake();
  }

  #startLeaving(mode: "hand-over" | "system-stopping"): void {
    if (this.#mode === mode) return;
    this.#options.logger.info("leaving", { mode });
    this.#mode = mode;
    if (this.#status.type === "attached") void this.#lastKnown.close();
    for (const unit of this.#holdings.units()) this.#runner.mark(unit);
    // The next session begins by rewriting the machine's record, with `leaving` in it.
    this.#session?.end();
    this.#hurry?.();
  }

  async #confirmRegistry(signal: AbortSignal): Promise<void> {
    const trust = await this.#trust.check({ signal });
    if (trust.type === "detached")
      throw new FleetError("conflict", "the registry is not this machine's any more");
  }

  #setStatus(status: AgentStatus): void {
    if (JSON.stringify(status) === JSON.stringify(this.#status)) return;
    this.#wasAnswered ||= status.type !== "away";
    if (status.type === "detached" && this.#status.type !== "detached")
      this.#detachedMs = this.#options.clock.monotonicMs();
    this.#status = status;
    this.#options.logger.info("status", status);
    this.#options.onStatus(status);
  }
}
