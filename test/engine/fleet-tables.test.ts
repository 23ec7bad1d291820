import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { displacedBy, whyNot } from "../../src/cluster/feasibility.ts";
import { conflicts, replaces } from "../../src/cluster/relations.ts";
import { Fixture, summary } from "./fixture.ts";

/** What the original fleet's own tests say of scheduling, row by row. `deviation`: where this is otherwise, and why. */
interface Row {
  readonly name: string;
  readonly deviation?: string;
}

function title({ name, deviation }: Row): string {
  return deviation === undefined ? name : `${name} (deviates: ${deviation})`;
}

/** Units by what their [X-Fleet] says. */
function withUnits(units: Readonly<Record<string, readonly string[]>>): Fixture {
  const f = new Fixture();
  for (const [unit, lines] of Object.entries(units)) f.unit(unit, lines);
  return f;
}

describe("fleet's conflict relation of an existing unit and a candidate foo.service", () => {
  const rows: readonly (Row & {
    readonly bar?: readonly string[];
    readonly foo?: readonly string[];
    readonly expected: boolean;
  })[] = [
    {
      name: "nothing there, foo says Conflicts=bar",
      foo: ["Conflicts=bar.service"],
      expected: false,
    },
    { name: "bar says Conflicts=foo", bar: ["Conflicts=foo.service"], expected: true },
    { name: "foo says Conflicts=bar", bar: [], foo: ["Conflicts=bar.service"], expected: true },
    {
      name: "bar names both on one line",
      bar: ["Conflicts=foo.service bar.service"],
      expected: true,
    },
    {
      name: "bar names both on two lines",
      bar: ["Conflicts=foo.service", "Conflicts=bar.service"],
      expected: true,
    },
    {
      name: "foo names both on one line",
      bar: [],
      foo: ["Conflicts=foo.service bar.service"],
      expected: true,
    },
    {
      name: "foo names both on two lines",
      bar: [],
      foo: ["Conflicts=foo.service", "Conflicts=bar.service"],
      expected: true,
    },
  ];
  for (const row of rows) {
    test(title(row), () => {
      const { bar, foo = [], expected } = row;
      const f = withUnits({ "foo.service": foo, ...(bar && { "bar.service": bar }) });
      const candidate = f.cluster.unit("foo.service")?.self;
      const existing = f.cluster.unit("bar.service")?.self;
      assert.ok(candidate !== undefined && (bar === undefined) === (existing === undefined));
      assert.equal(existing !== undefined && conflicts(candidate, existing), expected);
    });
  }
});

describe("fleet's replace relation of an existing unit and a candidate foo.service", () => {
  const rows: readonly (Row & {
    readonly bar?: readonly string[];
    readonly foo?: readonly string[];
    readonly expected: boolean;
  })[] = [
    {
      name: "nothing there, foo says Replaces=bar",
      foo: ["Replaces=bar.service"],
      expected: false,
    },
    {
      name: "bar says Replaces=foo",
      bar: ["Replaces=foo.service"],
      expected: false,
      deviation:
        "it was symmetric, so that the replacing unit could be the one to go; who says Replaces= takes the place",
    },
    { name: "foo says Replaces=bar", bar: [], foo: ["Replaces=bar.service"], expected: true },
    {
      name: "each says so of the other",
      bar: ["Replaces=foo.service"],
      foo: ["Replaces=bar.service"],
      expected: false,
    },
  ];
  for (const row of rows) {
    test(title(row), () => {
      const { bar, foo = [], expected } = row;
      const f = withUnits({ "foo.service": foo, ...(bar && { "bar.service": bar }) });
      const candidate = f.cluster.unit("foo.service")?.self;
      const existing = f.cluster.unit("bar.service")?.self;
      assert.ok(candidate !== undefined);
      assert.equal(existing !== undefined && replaces(candidate, existing), expected);
    });
  }
});

describe("fleet's check whether a machine is able to run a unit", () => {
  const ping = "ping.service";
  const pong = "pong.service";
  const rows: readonly (Row & {
    readonly machine?: string;
    readonly metadata?: Readonly<Record<string, string>>;
    readonly there?: readonly string[];
    readonly lines?: readonly string[];
    readonly expected: "schedule" | "unschedule" | "reschedule";
  })[] = [
    { name: "no options", expected: "schedule" },
    { name: "its machine id", machine: "XYZ", lines: ["MachineID=XYZ"], expected: "schedule" },
    { name: "another machine id", lines: ["MachineID=XYZ"], expected: "unschedule" },
    {
      name: "metadata it has",
      metadata: { region: "us-west" },
      lines: ["MachineMetadata=region=us-west"],
      expected: "schedule",
    },
    { name: "metadata nobody asks for", metadata: { region: "us-west" }, expected: "schedule" },
    {
      name: "other metadata",
      metadata: { region: "us-west" },
      lines: ["MachineMetadata=region=us-east"],
      expected: "unschedule",
    },
    {
      name: "its peer there",
      there: [pong],
      lines: ["MachineOf=pong.service"],
      expected: "schedule",
    },
    {
      name: "both peers there",
      there: [ping, pong],
      lines: ["MachineOf=pong.service", "MachineOf=ping.service"],
      expected: "schedule",
    },
    { name: "no peer there", lines: ["MachineOf=ping.service"], expected: "unschedule" },
    {
      name: "one of two peers there",
      there: [ping],
      lines: ["MachineOf=pong.service", "MachineOf=ping.service"],
      expected: "unschedule",
    },
    {
      name: "no conflict there",
      there: [ping],
      lines: ["Conflicts=pong.service"],
      expected: "schedule",
    },
    {
      name: "a conflict there",
      there: [ping],
      lines: ["Conflicts=ping.service"],
      expected: "unschedule",
    },
    {
      name: "one of two conflicts there, two lines",
      there: [ping],
      lines: ["Conflicts=pong.service", "Conflicts=ping.service"],
      expected: "unschedule",
    },
    {
      name: "one of two conflicts there, one line",
      there: [ping],
      lines: ["Conflicts=pong.service ping.service"],
      expected: "unschedule",
    },
    {
      name: "nothing to replace there",
      there: [ping],
      lines: ["Replaces=pong.service"],
      expected: "schedule",
    },
    {
      name: "something to replace there",
      there: [ping],
      lines: ["Replaces=ping.service"],
      expected: "reschedule",
    },
  ];
  for (const row of rows) {
    test(title(row), () => {
      const { machine: id = "123", metadata = {}, there = [], lines = [] } = row;
      const f = new Fixture();
      f.machine(id, { metadata });
      for (const unit of there) f.unit(unit);
      f.settle({ agents: true });
      f.unit("job.service", lines);
      const unit = f.cluster.unit("job.service");
      const machine = f.cluster.machine(id);
      assert.ok(unit !== undefined && machine !== undefined);
      const takes = whyNot(f.cluster, { unit, machine }) === undefined;
      const room = displacedBy(unit, machine).length === 0 ? "schedule" : "reschedule";
      assert.equal(takes ? room : "unschedule", row.expected);
    });
  }
});

describe("fleet's scheduler", () => {
  test("without machines schedules nowhere", () => {
    const f = withUnits({ "foo.service": [] });
    assert.deepEqual(summary(f.settle()), ["block foo.service (no-machines)"]);
  });
  test("takes the lower id of two empty machines", () => {
    const f = withUnits({ "foo.service": [] });
    f.machines("YYY", "XXX");
    f.settle();
    assert.equal(f.placedOn("foo.service"), "XXX");
  });
  const rows = [
    { name: "A with 5 units, B with 2: B, A", units: { A: 5, B: 2 }, expected: ["B", "A"] },
    { name: "B with 2 units, A with 2: A, B", units: { B: 2, A: 2 }, expected: ["A", "B"] },
  ];
  for (const { name, units, expected } of rows) {
    test(`sorts machines: ${name}`, () => {
      const f = new Fixture();
      for (const [machine, count] of Object.entries(units)) {
        f.machine(machine);
        for (let index = 0; index < count; index += 1) {
          f.unit(`${machine}-${index}.service`, [`MachineID=${machine}`]);
        }
      }
      f.settle();
      const ids = [...f.cluster.openMachines.byLoad.entries()].map(({ machine }) => machine.id);
      assert.deepEqual(ids, expected);
    });
  }
});

describe("fleet's engine", () => {
  const rows: readonly (Row & {
    readonly set: (f: Fixture) => void;
    readonly change?: (f: Fixture) => void;
    readonly tasks: readonly string[];
  })[] = [
    { name: "does nothing in an empty cluster", set: () => {}, tasks: [] },
    {
      name: "leaves a launched unit on a machine that lives",
      set: (f) => {
        f.machine("XXX");
        f.unit("foo.service");
      },
      tasks: [],
    },
    {
      name: "moves a launched unit from a machine that went away",
      set: (f) => {
        f.machine("ZZZ");
        f.unit("foo.service");
      },
      change: (f) => {
        f.machine("XXX");
        f.lose("ZZZ");
      },
      tasks: ["place foo.service on XXX from ZZZ (machine-lost)"],
      deviation:
        "one task instead of two: a transaction takes the unit from the one and gives it to the other",
    },
    {
      name: "takes away a unit that is inactive",
      set: (f) => {
        f.machine("XXX");
        f.unit("foo.service");
      },
      change: (f) => f.unit("foo.service", [], { desired: "inactive" }),
      tasks: ["unplace foo.service from XXX (not-wanted)"],
    },
    {
      name: "schedules a launched unit on a machine that lives",
      set: (f) => f.machine("XXX"),
      change: (f) => f.unit("foo.service"),
      tasks: ["place foo.service on XXX (wanted)"],
    },
  ];
  for (const row of rows) {
    test(title(row), () => {
      const f = new Fixture();
      row.set(f);
      f.settle({ agents: true });
      row.change?.(f);
      assert.deepEqual(summary(f.planAll()), row.tasks);
    });
  }
});

describe("what fleet would have on each machine", () => {
  function assigned(f: Fixture): Record<string, readonly string[]> {
    return Object.fromEntries(
      f.cluster.machineIds.map((id) => [
        id,
        [...f.cluster.units.values()]
          .filter(({ assignedTo }) => assignedTo.has(id))
          .map(({ name }) => name)
          .sort(),
      ]),
    );
  }
  test("units of dead machines are ignored, machines without units have an empty set", () => {
    const f = new Fixture();
    f.machine("YYY");
    f.unit("foo.service", ["MachineID=YYY"]);
    f.settle({ agents: true });
    f.machine("XXX");
    f.lose("YYY");
    f.settle();
    assert.deepEqual(assigned(f)["XXX"], []);
  });
  test("inactive units are ignored, loaded and launched ones count", () => {
    const f = new Fixture();
    f.machine("XXX");
    for (const desired of ["inactive", "loaded", "launched"] as const) {
      f.unit(`${desired}.service`, [], { desired });
    }
    f.settle();
    assert.deepEqual(assigned(f), { XXX: ["launched.service", "loaded.service"] });
  });
  test("global units are on all machines", () => {
    const f = new Fixture();
    f.machines("XXX", "YYY", "ZZZ");
    f.unit("global.service", ["Global=true"]);
    f.settle();
    const all = ["global.service"];
    assert.deepEqual(assigned(f), { XXX: all, YYY: all, ZZZ: all });
  });
  test("global units with metadata are on the machines that have it", () => {
    const f = new Fixture();
    f.machine("XXX", { metadata: { disk: "ssd" } });
    f.machine("YYY", { metadata: { region: "us-west" } });
    f.machine("ZZZ", { metadata: { region: "us-east" } });
    f.unit("west.service", ["Global=true", "MachineMetadata=region=us-west"]);
    f.unit("ssd.service", ["Global=true", "MachineMetadata=disk=ssd"]);
    f.settle();
    assert.deepEqual(assigned(f), { XXX: ["ssd.service"], YYY: ["west.service"], ZZZ: [] });
  });
  const rows = [
    { metadata: undefined, expected: ["foo.service", "global.service"] },
    { metadata: { cat: "miaow" }, expected: ["foo.service", "global.service"] },
    {
      metadata: { dog: "woof" },
      expected: ["foo.service", "global.mount", "global.service"],
    },
  ] as const;
  for (const { metadata, expected } of rows) {
    test(`this machine with ${JSON.stringify(metadata ?? {})} gets ${expected.join(", ")}`, () => {
      const f = new Fixture();
      f.machine("this_machine", metadata === undefined ? {} : { metadata });
      f.unit("foo.service", ["MachineID=this_machine"]);
      f.unit("bar.service", ["MachineID=elsewhere"]);
      f.unit("global.service", ["Global=true"]);
      f.unit("global.mount", ["Global=true", "MachineMetadata=dog=woof"]);
      f.settle();
      assert.deepEqual(assigned(f), { this_machine: [...expected] });
    });
  }
});
