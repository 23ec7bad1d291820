import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { EtcdHistory } from "../../src/registry/etcd-history.ts";
import { EtcdWatch, WATCH_BUFFER_CHANGES_MAX } from "../../src/registry/etcd-watch.ts";
import { isLeaseId, keyRange, rangeRequest } from "../../src/registry/etcd-wire.ts";
import type { KeyValue } from "../../src/registry/store.ts";

const generation = { number: 0, why: "replaced" } as const;

function newWatch(fromRevision: number): EtcdWatch {
  return new EtcdWatch({ range: { prefix: "/" }, fromRevision }, generation);
}

function event(revision: number, key = "/a") {
  const kv = {
    key: Buffer.from(key),
    value: Buffer.from("v"),
    create_revision: "1",
    mod_revision: String(revision),
    version: "1",
    lease: "0",
  };
  return { type: "Put" as const, kv, prev_kv: kv };
}

async function drain(watch: EtcdWatch): Promise<readonly (readonly [number, number])[]> {
  const taken: [number, number][] = [];
  watch.reset("compacted");
  for (;;) {
    const batch = await watch.take(undefined);
    if (batch?.type !== "changes") return taken;
    taken.push([batch.revision, batch.changes.length]);
  }
}

describe("EtcdWatch", () => {
  it("gives each revision whole, however messages were cut and streams broke", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 30 }),
        fc.array(fc.boolean(), { maxLength: 30 }),
        async (sizes, cuts, breaks) => {
          const watch = newWatch(10);
          const all = sizes.flatMap((size, index) =>
            Array.from({ length: size }, (_, each) => event(10 + index * 2, `/${each}`)),
          );
          let sent = 0;
          for (const [index, length] of [...cuts, all.length].entries()) {
            const events = all.slice(sent, sent + length);
            sent += events.length;
            watch.receive(events, sent === all.length);
            if (breaks[index] === true && sent < all.length) {
              watch.interrupt();
              sent = all.findIndex((each) => Number(each.kv.mod_revision) >= watch.next);
            }
          }
          watch.receive(all.slice(sent), true);
          const expected = sizes.map((size, index) => [10 + index * 2, size]);
          assert.deepEqual(await drain(watch), expected);
        },
      ),
    );
  });

  it("moves on with etcd's progress, never back, never over a revision it has in part", () => {
    const watch = newWatch(10);
    watch.progress(20);
    assert.equal(watch.next, 21);
    watch.progress(15);
    assert.equal(watch.next, 21);
    watch.receive([event(25)], false);
    watch.progress(30);
    assert.equal(watch.next, 21);
    watch.receive([], true);
    assert.equal(watch.next, 26);
  });

  it("keeps no more than its limit, then gives overflow alone", async () => {
    const watch = newWatch(1);
    for (let revision = 1; revision <= WATCH_BUFFER_CHANGES_MAX; revision += 1) {
      watch.receive([event(revision)], true);
    }
    assert.equal(watch.ended, false);
    watch.receive([event(WATCH_BUFFER_CHANGES_MAX + 1)], true);
    assert.equal(watch.ended, true);
    assert.deepEqual(await watch.take(undefined), { type: "reset", why: "overflow" });
  });

  it("gives what it holds before it says why it ends", async () => {
    const watch = newWatch(1);
    watch.receive([event(3)], true);
    watch.reset("replaced");
    watch.reset("compacted");
    assert.equal((await watch.take(undefined))?.type, "changes");
    assert.deepEqual(await watch.take(undefined), { type: "reset", why: "replaced" });
  });
});

describe("EtcdHistory", () => {
  const item: KeyValue = { key: "/a", value: "1", createRevision: 3, modRevision: 5 };

  it("takes another store id for another store, and a lower revision for an older state", () => {
    const history = new EtcdHistory();
    history.observe({ storeId: "a", revision: 10 }, history.revision);
    assert.equal(history.generation.number, 0);
    history.observe({ storeId: "a", revision: 9 }, history.revision);
    assert.deepEqual(history.generation, { number: 1, why: "rewound" });
    history.observe({ storeId: "b", revision: 20 }, history.revision);
    assert.deepEqual(history.generation, { number: 2, why: "replaced" });
  });

  it("lets answers overtake one another", () => {
    const history = new EtcdHistory();
    const shown = history.revision;
    history.observe({ storeId: "a", revision: 10 }, shown);
    history.observe({ storeId: "a", revision: 9 }, shown);
    assert.equal(history.generation.number, 0);
    assert.equal(history.revision, 10);
  });

  it("knows the store by the newest item it has seen", () => {
    const history = new EtcdHistory();
    history.remember(item);
    history.remember({ ...item, modRevision: 4 });
    assert.equal(history.witness, item);
    history.testWitness(item, { ...item });
    assert.equal(history.generation.number, 0);
    history.testWitness(item, { ...item, value: "other" });
    assert.deepEqual(history.generation, { number: 1, why: "replaced" });
    assert.equal(history.witness, undefined);
    history.testWitness(item, undefined);
    assert.equal(history.generation.number, 1, "a question from before the break says nothing");
  });
});

describe("rangeRequest()", () => {
  const inRange = (request: { key?: Buffer; range_end?: Buffer }, key: string) => {
    const bytes = Buffer.from(key);
    const { key: start, range_end: end } = request;
    assert.ok(start);
    if (end === undefined) return bytes.equals(start);
    const toTheEnd = end.equals(Buffer.of(0));
    return start.compare(bytes) <= 0 && (toTheEnd || bytes.compare(end) < 0);
  };
  const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 6 });

  it("covers a prefix exactly, after a key too", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 3 }), text, text, (prefix, after, key) => {
        const found = inRange(keyRange({ prefix }), key);
        assert.equal(found, key.startsWith(prefix));
        const later = Buffer.from(key).compare(Buffer.from(after)) > 0;
        assert.equal(inRange(rangeRequest({ range: { prefix }, after }), key), found && later);
      }),
    );
  });

  it("covers a single key, after a key too", () => {
    fc.assert(
      fc.property(text, text, text, (wanted, after, key) => {
        assert.equal(inRange(rangeRequest({ range: { key: wanted } }), key), key === wanted);
        const later = Buffer.from(key).compare(Buffer.from(after)) > 0;
        const found = inRange(rangeRequest({ range: { key: wanted }, after }), key);
        assert.equal(found, key === wanted && later);
      }),
    );
  });
});

describe("isLeaseId()", () => {
  for (const [id, expected] of [
    ["7587880000000000001", true],
    ["9223372036854775807", true],
    ["9223372036854775808", false],
    ["0", false],
    ["-1", false],
    ["", false],
    ["abc", false],
  ] as const) {
    it(`${expected ? "takes" : "refuses"} "${id}"`, () => assert.equal(isLeaseId(id), expected));
  }
});
