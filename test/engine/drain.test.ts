import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { conflicts } from "../../src/cluster/relations.ts";
import { quick } from "../support/quick.ts";
import { Fixture, summary } from "./fixture.ts";

function drain(f: Fixture, machineId: string): void {
  f.operator(machineId, { cordoned: true, draining: true });
}

function uncordon(f: Fixture, machineId: string): void {
  f.operator(machineId, {});
}

/** `m1` runs what `units` adds, `m2` and `m3` have room. */
function cluster(units: (f: Fixture) => void): Fixture {
  const f = new Fixture();
  f.machine("m1");
  units(f);
  f.settle({ agents: true });
  f.machines("m2", "m3");
  f.settle();
  return f;
}

describe("plan() of a machine that is drained", () => {
  test("moves one unit at a time: reserves, waits until it has stopped, starts it, waits until it is up", () => {
    const f = cluster((one) => {
      one.unit("a.service");
      one.unit("b.service");
    });
    drain(f, "m1");
    assert.deepEqual(summary(f.settle()), [
      "place a.service on m2 from m1 waiting (draining)",
      "block a.service (stopping)",
    ]);
    assert.deepEqual(f.assignedTo("a.service"), []);
    assert.deepEqual(f.assignedTo("b.service"), ["m1"], "it waits for its turn and runs");
    f.stopped("m1", "a.service");
    assert.deepEqual(summary(f.settle()), ["place a.service on m2 (moved)", "unblock a.service"]);
    f.state("m2", "a.service", { current: "launched", active: "activating" });
    assert.deepEqual(f.settle(), [], "b waits until a is up");
    f.started("m2", "a.service");
    assert.deepEqual(summary(f.settle()), [
      "arrive a.service on m2",
      "place b.service on m3 from m1 waiting (draining)",
      "block b.service (stopping)",
    ]);
    f.settle({ agents: true });
    assert.deepEqual([f.placedOn("a.service"), f.placedOn("b.service")], ["m2", "m3"]);
    assert.equal(f.cluster.unit("a.service")?.history?.record.entries.length, 2);
  });

  test("moves a group as a whole, to a machine that takes all of it", () => {
    const f = cluster((one) => {
      one.unit("a.service");
      one.unit("b.service", ["MachineOf=a.service", "MachineMetadata=disk=ssd"]);
      one.operator("m1", { metadata: { disk: "ssd" } });
    });
    f.operator("m3", { metadata: { disk: "ssd" } });
    f.operator("m1", { metadata: { disk: "ssd" }, cordoned: true, draining: true });
    f.settle();
    assert.deepEqual([f.placedOn("a.service"), f.placedOn("b.service")], ["m3", "m3"]);
    f.stopped("m1", "a.service");
    assert.deepEqual(f.settle(), [], "none starts before both have stopped");
    f.stopped("m1", "b.service");
    assert.deepEqual(summary(f.settle()).slice(0, 2), [
      "place a.service on m3 (moved)",
      "place b.service on m3 (moved)",
    ]);
  });

  test("stops when a unit that was well does not start elsewhere, and goes on once it is up", () => {
    const f = cluster((one) => {
      one.unit("a.service");
      one.unit("b.service");
    });
    drain(f, "m1");
    f.settle();
    f.stopped("m1", "a.service");
    f.settle();
    f.started("m2", "a.service", "failed");
    assert.deepEqual(f.settle(), []);
    f.started("m2", "a.service");
    f.settle();
    assert.equal(f.placedOn("b.service"), "m3");
  });

  test("begins anew, without what failed, after an uncordon", () => {
    const f = cluster((one) => {
      one.unit("a.service");
      one.unit("b.service");
    });
    drain(f, "m1");
    f.settle();
    f.stopped("m1", "a.service");
    f.settle();
    f.started("m2", "a.service", "failed");
    assert.deepEqual(f.settle(), []);
    uncordon(f, "m1");
    assert.deepEqual(summary(f.settle()), ["arrive a.service on m2"]);
    drain(f, "m1");
    f.settle();
    assert.equal(f.placedOn("b.service"), "m3");
  });

  test("is not stopped by a unit that had failed before", () => {
    const f = cluster((one) => {
      one.unit("a.service");
      one.unit("b.service");
    });
    f.started("m1", "a.service", "failed");
    drain(f, "m1");
    f.settle();
    f.stopped("m1", "a.service");
    f.settle();
    f.started("m2", "a.service", "failed");
    f.settle();
    assert.equal(f.placedOn("b.service"), "m3");
  });

  test("leaves running what no machine takes, says why, and tries again when one does", () => {
    const f = cluster((one) => {
      one.unit("a.service", ["MachineMetadata=disk=ssd"]);
      one.unit("b.service");
      one.operator("m1", { metadata: { disk: "ssd" } });
    });
    f.operator("m1", { metadata: { disk: "ssd" }, cordoned: true, draining: true });
    f.settle({ agents: true });
    assert.equal(f.placedOn("b.service"), "m2");
    assert.deepEqual(f.assignedTo("a.service"), ["m1"]);
    assert.deepEqual(f.blocked("a.service"), [
      { reason: { type: "drain-stuck", machineId: "m1" }, machines: 0, examples: [] },
      {
        reason: { type: "metadata-differs", requirement: "disk=ssd" },
        machines: 2,
        examples: ["m2", "m3"],
      },
    ]);
    f.operator("m3", { metadata: { disk: "ssd" } });
    f.settle({ agents: true });
    assert.equal(f.placedOn("a.service"), "m3");
    assert.deepEqual(f.blocked("a.service"), []);
  });

  test("takes back that it is stuck when the drain is over", () => {
    const f = cluster((one) => {
      one.unit("a.service", ["MachineMetadata=disk=ssd"]);
      one.operator("m1", { metadata: { disk: "ssd" } });
    });
    f.operator("m1", { metadata: { disk: "ssd" }, cordoned: true, draining: true });
    f.settle();
    assert.deepEqual(f.reasons("a.service"), ["drain-stuck", "metadata-differs"]);
    f.operator("m1", { metadata: { disk: "ssd" } });
    f.settle();
    assert.deepEqual(f.reasons("a.service"), []);
  });

  test("takes back that nobody takes a unit when it only waits behind another", () => {
    const f = cluster((one) => {
      one.unit("a.service");
      one.unit("b.service");
      one.unit("c.service", ["MachineID=m1"]);
    });
    for (const id of ["m2", "m3"]) f.operator(id, { cordoned: true });
    drain(f, "m1");
    f.settle();
    const reasons = () => ["a", "b", "c"].map((name) => f.reasons(`${name}.service`)[0]);
    assert.deepEqual(reasons(), ["drain-stuck", "drain-stuck", "drain-pinned"]);
    uncordon(f, "m2");
    f.settle();
    assert.deepEqual(reasons(), ["stopping", undefined, "drain-pinned"]);
    f.stopped("m1", "a.service");
    f.settle();
    f.operator("m2", { cordoned: true });
    f.started("m2", "a.service");
    f.settle();
    assert.deepEqual(reasons(), [undefined, "drain-stuck", "drain-pinned"], "its turn");
  });

  test("drives nobody away from the machine it goes to", () => {
    const f = cluster((one) => one.unit("new.service", ["Replaces=old.service"]));
    f.unit("old.service", ["MachineID=m2"]);
    f.settle({ agents: true });
    f.unit("x.service", ["MachineID=m3"]);
    f.unit("y.service", ["MachineID=m3"]);
    f.settle({ agents: true });
    drain(f, "m1");
    f.settle({ agents: true });
    assert.deepEqual([f.placedOn("new.service"), f.placedOn("old.service")], ["m3", "m2"]);
  });

  test("leaves pinned units and finished oneshots, and stops global units last", () => {
    const f = cluster((one) => {
      one.unit("log.service", ["Global=true"]);
      one.unit("pinned.service", ["MachineID=m1"]);
      one.unit("once.service");
      one.unit("a.service");
    });
    f.settle({ agents: true });
    f.started("m1", "once.service", "finished");
    drain(f, "m1");
    f.settle();
    assert.deepEqual(f.assignedTo("log.service"), ["m1", "m2", "m3"]);
    f.settle({ agents: true });
    assert.deepEqual(f.assignedTo("log.service"), ["m2", "m3"]);
    assert.deepEqual(f.reasons("pinned.service"), ["drain-pinned"]);
    for (const name of ["pinned.service", "once.service"])
      assert.deepEqual(f.assignedTo(name), ["m1"]);
    uncordon(f, "m1");
    f.settle({ agents: true });
    assert.deepEqual(f.assignedTo("log.service"), ["m1", "m2", "m3"]);
    assert.deepEqual(f.reasons("pinned.service"), []);
  });

  test("takes a finished oneshot along with the unit it is tied to", () => {
    const f = cluster((one) => {
      one.unit("pull.service");
      one.unit("web.service", ["MachineOf=pull.service"]);
    });
    f.started("m1", "pull.service", "finished");
    drain(f, "m1");
    f.settle({ agents: true });
    assert.deepEqual([f.placedOn("pull.service"), f.placedOn("web.service")], ["m2", "m2"]);
  });

  test("never puts more instances on a machine than MaxPerMachine=, counting those on their way", () => {
    const f = new Fixture();
    f.machines("m1", "m2");
    const xFleet = ["MaxPerMachine=1"];
    for (const name of ["w@1.service", "w@2.service"]) f.unit(name, xFleet);
    f.settle({ agents: true });
    drain(f, "m1");
    f.settle({ agents: true });
    assert.deepEqual(f.assignedTo("w@1.service"), ["m1"]);
    assert.deepEqual(f.reasons("w@1.service"), ["drain-stuck", "too-many-instances"]);
    f.machine("m3");
    f.settle();
    assert.equal(f.placedOn("w@1.service"), "m3");
    f.unit("w@3.service", xFleet);
    f.settle();
    assert.equal(f.placedOn("w@3.service"), undefined, "the place is reserved");
  });

  test("keeps instances spread as if the one that moves were new", () => {
    const f = new Fixture();
    for (const [id, zone] of [
      ["m1", "a"],
      ["m2", "b"],
      ["m3", "c"],
      ["m4", "a"],
    ] as const)
      f.machine(id, { metadata: { zone } });
    f.operator("m4", { cordoned: true });
    for (const name of ["w@1.service", "w@2.service", "w@3.service"])
      f.unit(name, ["SpreadBy=zone"]);
    f.settle({ agents: true });
    f.operator("m4", {});
    for (const name of ["x.service", "y.service", "z.service"]) f.unit(name, ["MachineID=m4"]);
    f.settle({ agents: true });
    assert.equal(f.placedOn("w@1.service"), "m1");
    drain(f, "m1");
    f.settle({ agents: true });
    assert.equal(
      f.placedOn("w@1.service"),
      "m4",
      "the fullest machine, but the only one left in its zone",
    );
  });

  test("goes on after the machine it moved to is lost, and after the drained one is", () => {
    const f = cluster((one) => one.unit("a.service"));
    drain(f, "m1");
    f.settle();
    f.lose("m2");
    assert.deepEqual(f.reasons("a.service"), ["stopping"]);
    f.settle();
    f.stopped("m1", "a.service");
    f.settle({ agents: true });
    assert.equal(f.placedOn("a.service"), "m3");

    const g = cluster((one) => one.unit("a.service"));
    drain(g, "m1");
    g.settle();
    g.vanish("m1");
    g.settle();
    assert.deepEqual(g.assignedTo("a.service"), [], "it may be running where nobody can look");
    g.lose("m1");
    g.settle();
    assert.deepEqual(g.assignedTo("a.service"), ["m2"]);
  });

  test("follows from the registry alone: a new leader goes on in the middle", () => {
    const f = cluster((one) => {
      for (const name of ["a", "b", "c", "d"]) one.unit(`${name}.service`);
    });
    drain(f, "m1");
    for (let round = 0; round < 30; round += 1) {
      f.cluster = f.reread((facts) => facts.reverse());
      for (const task of f.planAll()) f.write(task);
      f.agents();
    }
    for (const name of ["a", "b", "c", "d"]) assert.notEqual(f.placedOn(`${name}.service`), "m1");
    assert.deepEqual(f.planAll(), []);
  });
});

describe("plan() of moves that an operator asked for", () => {
  test("moves the group and uses the wish up in the same transaction", () => {
    const f = cluster((one) => {
      one.unit("a.service");
      one.unit("b.service", ["MachineOf=a.service"]);
    });
    f.move("a.service", { from: "m1", to: "m3" });
    const [first] = f.step();
    assert.equal(first?.type === "place" && first.moveRevision !== undefined, true);
    f.settle({ agents: true });
    assert.deepEqual([f.placedOn("a.service"), f.placedOn("b.service")], ["m3", "m3"]);
    assert.equal(f.cluster.unit("a.service")?.move, undefined);
  });

  test("drops a wish that the cluster has overtaken", () => {
    for (const spoil of [
      (f: Fixture) => f.move("a.service", { from: "m2", to: "m3" }),
      (f: Fixture) => f.move("a.service", { from: "m1", to: "m9" }),
      (f: Fixture) => f.move("none.service", { from: "m1", to: "m2" }),
      (f: Fixture) => {
        f.operator("m3", { cordoned: true });
        f.move("a.service", { from: "m1", to: "m3" });
      },
    ]) {
      const f = cluster((one) => one.unit("a.service"));
      spoil(f);
      assert.match(summary(f.settle()).join(), /^drop-move/);
      assert.equal(f.placedOn("a.service"), "m1");
    }
  });
});

const X_FLEET = [
  [],
  ["Conflicts=u1.service"],
  ["Conflicts=u[23].service"],
  ["MachineOf=u0.service"],
  ["MachineMetadata=disk=ssd"],
  ["Global=true"],
  ["MachineID=m1"],
];

test("a drain interrupts each unit once at most, breaks no Conflicts on the way, and leaves only what it says", () => {
  const machines = ["m1", "m2", "m3", "m4"];
  const units = fc.array(fc.constantFrom(...X_FLEET), { minLength: 2, maxLength: 8 });
  const drained = fc.uniqueArray(fc.constantFrom(...machines), { minLength: 1, maxLength: 3 });
  const ssd = fc.subarray(machines);
  fc.assert(
    fc.property(units, drained, ssd, (variants, drains, disks) => {
      const f = new Fixture();
      f.machines(...machines);
      for (const id of disks) f.operator(id, { metadata: { disk: "ssd" } });
      for (const [index, lines] of variants.entries()) f.unit(`u${index}.service`, lines);
      f.settle({ agents: true });
      const moves = new Map<string, number>();
      for (const id of drains) {
        const metadata = disks.includes(id) ? { disk: "ssd" } : {};
        f.operator(id, { cordoned: true, draining: true, metadata } as never);
      }
      for (let round = 0; round < 100; round += 1) {
        for (const task of f.step()) {
          if (task.type !== "place" || task.from === undefined) continue;
          moves.set(task.unit, (moves.get(task.unit) ?? 0) + 1);
        }
        assertApart(f);
        if (round % 2 === 0) f.agents();
      }
      for (const [unit, count] of moves) assert.equal(count, 1, unit);
      assert.deepEqual(f.planAll(), []);
      for (const id of drains) {
        for (const { name } of f.cluster.machine(id)?.placed ?? [])
          assert.match(f.reasons(name)[0] ?? "", /^drain-/, `${name} stays on ${id}`);
      }
    }),
    { numRuns: quick(500), seed: 1 },
  );
});

function assertApart(f: Fixture): void {
  for (const id of f.cluster.machineIds) {
    const occupants = [...(f.cluster.machine(id)?.occupants.values() ?? [])];
    for (const one of occupants)
      for (const other of occupants)
        assert.ok(!conflicts(one, other), `${one.name} beside ${other.name} on ${id}`);
  }
}
