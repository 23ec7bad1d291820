import { follow } from "../registry/follow.ts";
import type { Keys } from "../registry/keys.ts";
import { ManifestCache } from "../registry/manifest-cache.ts";
import { decodeRecord, machineRecord, type StateRecord } from "../registry/records.ts";
import { readAll, type Store } from "../registry/store.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { Loop } from "../runtime/loop.ts";
import type { Random } from "../runtime/random.ts";
import { untilFirst } from "../runtime/until-first.ts";
import { Assignments } from "./assignments.ts";
import { ClusterTrust, type DetachedReason } from "./cluster-trust.ts";
import { Handback } from "./handback.ts";
import { Holdings } from "./holdings.ts";
import type { Host } from "./host.ts";
import { Lanes } from "./lanes.ts";
import { acquirePresence, type HeldPresence, type MachineDescription } from "./presence.ts";
import { resubmitHeldUnits } from "./rejoin.ts";
import { StatePublisher } from "./state-publisher.ts";
import type { Systemd } from "./systemd.ts";
import { TaskRunner } from "./task-runner.ts";

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
  readonly nonce: string;
  /** Addresses, metadata, version, ...; `leaving` is the agent's own to say. */
  readonly describe: () => Promise<Omit<MachineDescription, "leaving">>;
  readonly onStatus: (status: AgentStatus) => void;
}

/** How the machine stands towards its cluster. */
export type AgentStatus =
  /** No answer from the registry yet, or none any more. Units run on. */
  | { readonly type: "away"; readonly why: string }
  | { readonly type: "detached"; readonly why: DetachedReason }
  | { readonly type: "attached"; readonly clusterId: string; readonly storeId: string };

const DETACHED_RECHECK_MS = 5_000;
const LEAVE_RECHECK_MS = 1_000;
const LEASE_RECHECK_MS = 200;
const REJOIN_MAX_MS = 60_000;
const REJOIN_RECHECK_MS = 50;
const TASK_BACKOFF = { firstMs: 1_000, maxMs: 60_000 };
const LOOP_BACKOFF = { firstMs: 100, maxMs: 5_000 };

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
  #status: AgentStatus = { type: "away", why: "not asked yet" };
  #mode: "normal" | "hand-over" | "system-stopping" = "normal";
  #session: { presence: HeldPresence; end: () => void; tasks: Loop; states: Loop } | undefined;
  #isLost = false;
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
    });
    this.#runner = new TaskRunner({
      clock,
      logger,
      systemd,
      holdings: this.#holdings,
      assignments: this.#assignments,
      manifests: new ManifestCache({ store, keys }),
      lanes: this.#lanes,
      handback: this.#handback,
      publisher: this.#publisher,
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

  get heldCount(): number {
    return this.#holdings.units().length;
  }

  /**
   * Runs until `signal` aborts; units are left as they are. Rejects with `duplicate-machine` when another machine or daemon
   * holds this machine's record.
   */
  async run(signal: AbortSignal): Promise<void> {
    await this.#holdings.load();
    await untilFirst(signal, [
      (running) => this.#followSystemd(running),
      (running) => this.#attend(running),
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
    while (!signal.aborted && this.#status.type === "attached") {
      if (
        this.#session !== undefined &&
        this.heldCount === 0 &&
        this.#publisher.publishedCount === 0
      ) {
        await this.#session.presence.lease.revoke({ signal });
        return;
      }
      const pause = new AbortController();
      this.#wakeLeave = () => pause.abort();
      await sleep(
        this.#options.clock,
        LEAVE_RECHECK_MS,
        AbortSignal.any([signal, pause.signal]),
      ).catch(() => undefined);
    }
  }

  /** An operator says that the registry that answers now is this machine's; see docs/operating.md. Gives back the units kept. */
  async rejoin(mode: "keep" | "discard", signal: AbortSignal): Promise<readonly string[]> {
    const { store, keys, systemd } = this.#options;
    if (this.#status.type !== "detached") {
      throw new FleetError("conflict", "this machine is not detached: there is nothing to rejoin");
    }
    const call = { signal };
    this.#rejoining = true;
    try {
      this.#assignments.forgetAll();
      await this.#trust.adopt(await this.#trust.found(call), call);
      this.#hurry?.();
      let kept: readonly string[] = [];
      if (mode === "keep") {
        // The engine has to see what runs here before it sees that it is wanted, or it would place it anywhere.
        await this.#untilPublished(signal);
        const held = await systemd.held();
        kept = await resubmitHeldUnits({ store, keys, holdings: this.#holdings, held, call });
      }
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

  /** Until the registry shows every unit this machine holds. */
  async #untilPublished(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const isPublished = () =>
      this.#session !== undefined &&
      this.#holdings.units().every((unit) => this.#publisher.isPublished(unit));
    const untilMs = clock.monotonicMs() + REJOIN_MAX_MS;
    while (!isPublished()) {
      if (clock.monotonicMs() >= untilMs) {
        throw new FleetError(
          "timed-out",
          "the registry did not take this machine's units: see the daemon's log, then try again",
        );
      }
      await sleep(clock, REJOIN_RECHECK_MS, signal);
    }
  }

  /** Follows the registry for as long as it answers and is the right one, again and again. */
  async #attend(signal: AbortSignal): Promise<void> {
    const { clock, logger, ttlMs } = this.#options;
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
        if (error.retriable) this.#setStatus({ type: "away", why: errorMessage(error) });
        else logger.warn("session-ended", { why: errorMessage(error) });
        pauseMs = backoffMs(
          failures,
          { firstMs: 50, maxMs: ttlMs / 4 },
          this.#options.random.fraction(),
        );
      }
      const pause = new AbortController();
      this.#hurry = () => pause.abort();
      await sleep(clock, pauseMs, AbortSignal.any([signal, pause.signal])).catch(() => undefined);
    }
  }

  /** From taking the machine's record until its lease is lost, the record changes hands, or the registry is no longer the right one. */
  async #runSession(signal: AbortSignal): Promise<void> {
    const { store, keys, host, clock, random, logger } = this.#options;
    const presence = await acquirePresence(
      {
        ...this.#options,
        describe: async () => ({
          ...(await this.#options.describe()),
          leaving: this.#mode !== "normal",
        }),
      },
      signal,
    );
    const published = await readAll(store, { prefix: keys.statesOf(host.machineId) }, { signal });
    this.#trust.saw(published.header.revision);
    this.#publisher.begin(presence, published.items, this.#holdings.units());
    const loop = (name: string, pass: (running: AbortSignal) => Promise<number | undefined>) =>
      new Loop({ name, clock, random, logger, backoff: LOOP_BACKOFF, pass });
    let assigned = false;
    const tasks = loop("agent", async (running) => {
      await this.#trust.remember();
      if (!assigned || this.#rejoining) return undefined;
      // A keep-alive that is answered late makes it valid again, and nobody would wake this loop for it.
      if (!presence.lease.isValid()) return LEASE_RECHECK_MS;
      return this.#runner.pass(running);
    });
    const states = loop("states", async (running) => {
      const againMs = await this.#publisher.flush(running);
      this.#wakeLeave?.();
      return againMs;
    });
    if (this.#isLost) this.#registryLostMs = clock.monotonicMs();
    this.#isLost = false;
    const ended = new AbortController();
    this.#session = { presence, end: () => ended.abort(), tasks, states };
    this.#setStatus({ type: "attached", ...this.#trust.membership() });
    try {
      await untilFirst(AbortSignal.any([signal, ended.signal]), [
        async (running) => {
          const lost = await presence.lease.keep(running);
          this.#isLost = true;
          logger.warn("presence-lost", { why: lost });
        },
        (running) => this.#watchRecord(presence, running),
        (running) =>
          this.#followAssignments(running, () => {
            assigned = true;
            tasks.wake();
          }),
        (running) => tasks.run(running),
        (running) => states.run(running),
      ]);
    } finally {
      this.#session = undefined;
      this.#publisher.end();
      this.#runner.forgetClaims();
      this.#handback.settleAll();
    }
  }

  async #followAssignments(signal: AbortSignal, onChange: () => void): Promise<void> {
    const { store, clock, logger, keys } = this.#options;
    await follow({
      store,
      clock,
      logger,
      range: { prefix: this.#assignments.prefix },
      signal,
      onSnapshot: async (items, header) => {
        const id = await store.read(
          { range: { key: keys.clusterId }, revision: header.revision },
          { signal },
        );
        this.#trust.demand(id.header, id.items[0]);
        for (const unit of this.#assignments.replaceAll(items)) this.#runner.markChanged(unit);
        for (const unit of this.#holdings.units()) this.#runner.mark(unit);
        onChange();
      },
      onChanges: (changes, revision) => {
        this.#trust.saw(revision);
        for (const unit of this.#assignments.apply(changes)) this.#runner.markChanged(unit);
        onChange();
      },
    });
  }

  /** Ends when the machine's record is deleted or changed; rejects when another daemon took it. */
  async #watchRecord(presence: HeldPresence, signal: AbortSignal): Promise<void> {
    const { store, keys, host, nonce } = this.#options;
    const key = keys.machine(host.machineId);
    for await (const batch of store.watch({
      range: { key },
      fromRevision: presence.revision + 1,
      signal,
    })) {
      if (batch.type === "reset") return;
      for (const change of batch.changes) {
        if (change.type === "delete") return;
        const record = decodeRecord(machineRecord, change.item.key, change.item.value);
        if (record.nonce === nonce) return;
        throw new FleetError(
          "duplicate-machine",
          `another fleetd-ts has taken over machine ${host.machineId} (${record.address || "no address"}): this one ends`,
        );
      }
    }
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
    this.#status = status;
    this.#options.logger.info("status", status);
    this.#options.onStatus(status);
  }

  #stateOf(unit: string): StateRecord | undefined {
    const { start, status } = this.#holdings.current(unit);
    const file = this.#holdings.file(unit);
    if (file === undefined && start === undefined) {
      return this.#mode === "normal"
        ? this.#withError(unit, this.#runner.unheldState(unit))
        : undefined;
    }
    const assignment = this.#assignments.get(unit);
    const loadedFor =
      assignment !== undefined && assignment.manifest === file?.manifest
        ? assignment.identity
        : undefined;
    const identity = start?.identity ?? loadedFor;
    return this.#withError(unit, {
      ...(identity === undefined ? {} : { identity }),
      manifest: file?.manifest ?? "",
      hash: file?.hash ?? "",
      current: start === undefined ? "loaded" : "launched",
      load: status.load,
      active: status.active,
      sub: status.sub,
      result: status.result,
      mainPid: status.mainPid,
      sinceMs: status.sinceMs,
      ...(start === undefined
        ? {}
        : { start: { restarts: start.restarts, outcome: start.outcome } }),
    });
  }

  #withError(unit: string, state: StateRecord | undefined): StateRecord | undefined {
    const failure = this.#lanes.failure(unit);
    if (state === undefined || failure === undefined) return state;
    const { task, code, message, attempts } = failure;
    return { ...state, error: { task, code, message, attempts } };
  }
}
