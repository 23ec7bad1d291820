import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { rebalance } from "../../src/cluster/rebalance.ts";
import { Fixture } from "../engine/fixture.ts";
import { quick } from "../support/quick.ts";

/** `m1` has taken everything before the others came. */
function crowded(units: (f: Fixture) => void, others: readonly string[] = ["m2"]): Fixture {
  const f = new Fixture();
  f.machine("m1");
  units(f);
  f.settle({ agents: true });
  f.machines(...others);
  f.settle({ agents: true });
  return f;
}

function moves(f: Fixture, movesMax?: number): string[] {
  const options = movesMax === undefined ? {} : { movesMax };
  return rebalance(f.cluster, options).moves.map(
    ({ units, from, to }) => `${units.join("+")} ${from} ${to}`,
  );
}

/** As a client does it: one move at a time, each up before the next. */
function carryOut(f: Fixture): void {
  for (const { units, from, to } of rebalance(f.cluster).moves) {
    f.move(units[0] ?? "", { from, to });
    f.settle({ agents: true });
    for (const name of units) assert.equal(f.placedOn(name), to, `${name} is on ${to}`);
  }
}

describe("rebalance()", () => {
  test("moves half of the load to a machine that has none", () => {
    const f = crowded((one) => {
      for (const name of ["a", "b", "c", "d"]) one.unit(`${name}.service`);
    });
    assert.deepEqual(moves(f), ["a.service m1 m2", "b.service m1 m2"]);
    assert.deepEqual(moves(f, 1), ["a.service m1 m2"]);
    assert.deepEqual(rebalance(f.cluster).loads, [
      { machineId: "m1", before: 4, after: 2 },
      { machineId: "m2", before: 0, after: 2 },
    ]);
    carryOut(f);
    assert.deepEqual(moves(f), []);
  });

  test("takes the one move that is worth most, by weight", () => {
    const f = crowded((one) => {
      for (const name of ["a", "b", "c", "d"]) one.unit(`${name}.service`);
      one.unit("heavy.service", ["Weight=4"]);
    });
    assert.deepEqual(moves(f), ["heavy.service m1 m2"]);
  });

  test("moves nothing for a difference that is not worth it", () => {
    assert.deepEqual(moves(crowded((one) => one.unit("a.service"))), []);
    const f = new Fixture();
    f.machines("m1", "m2");
    for (let index = 0; index < 40; index += 1) f.unit(`u${index}.service`);
    f.settle({ agents: true });
    f.unit("extra.service", ["MachineID=m1"]);
    f.unit("more.service", ["MachineID=m1"]);
    f.settle({ agents: true });
    assert.deepEqual(moves(f), []);
  });

  test("leaves what must stay, is not well, or would only be started once more", () => {
    const f = crowded((one) => {
      one.unit("pinned.service", ["MachineID=m1"]);
      one.unit("failed.service");
      one.unit("once.service");
      one.unit("ssd.service", ["MachineMetadata=disk=ssd"]);
      one.operator("m1", { metadata: { disk: "ssd" } });
    });
    f.started("m1", "failed.service", "failed");
    f.started("m1", "once.service", "finished");
    assert.deepEqual(moves(f), []);
  });

  test("moves groups as a whole, and nowhere that is cordoned", () => {
    const f = crowded(
      (one) => {
        one.unit("a.service");
        one.unit("b.service", ["MachineOf=a.service"]);
        one.unit("c.service");
        one.unit("d.service");
      },
      ["m2", "m3"],
    );
    f.operator("m2", { cordoned: true });
    assert.deepEqual(moves(f), ["a.service+b.service m1 m3"]);
  });

  test("keeps instances apart and spread", () => {
    const f = new Fixture();
    f.machine("m1", { metadata: { zone: "a" } });
    for (const name of ["w@1.service", "w@2.service", "x.service", "y.service"])
      f.unit(name, name.startsWith("w@") ? ["SpreadBy=zone"] : []);
    f.settle({ agents: true });
    f.machine("m2", { metadata: { zone: "b" } });
    f.settle({ agents: true });
    carryOut(f);
    assert.notEqual(f.placedOn("w@1.service"), f.placedOn("w@2.service"));
  });
});

const X_FLEET = [
  [],
  [],
  ["Weight=3"],
  ["Conflicts=u1.service"],
  ["Conflicts=u[23].service"],
  ["MachineOf=u0.service"],
  ["MachineMetadata=disk=ssd"],
  ["PreferMachineMetadata=disk=ssd"],
  ["Global=true"],
  ["MachineID=m1"],
];

test("rebalance() leaves the state alone, can be carried out as it says, and finds nothing the second time", () => {
  const units = fc.array(fc.constantFrom(...X_FLEET), { minLength: 2, maxLength: 12 });
  fc.assert(
    fc.property(units, fc.subarray(["m1", "m2", "m3"]), (variants, disks) => {
      const f = crowded(
        (one) => {
          if (disks.includes("m1")) one.operator("m1", { metadata: { disk: "ssd" } });
          for (const [index, lines] of variants.entries()) one.unit(`u${index}.service`, lines);
        },
        ["m2", "m3"],
      );
      for (const id of disks) f.operator(id, { metadata: { disk: "ssd" } });
      f.settle({ agents: true });
      assert.deepEqual(rebalance(f.cluster), rebalance(f.cluster));
      assert.deepEqual(
        rebalance(f.reread((facts) => facts.reverse())),
        rebalance(f.cluster),
        "in another order",
      );
      assert.deepEqual(f.planAll(), []);
      // Who had no place may get one by the moves.
      const isComplete = f.cluster.blocked.size === 0;
      carryOut(f);
      if (isComplete) assert.deepEqual(rebalance(f.cluster).moves, []);
    }),
    { numRuns: quick(400), seed: 1 },
  );
});
