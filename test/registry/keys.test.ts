import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { DEFAULT_KEY_PREFIX, type KeyKind, makeKeys } from "../../src/registry/keys.ts";

const name = fc.string({ minLength: 1 }).filter((text) => !text.includes("/"));
const prefix = fc.constantFrom(DEFAULT_KEY_PREFIX, "/", "/a/b/", "/fleet-ts/units/");

describe("makeKeys()", () => {
  it("makes keys that parse back into what they were made from", () => {
    fc.assert(
      fc.property(prefix, name, name, (keyPrefix, first, second) => {
        const keys = makeKeys(keyPrefix);
        const rows: readonly (readonly [string, unknown])[] = [
          [keys.clusterId, { kind: "cluster-id" }],
          [keys.clusterFormat, { kind: "cluster-format" }],
          [keys.leader, { kind: "leader" }],
          [keys.unit(first), { kind: "units", unit: first }],
          [keys.file(first), { kind: "files", manifestHash: first }],
          [keys.machine(first), { kind: "machines", machineId: first }],
          [keys.roster(first), { kind: "roster", machineId: first }],
          [keys.operator(first), { kind: "operators", machineId: first }],
          [keys.placement(first), { kind: "placements", unit: first }],
          [keys.assignment(first, second), { kind: "assignments", machineId: first, unit: second }],
          [keys.state(first, second), { kind: "states", machineId: first, unit: second }],
          [keys.blocked(first), { kind: "blocked", unit: first }],
          [keys.history(first), { kind: "history", unit: first }],
          [keys.move(first), { kind: "moves", unit: first }],
          [keys.service(first, second), { kind: "services", service: first, instance: second }],
          [keys.link(first, second), { kind: "links", machineId: first, consumer: second }],
          [keys.source(first), { kind: "sources", source: first }],
        ];
        for (const [key, parsed] of rows) {
          assert.ok(key.startsWith(keyPrefix));
          assert.deepEqual(keys.parse(key), parsed);
        }
        assert.equal(new Set(rows.map(([key]) => key)).size, rows.length);
      }),
    );
  });

  it("gives prefixes that cover the keys of their kind and machine, and no others", () => {
    const keys = makeKeys();
    const kinds: Readonly<Record<KeyKind, string>> = {
      units: keys.unit("a"),
      files: keys.file("a"),
      machines: keys.machine("a"),
      roster: keys.roster("a"),
      operators: keys.operator("a"),
      placements: keys.placement("a"),
      assignments: keys.assignment("a", "b"),
      states: keys.state("a", "b"),
      blocked: keys.blocked("a"),
      history: keys.history("a"),
      moves: keys.move("a"),
      services: keys.service("a", "b"),
      links: keys.link("a", "b"),
      sources: keys.source("a"),
    };
    const all = [...Object.values(kinds), keys.clusterId, keys.clusterFormat, keys.leader];
    for (const kind of Object.keys(kinds) as KeyKind[]) {
      const covered = all.filter((key) => key.startsWith(keys.all(kind)));
      assert.deepEqual(covered, [kinds[kind]]);
    }
    assert.ok(keys.assignment("m1", "u").startsWith(keys.assignmentsOf("m1")));
    assert.ok(!keys.assignment("m12", "u").startsWith(keys.assignmentsOf("m1")));
    assert.ok(keys.state("m1", "u").startsWith(keys.statesOf("m1")));
    assert.ok(!keys.state("m12", "u").startsWith(keys.statesOf("m1")));
  });

  it("takes no foreign key for one of its own", () => {
    const { parse } = makeKeys();
    const foreign = [
      "",
      "/",
      "/fleet-ts/",
      "/fleet-ts/units",
      "/fleet-ts/units/",
      "/other/units/a",
    ];
    foreign.push(
      "/fleet-ts/units/a/b",
      "/fleet-ts/states/m",
      "/fleet-ts/states/m/",
      "fleet-ts/units/a",
    );
    foreign.push("/fleet-ts/states/m/u/x", "/fleet-ts/cluster/other", "/fleet-ts/engine/other");
    foreign.push(
      "/fleet-ts/nothing/a",
      "/fleet-ts/nothing/a/b",
      "/fleet-ts//a",
      "/fleet-ts/states//u",
    );
    foreign.push("/fleet-ts/cluster/id/x", "/fleet-ts/toString/a", "/fleet-ts/__proto__/a");
    for (const key of foreign) assert.equal(parse(key), undefined, key);
  });
});
