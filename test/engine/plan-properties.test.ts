import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { everything } from "../../src/cluster/cluster-state.ts";
import { newDirty } from "../../src/cluster/dirty.ts";
import { assignmentOn, isNameTaken, isPlacedOn, isWanted } from "../../src/cluster/entries.ts";
import type { MachineSpec } from "../../src/cluster/facts.ts";
import { readRequirements } from "../../src/cluster/read-requirements.ts";
import { conflicts } from "../../src/cluster/relations.ts";
import { plan } from "../../src/engine/plan.ts";
import type { EngineTask } from "../../src/engine/tasks.ts";
import { quick } from "../support/quick.ts";
import { Fixture, summary } from "./fixture.ts";
import { Oracle } from "./oracle.ts";

/** `npm run check` looks at fewer. */
const RUNS = quick(1_500);

const UNITS = [
  "a.service",
  "b.service",
  "c.service",
  "d.service",
  "e.service",
  "w@1.service",
  "w@2.service",
  "w@3.service",
];
const MACHINES = ["m1", "m2", "m3", "m4"];
const X_FLEET: readonly (readonly string[])[] = [
  [],
  ["Conflicts=a.service"],
  ["Conflicts=*"],
  ["Conflicts=[cd].service"],
  ["MachineOf=a.service"],
  ["MachineOf=b.service"],
  ["MachineOf=c.service"],
  ["MachineOf=a.service e.service"],
  ["Replaces=a.service"],
  ["Replaces=[bc]*"],
  ["MachineMetadata=disk=ssd"],
  ["MachineMetadata=disk=ssd", "MachineOf=d.service"],
  ["MachineID=m1"],
  ["Global=true"],
  ["Global=true", "Conflicts=b.service"],
  ["MachineOf=a.service", "Conflicts=d.service"],
  ["MachineMetadata=nonsense"],
  ["NotMachineID=m1 m2"],
  ["NotMachineID=%m"],
  ["MachineMetadata=disk!=ssd"],
  ["MachineMetadata=zone in (x, y)"],
  ["MachineMetadata=hostname=%H", "Conflicts=b-%H.service"],
  ["Conflicts=%H.service", "MachineOf=b.service"],
  ["PreferMachineMetadata=disk=ssd", "PreferMachineMetadata=zone=x"],
  ["PreferMachineMetadata=hostname=a"],
  ["SpreadBy=zone"],
  ["SpreadBy=zone", "MaxPerMachine=1"],
  ["MaxPerMachine=1", "MachineOf=a.service"],
  ["MaxPerMachine=2", "SpreadBy=disk", "PreferMachineMetadata=disk=hdd"],
  ["Weight=3"],
  ["Weight=2", "[Service]", "MemoryMax=1K"],
  ["[Service]", "MemoryMax=2500"],
  ["MachineOf=a.service", "[Service]", "MemoryMax=50%", "TasksMax=40"],
  ["[Service]", "CPUQuota=250%"],
  ["Global=true", "[Service]", "MemoryMax=2K"],
  ["Global=true", "MaxPerMachine=1"],
];

const unit = fc.constantFrom(...UNITS);
const machineId = fc.constantFrom(...MACHINES);
const metadata = fc.constantFrom(
  {},
  { disk: "ssd" },
  { disk: "hdd" },
  { zone: "x" },
  { zone: "y", hostname: "a" },
  { disk: "ssd", zone: "y", hostname: "b" },
);
const capacity = fc.constantFrom<MachineSpec["capacity"]>(
  { cpus: 4, memoryBytes: 4096, tasks: 100 },
  { cpus: 3, memoryBytes: 3000, tasks: 50 },
);

type Event = (f: Fixture) => void;

/** What can happen to a cluster, each with how it prints. */
const event: fc.Arbitrary<{ text: string; run: Event }> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(unit, fc.nat(X_FLEET.length - 1), fc.nat(7)).map(submit) },
  { weight: 2, arbitrary: unit.map((name) => named(`destroy ${name}`, (f) => f.destroy(name))) },
  { weight: 4, arbitrary: fc.tuple(machineId, metadata, metadata, capacity).map(join) },
  { weight: 1, arbitrary: machineId.map((id) => named(`away ${id}`, (f) => f.vanish(id))) },
  { weight: 2, arbitrary: machineId.map((id) => named(`lose ${id}`, (f) => loseIfKnown(f, id))) },
  { weight: 1, arbitrary: machineId.map((id) => named(`forget ${id}`, (f) => forget(f, id))) },
  { weight: 1, arbitrary: fc.tuple(machineId, fc.boolean()).map(leave) },
  { weight: 2, arbitrary: fc.tuple(machineId, metadata, fc.boolean(), fc.boolean()).map(operate) },
  { weight: 1, arbitrary: fc.tuple(machineId, unit).map(takeName) },
  { weight: 1, arbitrary: fc.tuple(machineId, unit).map(hold) },
  { weight: 1, arbitrary: fc.tuple(machineId, unit).map(stop) },
  { weight: 2, arbitrary: fc.tuple(machineId, unit, fc.nat(2)).map(start) },
  { weight: 2, arbitrary: fc.tuple(unit, machineId, machineId).map(ask) },
  { weight: 6, arbitrary: fc.constant(named("agents", (f) => f.agents())) },
);

function named(text: string, run: Event) {
  return { text, run, toString: () => text };
}

function submit([name, variant, desired]: [string, number, number]) {
  const lines = X_FLEET[variant] ?? [];
  const spec = { desired: desired === 0 ? "inactive" : desired === 1 ? "loaded" : "launched" };
  return named(`submit ${name} ${lines.join(" ")} ${spec.desired}`, (f) =>
    f.unit(name, lines, spec as never),
  );
}

function join([id, automatic, configured, has]: [string, object, object, MachineSpec["capacity"]]) {
  return named(`join ${id} ${JSON.stringify([automatic, configured, has])}`, (f) =>
    f.back(id, { automatic, metadata: configured, capacity: has } as never),
  );
}

function loseIfKnown(f: Fixture, id: string): void {
  if (f.cluster.machine(id) !== undefined) f.lose(id);
}

function forget(f: Fixture, id: string): void {
  if (f.lost.has(id)) f.remove({ kind: "roster", machineId: id } as never);
}

function leave([id, leaving]: [string, boolean]) {
  return named(`leaving ${id} ${leaving}`, (f) => {
    const record = f.cluster.machine(id)?.presence?.record;
    if (record !== undefined) f.machine(id, { ...record, leaving });
  });
}

function operate([id, set, cordoned, draining]: [string, object, boolean, boolean]) {
  const spec = { metadata: set, cordoned, draining };
  return named(`operator ${id} ${JSON.stringify(spec)}`, (f) => {
    if (f.cluster.machine(id) !== undefined) f.operator(id, spec as never);
  });
}

function takeName([id, name]: [string, string]) {
  return named(`name-taken ${id} ${name}`, (f) => {
    if (f.cluster.machine(id)?.presence === undefined) return;
    f.state(id, name, { error: { code: "name-taken" } });
  });
}

function hold([id, name]: [string, string]) {
  return named(`held ${id} ${name}`, (f) => {
    if (f.cluster.machine(id)?.presence !== undefined) f.state(id, name);
  });
}

function stop([id, name]: [string, string]) {
  return named(`stopped ${id} ${name}`, (f) => f.stopped(id, name));
}

function start([id, name, index]: [string, string, number]) {
  const result = (["up", "finished", "failed"] as const)[index];
  return named(`${result} ${id} ${name}`, (f) => {
    if (f.cluster.machine(id)?.states.has(name) === true) f.started(id, name, result);
  });
}

function ask([name, from, to]: [string, string, string]) {
  return named(`move ${name} ${from} ${to}`, (f) => f.move(name, { from, to }));
}

const history = fc.array(event, { maxLength: 40, size: "max" });

function byText(tasks: readonly EngineTask[]): string[] {
  return tasks.map((task) => JSON.stringify(task)).sort();
}

function planOf(f: Fixture, cluster: Fixture["cluster"]): readonly EngineTask[] {
  const now = { monotonicMs: f.nowMs, wallMs: f.nowMs };
  return plan(cluster, { dirty: everything(cluster), losses: f.losses, now }).tasks;
}

test("plan() of what is dirty is the plan of everything, in whatever order the facts came (I7, I10)", () => {
  fc.assert(
    fc.property(history, (events) => {
      const f = new Fixture();
      for (const { run } of events) {
        run(f);
        const dirty = f.dirty;
        f.dirty = newDirty();
        const tasks = f.plan(dirty);
        const full = planOf(f, f.cluster);
        assert.deepEqual(byText(tasks), byText(full), `dirty against all: ${summary(full)}`);
        assert.deepEqual(oracleOf(f).judge(tasks), [], `the oracle on ${summary(tasks)}`);
        for (const order of [(facts: unknown[]) => facts.reverse(), sortFacts]) {
          const anew = planOf(f, f.reread(order as never));
          assert.deepEqual(anew, full, "another order");
        }
        for (const task of tasks) f.write(task);
      }
    }),
    { numRuns: RUNS, seed: 1 },
  );
});

function oracleOf(f: Fixture): Oracle {
  const oracle = new Oracle(readRequirements, { lost: f.lost });
  for (const fact of f.facts.values()) oracle.apply(fact);
  return oracle;
}

function sortFacts(facts: unknown[]): unknown[] {
  return facts.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
}

test("plan() leaves the state as it was", () => {
  fc.assert(
    fc.property(history, (events) => {
      const f = new Fixture();
      for (const { run } of events) {
        run(f);
        assert.deepEqual(planOf(f, f.cluster), planOf(f, f.cluster));
        f.step();
      }
    }),
    { numRuns: quick(300), seed: 1 },
  );
});

test("plan() never lets two machines hold a unit, and comes to rest where all requirements hold (I1, I6, I8)", () => {
  fc.assert(
    fc.property(history, (events) => {
      const f = new Fixture();
      for (const { run } of events) {
        run(f);
        for (let pass = 0; pass < 3; pass += 1) {
          const dirty = f.dirty;
          f.dirty = newDirty();
          for (const task of f.plan(dirty)) {
            if (task.type === "place" && task.assignment !== undefined)
              assertHeldNowhereElse(f, task);
            f.write(task);
          }
        }
      }
      f.settle({ agents: true });
      assertAtRest(f);
    }),
    { numRuns: RUNS, seed: 1 },
  );
});

function assertHeldNowhereElse(f: Fixture, task: EngineTask & { type: "place" }): void {
  for (const id of f.cluster.unit(task.unit)?.statesOn ?? []) {
    const machine = f.cluster.machine(id);
    if (id === task.machineId || machine?.presence === undefined) continue;
    assert.ok(isNameTaken(machine.states.get(task.unit)), `${id} holds ${task.unit}`);
  }
}

function assertAtRest(f: Fixture): void {
  assert.deepEqual(f.planAll(), [], "at rest");
  for (const [name, entry] of f.cluster.units) {
    if (!isWanted(entry)) {
      assert.equal(entry.placement, undefined, name);
      continue;
    }
    if (entry.unit.record.global) {
      assert.ok(entry.assignedTo.size > 0 || entry.blocked !== undefined, name);
      continue;
    }
    assert.ok(entry.placement !== undefined || entry.blocked !== undefined, `${name} has a reason`);
    const placed = entry.placement?.record.machine;
    const expected = placed === undefined ? [] : [placed];
    const isPresent = f.cluster.machine(placed ?? "")?.presence !== undefined;
    if (entry.blocked === undefined && isPresent)
      assert.deepEqual(f.assignedTo(name), expected, name);
    assertRequirements(f, name);
  }
}

function assertRequirements(f: Fixture, name: string): void {
  const entry = f.cluster.unit(name);
  const machine = f.cluster.machine(entry?.placement?.record.machine ?? "");
  if (entry === undefined || machine?.presence === undefined) return;
  // What does not run there may keep its place until another machine takes it.
  if (machine.presence.record.leaving || isNameTaken(machine.states.get(name))) return;
  if (entry.constraints?.type !== "known") return;
  const { requirements } = entry.constraints.constraints;
  for (const other of machine.occupants.values()) {
    const isStopping =
      !isPlacedOn(f.cluster.unit(other.name), machine) &&
      assignmentOn(f.cluster.unit(other.name), machine.id) === undefined;
    if (isStopping) continue;
    assert.ok(!conflicts(entry.self, other), `${name} beside ${other.name}`);
  }
  for (const peer of requirements.machineOf) {
    // It comes as soon as it has stopped where it is.
    if (f.reasons(peer).includes("stopping")) continue;
    assert.ok(machine.occupants.has(peer), `${name} without ${peer} on ${machine.id}`);
  }
}

test("plan() agrees with a dumb scheduler where requirements are simple", () => {
  const simple = fc.constantFrom<readonly string[]>(
    [],
    ["MachineMetadata=disk=ssd"],
    ["MachineID=m2"],
    ["Conflicts=a.service"],
    ["Conflicts=*"],
  );
  const machines = fc.uniqueArray(fc.tuple(machineId, metadata), { selector: ([id]) => id });
  const units = fc.uniqueArray(fc.tuple(unit, simple), { selector: ([name]) => name });
  fc.assert(
    fc.property(machines, units, (chosenMachines, chosenUnits) => {
      const f = new Fixture();
      for (const [id, configured] of chosenMachines)
        f.machine(id, { metadata: configured } as never);
      for (const [name, lines] of chosenUnits) f.unit(name, lines);
      f.settle();
      const placed = new Map(chosenUnits.map(([name]) => [name, f.placedOn(name)]));
      assert.deepEqual(placed, dumbSchedule(chosenMachines, chosenUnits));
    }),
    { numRuns: quick(500), seed: 1 },
  );
});

function dumbSchedule(
  machines: readonly (readonly [string, object])[],
  units: readonly (readonly [string, readonly string[]])[],
): Map<string, string | undefined> {
  const on = new Map<string, string | undefined>();
  const lines = new Map(units);
  for (const [name, own] of units) {
    const beside = (id: string) => [...on].filter(([, at]) => at === id).map(([other]) => other);
    const fit = machines.filter(([id, configured]) => {
      if (own.includes("MachineID=m2") && id !== "m2") return false;
      const disk = (configured as Record<string, string>)["disk"];
      if (own.includes("MachineMetadata=disk=ssd") && disk !== "ssd") return false;
      return beside(id).every((other) => !says(own, other) && !says(lines.get(other) ?? [], name));
    });
    fit.sort(([a], [b]) => beside(a).length - beside(b).length || (a < b ? -1 : 1));
    on.set(name, fit[0]?.[0]);
  }
  return on;
}

function says(own: readonly string[], other: string): boolean {
  return own.includes("Conflicts=*") || own.includes(`Conflicts=${other}`);
}
