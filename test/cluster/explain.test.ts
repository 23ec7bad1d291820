import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Explanation, explain } from "../../src/cluster/explain.ts";
import type { Remedy, RemedyStep } from "../../src/cluster/remedies.ts";
import { Fixture } from "../engine/fixture.ts";

function settled(build: (f: Fixture) => void): Fixture {
  const f = new Fixture();
  build(f);
  f.settle({ agents: true });
  return f;
}

function explained(f: Fixture, name: string): Explanation {
  const before = JSON.stringify(stateOf(f));
  const explanation = explain(f.cluster, name);
  assert.ok(explanation !== undefined);
  assert.equal(JSON.stringify(stateOf(f)), before, "the cluster state is as before");
  return explanation;
}

function stateOf(f: Fixture): unknown {
  return [...f.cluster.units.values()].map((unit) => [
    unit.name,
    unit.unit?.record,
    unit.placement?.record,
    [...unit.assignedTo].sort(),
    [...unit.statesOn].sort(),
  ]);
}

/** `m1 here`, `m2 impossible conflict`. */
function verdicts({ machines }: Explanation): readonly string[] {
  return machines.map(({ machineId, verdict, reason }) =>
    [machineId, verdict, ...(reason === undefined ? [] : [reason.type])].join(" "),
  );
}

/** Whoever waits for a machine as well, or would come to it too, might be the first there. */
function withoutRivals(f: Fixture, { name, tied }: Explanation): void {
  for (const rival of [...f.cluster.units.values()]) {
    const isComing = rival.placement === undefined && !tied.includes(rival.name);
    if (rival.name === name || rival.unit === undefined || !isComing) continue;
    f.put({
      kind: "unit",
      unit: rival.name,
      record: { ...rival.unit.record, desired: "inactive" },
    } as never);
  }
  f.settle({ agents: true });
}

/** What a person would do. */
function follow(f: Fixture, { steps }: Remedy): void {
  for (const step of steps) {
    switch (step.type) {
      case "uncordon":
      case "set-metadata": {
        const known = f.cluster.machine(step.machineId)?.operator?.record;
        const set = step.type === "set-metadata" ? { [step.key]: step.value } : {};
        f.operator(step.machineId, {
          ...known,
          ...(step.type === "uncordon" ? { cordoned: false, draining: false } : {}),
          metadata: { ...known?.metadata, ...set },
        });
        break;
      }
      case "unload":
      case "load":
        f.put({
          kind: "unit",
          unit: step.unit,
          record: {
            ...f.cluster.unit(step.unit)?.unit?.record,
            desired: step.type === "load" ? "loaded" : "inactive",
          },
        } as never);
        break;
      case "submit":
        f.unit(step.unit);
        break;
      case "free-name":
        f.stopped(step.machineId, step.unit);
        break;
    }
  }
  f.settle({ agents: true });
}

describe("explain()", () => {
  test("knows no unit that is not there", () => {
    assert.equal(explain(settled((f) => f.machine("m1")).cluster, "a.service"), undefined);
  });

  test("says where a unit is, where it could be, and what keeps it from the rest", () => {
    const f = settled((fixture) => {
      fixture.machine("m1", { metadata: { disk: "ssd" } });
      fixture.machine("m2", { metadata: { disk: "ssd" } });
      fixture.machine("m3", { metadata: { disk: "hdd" } });
      fixture.machine("m4", { metadata: { disk: "ssd" } });
      fixture.operator("m4", { cordoned: true });
      fixture.machine("m5", { metadata: { disk: "ssd" } });
      fixture.lose("m5");
      fixture.unit("a.service", ["MachineMetadata=disk=ssd"]);
    });
    const explanation = explained(f, "a.service");
    assert.deepEqual(verdicts(explanation), [
      "m1 here",
      "m2 possible",
      "m3 impossible metadata-differs",
      "m4 impossible cordoned",
      "m5 impossible away",
    ]);
    assert.deepEqual(explanation.placed, {
      machineId: "m1",
      sinceMs: f.nowMs,
      because: [
        { type: "metadata", requirement: "disk=ssd" },
        { type: "rank", of: 2 },
      ],
    });
    assert.deepEqual(explanation.remedies, []);
  });

  test("says what pinned a unit, whom it joined, and where it came from", () => {
    const f = settled((fixture) => {
      fixture.machines("m1", "m2");
      fixture.unit("pinned.service", ["MachineID=m2"]);
      fixture.unit("db.service");
      fixture.unit("app.service", ["MachineOf=db.service"]);
    });
    const from = f.placedOn("app.service") ?? "";
    assert.deepEqual(explained(f, "pinned.service").placed?.because, [
      { type: "machine-id", required: "m2" },
    ]);
    const app = explained(f, "app.service");
    assert.deepEqual(app.placed?.because[0], { type: "peer", peer: "db.service" });
    assert.deepEqual(app.tied, ["db.service"]);
    assert.ok(verdicts(app).includes(`${from === "m1" ? "m2" : "m1"} possible`), "both could go");
    f.lose(from);
    f.settle({ agents: true });
    assert.deepEqual(explained(f, "app.service").placed?.before, {
      machineId: from,
      why: "machine-lost",
    });
  });

  test("a global unit is explained machine by machine", () => {
    const f = settled((fixture) => {
      fixture.machine("m1", { metadata: { disk: "ssd" } });
      fixture.machine("m2");
      fixture.unit("g.service", ["Global=true", "MachineMetadata=disk=ssd"]);
    });
    const explanation = explained(f, "g.service");
    assert.deepEqual(verdicts(explanation), ["m1 here", "m2 impossible metadata-differs"]);
    assert.equal(explanation.placed, undefined);
  });

  test("an inactive unit is explained as if it were wanted", () => {
    const f = settled((fixture) => {
      fixture.machines("m1", "m2");
      fixture.operator("m2", { cordoned: true });
      fixture.unit("a.service", [], { desired: "inactive" });
    });
    assert.deepEqual(verdicts(explained(f, "a.service")), [
      "m1 possible",
      "m2 impossible cordoned",
    ]);
  });

  test("the file that cannot be read is the reason by itself", () => {
    const f = settled((fixture) => {
      fixture.machine("m1");
      fixture.unit("a.service", [], { manifest: "missing" });
    });
    assert.deepEqual(explained(f, "a.service").problem, { type: "manifest-missing" });
  });

  test("what would have to change is the least, and each of it helps", () => {
    const build = () =>
      settled((fixture) => {
        fixture.machine("m1", { metadata: { disk: "ssd" } });
        fixture.machine("m2", { metadata: { disk: "ssd" } });
        fixture.machine("m3");
        fixture.machine("m4");
        fixture.unit("a.service", ["MachineID=m1"]);
        fixture.operator("m2", { cordoned: true });
        fixture.operator("m4", { draining: true });
        fixture.unit("b.service", ["MachineMetadata=disk=ssd", "Conflicts=a.service"]);
      });
    const { remedies } = explained(build(), "b.service");
    assert.deepEqual(remedies, [
      { machineId: "m2", steps: [{ type: "uncordon", machineId: "m2" }] },
      {
        machineId: "m3",
        steps: [{ type: "set-metadata", machineId: "m3", key: "disk", value: "ssd" }],
      },
      {
        machineId: "m4",
        steps: [
          { type: "set-metadata", machineId: "m4", key: "disk", value: "ssd" },
          { type: "uncordon", machineId: "m4" },
        ],
      },
      { machineId: "m1", steps: [{ type: "unload", unit: "a.service" }] },
    ]);
    for (const remedy of remedies) {
      const f = build();
      follow(f, remedy);
      assert.equal(f.placedOn("b.service"), remedy.machineId);
    }
  });

  test("a peer that is not wanted, or not there, is what is missing", () => {
    const f = settled((fixture) => {
      fixture.machine("m1");
      fixture.unit("app.service", ["MachineOf=db.service"]);
    });
    assert.deepEqual(explained(f, "app.service").remedies, [
      { steps: [{ type: "submit", unit: "db.service" }] },
    ]);
    f.unit("db.service", [], { desired: "inactive" });
    f.operator("m1", { cordoned: true });
    f.settle({ agents: true });
    const [remedy] = explained(f, "app.service").remedies;
    assert.deepEqual(remedy, {
      machineId: "m1",
      steps: [
        { type: "load", unit: "db.service" },
        { type: "uncordon", machineId: "m1" },
      ],
    });
    follow(f, remedy ?? { steps: [] });
    assert.equal(f.placedOn("app.service"), "m1");
  });

  test("a machine's own unit of the name is what has to go", () => {
    const f = settled((fixture) => {
      fixture.machine("m1");
      fixture.unit("a.service");
    });
    f.state("m1", "a.service", { error: { code: "name-taken" } });
    f.settle();
    assert.deepEqual(verdicts(explained(f, "a.service")), ["m1 here name-taken"]);
    assert.deepEqual(explained(f, "a.service").remedies, [
      { machineId: "m1", steps: [{ type: "free-name", machineId: "m1", unit: "a.service" }] },
    ]);
  });

  test("agrees with the planner, and every remedy helps, whatever the cluster", () => {
    const option = fc.constantFrom(
      ...["MachineMetadata=disk=ssd", "MachineMetadata=zone=b", "Conflicts=u1.service"],
      ...["Conflicts=u*.service", "MachineOf=u0.service", "MachineOf=u2.service", "MachineID=m1"],
      ...["Replaces=u1.service", "Global=true"],
    );
    const units = fc.array(
      fc.record({
        options: fc.uniqueArray(option, { maxLength: 2 }),
        desired: fc.constantFrom("launched", "launched", "loaded", "inactive"),
      }),
      { minLength: 1, maxLength: 4 },
    );
    const machines = fc.array(
      fc.record({
        disk: fc.constantFrom("ssd", "hdd"),
        cordoned: fc.boolean(),
      }),
      { minLength: 1, maxLength: 3 },
    );
    fc.assert(
      fc.property(units, machines, (unitSpecs, machineSpecs) => {
        const build = () =>
          settled((f) => {
            for (const [index, { disk, cordoned }] of machineSpecs.entries()) {
              f.machine(`m${index}`, { metadata: { disk } });
              f.operator(`m${index}`, { cordoned });
            }
            for (const [index, { options, desired }] of unitSpecs.entries()) {
              // A global peer would be a rival that must not be away.
              const own = options.filter((option) => option !== "Global=true" || index % 2 === 1);
              f.unit(`u${index}.service`, own, { desired: desired as "launched" });
            }
          });
        const f = build();
        for (const [index, { options, desired }] of unitSpecs.entries()) {
          const name = `u${index}.service`;
          if (desired === "inactive" || options.includes("Global=true")) continue;
          const explanation = explained(f, name);
          const placed = f.placedOn(name);
          assert.equal(explanation.placed?.machineId, placed);
          if (placed !== undefined || explanation.problem !== undefined) continue;
          assert.ok(
            explanation.machines.every(({ verdict }) => verdict === "impossible"),
            `${name} is nowhere, so no machine takes it: ${verdicts(explanation).join(", ")}`,
          );
          for (const remedy of explanation.remedies.filter(({ machineId }) => machineId)) {
            const changed = build();
            const isLoad = ({ type }: RemedyStep) => type === "load";
            follow(changed, { steps: remedy.steps.filter(isLoad) });
            withoutRivals(changed, explained(changed, name));
            follow(changed, { steps: remedy.steps.filter((step) => !isLoad(step)) });
            assert.ok(changed.placedOn(name), `${name} after ${JSON.stringify(remedy)}`);
          }
        }
      }),
      { numRuns: 300, seed: 7 },
    );
  });
});
