import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  type Backend,
  type BalanceInput,
  bestGroup,
  chooseBackend,
  isUsable,
} from "../../src/ambassador/backend.ts";

const backends: fc.Arbitrary<readonly Backend[]> = fc.uniqueArray(
  fc.record({
    id: fc.integer({ min: 0, max: 20 }).map(String),
    host: fc.constant("192.0.2.1"),
    port: fc.constant(80),
    health: fc.constantFrom("passing" as const, "failing" as const, "unknown" as const),
    weight: fc.integer({ min: 0, max: 5 }),
    priority: fc.integer({ min: 0, max: 2 }),
    sameMachine: fc.boolean(),
    presence: fc.constantFrom("present" as const, "draining" as const, "suspect" as const),
  }),
  { selector: ({ id }) => id, maxLength: 8 },
);
const ids = fc
  .uniqueArray(fc.integer({ min: 0, max: 20 }).map(String))
  .map((list) => new Set(list));
const input = fc.record({
  ...{ backends, ejected: ids, excluded: ids },
  balance: fc.constantFrom("round-robin" as const, "least-connections" as const),
  preferSameMachine: fc.boolean(),
  connections: fc
    .dictionary(fc.integer({ min: 0, max: 20 }).map(String), fc.nat(9))
    .map((counts) => new Map(Object.entries(counts))),
  credits: fc.constant(new Map<string, number>()),
});

/** Better first: the rule again, as a sentence of numbers. */
function rank(backend: Backend, by: BalanceInput): string {
  const isAway = by.preferSameMachine && !backend.sameMachine;
  const order = [by.ejected.has(backend.id), backend.presence === "suspect"].map(Number);
  return [...order, backend.priority, Number(isAway)].join();
}

describe("chooseBackend()", () => {
  it("gives one whenever there is a usable one, and never another", () => {
    fc.assert(
      fc.property(input, (given) => {
        const candidates = given.backends.filter(
          (backend) => isUsable(backend) && !given.excluded.has(backend.id),
        );
        const chosen = chooseBackend(given)?.backend;
        assert.equal(chosen === undefined, candidates.length === 0);
        if (chosen === undefined) return;
        assert(candidates.includes(chosen));
        const ranks = candidates.map((candidate) => rank(candidate, given)).sort();
        assert.equal(rank(chosen, given), ranks[0]);
      }),
    );
  });

  it("gives the same for the same (I10)", () => {
    fc.assert(
      fc.property(input, (given) => {
        const [choice, again] = [chooseBackend(given), chooseBackend(structuredClone(given))];
        assert.equal(choice?.backend.id, again?.backend.id);
        assert.deepEqual(choice?.credits, again?.credits);
      }),
    );
  });

  it("shares exactly by weight over as many choices as the weights' sum, from any time on", () => {
    fc.assert(
      fc.property(input, fc.nat(20), (given, skipped) => {
        const group = bestGroup(given);
        const total = group.reduce((sum, { weight }) => sum + weight, 0);
        let credits: ReadonlyMap<string, number> = new Map();
        const counts = new Map(group.map(({ id }) => [id, 0]));
        for (let index = 0; index < skipped + total; index++) {
          const choice = chooseBackend({ ...given, balance: "round-robin", credits });
          assert(choice !== undefined || total === 0);
          if (choice === undefined) return;
          credits = choice.credits;
          const { id } = choice.backend;
          if (index >= skipped) counts.set(id, (counts.get(id) ?? 0) + 1);
        }
        assert.deepEqual(counts, new Map(group.map(({ id, weight }) => [id, weight])));
      }),
    );
  });

  it("spreads a heavy one out instead of giving it its share in a row", () => {
    const of = (id: string, weight: number): Backend => ({
      ...{ id, weight, host: "192.0.2.1", port: 80, health: "unknown", priority: 0 },
      ...{ sameMachine: true, presence: "present" },
    });
    let credits: ReadonlyMap<string, number> = new Map();
    const order = Array.from({ length: 7 }, () => {
      const choice = chooseBackend({
        ...{ backends: [of("a", 5), of("b", 1), of("c", 1)], balance: "round-robin", credits },
        ...{ preferSameMachine: false, connections: new Map() },
        ...{ ejected: new Set<string>(), excluded: new Set<string>() },
      });
      credits = choice?.credits ?? credits;
      return choice?.backend.id;
    });
    assert.equal(order.join(""), "aabacaa");
  });

  it("least-connections fills backends in proportion to their weights", () => {
    fc.assert(
      fc.property(input, fc.integer({ min: 1, max: 40 }), (given, count) => {
        const connections = new Map<string, number>();
        const group = bestGroup(given);
        for (let index = 0; index < count; index++) {
          const chosen = chooseBackend({ ...given, balance: "least-connections", connections });
          if (chosen === undefined) return;
          const { id } = chosen.backend;
          connections.set(id, (connections.get(id) ?? 0) + 1);
        }
        const open = ({ id }: Backend) => connections.get(id) ?? 0;
        for (const a of group) {
          for (const b of group) assert(open(a) * b.weight <= (open(b) + 1) * a.weight);
        }
      }),
    );
  });
});
