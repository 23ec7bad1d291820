import type { StartRecord } from "../../src/agent/reconcile.ts";
import { isRunning } from "../../src/agent/systemd.ts";
import type { EmbeddedStore } from "../../src/registry/embedded-store.ts";
import type { Keys } from "../../src/registry/keys.ts";
import type {
  AssignmentRecord,
  BlockedRecord,
  PlacementRecord,
  StateRecord,
  UnitRecord,
} from "../../src/registry/records.ts";
import type { KeyValue } from "../../src/registry/store.ts";
import { effectiveHash, type Manifest } from "../../src/units/manifest.ts";
import { updateWay } from "../../src/units/update-way.ts";
import type { SystemdObserver } from "./fault-machine.ts";
import type { RegistryLog, RegistryState } from "./registry-log.ts";
import type { SimDaemon } from "./sim-daemon.ts";
import type { SimMachine } from "./sim-machine.ts";
import { TUNING } from "./tuning.ts";
import { HOST_UNIT, STRICT_STOP_MS, STRICT_UNITS } from "./workload.ts";

export interface InvariantsOptions {
  readonly store: EmbeddedStore;
  readonly keys: Keys;
  readonly log: RegistryLog;
  readonly machines: readonly SimMachine[];
  readonly nowMs: () => number;
  readonly lastAbsentMs: (machine: SimMachine) => number;
  readonly violate: (invariant: string, sentence: string) => void;
}

/** A start that a daemon asked for. */
interface FleetStart {
  readonly edge: string;
  readonly daemon: SimDaemon;
  readonly atMs: number;
  readonly runsBefore: number;
  outcome: string | undefined;
}

/** Held against every call that a daemon makes to systemd, at the moment it is made. */
export class SystemdInvariants {
  readonly #options: InvariantsOptions;
  /** The last start of each unit that was not followed by a stop, by machine and unit. */
  readonly #starts = new Map<string, FleetStart>();
  readonly #doubts: {
    readonly invariant: string;
    readonly sentence: string;
    readonly unit: string;
    readonly machine: SimMachine;
    readonly atMs: number;
  }[] = [];

  constructor(options: InvariantsOptions) {
    this.#options = options;
  }

  observer(daemon: SimDaemon): Omit<SystemdObserver, "onCall"> {
    return {
      onWrite: ({ unit, manifest }) => this.#onWrite(daemon, unit, manifest),
      onRemove: (unit) => this.#onRemove(daemon, unit),
      onStart: (unit) => this.#onStart(daemon, unit),
      onStop: (unit) => this.#onStop(daemon, unit),
    };
  }

  /** The machine has lost its power. */
  forget(machine: SimMachine): void {
    for (const key of [...this.#starts.keys()]) {
      if (key.startsWith(`${machine.id}/`)) this.#starts.delete(key);
    }
  }

  /** Settles what could not be judged before everything of this instant was known. */
  afterInstant(): void {
    for (const { invariant, sentence, unit, machine, atMs } of this.#doubts.splice(0)) {
      const key = this.#options.keys.assignment(machine.id, unit);
      const wasWithdrawn = this.#options.log.wasAbsentSince(key, atMs);
      if (invariant !== "I5" || !wasWithdrawn) this.#violate(invariant, sentence);
    }
  }

  /**
   * Fencing=strict: never two at the same time, whatever becomes of daemons and links. A machine that stood still as a whole needs the time of a stop
   * to notice.
   */
  checkStrictUnits(): void {
    const { machines, nowMs } = this.#options;
    for (const { name } of STRICT_UNITS) {
      const running = machines.filter(
        ({ memory, clock, isPowered, thawedMs }) =>
          isPowered &&
          !clock.isFrozen &&
          nowMs() - thawedMs > STRICT_STOP_MS &&
          memory.runsOf(name).at(-1)?.endMs === undefined &&
          memory.runsOf(name).length > 0,
      );
      if (running.length < 2) continue;
      const names = running.map((machine) => machine.name).join(" and ");
      this.#violate("fencing", `${name} runs on ${names} at the same time`);
    }
  }

  /** What the machine runs of its own is its own (I11). */
  checkHostUnits(): void {
    for (const machine of this.#options.machines) {
      if (machine.index !== HOST_UNIT.machine) continue;
      for (const run of machine.memory.runsOf(HOST_UNIT.name)) {
        if (run.endedBy === undefined || run.endedBy === "power") continue;
        if (run.startMs <= machine.shutdownMs) continue;
        this.#violate(
          "I11",
          `${HOST_UNIT.name} of ${machine.name} itself was ended (${run.endedBy})`,
        );
      }
    }
  }

  // ---- the four calls

  #onWrite(daemon: SimDaemon, unit: string, manifest: Manifest): void {
    const { machine } = daemon;
    const record = startRecord(machine, unit);
    const isSame = record === undefined || record.effective === effectiveHash(manifest);
    const goesOn = ["reload", "none"].includes(updateWay(manifest));
    if (!isSame && !goesOn && runs(machine, unit)) {
      this.#violate("I8", `${machine.name} rewrote ${unit}, which still ran with its old content`);
    }
    this.#demandClaim(daemon, unit, "wrote");
  }

  #onRemove(daemon: SimDaemon, unit: string): void {
    if (!runs(daemon.machine, unit)) return;
    this.#violate("I8", `${daemon.machine.name} removed ${unit} while it ran`);
  }

  #onStart(daemon: SimDaemon, unit: string): (outcome: string) => void {
    const { machine } = daemon;
    daemon.unfinished.delete(unit);
    const record = startRecord(machine, unit);
    if (record?.outcome !== "pending") {
      this.#violate("start edge", `${machine.name} started ${unit} without remembering it first`);
    }
    this.#demandClaim(daemon, unit, "started");
    this.#demandAssignment(daemon, unit, record);
    this.#demandAlone(daemon, unit);
    const start = this.#demandNewEdge(daemon, unit, record);
    return (outcome) => {
      start.outcome = outcome;
    };
  }

  #onStop(daemon: SimDaemon, unit: string): void {
    const { machine } = daemon;
    const record = startRecord(machine, unit);
    const key = `${machine.id}/${unit}`;
    if (record === undefined && !runs(machine, unit)) return;
    const where = `${machine.name} stopped ${unit}`;
    const state = this.#now();
    const isLagging = this.#isLagging(machine);
    if (daemon.agent.status.type === "detached") {
      this.#violate("I5", `${where} although it is detached`);
    } else if (machine.link.isCut && !isLagging) {
      this.#violate("I4", `${where} although it cannot reach the registry`);
    } else if (!this.#isTrusted(machine, state) && !isLagging) {
      this.#violate("I5", `${where} although the registry is not the one it belongs to`);
    } else if (daemon.unfinished.has(unit) || daemon.isLeaving || machine.memory.isStopping) {
      daemon.unfinished.add(unit);
    } else {
      const why = this.#whyNotStop(daemon, unit, record);
      if (why !== undefined) {
        const { invariant, sentence } = why;
        const atMs = this.#options.nowMs();
        this.#doubts.push({
          invariant,
          sentence: `${where} although ${sentence}`,
          unit,
          machine,
          atMs,
        });
      }
      daemon.unfinished.add(unit);
    }
    this.#starts.delete(key);
  }

  // ---- what has to hold

  /** Before a machine touches a unit, its state of it is in the registry (occupancy), under its own living record. */
  #demandClaim({ machine, nonce }: SimDaemon, unit: string, did: string): void {
    if (this.#isStale(machine)) return;
    const { keys } = this.#options;
    const state = this.#now();
    const presence = state.get(keys.machine(machine.id));
    if (presence === undefined || !presence.value.includes(nonce)) {
      this.#violate("I4", `${machine.name} ${did} ${unit} although it is not present itself`);
    } else if (state.get(keys.state(machine.id, unit)) === undefined) {
      this.#violate("I8", `${machine.name} ${did} ${unit} without occupying the machine first`);
    }
  }

  #demandAssignment({ machine }: SimDaemon, unit: string, record: StartRecord | undefined): void {
    const { keys, log } = this.#options;
    const key = keys.assignment(machine.id, unit);
    const now = this.#now().get(key);
    const values = log.valuesSince(key, this.#lagSinceMs(machine));
    const isWanted = [...values, ...(now === undefined ? [] : [now.value])].some((value) => {
      const assignment = JSON.parse(value) as AssignmentRecord;
      return (
        assignment.target === "launched" &&
        assignment.identity === record?.identity &&
        assignment.restarts === record.restarts
      );
    });
    if (!isWanted) {
      this.#violate("start edge", `${machine.name} started ${unit}, which it was not told to run`);
    }
  }

  /** Two copies only when the machine of the first was lost, or the registry another, since that was started. */
  #demandAlone({ machine }: SimDaemon, unit: string): void {
    const { machines, lastAbsentMs, log, keys } = this.#options;
    // It starts what it ran before it booted, and cannot know what has been placed elsewhere since.
    if (machine.link.isCut) return;
    const now = this.#now();
    const record = now.get(keys.unit(unit));
    if (record === undefined || (JSON.parse(record.value) as UnitRecord).global) return;
    for (const other of machines) {
      if (other === machine || !runs(other, unit)) continue;
      const startedMs = this.#starts.get(`${other.id}/${unit}`)?.atMs;
      if (startedMs === undefined) continue;
      if (now.get(keys.machine(other.id)) === undefined) continue;
      if (Math.max(lastAbsentMs(other), log.lastSwapMs) >= startedMs) continue;
      this.#violate(
        "I8",
        `${machine.name} started ${unit} while it ran on ${other.name}, which was never lost`,
      );
    }
  }

  #demandNewEdge(daemon: SimDaemon, unit: string, record: StartRecord | undefined): FleetStart {
    const { machine } = daemon;
    const key = `${machine.id}/${unit}`;
    const edge = `${record?.identity} ${record?.restarts} ${record?.effective}`;
    const before = this.#starts.get(key);
    const runCount = machine.memory.runsOf(unit).length;
    if (before?.edge === edge) {
      const { outcome } = before;
      // systemd forgets what has ended: a daemon that dies before it has noted anything leaves nobody who knows.
      const isUnknown = before.daemon.diedMs <= before.atMs + UNSEEN_MS;
      const isFenced = STRICT_UNITS.some(({ name }) => name === unit);
      const hasFallen = isFenced && machine.memory.runsOf(unit).at(-1)?.endedBy === "stop";
      const mayRetry =
        isUnknown ||
        hasFallen ||
        (outcome === undefined
          ? runCount === before.runsBefore
          : outcome === "dependency" || outcome === "canceled" || outcome === "timeout");
      if (!mayRetry) {
        const how = outcome ?? "never confirmed, but it had taken effect";
        this.#violate(
          "start edge",
          `${machine.name} started ${unit} twice for one edge (first: ${how})`,
        );
      }
    }
    const start = {
      edge,
      daemon,
      atMs: this.#options.nowMs(),
      runsBefore: runCount,
      outcome: undefined,
    };
    this.#starts.set(key, start);
    return start;
  }

  #whyNotStop(
    daemon: SimDaemon,
    unit: string,
    record: StartRecord | undefined,
  ): { readonly invariant: string; readonly sentence: string } | undefined {
    const { machine } = daemon;
    const { keys, log } = this.#options;
    const key = keys.assignment(machine.id, unit);
    const now = this.#now();
    const assigned = now.get(key);
    const then = log.valuesSince(key, this.#lagSinceMs(machine)).map((value) => ({ value }));
    for (const item of [assigned, log.state.get(key), ...then]) {
      if (item === undefined || record === undefined) continue;
      if (isChanged(JSON.parse(item.value) as AssignmentRecord, record, machine, now, keys)) {
        return undefined;
      }
    }
    if (assigned !== undefined && log.state.get(key) !== undefined && !this.#isStale(machine)) {
      return { invariant: "I5", sentence: "it is assigned there, just as it ran" };
    }
    if (this.#isStale(machine)) return undefined;
    const waits = [now, log.state].map((state) =>
      this.#whyHandbackWaits(daemon, unit, record, state),
    );
    const sentence = waits.includes(undefined) ? undefined : waits[0];
    return sentence === undefined ? undefined : { invariant: "handback", sentence };
  }

  /** A unit taken from a machine that was lost runs on there until it is served elsewhere. */
  #whyHandbackWaits(
    { machine, attachedMs, startedMs }: SimDaemon,
    unit: string,
    start: StartRecord | undefined,
    state: RegistryState,
  ): string | undefined {
    const { keys, log, nowMs } = this.#options;
    const wanted = read<UnitRecord>(state.get(keys.unit(unit)));
    if (wanted === undefined || wanted.record.desired === "inactive" || wanted.record.global) {
      return undefined;
    }
    if (start !== undefined && start.identity !== wanted.createRevision) return undefined;
    if (nowMs() - attachedMs >= TUNING.handbackMs) return undefined;
    const placement = read<PlacementRecord>(state.get(keys.placement(unit)));
    if (placement?.record.moving?.from === machine.id) return undefined;
    if (placement === undefined || placement.record.machine === machine.id) {
      const blocked = read<BlockedRecord>(state.get(keys.blocked(unit)));
      const isAsked = blocked?.record.reasons.some(
        ({ reason }) => reason.type === "stopping" && reason.machineId === machine.id,
      );
      // The daemon knows the assignment that was taken away.
      if (log.deletedMs(keys.assignment(machine.id, unit)) >= startedMs) return undefined;
      return isAsked === true ? undefined : "nobody asked it to make way, and it is nowhere else";
    }
    const holder = placement.record.machine;
    const there = read<StateRecord>(state.get(keys.state(holder, unit)));
    const serves =
      there !== undefined &&
      (there.record.active === "active" ||
        there.record.start?.outcome === "done" ||
        wanted.record.desired === "loaded");
    return serves ? undefined : "the machine it was given to does not serve it yet";
  }

  // ---- helpers

  #now(): RegistryState {
    return new Map(this.#options.store.snapshot().items.map((item) => [item.key, item]));
  }

  #isTrusted(machine: SimMachine, state: RegistryState): boolean {
    const { keys, store } = this.#options;
    const text = machine.persistent.get("cluster");
    if (text === undefined) return false;
    const member = JSON.parse(text) as { clusterId: string; storeId: string; revision: number };
    const { storeId, revision } = store.snapshot();
    const id = read<{ id: string }>(state.get(keys.clusterId))?.record.id;
    return id === member.clusterId && storeId === member.storeId && revision >= member.revision;
  }

  #isLagging(machine: SimMachine): boolean {
    return machine.laggingUntilMs >= this.#options.nowMs();
  }

  #isStale(machine: SimMachine): boolean {
    return this.#isLagging(machine) || machine.staleUntilMs >= this.#options.nowMs();
  }

  #lagSinceMs(machine: SimMachine): number {
    const nowMs = this.#options.nowMs();
    return this.#isStale(machine) ? nowMs - STALE_MS : nowMs;
  }

  #violate(invariant: string, sentence: string): void {
    this.#options.violate(invariant, sentence);
  }
}

/** How soon a daemon sees that what it started runs, at the latest. */
const UNSEEN_MS = 20;

/** How long after it was slow or frozen a machine may still act on what it knew. */
export const LAG_MS = 15_000;
/** How old that may be. */
const STALE_MS = 60_000;

function isChanged(
  assignment: AssignmentRecord,
  record: StartRecord,
  machine: SimMachine,
  state: RegistryState,
  keys: Keys,
): boolean {
  if (assignment.target === "loaded" || assignment.identity !== record.identity) return true;
  if (assignment.restarts !== record.restarts) return true;
  const file = state.get(keys.file(assignment.manifest));
  const held = machine.memory.held();
  const manifests = [
    ...(file === undefined ? [] : [JSON.parse(file.value) as Manifest]),
    ...held.map(({ manifest }) => manifest),
  ];
  const [manifest] = manifests;
  return manifest !== undefined && effectiveHash(manifest) !== record.effective;
}

export function runs(machine: SimMachine, unit: string): boolean {
  const status = machine.memory.isHeld(unit) ? machine.memory.status(unit) : undefined;
  return status !== undefined && (isRunning(status) || status.hasJob);
}

export function startRecord(machine: SimMachine, unit: string): StartRecord | undefined {
  const text = machine.volatile.get(`started/${unit}`);
  return text === undefined ? undefined : (JSON.parse(text) as StartRecord);
}

function read<T>(item: KeyValue | undefined): { record: T; createRevision: number } | undefined {
  if (item === undefined) return undefined;
  return { record: JSON.parse(item.value) as T, createRevision: item.createRevision };
}
