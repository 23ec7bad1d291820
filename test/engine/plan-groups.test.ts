import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { taskWrites } from "../../src/engine/tasks.ts";
import { makeKeys } from "../../src/registry/keys.ts";
import { TRANSACTION_OPERATIONS_MAX } from "../../src/registry/store.ts";
import { Fixture, summary } from "./fixture.ts";

describe("plan() and groups tied by MachineOf", () => {
  test("places a chain on one machine, whatever the order it was submitted in", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("c.service", ["MachineOf=b.service"]);
    f.unit("b.service", ["MachineOf=a.service"]);
    f.settle();
    assert.deepEqual(f.blocked("c.service")[0]?.reason, {
      type: "peer-not-wanted",
      peer: "b.service",
    });
    f.unit("a.service");
    f.settle({ agents: true });
    for (const name of ["a.service", "b.service", "c.service"])
      assert.equal(f.placedOn(name), "m1");
  });

  test("places units that name each other", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service", ["MachineOf=b.service"]);
    f.unit("b.service", ["MachineOf=a.service"]);
    f.settle();
    assert.deepEqual([f.placedOn("a.service"), f.placedOn("b.service")], ["m1", "m1"]);
  });

  test("takes only a machine that fits all, with the reason of the one that does not", () => {
    const f = new Fixture();
    f.machine("m1");
    f.machine("m2");
    f.unit("a.service");
    f.unit("b.service", ["MachineOf=a.service", "MachineMetadata=disk=ssd"], {
      desired: "inactive",
    });
    f.settle();
    f.destroy("a.service");
    f.settle({ agents: true });
    f.dirty.units.clear();
    f.unit("b.service", ["MachineOf=a.service", "MachineMetadata=disk=ssd"]);
    f.unit("a.service");
    f.settle();
    assert.equal(f.placedOn("a.service"), undefined);
    assert.deepEqual(f.blocked("a.service")[0], {
      reason: {
        type: "group-member",
        unit: "b.service",
        because: { type: "metadata-differs", requirement: "disk=ssd" },
      },
      machines: 2,
      examples: ["m1", "m2"],
    });
    f.machine("m3", { metadata: { disk: "ssd" } });
    f.settle({ agents: true });
    assert.deepEqual([f.placedOn("a.service"), f.placedOn("b.service")], ["m3", "m3"]);
  });

  test("says so when two of a group conflict", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("b.service", ["MachineOf=a.service", "Conflicts=c.service"]);
    f.unit("c.service", ["MachineOf=a.service"]);
    f.unit("a.service");
    f.plan();
    f.settle();
    assert.deepEqual(f.reasons("b.service"), ["conflict"]);
  });

  test("lets a new member follow, and never moves the ones that run", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.settle({ agents: true });
    f.unit("busy1.service", ["MachineID=m1"]);
    f.unit("busy2.service", ["MachineID=m1"]);
    f.unit("b.service", ["MachineOf=a.service"]);
    f.settle({ agents: true });
    assert.equal(f.placedOn("b.service"), "m1");
    f.unit("c.service", ["MachineOf=a.service", "Conflicts=busy1.service"]);
    f.settle({ agents: true });
    assert.deepEqual(f.reasons("c.service"), ["conflict", "peer-elsewhere"]);
    assert.equal(f.placedOn("a.service"), "m1");
  });

  test("makes followers leave with their peer, and brings them back", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.unit("b.service", ["MachineOf=a.service"]);
    f.unit("c.service", ["MachineOf=b.service"]);
    f.settle({ agents: true });
    f.unit("a.service", [], { desired: "inactive" });
    f.settle({ agents: true });
    assert.deepEqual(f.reasons("b.service"), ["peer-not-wanted"]);
    assert.deepEqual(f.reasons("c.service"), ["peer-not-wanted"]);
    f.unit("a.service", ["MachineID=m2"]);
    f.settle({ agents: true });
    for (const name of ["a.service", "b.service", "c.service"])
      assert.equal(f.placedOn(name), "m2");
  });

  test("does not stop followers for a peer that comes back to them", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.unit("b.service", ["MachineOf=a.service"]);
    f.settle({ agents: true });
    f.destroy("a.service");
    f.unit("a.service");
    const tasks = summary(f.settle({ agents: true }));
    assert.ok(!tasks.some((line) => line.includes("unplace b.service")), tasks.join(", "));
    assert.equal(f.placedOn("a.service"), "m1");
  });

  test("moves a group off a lost machine as a whole, in one transaction", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service");
    for (let n = 1; n < 30; n += 1) f.unit(`f${n}.service`, ["MachineOf=a.service"]);
    f.settle({ agents: true });
    f.machine("m2");
    f.settle({ agents: true });
    f.lose("m1");
    const tasks = f.plan();
    assert.equal(tasks.length, 30);
    assert.equal(new Set(tasks.map((task) => task.type === "place" && task.bundle)).size, 1);
    const writes = tasks.map((task) => taskWrites(makeKeys(), task));
    const operations = writes.flatMap((one) => one.operations).length;
    const comparisons = writes.flatMap((one) => one.comparisons).length;
    assert.ok(operations <= TRANSACTION_OPERATIONS_MAX && comparisons < TRANSACTION_OPERATIONS_MAX);
    f.settle({ agents: true });
    assert.equal(f.cluster.machine("m2")?.placed.length, 30);
  });

  test("leaves a group on a lost machine when one of it can only be there", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service", ["MachineID=m1"]);
    f.unit("b.service", ["MachineOf=a.service"]);
    f.settle({ agents: true });
    f.lose("m1");
    f.settle();
    assert.equal(f.placedOn("b.service"), "m1");
    assert.deepEqual(f.reasons("b.service"), ["machine-lost"]);
  });

  test("moves a group off a leaving machine when the last of it has stopped", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.unit("b.service", ["MachineOf=a.service"]);
    f.settle({ agents: true });
    f.machine("m1", { leaving: true });
    f.stopped("m1", "b.service");
    assert.deepEqual(f.settle(), []);
    f.stopped("m1", "a.service");
    f.settle({ agents: true });
    assert.deepEqual([f.placedOn("a.service"), f.placedOn("b.service")], ["m2", "m2"]);
  });

  test("goes where a global peer is assigned", () => {
    const f = new Fixture();
    f.machine("m1");
    f.machine("m2", { metadata: { disk: "ssd" } });
    f.unit("g.service", ["Global=true", "MachineMetadata=disk=ssd"]);
    f.unit("b.service", ["MachineOf=g.service"]);
    f.settle({ agents: true });
    assert.equal(f.placedOn("b.service"), "m2");
    f.unit("g.service", ["Global=true", "MachineMetadata=disk=ssd"], { desired: "inactive" });
    f.settle({ agents: true });
    assert.deepEqual(f.reasons("b.service"), ["peer-not-wanted"]);
  });
});
