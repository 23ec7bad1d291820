import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ClusterState } from "../../src/cluster/cluster-state.ts";
import { isOpen, type MachineEntry } from "../../src/cluster/entries.ts";
import { NO_REQUIREMENTS } from "../../src/units/requirements.ts";

const IDS = Array.from({ length: 8 }, (_, index) => `m${index}`);
const ZONES = ["a", "b"];

type Step =
  | { readonly type: "come"; readonly id: string; readonly zone: string }
  | { readonly type: "go"; readonly id: string }
  | { readonly type: "place"; readonly id: string; readonly unit: string };

const id = fc.constantFrom(...IDS);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ type: fc.constant("come" as const), id, zone: fc.constantFrom(...ZONES) }),
  fc.record({ type: fc.constant("go" as const), id }),
  fc.record({
    type: fc.constant("place" as const),
    id,
    unit: fc.constantFrom("a.service", "b.service", "c.service", "d.service"),
  }),
);

test("open machines are in order of load and id, whichever come, go and return", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 60 }), (steps) => {
      const cluster = new ClusterState(() => NO_REQUIREMENTS);
      for (const [index, one] of steps.entries()) {
        take(cluster, one, index + 1);
        const open = IDS.flatMap((each) => cluster.machine(each) ?? []).filter(isOpen);
        assert.deepEqual(walked(cluster), sorted(open));
        for (const { metadata, byLoad } of cluster.openMachines.classes(["zone"], new Map())) {
          const inZone = open.filter((each) => each.metadata.get("zone") === metadata.get("zone"));
          assert.deepEqual(
            [...byLoad.entries()].map(({ machine }) => machine.id),
            sorted(inZone),
          );
        }
      }
    }),
  );
});

function take(cluster: ClusterState, one: Step, revision: number): void {
  const of = <T>(record: T) => ({ record, createRevision: revision, modRevision: revision });
  if (one.type === "place") {
    const value = of({ machine: one.id, identity: 1 });
    cluster.apply({ kind: "placement", unit: one.unit, value });
    return;
  }
  const capacity = { cpus: 0, memoryBytes: 0, tasks: 0 };
  const value =
    one.type === "go"
      ? undefined
      : of({ automatic: {}, metadata: { zone: one.zone }, format: 1, leaving: false, capacity });
  cluster.apply({ kind: "machine", machineId: one.id, value });
}

function walked(cluster: ClusterState): readonly string[] {
  const ids: string[] = [];
  cluster.openMachines.byLoad.find((machine) => {
    ids.push(machine.id);
    return false;
  });
  return ids;
}

function sorted(machines: readonly MachineEntry[]): readonly string[] {
  return machines
    .toSorted((a, b) => a.load - b.load || (a.id < b.id ? -1 : 1))
    .map((one) => one.id);
}
