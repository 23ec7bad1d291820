import { setImmediate as macrotask } from "node:timers/promises";
import type { EmbeddedSnapshot } from "../../src/registry/embedded-snapshot.ts";
import { type EmbeddedStore, openEmbeddedStore } from "../../src/registry/embedded-store.ts";
import { type Keys, makeKeys } from "../../src/registry/keys.ts";
import { Registry } from "../../src/registry/registry.ts";
import type { Change, Transaction, TransactionResult } from "../../src/registry/store.ts";
import { errorMessage, isFleetError } from "../../src/runtime/errors.ts";
import { type Logger, silentLogger } from "../../src/runtime/logger.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { FaultStore, Link } from "./fault-store.ts";
import { LAG_MS, SystemdInvariants } from "./invariants.ts";
import type { Action, Command } from "./plan.ts";
import { freeGate } from "./process-gate.ts";
import { RegistryInvariants } from "./registry-invariants.ts";
import { type Entry, RegistryLog, type Sender } from "./registry-log.ts";
import { SimDaemon } from "./sim-daemon.ts";
import { StaffedMachine } from "./staffed-machine.ts";
import { Wishes } from "./wishes.ts";
import { WORKLOAD } from "./workload.ts";

export class InvariantError extends Error {
  readonly invariant: string;
  /** Everything that had happened until then, if it was kept. */
  trace: readonly string[] = [];

  constructor(invariant: string, sentence: string, atMs: number) {
    super(`${invariant}: ${sentence} (at ${(atMs / 1_000).toFixed(3)} s)`);
    this.name = "InvariantError";
    this.invariant = invariant;
  }
}

export interface WorldOptions {
  readonly seed: number;
  readonly machines: number;
  /** Keeps a line for every transaction, systemd call and status. */
  readonly traces: boolean;
}

function unlessFleetError(error: unknown): void {
  if (!isFleetError(error)) throw error;
}

const RESTART_DELAY_MS = 1_000;
/** A shutdown that takes longer than that is cut short, as systemd does. */
const SHUTDOWN_MAX_MS = 90_000;
const SNAPSHOT_INTERVAL_MS = 5_000;
const SNAPSHOTS_MAX = 30;

/** A whole cluster: the registry, machines, daemons, an operator, and whatever befalls them. Time is virtual. */
export class World {
  readonly clock = new VirtualClock();
  readonly keys: Keys = makeKeys();
  readonly store: EmbeddedStore;
  readonly machines: readonly StaffedMachine[];
  readonly trace: string[] = [];
  readonly log: RegistryLog;
  readonly #options: WorldOptions;
  readonly #random: SeededRandom;
  readonly #systemdInvariants: SystemdInvariants;
  readonly #registryInvariants: RegistryInvariants;
  readonly #operatorLink = new Link();
  readonly #registry: Registry;
  readonly #wishes = new Wishes();
  readonly #lastAbsentMs = new Map<string, number>();
  readonly #snapshots: { readonly atMs: number; readonly snapshot: EmbeddedSnapshot }[] = [];
  readonly #rejoining = new Set<number>();
  /** Ends of faults that last, to be hastened when all faults are over. */
  readonly #endings = new Set<() => void>();
  readonly #violations: InvariantError[] = [];
  #nonces = 0;
  #isHealed = false;

  constructor(options: WorldOptions) {
    this.#options = options;
    const { clock, keys } = this;
    const random = new SeededRandom(options.seed);
    this.#random = random;
    this.store = openEmbeddedStore({ clock, random });
    this.machines = Array.from(
      { length: options.machines },
      (_, index) => new StaffedMachine({ index, clock, random }),
    );
    const violate = (invariant: string, sentence: string) => this.violate(invariant, sentence);
    const shared = { keys, machines: this.machines, violate };
    this.log = new RegistryLog({
      store: this.store,
      clock,
      onEntry: (entry, before, after) => {
        this.#note(entry);
        this.#registryInvariants.check(entry, before, after);
      },
    });
    this.#registryInvariants = new RegistryInvariants({
      ...shared,
      isRejoining: (machine) => this.#rejoining.has(machine),
    });
    this.#systemdInvariants = new SystemdInvariants({
      ...shared,
      store: this.store,
      log: this.log,
      nowMs: () => clock.monotonicMs(),
      lastAbsentMs: ({ id }) => this.#lastAbsent(id),
    });
    this.#registry = new Registry({
      store: new FaultStore({
        inner: this.store,
        clock,
        link: this.#operatorLink,
        gate: freeGate(),
        life: new AbortController().signal,
        onTransaction: (transaction, result) =>
          this.#sent({ type: "operator" }, transaction, result),
      }),
      keys,
      clock,
      random: new SeededRandom(options.seed + 1),
      logger: silentLogger,
    });
  }

  get nowMs(): number {
    return this.clock.monotonicMs();
  }

  // ---- time

  async advance(deltaMs: number): Promise<void> {
    const endMs = this.nowMs + deltaMs;
    for (;;) {
      const nextMs = this.clock.nextDueMs();
      if (nextMs === undefined || nextMs > endMs) break;
      await this.clock.advance(Math.max(0, nextMs - this.nowMs));
      this.#afterInstant();
    }
    await this.clock.advance(endMs - this.nowMs);
    this.#afterInstant();
  }

  #afterInstant(): void {
    this.log.flush();
    this.#systemdInvariants.afterInstant();
    this.#systemdInvariants.checkStrictUnits();
    const last = this.#snapshots.at(-1);
    if (last === undefined || this.nowMs - last.atMs >= SNAPSHOT_INTERVAL_MS) {
      this.#snapshots.push({ atMs: this.nowMs, snapshot: this.store.snapshot() });
      if (this.#snapshots.length > SNAPSHOTS_MAX) this.#snapshots.shift();
      this.#systemdInvariants.checkHostUnits();
    }
    const [first] = this.#violations;
    if (first !== undefined) throw first;
  }

  violate(invariant: string, sentence: string): void {
    this.#trace(`VIOLATION ${invariant}: ${sentence}`);
    this.#violations.push(new InvariantError(invariant, sentence, this.nowMs));
  }

  #trace(line: string): void {
    if (this.#options.traces) this.trace.push(`${this.nowMs} ${line}`);
  }

  // ---- the operator

  async command(command: Command, unitIndexes: readonly number[]): Promise<void> {
    const changes = unitIndexes.flatMap((index) => this.#wishes.changes(command, index));
    this.#trace(`operator ${command} ${changes.map(({ name }) => name).join(" ")}`);
    this.#registry.apply(changes).catch(unlessFleetError);
    await macrotask();
  }

  #operate(machine: StaffedMachine, isDrained: boolean): void {
    const change = { cordoned: isDrained, draining: isDrained };
    this.#registry.changeOperator(machine.id, change).catch(unlessFleetError);
  }

  /** What a client does for each move of a rebalance. */
  #move(unit: string, machine: StaffedMachine): void {
    const placement = this.log.state.get(this.keys.placement(unit))?.value;
    if (placement === undefined) return;
    const { machine: from } = JSON.parse(placement) as { machine: string };
    this.#registry
      .move({ unit, from, to: machine.id })
      .then(
        (outcome) => this.#trace(`operator move ${unit} to ${machine.name}: ${outcome}`),
        unlessFleetError,
      );
  }

  // ---- daemons

  startAll(): void {
    for (const machine of this.machines) this.startDaemon(machine);
  }

  startDaemon(machine: StaffedMachine): void {
    if (!machine.isPowered || machine.daemon !== undefined || machine.memory.isStopping) return;
    if (machine.clock.isFrozen) return;
    this.#nonces += 1;
    const sender = (daemon: SimDaemon): Sender => ({
      type: "daemon",
      machine: machine.index,
      nonce: daemon.nonce,
    });
    const daemon: SimDaemon = new SimDaemon({
      machine,
      store: this.store,
      keys: this.keys,
      seed: this.#options.seed * 1_000 + this.#nonces,
      logger: this.#logger(machine),
      observer: (of) => ({
        ...this.#systemdInvariants.observer(of),
        onCall: (verb, units) => this.#trace(`${machine.name} systemd ${verb} ${units.join(" ")}`),
      }),
      onTransaction: (transaction, result) => this.#sent(sender(daemon), transaction, result),
      onStatus: (_, status) => this.#trace(`${machine.name} is ${JSON.stringify(status)}`),
      onBusy: (stack) => this.violate("bug", `the daemon of ${machine.name} never rests: ${stack}`),
      onEnd: (ended, error) => this.#daemonEnded(ended, error),
    });
    machine.daemon = daemon;
    this.#trace(`${machine.name} daemon starts`);
    daemon.run();
  }

  #daemonEnded(daemon: SimDaemon, error: unknown): void {
    const machine = this.#machine(daemon.machine.index);
    if (machine.daemon !== daemon) return;
    machine.daemon = undefined;
    this.#trace(`${machine.name} daemon ends ${error === undefined ? "" : errorMessage(error)}`);
    if (error === undefined || error === "killed") return;
    if (!isFleetError(error)) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.violate("bug", `the daemon of ${machine.name} crashed: ${text}`);
    } else if (error.code === "duplicate-machine") {
      this.violate("presence", `${machine.name} took itself for a duplicate: ${error.message}`);
    }
    daemon.kill();
    this.clock.setTimer(RESTART_DELAY_MS, () => this.startDaemon(machine));
  }

  #logger(machine: StaffedMachine): Logger {
    const at = (event: string, fields: object = {}) =>
      this.#trace(`${machine.name} log ${event} ${JSON.stringify(fields)}`);
    return {
      ...silentLogger,
      warn: at,
      error: (event, fields) => {
        at(event, fields);
        if (event === "audit-difference") {
          this.violate("I7", `the leader had missed something: ${JSON.stringify(fields)}`);
        }
      },
    };
  }

  #sent(sender: Sender, transaction: Transaction, result: TransactionResult): void {
    const who = sender.type === "operator" ? "operator" : `m${sender.machine}`;
    const keys = transaction.operations.map(({ type, key }) => `${type} ${this.#short(key)}`);
    const how = result.applied ? `${result.header.revision}` : "refused";
    this.#trace(`${who} transaction ${how}: ${keys.join(", ")}`);
    if (result.applied) this.log.noteSent(result.header.revision, { sender, transaction });
  }

  #short(key: string): string {
    return key
      .slice(this.keys.prefix.length)
      .replace(/([1-9])\1{31}/g, (id) => `m${Number(id[0]) - 1}`);
  }

  #note(entry: Entry): void {
    for (const change of entry.changes) this.#notePresence(change);
    if (entry.sent !== undefined) return;
    const keys = entry.changes.map((change) =>
      this.#short(change.type === "put" ? change.item.key : change.key),
    );
    this.#trace(`lease ended ${entry.revision}: ${keys.join(", ")}`);
  }

  #notePresence(change: Change): void {
    // A record that is only rewritten was there all the time.
    if (change.type === "put" && change.item.createRevision < change.item.modRevision) return;
    const parsed = this.keys.parse(change.type === "put" ? change.item.key : change.key);
    if (parsed?.kind === "machines") this.#lastAbsentMs.set(parsed.machineId, this.nowMs);
  }

  /** When the machine was last not in the registry, as far as anybody can tell. */
  #lastAbsent(machineId: string): number {
    if (this.log.state.get(this.keys.machine(machineId)) === undefined) return this.nowMs;
    return this.#lastAbsentMs.get(machineId) ?? Number.NEGATIVE_INFINITY;
  }

  // ---- faults

  async act(action: Action): Promise<void> {
    const { type, ...fields } = action;
    this.#trace(`plan ${type} ${JSON.stringify(fields)}`);
    if (action.type === "command") await this.command(action.command, [action.unit]);
    else if ("machine" in action) this.#befallMachine(this.#machine(action.machine), action);
    else this.#befall(action);
    await this.advance(0);
  }

  #machine(index: number): StaffedMachine {
    const machine = this.machines[index % this.machines.length];
    if (machine === undefined) throw new RangeError(`no machine ${index}`);
    return machine;
  }

  #befallMachine(machine: StaffedMachine, action: Extract<Action, { machine: number }>): void {
    const { daemon } = machine;
    switch (action.type) {
      case "drain":
        this.#operate(machine, true);
        return;
      case "uncordon":
        this.#operate(machine, false);
        return;
      case "move":
        this.#move(WORKLOAD[action.unit]?.name ?? "", machine);
        return;
      case "kill":
        if (machine.memory.isStopping) return;
        daemon?.kill();
        this.#later(action.downMs, () => this.startDaemon(machine));
        return;
      case "kill-at":
        daemon?.gate.killAt(action);
        this.#later(action.downMs, () => this.startDaemon(machine));
        return;
      case "restart":
        this.#endDaemon(machine, "restart", 0);
        return;
      case "stop":
        this.#endDaemon(machine, "stop", action.downMs);
        return;
      case "power":
        this.#cutPower(machine, action.offMs);
        return;
      case "shutdown":
        this.#shutDown(machine, action.offMs);
        return;
      case "freeze":
        this.#freeze(machine, action.forMs);
        return;
      case "hang":
        if (daemon === undefined || machine.clock.isFrozen) return;
        daemon.hang();
        this.#later(action.forMs, () => {
          machine.laggingUntilMs = Math.max(machine.laggingUntilMs, this.nowMs + LAG_MS);
          daemon.goOn();
        });
        return;
      case "cut":
        this.#cut(machine);
        this.#later(action.forMs, () => this.#mend(machine));
        return;
      case "deaf":
        machine.link.watches.lower();
        machine.staleUntilMs = Number.POSITIVE_INFINITY;
        this.#later(action.forMs, () => {
          machine.link.watches.lift();
          machine.staleUntilMs = this.nowMs + LAG_MS;
        });
        return;
      case "slow":
        machine.link.delayMs = action.delayMs;
        machine.laggingUntilMs = Number.POSITIVE_INFINITY;
        this.#later(action.forMs, () => {
          machine.link.delayMs = 0;
          machine.laggingUntilMs = this.nowMs + LAG_MS;
        });
        return;
      case "lossy":
        machine.link.failing.before += action.before;
        machine.link.failing.after += action.after;
        machine.laggingUntilMs = Math.max(machine.laggingUntilMs, this.nowMs + LAG_MS);
        return;
      case "step-clock":
        machine.clock.stepWall(action.deltaMs);
        return;
      case "bus":
        machine.memory.breakBus();
        this.#later(action.forMs, () => machine.memory.restoreBus());
        return;
      case "slow-bus":
        machine.memory.callMs = action.delayMs;
        this.#later(action.forMs, () => {
          machine.memory.callMs = 0;
        });
        return;
    }
  }

  #befall(action: Exclude<Action, { machine: number } | { type: "command" }>): void {
    switch (action.type) {
      case "kill-leader-at": {
        const leader = this.log.state.get(this.keys.leader)?.value;
        const machine = this.machines.find(
          ({ daemon }) => daemon !== undefined && leader?.includes(daemon.nonce) === true,
        );
        machine?.daemon?.gate.killAt(action);
        if (machine === undefined) return;
        this.#later(action.downMs, () => this.startDaemon(machine));
        return;
      }
      case "outage":
        this.#operatorLink.all.lower();
        for (const machine of this.machines) this.#cut(machine);
        this.#later(action.forMs, () => {
          this.#operatorLink.all.lift();
          for (const machine of this.machines) this.#mend(machine);
        });
        return;
      case "wipe":
        this.store.wipe();
        this.#swapped();
        return;
      case "restore": {
        const found = this.#snapshots.findLast(({ atMs }) => this.nowMs - atMs >= action.ageMs);
        const snapshot = found?.snapshot ?? this.#snapshots[0]?.snapshot;
        if (snapshot === undefined) return;
        // Restoring makes another store of it, as etcd does.
        this.store.restore({ ...snapshot, storeId: this.#random.id() });
        this.#swapped();
        return;
      }
      case "crash-unit": {
        const name = WORKLOAD[action.unit]?.name ?? "";
        for (const { memory } of this.machines) if (memory.isHeld(name)) memory.crash(name);
        return;
      }
    }
  }

  #swapped(): void {
    this.log.swapped();
    this.#snapshots.length = 0;
  }

  /** Ends a fault: after `delayMs`, or when all faults end. */
  #later(delayMs: number, end: () => void): void {
    const once = () => {
      cancel();
      if (this.#endings.delete(once)) end();
    };
    const cancel = this.clock.setTimer(delayMs, once);
    this.#endings.add(once);
  }

  #cut(machine: StaffedMachine): void {
    machine.link.all.lower();
    machine.staleUntilMs = Number.POSITIVE_INFINITY;
  }

  #mend(machine: StaffedMachine): void {
    machine.link.all.lift();
    // What it has missed comes within this instant.
    if (!machine.link.isCut && !machine.link.watches.isDown) machine.staleUntilMs = this.nowMs;
  }

  #freeze(machine: StaffedMachine, forMs: number): void {
    machine.freezes += 1;
    machine.clock.freeze();
    machine.daemon?.gate.freeze();
    this.#later(forMs, () => {
      machine.freezes -= 1;
      if (machine.freezes > 0) return;
      machine.laggingUntilMs = Math.max(machine.laggingUntilMs, this.nowMs + LAG_MS);
      machine.clock.thaw();
      machine.thawedMs = this.nowMs;
      machine.daemon?.gate.thaw();
      this.startDaemon(machine);
    });
  }

  #endDaemon(machine: StaffedMachine, how: "restart" | "stop", downMs: number): void {
    const { daemon } = machine;
    if (daemon === undefined || daemon.isEnding) return;
    const again = () => {
      if (machine.daemon === daemon) this.clock.setTimer(100, again);
      else this.startDaemon(machine);
    };
    daemon.end(how).then(
      () => this.#later(downMs, again),
      (error: unknown) =>
        this.violate("bug", `the daemon of ${machine.name} could not end: ${errorMessage(error)}`),
    );
  }

  #cutPower(machine: StaffedMachine, offMs: number): void {
    machine.daemon?.kill();
    if (machine.isPowered) {
      machine.cutPower();
      this.#systemdInvariants.forget(machine);
    }
    this.#later(offMs, () => {
      if (machine.isPowered) return;
      machine.boot();
      this.startDaemon(machine);
    });
  }

  #shutDown(machine: StaffedMachine, offMs: number): void {
    if (!machine.isPowered || machine.memory.isStopping || machine.clock.isFrozen) return;
    const { daemon } = machine;
    machine.shutdownMs = this.nowMs;
    machine.memory.shutDown();
    if (daemon === undefined) {
      this.#cutPower(machine, offMs);
      return;
    }
    let isOff = false;
    const off = () => {
      if (!isOff && machine.memory.isStopping) this.#cutPower(machine, offMs);
      isOff = true;
    };
    this.clock.setTimer(this.#isHealed ? 0 : SHUTDOWN_MAX_MS, off);
    if (!daemon.isEnding) void daemon.end("stop").then(off, off);
  }

  // ---- the end of all faults

  /** Whatever was broken works again from now on. */
  async heal(): Promise<void> {
    this.#isHealed = true;
    this.#trace("heal");
    for (const end of [...this.#endings]) end();
    for (const { link, daemon } of this.machines) {
      daemon?.gate.spare();
      link.failing.before = 0;
      link.failing.after = 0;
    }
    await this.advance(0);
  }

  /** Starts what is not running, and lets detached machines rejoin. */
  async tend(): Promise<void> {
    for (const machine of this.machines) {
      if (machine.isPowered) this.startDaemon(machine);
      const { daemon } = machine;
      if (daemon?.agent.status.type !== "detached" || this.#rejoining.has(machine.index)) continue;
      this.#trace(`${machine.name} rejoins`);
      this.#rejoining.add(machine.index);
      // What it has written is looked at when this instant is over.
      const done = () => this.clock.setTimer(1, () => this.#rejoining.delete(machine.index));
      daemon.rejoin().then(done, (error: unknown) => {
        done();
        if (!isFleetError(error) && !daemon.isEnding)
          this.violate("bug", `rejoin failed: ${errorMessage(error)}`);
      });
      await this.advance(0);
    }
  }

  async close(): Promise<void> {
    for (const { daemon } of this.machines) daemon?.kill();
    this.log.close();
    await this.store.close();
  }
}
