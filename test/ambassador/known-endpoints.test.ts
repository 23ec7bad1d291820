import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isUsable as isUsableBackend } from "../../src/ambassador/backend.ts";
import {
  backendsOf,
  forgetSuspects,
  type KnownEndpoint,
  learn,
} from "../../src/ambassador/known-endpoints.ts";
import { type Endpoint, HEALTHS } from "../../src/services/endpoint.ts";

function endpoint(instance: string, change: Partial<Endpoint> = {}): Endpoint {
  return {
    ...{ service: "db", instance, host: `10.0.0.${instance}`, port: 5432, protocol: "tcp" },
    ...{ health: "passing", detail: "", weight: 100, priority: 0, tags: {}, sinceMs: 0 },
    machine: `m${instance}`,
    ...change,
  };
}

/** `1 present`, ... */
function shown(known: readonly KnownEndpoint[]): readonly string[] {
  return backendsOf(known, undefined).map(({ id, presence }) => `${id} ${presence}`);
}

const ONE = learn([], [endpoint("1")], 0);

const TABLE: readonly (readonly [string, readonly KnownEndpoint[], readonly Endpoint[], string])[] =
  [
    ["is new", ONE, [endpoint("1"), endpoint("2")], "1 present,2 present"],
    ["vanishes without a word", ONE, [], "1 suspect"],
    ["vanishes while another stays", ONE, [endpoint("2")], "2 present,1 suspect"],
    ["begins to drain", ONE, [endpoint("1", { health: "draining" })], "1 draining"],
    ["vanishes after draining", learn(ONE, [endpoint("1", { health: "draining" })], 0), [], ""],
    ["vanishes while failing", learn(ONE, [endpoint("1", { health: "failing" })], 0), [], ""],
    [
      "of an operator is taken away",
      [{ endpoint: endpoint("1", { machine: undefined } as never) }],
      [],
      "",
    ],
    ["comes back", learn(ONE, [], 1), [endpoint("1")], "1 present"],
    ["moves to another address", ONE, [endpoint("1", { host: "10.0.0.9" })], "1 present"],
    ["is registered by another name", ONE, [endpoint("x", { host: "10.0.0.1" })], "x present"],
  ];
for (const [name, known, told, expected] of TABLE) {
  test(`learn() when an endpoint ${name}`, () => {
    assert.equal(shown(learn(known, told, 1_000)).join(), expected);
  });
}

test("a suspect is kept for as long as nothing better is known, else for a minute", () => {
  const alone = learn(ONE, [], 1_000);
  assert.deepEqual(shown(forgetSuspects(alone, 10_000_000)), ["1 suspect"]);
  const beside = learn(alone, [endpoint("2")], 2_000);
  assert.deepEqual(shown(forgetSuspects(beside, 61_000)), ["2 present", "1 suspect"]);
  assert.deepEqual(shown(forgetSuspects(beside, 61_001)), ["2 present"]);
  const besideFailing = learn(alone, [endpoint("2", { health: "failing" })], 2_000);
  assert.deepEqual(shown(forgetSuspects(besideFailing, 10_000_000)), ["2 present", "1 suspect"]);
});

test("a registry that says nothing is there takes nothing usable away, whatever was known before", () => {
  const one = fc.record({
    instance: fc.constantFrom("1", "2", "3", "4"),
    health: fc.constantFrom(...HEALTHS),
    weight: fc.constantFrom(0, 1),
  });
  const told = fc.uniqueArray(one, { selector: ({ instance }) => instance });
  fc.assert(
    fc.property(fc.array(told, { maxLength: 5 }), (rounds) => {
      let known: readonly KnownEndpoint[] = [];
      for (const [index, round] of rounds.entries()) {
        const list = round.map(({ instance, ...change }) => endpoint(instance, change));
        known = learn(known, list, index);
        const backends = backendsOf(known, "m1");
        assert.deepEqual(
          backends.filter(({ presence }) => presence !== "suspect").map(({ id }) => id),
          list.map(({ instance }) => instance),
        );
      }
      const usable = (list: readonly KnownEndpoint[]) =>
        backendsOf(list, "m1").filter(isUsableBackend);
      const ids = (list: readonly KnownEndpoint[]) => usable(list).map(({ id }) => id);
      assert.deepEqual(ids(learn(known, [], 100)), ids(known));
    }),
  );
});

test("backendsOf() knows the machine's own", () => {
  const backends = backendsOf(learn([], [endpoint("1"), endpoint("2")], 0), "m2");
  assert.deepEqual(
    backends.map(({ sameMachine }) => sameMachine),
    [false, true],
  );
});
