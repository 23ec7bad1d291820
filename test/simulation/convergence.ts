import { ClusterState } from "../../src/cluster/cluster-state.ts";
import { readRequirements } from "../../src/cluster/read-requirements.ts";
import { plan } from "../../src/engine/plan.ts";
import { itemFact } from "../../src/registry/cluster-facts.ts";
import type {
  AssignmentRecord,
  BlockedRecord,
  OperatorRecord,
  StateRecord,
  UnitRecord,
} from "../../src/registry/records.ts";
import { effectiveHash, type Manifest, manifestHash } from "../../src/units/manifest.ts";
import { startRecord } from "./invariants.ts";
import type { StaffedMachine } from "./staffed-machine.ts";
import { areApart, HOST_UNIT, machineMetadata, WORKLOAD, type WorkUnit } from "./workload.ts";
import type { World } from "./world.ts";

/** What is not yet as it should be once nothing is broken any more, as sentences. Empty: all is well. */
export function unsettled(world: World): readonly string[] {
  return [
    ...world.machines.flatMap((machine) => machineProblems(world, machine)),
    ...units(world).flatMap(([name, record]) => unitProblems(world, name, record)),
    ...engineProblems(world),
  ];
}

function units(world: World): readonly (readonly [string, UnitRecord])[] {
  const prefix = world.keys.all("units");
  return [...world.log.state.values()]
    .filter(({ key }) => key.startsWith(prefix))
    .map(({ key, value }) => [key.slice(prefix.length), JSON.parse(value) as UnitRecord]);
}

function record<T>(world: World, key: string): T | undefined {
  const item = world.log.state.get(key);
  return item && (JSON.parse(item.value) as T);
}

/** Attached, present, holding exactly what is assigned, and saying so. */
function machineProblems(world: World, machine: StaffedMachine): readonly string[] {
  const { keys } = world;
  const problems: string[] = [];
  const status = machine.daemon?.agent.status.type ?? "not running";
  if (status !== "attached") problems.push(`the daemon of ${machine.name} is ${status}`);
  if (world.log.state.get(keys.machine(machine.id)) === undefined) {
    problems.push(`${machine.name} is not present`);
  }
  const below = (prefix: string) =>
    [...world.log.state.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length));
  const held = machine.memory.held().map(({ unit }) => unit);
  const assigned = below(keys.assignmentsOf(machine.id));
  for (const unit of held) {
    if (!assigned.includes(unit))
      problems.push(`${machine.name} holds ${unit}, which is not assigned to it`);
    const state = record<StateRecord>(world, keys.state(machine.id, unit));
    const problem = stateProblem(machine, unit, state);
    if (problem !== undefined) problems.push(problem);
  }
  for (const unit of below(keys.statesOf(machine.id))) {
    // It says why it does not hold what it was given when nobody else would take it.
    const isRefused = unit === HOST_UNIT.name && machine.index === HOST_UNIT.machine;
    if (!held.includes(unit) && !(isRefused && assigned.includes(unit)))
      problems.push(`${machine.name} has a state of ${unit}, which it does not hold`);
  }
  for (const [path] of machine.volatile) {
    const unit = path.startsWith("started/") ? path.slice("started/".length) : undefined;
    if (unit !== undefined && !held.includes(unit)) {
      problems.push(`${machine.name} remembers a start of ${unit}, which it does not hold`);
    }
  }
  return problems;
}

/** What the registry says of a unit is what systemd says. */
function stateProblem(
  machine: StaffedMachine,
  unit: string,
  state: StateRecord | undefined,
): string | undefined {
  const status = machine.memory.status(unit);
  if (state === undefined) return `${machine.name} holds ${unit} and does not say so`;
  if (status !== undefined && state.load !== status.load)
    return `the state of ${unit} on ${machine.name} says "${state.load}", systemd ${status.load}`;
  const isRestless = workUnit(unit)?.rests === "restless";
  if (status === undefined || isRestless || state.active === status.active) return undefined;
  return `the state of ${unit} on ${machine.name} says ${state.active}, systemd ${status.active}`;
}

function unitProblems(world: World, name: string, unit: UnitRecord): readonly string[] {
  const { keys, machines, log } = world;
  const identity = log.state.get(keys.unit(name))?.createRevision ?? 0;
  const assigned = machines.filter(({ id }) => log.state.has(keys.assignment(id, name)));
  const held = machines.filter(({ memory }) => memory.isHeld(name));
  const blocked = log.state.get(keys.blocked(name));
  const placement = record<{ machine: string; identity: number }>(world, keys.placement(name));
  const names = held.map((machine) => machine.name).join(" and ");
  if (unit.desired === "inactive") {
    if (assigned.length + held.length > 0 || placement !== undefined || blocked !== undefined) {
      return [`${name} is not wanted, but something of it is left (held on: ${names})`];
    }
    return [];
  }
  const isDrained = blocked?.value.includes('"drain-') === true;
  if (blocked !== undefined && !staysFailed(blocked.value)) {
    const why = whyFits(world, name);
    if (why !== undefined) return [`${name} is blocked (${blocked.value}), although ${why}`];
    if (!isDrained) return [];
  }
  const problems = assigned.flatMap((machine) =>
    holdProblems(world, { machine, name, unit, identity }),
  );
  if (assigned.length === 0) problems.push(`${name} is wanted, but not assigned and not blocked`);
  if (unit.global) return problems;
  if (placement?.identity !== identity) problems.push(`${name} is wanted, but not placed`);
  if (held.length > 1) problems.push(`${name} is held on ${names}`);
  return problems;
}

/** It is where it belongs, failed, and nobody moves it any more. */
function staysFailed(blocked: string): boolean {
  const { reasons } = JSON.parse(blocked) as BlockedRecord;
  return reasons.some(({ reason: { type } }) => type === "move-limit" || type === "failed");
}

/** The machine holds the unit as it is wanted. */
function holdProblems(
  world: World,
  of: { machine: StaffedMachine; name: string; unit: UnitRecord; identity: number },
): readonly string[] {
  const { machine, name, unit, identity } = of;
  const where = `${name} on ${machine.name}`;
  const assignment = record<AssignmentRecord>(world, world.keys.assignment(machine.id, name));
  const target = unit.desired === "launched" ? "launched" : "loaded";
  if (
    assignment?.identity !== identity ||
    assignment.manifest !== unit.manifest ||
    assignment.target !== target ||
    assignment.restarts !== unit.restarts
  ) {
    return [`the assignment of ${where} is not what is wanted`];
  }
  const held = machine.memory.held().find((one) => one.unit === name);
  if (held === undefined) return [`${where} is not loaded`];
  if (manifestHash(held.manifest) !== unit.manifest) return [`${where} has another content`];
  const start = startRecord(machine, name);
  const active = machine.memory.status(name)?.active ?? "inactive";
  if (target === "loaded") {
    return start !== undefined || active === "active"
      ? [`${where} is only wanted loaded, but ${active}`]
      : [];
  }
  if (start?.identity !== identity || start.restarts !== unit.restarts) {
    return [`${where} was not started as wanted`];
  }
  if (start.effective !== effectiveHash(held.manifest)) {
    return [`${where} was not brought to its new content`];
  }
  const rests = workUnit(name)?.rests;
  if (start.outcome === "pending") return [`the start of ${where} is not confirmed`];
  return rests === "running" && active !== "active" && !wasCrashed(machine, name)
    ? [`${where} was started and is ${active}`]
    : [];
}

/** A unit whose process was killed by the plan stays down, as systemd leaves it. */
function wasCrashed(machine: StaffedMachine, name: string): boolean {
  return machine.memory.runsOf(name).at(-1)?.endedBy === "exit";
}

/** The engine, asked anew about everything, finds nothing to do: blocked reasons are those of now, and nothing is left over. */
function engineProblems(world: World): readonly string[] {
  const cluster = new ClusterState(readRequirements);
  const unreadable: string[] = [];
  for (const item of world.log.state.values()) {
    const fact = itemFact(world.keys, item, (key) => unreadable.push(`${key} cannot be read`));
    if (fact !== undefined) cluster.apply(fact);
  }
  const dirty = { units: new Set(cluster.units.keys()), machines: new Set<string>() };
  const { tasks } = plan(cluster, {
    dirty,
    losses: { lost: new Set(), held: new Map() },
    now: { monotonicMs: world.nowMs, wallMs: world.clock.wallMs() },
  });
  return [
    ...unreadable,
    ...tasks.map((task) => `the engine has yet to do: ${JSON.stringify(task)}`),
  ];
}

/** A second opinion, for units that ask for no other unit: a machine that could take it. */
function whyFits(world: World, name: string): string | undefined {
  const work = workUnit(name);
  if (work === undefined) return undefined;
  if (work.xFleet.some((line) => line.startsWith("MachineOf="))) return undefined;
  const fitting = world.machines.find((machine) => {
    if (name === HOST_UNIT.name && machine.index === HOST_UNIT.machine) return false;
    if (isClosed(world, machine)) return false;
    return (
      work.xFleet.every((line) => {
        const [option, value = ""] = line.split(/=(.*)/);
        if (option === "MachineID") return machine.id === value;
        if (option === "MachineMetadata")
          return value === `disk=${machineMetadata(machine.index)["disk"]}`;
        return true;
      }) && enemiesOf(name).every((enemy) => !machine.memory.isHeld(enemy))
    );
  });
  return fitting && `${fitting.name} could take it`;
}

function isClosed(world: World, machine: StaffedMachine): boolean {
  const settings = record<OperatorRecord>(world, world.keys.operator(machine.id));
  return settings?.cordoned === true;
}

function enemiesOf(name: string): readonly string[] {
  const says = (unit: WorkUnit, other: string) => unit.xFleet.includes(`Conflicts=${other}`);
  const own = workUnit(name);
  return WORKLOAD.filter(
    (unit) =>
      says(unit, name) || (own !== undefined && says(own, unit.name)) || areApart(unit.name, name),
  ).map((unit) => unit.name);
}

function workUnit(name: string): WorkUnit | undefined {
  return WORKLOAD.find((unit) => unit.name === name);
}

/** Manifests that are named by something are there. */
export function missingManifests(world: World): readonly string[] {
  return units(world)
    .filter(([, { manifest }]) => record<Manifest>(world, world.keys.file(manifest)) === undefined)
    .map(([name]) => `the files of ${name} are gone from the registry`);
}
