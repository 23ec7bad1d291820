import { ClusterState, everything } from "../../src/cluster/cluster-state.ts";
import { type Dirty, newDirty } from "../../src/cluster/dirty.ts";
import { assignmentOn } from "../../src/cluster/entries.ts";
import type {
  BlockedSpec,
  ClusterFact,
  MachineSpec,
  OperatorSpec,
  StateSpec,
  UnitSpec,
} from "../../src/cluster/facts.ts";
import { readRequirements } from "../../src/cluster/read-requirements.ts";
import type { Losses } from "../../src/engine/pass.ts";
import { plan } from "../../src/engine/plan.ts";
import type { EngineTask } from "../../src/engine/tasks.ts";

/** Of every machine that does not say another. */
const CAPACITY: MachineSpec["capacity"] = { cpus: 4, memoryBytes: 4096, tasks: 100 };

type Fact = ClusterFact;
type Value = { record: object; createRevision: number; modRevision: number } | undefined;

/**
 * The facts of a small cluster, kept as a store would keep them (revisions), and the cluster state fed with each change.
 * `settle` plans and writes until nothing is left to do.
 */
export class Fixture {
  cluster = new ClusterState(readRequirements);
  dirty: Dirty = newDirty();
  lost = new Set<string>();
  held = new Map<string, "boot-grace" | "mass-loss">();
  nowMs = 1_000_000;
  readonly facts = new Map<string, Fact>();
  #revision = 100;

  put(fact: Omit<Fact, "value"> & { record: unknown }): void {
    const { record, ...rest } = fact;
    const key = keyOf(rest);
    this.#revision += 1;
    const known = this.facts.get(key)?.value as Value;
    const value = {
      record,
      createRevision: known?.createRevision ?? this.#revision,
      modRevision: this.#revision,
    };
    this.#apply(key, { ...rest, value } as Fact);
  }

  remove(fact: Omit<Fact, "value">): void {
    const key = keyOf(fact);
    if (this.facts.has(key)) this.#apply(key, { ...fact, value: undefined } as Fact);
  }

  spoil(fact: Omit<Fact, "value">): void {
    this.#apply(keyOf(fact), { ...fact, value: "unreadable" } as Fact);
  }

  machine(machineId: string, spec: Partial<MachineSpec> = {}): void {
    this.put({
      kind: "machine",
      machineId,
      record: {
        automatic: {},
        metadata: {},
        format: 1,
        leaving: false,
        capacity: CAPACITY,
        ...spec,
      },
    } as never);
    this.put({ kind: "roster", machineId, record: {} } as never);
  }

  machines(...ids: string[]): void {
    for (const id of ids) this.machine(id);
  }

  /** The machine's lease ends: presence and states go. */
  vanish(machineId: string): void {
    this.remove({ kind: "machine", machineId } as never);
    for (const fact of [...this.facts.values()]) {
      if (fact.kind === "state" && fact.machineId === machineId) this.remove(fact);
    }
  }

  lose(...machineIds: string[]): void {
    for (const machineId of machineIds) {
      this.vanish(machineId);
      this.lost.add(machineId);
      this.dirty.machines.add(machineId);
    }
  }

  /** A lost machine is back; what is assigned to it runs there. */
  back(machineId: string, spec: Partial<MachineSpec> = {}): void {
    this.lost.delete(machineId);
    this.held.delete(machineId);
    this.machine(machineId, spec);
  }

  operator(machineId: string, spec: Partial<OperatorSpec>): void {
    const record = { metadata: {}, cordoned: false, draining: false, ...spec };
    this.put({ kind: "operator", machineId, record } as never);
  }

  unit(unit: string, xFleet: readonly string[] = [], spec: Partial<UnitSpec> = {}): void {
    const content = ["[Service]", "ExecStart=/bin/true", "[X-Fleet]", ...xFleet, ""].join("\n");
    const manifest = spec.manifest ?? `hash of ${content}`;
    if (!this.facts.has(`file ${manifest}`) && spec.manifest === undefined) {
      this.put({ kind: "file", manifest, record: { content, dropIns: [] } } as never);
    }
    const global = xFleet.includes("Global=true");
    const record = { desired: "launched", manifest, restarts: 0, global, ...spec };
    this.put({ kind: "unit", unit, record } as never);
  }

  move(unit: string, spec: { readonly from: string; readonly to: string }): void {
    const identity = this.cluster.unit(unit)?.unit?.createRevision ?? 0;
    this.put({ kind: "move", unit, record: { ...spec, identity } } as never);
  }

  destroy(unit: string): void {
    this.remove({ kind: "unit", unit } as never);
  }

  state(machineId: string, unit: string, spec: Partial<StateSpec> = {}): void {
    const known = this.facts.get(`unit ${unit}`)?.value as {
      record: UnitSpec;
      createRevision: number;
    };
    const record = {
      identity: known?.createRevision,
      manifest: known?.record.manifest ?? "gone",
      ...spec,
    };
    this.put({ kind: "state", machineId, unit, record } as never);
  }

  /** The machine has done what it was told, with `result` if that is not to run. */
  started(machineId: string, unit: string, result: "up" | "finished" | "failed" = "up"): void {
    const { identity, manifest, target, restarts } =
      assignmentOn(this.cluster.unit(unit), machineId)?.record ?? {};
    const active = { up: "active", finished: "inactive", failed: "failed" }[result];
    this.state(machineId, unit, {
      ...(identity === undefined ? {} : { identity }),
      manifest: manifest ?? "gone",
      current: target ?? "inactive",
      active: target === "loaded" ? "inactive" : active,
      result: result === "failed" ? "exit-code" : "success",
      start: { restarts: restarts ?? 0, outcome: result === "failed" ? "failed" : "done" },
    });
  }

  stopped(machineId: string, unit: string): void {
    this.remove({ kind: "state", machineId, unit } as never);
  }

  /** Every present machine does what it is told: states follow assignments. */
  agents(): void {
    for (const id of this.cluster.machineIds) {
      const machine = this.cluster.machine(id);
      if (machine?.presence === undefined || machine.presence.record.leaving) continue;
      const assigned = (name: string) => assignmentOn(this.cluster.unit(name), id)?.record;
      for (const name of [...machine.states.keys()]) {
        if (assigned(name) === undefined) this.stopped(id, name);
      }
      for (const name of [...machine.occupants.keys()]) {
        const record = assigned(name);
        if (record === undefined) continue;
        const state = machine.states.get(name)?.record;
        const isSame = state?.identity === record.identity && state.manifest === record.manifest;
        const isDone =
          state?.current === record.target && state.start?.restarts === record.restarts;
        if (!isSame || (!isDone && state.error === undefined)) {
          this.started(id, name);
        }
      }
    }
  }

  get losses(): Losses {
    return { lost: this.lost, held: this.held };
  }

  plan(dirty: Dirty = this.dirty): readonly EngineTask[] {
    const now = { monotonicMs: this.nowMs, wallMs: this.nowMs };
    return plan(this.cluster, { dirty, losses: this.losses, now }).tasks;
  }

  planAll(): readonly EngineTask[] {
    return this.plan(everything(this.cluster));
  }

  /** Plans what is dirty and writes it. */
  step(): readonly EngineTask[] {
    const dirty = this.dirty;
    this.dirty = newDirty();
    const tasks = this.plan(dirty);
    for (const task of tasks) this.write(task);
    return tasks;
  }

  /** Steps until nothing is left to do; with `agents` the machines act in between. */
  settle(options: { agents?: boolean } = {}): readonly EngineTask[] {
    const all: EngineTask[] = [];
    for (let round = 0; round < 50; round += 1) {
      const tasks = this.step();
      all.push(...tasks);
      if (options.agents === true) this.agents();
      if (tasks.length === 0 && this.dirty.units.size === 0 && this.dirty.machines.size === 0) {
        return all;
      }
    }
    throw new Error("the plan does not come to an end");
  }

  write(task: EngineTask): void {
    const { put, remove } = this.#writers(task);
    switch (task.type) {
      case "place":
        put("placement", task.placement);
        put("history", task.history);
        if (task.assignment !== undefined) put("assignment", task.assignment, task.machineId);
        if (task.from !== undefined && task.from !== task.machineId)
          remove("assignment", task.from);
        if (task.moveRevision !== undefined) remove("move");
        break;
      case "unplace":
        remove("placement");
        put("history", task.history);
        remove("assignment", task.machineId);
        break;
      case "assign":
        put("assignment", task.assignment, task.machineId);
        break;
      case "unassign":
        remove("assignment", task.machineId);
        break;
      case "arrive":
        put("placement", task.placement);
        break;
      case "drop-move":
        remove("move");
        break;
      case "block":
        put("blocked", task.record);
        break;
      case "unblock":
        remove("blocked");
        break;
      case "collect":
        this.remove({ kind: "file", manifest: task.manifest } as never);
        break;
    }
  }

  #writers(task: EngineTask) {
    const unit = "unit" in task ? task.unit : "";
    return {
      put: (kind: string, record: object, machineId?: string) =>
        this.put({
          kind,
          unit,
          ...(machineId === undefined ? {} : { machineId }),
          record,
        } as never),
      remove: (kind: string, machineId?: string) =>
        this.remove({ kind, unit, ...(machineId === undefined ? {} : { machineId }) } as never),
    };
  }

  placedOn(unit: string): string | undefined {
    return this.cluster.unit(unit)?.placement?.record.machine;
  }

  assignedTo(unit: string): string[] {
    return [...(this.cluster.unit(unit)?.assignedTo ?? [])].sort();
  }

  blocked(unit: string): BlockedSpec["reasons"] {
    return this.cluster.unit(unit)?.blocked?.record.reasons ?? [];
  }

  reasons(unit: string): string[] {
    return this.blocked(unit).map(({ reason }) => reason.type);
  }

  /** The same facts, read anew in another order. */
  reread(order: (facts: Fact[]) => Fact[]): ClusterState {
    const cluster = new ClusterState(readRequirements);
    for (const fact of order([...this.facts.values()])) cluster.apply(fact);
    return cluster;
  }

  #apply(key: string, fact: Fact): void {
    if (fact.value === undefined) this.facts.delete(key);
    else this.facts.set(key, fact);
    this.cluster.apply(fact, this.dirty);
  }
}

function keyOf(fact: object): string {
  const { kind, machineId, unit, manifest } = fact as Record<string, string>;
  return [kind, machineId, unit, manifest].filter((part) => part !== undefined).join(" ");
}

/** Tasks in one line each. */
export function summary(tasks: readonly EngineTask[]): string[] {
  return tasks.map(line);
}

function line(task: EngineTask): string {
  switch (task.type) {
    case "place": {
      const from = task.from === undefined ? "" : ` from ${task.from}`;
      const waits = task.assignment === undefined ? " waiting" : "";
      return `place ${task.unit} on ${task.machineId}${from}${waits} (${task.why.type})`;
    }
    case "unplace":
      return `unplace ${task.unit} from ${task.machineId} (${task.why.type})`;
    case "assign":
      return `assign ${task.unit} to ${task.machineId} (${task.why.type})`;
    case "unassign":
      return `unassign ${task.unit} from ${task.machineId} (${task.why.type})`;
    case "arrive":
      return `arrive ${task.unit} on ${task.machineId}`;
    case "drop-move":
      return `drop-move ${task.unit}`;
    case "block":
      return `block ${task.unit} (${task.record.reasons.map(({ reason }) => reason.type).join(" ")})`;
    case "unblock":
      return `unblock ${task.unit}`;
    case "collect":
      return `collect ${task.manifest}`;
  }
}
