import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { MvccMap } from "../../src/registry/embedded-mvcc.ts";
import { compareKeys, SortedKeys } from "../../src/registry/embedded-sorted-keys.ts";
import type { Change, KeyValue, Operation, Range } from "../../src/registry/store.ts";
import { codePoint } from "../support/code-point.ts";

const anyText = fc.string({ unit: codePoint, maxLength: 8 });

describe("compareKeys()", () => {
  it("orders any keys as their UTF-8 bytes", () => {
    // Mostly the characters around which UTF-16 and UTF-8 disagree.
    const odd = fc.constantFrom("a", "\ud7ff", "\ue000", "\uffff", "\u{10000}", "\u{10ffff}");
    const text = fc.oneof(
      anyText,
      fc.array(odd, { maxLength: 4 }).map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(text, text, (left, right) => {
        const expected = Buffer.compare(Buffer.from(left), Buffer.from(right));
        assert.equal(Math.sign(compareKeys(left, right)), expected);
      }),
    );
  });
});

describe("SortedKeys", () => {
  it("agrees with a sorted array, over many chunks", () => {
    const steps = fc.array(fc.nat(5_000), { minLength: 1_500, maxLength: 3_000, size: "max" });
    fc.assert(
      fc.property(steps, fc.nat(5_000), (numbers, from) => {
        const keys = new SortedKeys();
        const model = new Set<string>();
        for (const [index, number] of numbers.entries()) {
          const key = `key ${number}`;
          // Each key toggles; the last third only removes, so that chunks empty.
          if (model.delete(key)) keys.remove(key);
          else if (index < (numbers.length * 2) / 3) {
            model.add(key);
            keys.add(key);
          }
        }
        const start = `key ${from}`;
        const expected = [...model].sort(compareKeys);
        assert.deepEqual([...keys.from("")], expected);
        assert.deepEqual(
          [...keys.from(start)],
          expected.filter((key) => compareKeys(key, start) >= 0),
        );
      }),
      { numRuns: 20, seed: 1 },
    );
  });
});

/** The dumb version: a whole copy of the state for each revision. */
class Model {
  states: ReadonlyMap<string, KeyValue>[] = [new Map()];
  firstRevision = 1;

  get revision(): number {
    return this.firstRevision + this.states.length - 1;
  }

  write(operations: readonly Operation[]): void {
    const revision = this.revision + 1;
    const before = this.states.at(-1) ?? new Map();
    const state = new Map(before);
    let changed = false;
    for (const operation of operations) {
      const { key } = operation;
      if (operation.type === "delete") {
        changed = state.delete(key) || changed;
        continue;
      }
      const createRevision = before.get(key)?.createRevision ?? revision;
      const item = { key, value: operation.value, createRevision, modRevision: revision };
      const { leaseId } = operation;
      state.set(key, leaseId === undefined ? item : { ...item, leaseId });
      changed = true;
    }
    if (changed) this.states.push(state);
  }

  read(range: Range, revision: number, after: string | undefined): readonly KeyValue[] {
    const state = this.states[revision - this.firstRevision] ?? new Map<string, KeyValue>();
    return [...state.values()]
      .filter(({ key }) => ("key" in range ? key === range.key : key.startsWith(range.prefix)))
      .filter(({ key }) => after === undefined || compareKeys(key, after) > 0)
      .sort((left, right) => compareKeys(left.key, right.key));
  }
}

type Step =
  | { readonly type: "write"; readonly operations: readonly Operation[] }
  | { readonly type: "compact"; readonly keep: number }
  | { readonly type: "roll-back"; readonly count: number };

const someKey = fc.constantFrom("a", "a/", "a/b", "a/b/c", "ab", "b", "ÿ", "\uffff", "😀", "😀a");
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ type: fc.constant("delete" as const), key: someKey }),
  fc.record({
    type: fc.constant("put" as const),
    key: someKey,
    value: fc.string({ maxLength: 2 }),
    leaseId: fc.constantFrom(undefined, "lease 1", "lease 2"),
  }),
);
const write: fc.Arbitrary<Step> = fc.record({
  type: fc.constant("write" as const),
  operations: fc.uniqueArray(operation, { selector: ({ key }) => key, maxLength: 4 }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: write },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant("compact" as const), keep: fc.nat(4) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant("roll-back" as const), count: fc.nat(3) }),
  },
);

describe("MvccMap", () => {
  it("agrees with whole copies of every revision, in reads, changes and leases", () => {
    const steps = fc.array(step, { maxLength: 40, size: "max" });
    const range: fc.Arbitrary<Range> = fc.oneof(
      fc.record({ key: someKey }),
      fc.record({ prefix: fc.oneof(someKey, fc.constant("")) }),
    );
    const query = fc.record({
      range,
      after: fc.option(someKey, { nil: undefined }),
      limit: fc.integer({ min: 1, max: 12 }),
      keysOnly: fc.boolean(),
    });
    fc.assert(
      fc.property(steps, fc.array(query, { minLength: 1, maxLength: 5 }), (plan, queries) => {
        const map = new MvccMap({ revision: 1, items: [] });
        const model = new Model();
        for (const one of plan) {
          apply(one, map, model);
          assert.equal(map.revision, model.revision);
          assert.equal(map.compacted, model.firstRevision);
          assertSameChanges(map, model);
          assertSameLeases(map, model);
        }
        for (let revision = model.firstRevision; revision <= model.revision; revision += 1) {
          for (const { range, after, limit, keysOnly } of queries) {
            const all = model.read(range, revision, after);
            const page = all.slice(0, limit);
            assert.deepEqual(map.read({ range, revision, after, limit, keysOnly }), {
              items: keysOnly ? page.map((item) => ({ ...item, value: "" })) : page,
              more: all.length > limit,
            });
          }
        }
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  it("keeps its history within both limits", () => {
    const map = new MvccMap({ revision: 1, items: [] });
    for (let index = 0; index < 100; index += 1) {
      map.write([{ type: "put", key: "k", value: "x".repeat(10) }]);
      map.trim({ revisionsMax: 20, unitsMax: 1_000 });
    }
    assert.equal(map.compacted, map.revision - 20);
    map.trim({ revisionsMax: 20, unitsMax: 55 });
    assert.equal(map.compacted, map.revision - 5);
    map.trim({ revisionsMax: 20, unitsMax: 0 });
    assert.equal(map.compacted, map.revision);
    assert.equal(map.get("k")?.value, "x".repeat(10));
  });
});

function apply(one: Step, map: MvccMap, model: Model): void {
  switch (one.type) {
    case "write":
      map.write(one.operations);
      model.write(one.operations);
      break;
    case "compact": {
      const revision = Math.max(model.firstRevision, model.revision - one.keep);
      map.compact(revision);
      model.states = model.states.slice(revision - model.firstRevision);
      model.firstRevision = revision;
      break;
    }
    case "roll-back": {
      const revision = Math.max(model.firstRevision, model.revision - one.count);
      map.rollBack(revision);
      model.states = model.states.slice(0, revision - model.firstRevision + 1);
      break;
    }
  }
}

/** The changes of a revision are what differs between the states around it. */
function assertSameChanges(map: MvccMap, model: Model): void {
  for (let revision = model.firstRevision + 1; revision <= model.revision; revision += 1) {
    const before = model.states[revision - model.firstRevision - 1] ?? new Map();
    const after = model.states[revision - model.firstRevision] ?? new Map();
    const expected: Change[] = [];
    for (const key of [...new Set([...before.keys(), ...after.keys()])].sort(compareKeys)) {
      const item = after.get(key);
      if (item === undefined) expected.push({ type: "delete", key, modRevision: revision });
      else if (item.modRevision === revision) expected.push({ type: "put", item });
    }
    const keyOf = (change: Change) => (change.type === "put" ? change.item.key : change.key);
    const changes = [...map.changesAt(revision)];
    assert.deepEqual(
      changes.sort((left, right) => compareKeys(keyOf(left), keyOf(right))),
      expected,
    );
  }
}

function assertSameLeases(map: MvccMap, model: Model): void {
  for (const leaseId of ["lease 1", "lease 2"]) {
    const items = model.read({ prefix: "" }, model.revision, undefined);
    const expected = items.filter((item) => item.leaseId === leaseId).map((item) => item.key);
    assert.deepEqual(map.keysOfLease(leaseId), expected);
  }
}
