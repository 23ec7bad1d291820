import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Fixture, summary } from "./fixture.ts";

describe("plan() places units", () => {
  test("nothing without units", () => {
    const f = new Fixture();
    f.machine("m1");
    assert.deepEqual(f.planAll(), []);
  });

  test("on the least loaded machine, ties by machine id", () => {
    const f = new Fixture();
    f.machines("m2", "m1");
    for (const name of ["a.service", "b.service", "c.service"]) f.unit(name);
    assert.deepEqual(summary(f.settle()), [
      "place a.service on m1 (wanted)",
      "place b.service on m2 (wanted)",
      "place c.service on m1 (wanted)",
    ]);
    assert.deepEqual(f.planAll(), []);
  });

  test("with assignment and history in one task", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service", [], { desired: "loaded", restarts: 3 });
    const [task] = f.plan();
    assert.equal(task?.type, "place");
    assert.deepEqual(task?.type === "place" && task.assignment, {
      identity: task?.type === "place" ? task.placement.identity : 0,
      manifest: f.cluster.unit("a.service")?.unit?.record.manifest,
      target: "loaded",
      restarts: 3,
      global: false,
    });
    assert.deepEqual(task?.type === "place" && task.history.entries, [
      { machine: "m1", fromMs: f.nowMs },
    ]);
  });

  test("not while nobody wants them", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service", [], { desired: "inactive" });
    assert.deepEqual(f.settle(), []);
  });

  test("says why not when there is no machine", () => {
    const f = new Fixture();
    f.unit("a.service");
    assert.deepEqual(summary(f.settle()), ["block a.service (no-machines)"]);
    f.machine("m1");
    assert.deepEqual(summary(f.settle()), ["place a.service on m1 (wanted)", "unblock a.service"]);
  });

  test("counts reasons by kind with up to three examples", () => {
    const f = new Fixture();
    f.machines("m1", "m2", "m3", "m4");
    f.machine("m5", { metadata: { disk: "ssd" } });
    f.operator("m5", { cordoned: true });
    f.unit("a.service", ["MachineMetadata=disk=ssd"]);
    f.settle();
    assert.deepEqual(f.blocked("a.service"), [
      {
        reason: { type: "metadata-differs", requirement: "disk=ssd" },
        machines: 4,
        examples: ["m1", "m2", "m3"],
      },
      { reason: { type: "cordoned" }, machines: 1, examples: ["m5"] },
    ]);
  });

  test("blocked ones oldest first when a machine joins", () => {
    const f = new Fixture();
    f.unit("z.service", ["Conflicts=*"]);
    f.unit("a.service", ["Conflicts=*"]);
    f.settle();
    f.machine("m1");
    f.settle();
    assert.equal(f.placedOn("z.service"), "m1");
    assert.deepEqual(f.reasons("a.service"), ["conflict"]);
  });

  test("never two units in conflict, and tries again when one has stopped", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service");
    f.unit("b.service", ["Conflicts=a.service"]);
    f.settle({ agents: true });
    assert.equal(f.placedOn("a.service"), "m1");
    f.destroy("a.service");
    f.settle();
    assert.equal(f.placedOn("b.service"), undefined, "a.service still stops there");
    f.stopped("m1", "a.service");
    f.settle();
    assert.equal(f.placedOn("b.service"), "m1");
  });

  test("keeps a manifest in mind that only the machine still holds", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service", ["Conflicts=b.service"]);
    f.settle({ agents: true });
    f.destroy("a.service");
    f.unit("b.service");
    f.settle();
    assert.deepEqual(f.reasons("b.service"), ["conflict"]);
  });

  test("says that the manifest is missing or wrong", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service", [], { manifest: "nowhere" });
    f.unit("b.service", ["MachineMetadata=what"]);
    f.settle();
    assert.deepEqual(f.reasons("a.service"), ["manifest-missing"]);
    assert.deepEqual(f.reasons("b.service"), ["manifest-invalid"]);
  });
});

describe("plan() keeps units current", () => {
  test("withdraws what nobody wants, on away machines too", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service");
    f.settle({ agents: true });
    f.vanish("m1");
    f.unit("a.service", [], { desired: "inactive" });
    assert.deepEqual(summary(f.settle()), ["unplace a.service from m1 (not-wanted)"]);
    assert.deepEqual(f.assignedTo("a.service"), []);
  });

  test("assigns anew on a restart, another manifest, another target", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service");
    f.settle({ agents: true });
    for (const change of [{ restarts: 1 }, { desired: "loaded" } as const]) {
      f.unit("a.service", [], change);
      assert.deepEqual(summary(f.settle({ agents: true })), ["assign a.service to m1 (changed)"]);
    }
    f.unit("a.service", ["Conflicts=nobody.service"]);
    assert.deepEqual(summary(f.settle({ agents: true })), ["assign a.service to m1 (changed)"]);
  });

  test("starts a unit of the same name on the same machine, as another unit", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.settle({ agents: true });
    f.destroy("a.service");
    f.unit("a.service");
    const tasks = summary(f.settle({ agents: false }));
    assert.deepEqual(tasks, [
      "unplace a.service from m1 (unit-is-another)",
      "block a.service (stopping)",
      "place a.service on m1 (held-there)",
      "unblock a.service",
    ]);
  });

  test("adopts what a machine holds already", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.operator("m2", { cordoned: true });
    f.unit("a.service");
    f.state("m2", "a.service");
    assert.deepEqual(summary(f.settle()), ["place a.service on m2 (held-there)"]);
  });

  test("waits while two machines hold a unit", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.state("m1", "a.service");
    f.state("m2", "a.service");
    f.settle();
    assert.deepEqual(f.blocked("a.service"), [
      { reason: { type: "stopping", machineId: "m1" }, machines: 0, examples: [] },
    ]);
    f.stopped("m1", "a.service");
    f.settle();
    assert.equal(f.placedOn("a.service"), "m2");
  });

  test("leaves a unit alone while one of its records cannot be read", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service");
    f.settle({ agents: true });
    f.spoil({ kind: "unit", unit: "a.service" } as never);
    assert.deepEqual(f.settle(), []);
    assert.deepEqual(f.planAll(), []);
    f.unit("a.service", [], { desired: "inactive" });
    assert.equal(f.settle().length, 1);
  });

  test("leaves units on a machine alone whose record cannot be read", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service", ["MachineMetadata=disk=ssd"]);
    f.operator("m1", { metadata: { disk: "ssd" } });
    f.settle({ agents: true });
    f.spoil({ kind: "operator", machineId: "m1" } as never);
    f.spoil({ kind: "machine", machineId: "m1" } as never);
    f.unit("b.service");
    f.settle();
    assert.equal(f.placedOn("a.service"), "m1");
    assert.equal(f.placedOn("b.service"), "m2");
  });
});

describe("plan() makes units leave", () => {
  const cases: { name: string; change: (f: Fixture) => void; why: string }[] = [
    {
      name: "when an operator changes metadata",
      change: (f) => f.operator("m1", { metadata: { disk: "hdd" } }),
      why: "metadata-differs",
    },
    {
      name: "when an operator hides metadata",
      change: (f) => f.operator("m1", { metadata: { disk: null } }),
      why: "metadata-differs",
    },
    {
      name: "when fleet.conf's metadata changes",
      change: (f) => f.machine("m1", { metadata: { disk: "hdd" } }),
      why: "metadata-differs",
    },
    {
      name: "when the unit asks for another machine",
      change: (f) => f.unit("a.service", ["MachineID=m2"]),
      why: "machine-id-differs",
    },
    {
      name: "when the unit conflicts with an older one",
      change: (f) => f.unit("a.service", ["Conflicts=old.service"]),
      why: "conflict",
    },
  ];
  for (const { name, change, why } of cases) {
    test(`${name}: only after it has stopped it goes elsewhere`, () => {
      const f = new Fixture();
      f.machine("m1", { metadata: { disk: "ssd" } });
      f.unit("old.service");
      f.unit("a.service", ["MachineMetadata=disk=ssd"]);
      f.settle({ agents: true });
      f.machine("m2", { metadata: { disk: "ssd" } });
      f.settle({ agents: true });
      change(f);
      assert.deepEqual(summary(f.settle()), [
        `unplace a.service from m1 (${why})`,
        "block a.service (stopping)",
      ]);
      f.agents();
      f.settle({ agents: true });
      assert.equal(f.placedOn("a.service"), "m2");
      assert.equal(f.placedOn("old.service"), "m1");
      assert.equal(f.cluster.unit("a.service")?.history?.record.entries[0]?.why, why);
    });
  }

  test("but not for automatic metadata, a cordon or load", () => {
    const f = new Fixture();
    f.machine("m1", { automatic: { arch: "arm" } });
    f.unit("a.service", ["MachineMetadata=arch=arm"]);
    f.unit("b.service");
    f.settle({ agents: true });
    f.machine("m2");
    f.machine("m1", { automatic: { arch: "riscv" } });
    f.operator("m1", { cordoned: true });
    assert.deepEqual(f.settle(), []);
  });

  test("moves a unit whose name the machine has taken", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.settle();
    f.state("m1", "a.service", { error: { code: "name-taken" } });
    assert.deepEqual(summary(f.settle()), ["place a.service on m2 from m1 (name-taken)"]);
    assert.deepEqual(f.assignedTo("a.service"), ["m2"]);
  });
});

describe("plan() and machines that go", () => {
  test("moves a unit from a lost machine in one task", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.settle({ agents: true });
    f.vanish("m1");
    assert.deepEqual(f.settle(), [], "away is not lost");
    f.lose("m1");
    assert.deepEqual(summary(f.settle()), ["place a.service on m2 from m1 (machine-lost)"]);
    assert.deepEqual(f.assignedTo("a.service"), ["m2"]);
    const entries = f.cluster.unit("a.service")?.history?.record.entries;
    assert.deepEqual(
      entries?.map(({ machine, why }) => [machine, why]),
      [
        ["m1", "machine-lost"],
        ["m2", undefined],
      ],
    );
    f.back("m1");
    assert.deepEqual(f.settle({ agents: true }), []);
  });

  test("does not start it elsewhere while a machine still holds it", () => {
    const f = new Fixture();
    f.machines("m1", "m2", "m3");
    f.unit("a.service");
    f.settle({ agents: true });
    f.state("m2", "a.service");
    f.settle();
    f.lose("m1");
    f.settle();
    assert.equal(f.placedOn("a.service"), "m2");
  });

  test("keeps placement and assignment of what no other machine can take", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("pinned.service", ["MachineID=m1"]);
    f.unit("everywhere.service", ["Global=true"]);
    f.settle({ agents: true });
    f.lose("m1");
    assert.deepEqual(summary(f.settle()), ["block pinned.service (machine-lost)"]);
    assert.deepEqual(f.assignedTo("pinned.service"), ["m1"]);
    assert.deepEqual(f.assignedTo("everywhere.service"), ["m1", "m2"]);
    f.back("m1");
    assert.deepEqual(summary(f.settle({ agents: true })), ["unblock pinned.service"]);
  });

  test("withdraws everything from a forgotten machine", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("pinned.service", ["MachineID=m1"]);
    f.unit("everywhere.service", ["Global=true"]);
    f.settle({ agents: true });
    f.lose("m1");
    f.settle();
    f.remove({ kind: "roster", machineId: "m1" } as never);
    f.settle();
    assert.deepEqual(f.assignedTo("pinned.service"), []);
    assert.deepEqual(f.assignedTo("everywhere.service"), ["m2"]);
    assert.deepEqual(f.reasons("pinned.service"), ["machine-id-differs"]);
  });

  test("says that a loss is held, and by what", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.settle({ agents: true });
    f.vanish("m1");
    f.held.set("m1", "boot-grace");
    f.dirty.machines.add("m1");
    f.settle();
    assert.deepEqual(f.blocked("a.service"), [
      {
        reason: { type: "loss-held", machineId: "m1", why: "boot-grace" },
        machines: 0,
        examples: [],
      },
    ]);
    f.back("m1");
    assert.deepEqual(summary(f.settle({ agents: true })), ["unblock a.service"]);
  });

  test("moves each unit of a leaving machine as it has stopped", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service");
    f.unit("b.service");
    f.settle({ agents: true });
    f.machine("m2");
    f.machine("m1", { leaving: true });
    assert.deepEqual(f.settle(), []);
    f.stopped("m1", "b.service");
    assert.deepEqual(summary(f.settle()), ["place b.service on m2 from m1 (leaving)"]);
    f.stopped("m1", "a.service");
    assert.deepEqual(summary(f.settle()), ["place a.service on m2 from m1 (leaving)"]);
  });

  test("lets a unit of a leaving machine go on there when no other takes it", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service");
    f.settle({ agents: true });
    f.machine("m1", { leaving: true });
    f.stopped("m1", "a.service");
    assert.deepEqual(summary(f.settle()), ["block a.service (leaving)"]);
    f.machine("m1");
    assert.deepEqual(summary(f.settle({ agents: true })), ["unblock a.service"]);
    assert.equal(f.placedOn("a.service"), "m1");
  });
});

describe("plan() and Replaces", () => {
  test("makes room, waits until it is there, and places the other elsewhere with its own constraints", () => {
    const f = new Fixture();
    f.machine("m1");
    f.machine("m2", { metadata: { disk: "ssd" } });
    f.unit("old.service", ["MachineMetadata=disk=ssd"]);
    f.unit("filler.service", ["MachineID=m1"]);
    f.settle({ agents: true });
    f.unit("new.service", ["Replaces=old.service", "MachineMetadata=disk=ssd"]);
    assert.deepEqual(summary(f.settle()), [
      "place new.service on m2 waiting (wanted)",
      "unplace old.service from m2 (replaced)",
      "block new.service (waiting-for-room)",
      "block old.service (stopping)",
    ]);
    f.agents();
    assert.deepEqual(summary(f.settle({ agents: true })), [
      "assign new.service to m2 (wanted)",
      "unblock new.service",
      "block old.service (metadata-differs replaced)",
    ]);
    f.machine("m3", { metadata: { disk: "ssd" } });
    f.settle({ agents: true });
    assert.equal(f.placedOn("old.service"), "m3");
  });

  test("ignores units that replace each other", () => {
    const f = new Fixture();
    f.machine("m1");
    f.unit("a.service", ["Replaces=b.service"]);
    f.unit("b.service", ["Replaces=a.service"]);
    f.settle({ agents: true });
    assert.equal(f.placedOn("a.service"), "m1");
    assert.equal(f.placedOn("b.service"), "m1");
  });
});

describe("plan() and global units", () => {
  test("assigns them to every machine that fits, also to new ones", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("g.service", ["Global=true", "MachineMetadata=disk=ssd"]);
    f.settle();
    assert.deepEqual(f.reasons("g.service"), ["metadata-differs"]);
    f.machine("m3", { metadata: { disk: "ssd" } });
    assert.deepEqual(summary(f.settle()), ["assign g.service to m3 (wanted)", "unblock g.service"]);
    f.operator("m1", { metadata: { disk: "ssd" }, cordoned: true });
    assert.deepEqual(f.settle(), [], "cordoned");
    f.operator("m1", { metadata: { disk: "ssd" } });
    f.settle();
    assert.deepEqual(f.assignedTo("g.service"), ["m1", "m3"]);
    f.operator("m3", { metadata: { disk: "hdd" } });
    f.settle();
    assert.deepEqual(f.assignedTo("g.service"), ["m1"]);
  });

  test("inactive ones block nobody and are withdrawn", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("g0.service", ["Global=true", "Conflicts=g*"], { desired: "inactive" });
    f.unit("g1.service", ["Global=true", "Conflicts=g*"]);
    f.settle({ agents: true });
    assert.deepEqual(f.assignedTo("g1.service"), ["m1", "m2"]);
    f.unit("g0.service", ["Global=true", "Conflicts=g*"]);
    f.settle({ agents: true });
    assert.deepEqual(f.assignedTo("g0.service"), [], "who is there stays");
    assert.deepEqual(f.reasons("g0.service"), ["conflict"]);
    f.unit("g1.service", ["Global=true", "Conflicts=g*"], { desired: "inactive" });
    f.settle({ agents: true });
    f.settle({ agents: true });
    assert.deepEqual(f.assignedTo("g0.service"), ["m1", "m2"]);
    assert.deepEqual(f.assignedTo("g1.service"), []);
  });

  test("a unit that becomes global leaves its place, and back", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service");
    f.settle({ agents: true });
    f.unit("a.service", ["Global=true"]);
    f.settle({ agents: true });
    assert.equal(f.placedOn("a.service"), undefined);
    assert.deepEqual(f.assignedTo("a.service"), ["m1", "m2"]);
    f.unit("a.service");
    f.settle({ agents: true });
    assert.equal(f.assignedTo("a.service").length, 1);
    assert.deepEqual(f.assignedTo("a.service"), [f.placedOn("a.service")]);
  });
});

describe("plan() and blocked records", () => {
  test("are rewritten on change of kind, at most every five seconds", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    f.unit("a.service", ["MachineMetadata=disk=ssd"]);
    f.settle();
    f.machine("m3");
    assert.deepEqual(f.settle(), [], "the kind is the same");
    f.operator("m3", { metadata: { disk: "ssd" }, cordoned: true });
    assert.deepEqual(summary(f.settle()), ["block a.service (metadata-differs cordoned)"]);
  });
});
