import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { whyNotAll } from "../../src/cluster/feasibility.ts";
import { Fixture, summary } from "./fixture.ts";

const GIB = 2 ** 30;

describe("plan() ranks machines", () => {
  test("by preferred metadata, the first counting most, before the load", () => {
    const f = new Fixture();
    f.machine("m1");
    f.machine("m2", { metadata: { zone: "x" } });
    f.machine("m3", { metadata: { disk: "ssd" } });
    f.machine("m4", { metadata: { disk: "ssd", zone: "x" } });
    const wish = ["PreferMachineMetadata=disk=ssd", "PreferMachineMetadata=zone=x"];
    f.unit("a.service", wish);
    f.unit("b.service", [...wish, "Conflicts=a.service"]);
    f.unit("c.service", [...wish, "Conflicts=a.service b.service"]);
    f.unit("d.service", [...wish, "Conflicts=[abc].service"]);
    f.settle();
    const homes = ["a", "b", "c", "d"].map((name) => f.placedOn(`${name}.service`));
    assert.deepEqual(homes, ["m4", "m3", "m2", "m1"]);
  });

  test("by preferred metadata that names the machine itself", () => {
    const f = new Fixture();
    f.machine("m1", { automatic: { hostname: "one" }, metadata: { role: "one-db" } });
    f.machine("m2", { automatic: { hostname: "two" }, metadata: { role: "two-db" } });
    f.machine("m0", { automatic: { hostname: "nil" }, metadata: { role: "other" } });
    f.unit("a.service", ["PreferMachineMetadata=role=%H-db"]);
    f.settle();
    assert.equal(f.placedOn("a.service"), "m1");
  });

  test("by how few instances are where the spread key has the same value; without the key last", () => {
    const f = new Fixture();
    f.machine("m0");
    f.machine("m1", { metadata: { zone: "x" } });
    f.machine("m2", { metadata: { zone: "x" } });
    f.machine("m3", { metadata: { zone: "y" } });
    for (let index = 1; index <= 4; index += 1) f.unit(`w@${index}.service`, ["SpreadBy=zone"]);
    f.settle({ agents: true });
    const homes = [1, 2, 3, 4].map((index) => f.placedOn(`w@${index}.service`));
    assert.deepEqual(homes, ["m1", "m3", "m2", "m3"]);
    f.machine("m3", { metadata: { zone: "x" } });
    f.machine("m4", { metadata: { zone: "z" } });
    assert.deepEqual(f.settle({ agents: true }), [], "nobody moves for it");
    f.lose("m1");
    f.settle({ agents: true });
    assert.equal(f.placedOn("w@1.service"), "m4");
  });

  test("by other instances than the one that moves", () => {
    const f = new Fixture();
    f.machine("m1", { metadata: { zone: "x" } });
    f.machine("m2", { metadata: { zone: "y" } });
    for (const index of [1, 2]) f.unit(`w@${index}.service`, ["SpreadBy=zone"]);
    f.settle({ agents: true });
    f.machine("m3", { metadata: { zone: "x" } });
    f.unit("heavy.service", ["Weight=5", "MachineID=m3"]);
    f.settle({ agents: true });
    f.state("m1", "w@1.service", { error: { code: "name-taken" } });
    f.settle({ agents: true });
    assert.equal(f.placedOn("w@1.service"), "m3", "nobody else is in zone x, however busy it is");
  });

  test("by weight, not by number", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("heavy.service", ["Weight=3"]);
    for (const name of ["a", "b", "c", "d"]) f.unit(`${name}.service`);
    f.settle();
    const homes = ["heavy", "a", "b", "c", "d"].map((name) => f.placedOn(`${name}.service`));
    assert.deepEqual(homes, ["m1", "m2", "m2", "m2", "m1"]);
  });

  test("as a whole for units that go together", () => {
    const f = new Fixture();
    f.machine("m1");
    f.machine("m2", { metadata: { disk: "ssd" } });
    f.unit("a.service");
    f.unit("b.service", ["MachineOf=a.service", "PreferMachineMetadata=disk=ssd"]);
    f.settle();
    assert.deepEqual([f.placedOn("a.service"), f.placedOn("b.service")], ["m2", "m2"]);
  });
});

describe("plan() and the number of instances on a machine", () => {
  test("puts no more there, and the next when one has gone", () => {
    const f = new Fixture();
    f.machine("m1");
    for (const index of [1, 2, 3]) f.unit(`w@${index}.service`, ["MaxPerMachine=2"]);
    f.unit("w@9.socket");
    f.settle({ agents: true });
    assert.deepEqual(f.blocked("w@3.service"), [
      {
        reason: { type: "too-many-instances", template: "w@.service", max: 2, there: 2 },
        machines: 1,
        examples: ["m1"],
      },
    ]);
    f.destroy("w@1.service");
    f.settle();
    assert.equal(f.placedOn("w@3.service"), undefined, "w@1.service still stops there");
    f.settle({ agents: true });
    assert.equal(f.placedOn("w@3.service"), "m1");
  });

  test("does not count a unit against itself, nor what it reserves", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("w@1.service", ["MaxPerMachine=1", "[Service]", "MemoryMax=4K"]);
    f.settle({ agents: true });
    const [unit, machine] = [f.cluster.unit("w@1.service"), f.cluster.machine("m1")];
    assert.ok(unit !== undefined && machine !== undefined);
    assert.ok(machine.occupants.has("w@1.service"));
    assert.deepEqual(whyNotAll(f.cluster, { unit, machine }), []);
  });

  test("makes nobody leave when the limit is lowered", () => {
    const f = new Fixture();
    f.machine("m1");
    for (const index of [1, 2]) f.unit(`w@${index}.service`);
    f.settle({ agents: true });
    f.machine("m2");
    for (const index of [1, 2]) f.unit(`w@${index}.service`, ["MaxPerMachine=1"]);
    f.settle({ agents: true });
    assert.deepEqual([f.placedOn("w@1.service"), f.placedOn("w@2.service")], ["m1", "m1"]);
  });
});

describe("plan() and what units reserve", () => {
  const wants = (memory: string) => ["[Service]", `MemoryMax=${memory}`];
  const capacity = { cpus: 2, memoryBytes: 4 * GIB, tasks: 100 };

  test("places only where it is free, and wakes who waits when it becomes free", () => {
    const f = new Fixture();
    f.machine("m1", { capacity });
    f.unit("a.service", wants("3G"));
    f.unit("b.service", wants("50%"));
    f.unit("c.service", ["[Service]", "CPUQuota=250%"]);
    f.unit("free.service");
    f.settle({ agents: true });
    assert.equal(f.placedOn("free.service"), "m1", "without limits nothing is reserved");
    assert.deepEqual(f.blocked("b.service")[0]?.reason, {
      type: "no-room",
      resource: "memory",
      wanted: 2 * GIB,
      free: GIB,
    });
    assert.deepEqual(f.blocked("c.service")[0]?.reason, {
      type: "no-room",
      resource: "cpu",
      wanted: 2.5,
      free: 2,
    });
    f.destroy("a.service");
    f.settle({ agents: true });
    assert.equal(f.placedOn("b.service"), "m1");
    f.machine("m1", { capacity: { ...capacity, cpus: 3 } });
    f.settle({ agents: true });
    assert.equal(f.placedOn("c.service"), "m1");
  });

  test("gives away as much more as the machine says", () => {
    const f = new Fixture();
    f.machine("m1", { capacity, overcommit: { memory: 1.5, cpu: 1, tasks: 1 } });
    for (const name of ["a", "b", "c", "d"]) f.unit(`${name}.service`, wants("2G"));
    f.settle();
    assert.deepEqual(f.reasons("d.service"), ["no-room"]);
    assert.equal(f.placedOn("c.service"), "m1");
  });

  test("adds up what goes together, and never makes a placed unit leave", () => {
    const f = new Fixture();
    f.machine("m1", { capacity });
    f.unit("a.service", wants("3G"));
    f.unit("b.service", ["MachineOf=a.service", ...wants("3G")]);
    f.settle();
    assert.deepEqual(f.reasons("a.service"), ["no-room"]);
    f.unit("b.service", ["MachineOf=a.service", ...wants("1G")]);
    f.settle({ agents: true });
    assert.deepEqual([f.placedOn("a.service"), f.placedOn("b.service")], ["m1", "m1"]);
    f.machine("m2", { capacity });
    f.unit("b.service", ["MachineOf=a.service", ...wants("8G")]);
    f.machine("m1", { capacity: { ...capacity, memoryBytes: GIB } });
    f.settle({ agents: true });
    assert.deepEqual([f.placedOn("a.service"), f.placedOn("b.service")], ["m1", "m1"]);
  });

  test("a machine that does not know what it has limits nothing", () => {
    const f = new Fixture();
    f.machine("m1", { capacity: { ...capacity, tasks: 0 } });
    f.unit("a.service", ["[Service]", "TasksMax=1000000"]);
    f.settle();
    assert.equal(f.placedOn("a.service"), "m1");
  });
});

describe("plan() and machines that are excluded", () => {
  const cases: readonly [name: string, lines: readonly string[]][] = [
    ["NotMachineID", ["NotMachineID=m1"]],
    ["NotMachineID of the machine asked about", ["NotMachineID=%m", "MachineMetadata=disk=ssd"]],
    ["metadata that must not be", ["MachineMetadata=disk!=ssd"]],
    ["metadata that is none of several", ["MachineMetadata=disk in (hdd, nvme)"]],
  ];
  for (const [name, lines] of cases) {
    test(`${name} makes a placed unit leave, a global one too`, () => {
      const f = new Fixture();
      f.machine("m1", { metadata: { disk: "ssd" } });
      f.unit("a.service");
      f.unit("g.service", ["Global=true"]);
      f.settle({ agents: true });
      f.unit("a.service", lines);
      f.unit("g.service", ["Global=true", ...lines]);
      f.settle({ agents: true });
      assert.equal(f.placedOn("a.service"), undefined);
      assert.deepEqual(f.assignedTo("g.service"), []);
    });
  }

  test("what the machine's daemon found by itself makes nobody leave, %H included", () => {
    const f = new Fixture();
    f.machine("m1", { automatic: { hostname: "one", arch: "arm" }, metadata: { role: "one" } });
    f.unit("a.service", ["MachineMetadata=role=%H", "MachineMetadata=arch=arm"]);
    f.settle({ agents: true });
    f.machine("m1", { automatic: { hostname: "two", arch: "x64" }, metadata: { role: "one" } });
    assert.deepEqual(f.settle({ agents: true }), []);
    f.machine("m1", {
      automatic: { hostname: "two" },
      metadata: { role: "one", hostname: "three" },
    });
    assert.equal(summary(f.settle())[0], "unplace a.service from m1 (metadata-differs)");
  });

  test("patterns that name the machine are about that machine", () => {
    const f = new Fixture();
    f.machine("m1", { automatic: { hostname: "one" } });
    f.machine("m2", { automatic: { hostname: "two" } });
    f.unit("db-one.service", ["MachineID=m1"]);
    f.unit("db-two.service", ["MachineID=m1"]);
    f.settle({ agents: true });
    f.unit("a.service", ["Conflicts=db-%H.service", "NotMachineID=m2"]);
    f.unit("b.service", ["Conflicts=db-%H.service"]);
    f.settle();
    assert.deepEqual(f.blocked("a.service")[0]?.reason, {
      type: "conflict",
      unit: "db-one.service",
    });
    assert.equal(f.placedOn("b.service"), "m2");
    f.destroy("db-one.service");
    f.settle({ agents: true });
    assert.equal(f.placedOn("a.service"), "m1");
  });

  test("whyNotAll() says all of it", () => {
    const f = new Fixture();
    f.machine("m1");
    f.operator("m1", { cordoned: true });
    const lines = ["NotMachineID=m1", "MachineMetadata=disk=ssd", "[Service]", "TasksMax=101"];
    f.unit("a.service", lines);
    const [unit, machine] = [f.cluster.unit("a.service"), f.cluster.machine("m1")];
    assert.ok(unit !== undefined && machine !== undefined);
    assert.deepEqual(
      whyNotAll(f.cluster, { unit, machine }).map(({ type }) => type),
      ["machine-id-excluded", "metadata-differs", "cordoned", "no-room"],
    );
  });
});
