import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { whyNot } from "../../src/cluster/feasibility.ts";
import {
  conflicts,
  makeConstraints,
  makeNeighbour,
  type Neighbour,
  replaces,
} from "../../src/cluster/relations.ts";
import { NO_REQUIREMENTS } from "../../src/units/requirements.ts";
import { Fixture } from "../engine/fixture.ts";

function neighbour(
  name: string,
  options: { conflicts?: string[]; replaces?: string[] } = {},
): Neighbour {
  return makeNeighbour(name, [makeConstraints({ ...NO_REQUIREMENTS, ...options })]);
}

describe("conflicts() and replaces()", () => {
  const foo = neighbour("foo.service");
  const bar = neighbour("bar.service");
  test("conflicts() holds both ways and not with itself", () => {
    const foe = neighbour("bar.service", { conflicts: ["other.service", "foo.service"] });
    assert.ok(conflicts(foe, foo) && conflicts(foo, foe));
    assert.ok(!conflicts(foo, bar));
    assert.ok(!conflicts(neighbour("foo.service", { conflicts: ["*"] }), foo));
  });
  test("replaces() holds one way, and not when each says so of the other", () => {
    const taker = neighbour("bar.service", { replaces: ["foo.*"] });
    assert.ok(replaces(taker, foo) && !replaces(foo, taker));
    const other = neighbour("foo.service", { replaces: ["bar.service"] });
    assert.ok(!replaces(taker, other) && !replaces(other, taker));
  });
  test("a bad pattern matches nothing", () => {
    assert.ok(!conflicts(neighbour("bar.service", { conflicts: ["["] }), foo));
  });
});

describe("whyNot()", () => {
  const cases: {
    name: string;
    machine?: string;
    metadata?: Record<string, string>;
    there?: string[];
    lines?: string[];
    expected: string | undefined;
  }[] = [
    { name: "no requirement", expected: undefined },
    { name: "its machine id", lines: ["MachineID=machine1"], expected: undefined },
    { name: "another machine id", lines: ["MachineID=machine2"], expected: "machine-id-differs" },
    {
      name: "the first eight characters of its id",
      machine: "abcdefgh0123456789abcdef01234567",
      lines: ["MachineID=abcdefgh"],
      expected: undefined,
    },
    {
      name: "other first characters of its id",
      machine: "abcdefgh0123456789abcdef01234567",
      lines: ["MachineID=abcdefg"],
      expected: "machine-id-differs",
    },
    {
      name: "metadata that it has",
      metadata: { region: "us-west" },
      lines: ["MachineMetadata=region=us-west"],
      expected: undefined,
    },
    {
      name: "one of two values of one key",
      metadata: { groups: "ping" },
      lines: ['MachineMetadata="groups=ping" "groups=pong"'],
      expected: undefined,
    },
    {
      name: "only one of two keys",
      metadata: { region: "us-east-1", groups: "ping" },
      lines: ["MachineMetadata=region=us-east-1", "MachineMetadata=groups=pong"],
      expected: "metadata-differs",
    },
    {
      name: "metadata that it lacks",
      lines: ["MachineMetadata=a=b"],
      expected: "metadata-differs",
    },
    {
      name: "both peers there",
      there: ["ping.service", "pong.service"],
      lines: ["MachineOf=ping.service", "MachineOf=pong.service"],
      expected: undefined,
    },
    {
      name: "one of two peers there",
      there: ["ping.service"],
      lines: ["MachineOf=ping.service", "MachineOf=pong.service"],
      expected: "peer-elsewhere",
    },
    {
      name: "a conflict with nobody there",
      there: ["ping.service"],
      lines: ["Conflicts=pong.service"],
      expected: undefined,
    },
    {
      name: "a conflict with one there",
      there: ["ping.service"],
      lines: ["Conflicts=pong.service ping.service"],
      expected: "conflict",
    },
    {
      name: "replacing one there",
      there: ["ping.service"],
      lines: ["Replaces=ping.service"],
      expected: undefined,
    },
  ];
  for (const {
    name,
    machine = "machine1",
    metadata = {},
    there = [],
    lines = [],
    expected,
  } of cases) {
    test(`with ${name}: ${expected ?? "fits"}`, () => {
      const f = new Fixture();
      f.machine(machine, { metadata });
      for (const unit of there) f.unit(unit);
      f.settle();
      f.unit("job.service", lines);
      const unit = f.cluster.unit("job.service");
      const entry = f.cluster.machine(machine);
      assert.ok(unit !== undefined && entry !== undefined && unit.constraints?.type === "known");
      assert.equal(whyNot(f.cluster, { unit, machine: entry })?.type, expected);
    });
  }

  test("operators' metadata goes before fleet.conf's, and that before automatic; null hides", () => {
    const f = new Fixture();
    f.machine("m1", { automatic: { a: "1", b: "1", c: "1" }, metadata: { b: "2", c: "2" } });
    f.operator("m1", { metadata: { c: "3", a: null } });
    assert.deepEqual([...(f.cluster.machine("m1")?.metadata ?? [])].sort(), [
      ["b", "2"],
      ["c", "3"],
    ]);
  });
});
