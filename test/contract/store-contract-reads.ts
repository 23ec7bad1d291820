import assert from "node:assert/strict";
import { type Operation, readAll, type Store } from "../../src/registry/store.ts";
import { type Check, get, keysOf, newestRevision, put, remove } from "./store-contract-fixture.ts";

const MIB = 2 ** 20;

export function checkReads(check: Check): void {
  checkRanges(check);
  checkPaging(check);
  checkRevisions(check);
  checkContents(check);
}

function checkRanges(check: Check): void {
  check("gives nothing for an absent key and an empty prefix", async ({ store, prefix }) => {
    const absent = await store.read({ range: { key: `${prefix}none` } });
    assert.deepEqual(absent.items, []);
    assert.equal(absent.more, false);
    assert.notEqual(absent.header.storeId, "");
    const empty = await store.read({ range: { prefix: `${prefix}none/` } });
    assert.deepEqual(empty.items, []);
    assert.equal(empty.header.storeId, absent.header.storeId);
  });

  check(
    "reads single keys in one call, in the order asked, without those that are absent",
    async ({ store, prefix }) => {
      for (const name of ["a", "a/b", "c"]) await put(store, prefix + name, name);
      const keys = ["c", "none", "a", "a/"].map((name) => prefix + name);
      const { items, header } = await store.readKeys({ keys });
      assert.deepEqual(
        items.map(({ value }) => value),
        ["c", "a"],
      );
      await put(store, `${prefix}a`, "newer");
      const before = await store.readKeys({ keys, revision: header.revision });
      assert.deepEqual(before.items, items);
      assert.equal((await store.readKeys({ keys: [`${prefix}a`] })).items[0]?.value, "newer");
    },
  );

  check("tells keys apart that are prefixes of one another", async ({ store, prefix }) => {
    const names = ["a", "a/", "a/b", "a/b/c", "a0", "ab", "b"];
    for (const name of [...names].reverse()) await put(store, prefix + name, name);
    assert.equal((await get(store, `${prefix}a`))?.value, "a");
    assert.equal((await get(store, `${prefix}a/`))?.value, "a/");
    assert.equal(await get(store, `${prefix}a/b/`), undefined);
    assert.deepEqual(await namesBelow(store, prefix, ""), names);
    assert.deepEqual(await namesBelow(store, prefix, "a"), names.slice(0, 6));
    assert.deepEqual(await namesBelow(store, prefix, "a/"), ["a/", "a/b", "a/b/c"]);
    assert.deepEqual(await namesBelow(store, prefix, "a/b"), ["a/b", "a/b/c"]);
    assert.deepEqual(await namesBelow(store, prefix, "c"), []);
  });

  check("covers every key with the empty prefix", async ({ store, prefix }) => {
    await put(store, `${prefix}one`, "1");
    const all = await readAll(store, { prefix: "" });
    assert.ok(keysOf(all.items).includes(`${prefix}one`));
  });

  check("orders keys by their UTF-8 bytes, not by UTF-16 units", async ({ store, prefix }) => {
    const names = ["Z", "a", "\u007f", "\u0080", "ÿ", "\u07ff", "\ud7ff", "\ue000", "\uff5e", "😀"];
    names.push("😀\uff5e", "😀😀", "\u{10ffff}");
    for (const name of [...names].reverse()) await put(store, prefix + name, name);
    assert.deepEqual(await namesBelow(store, prefix, ""), names);
    const paged: string[] = [];
    for (;;) {
      const last = paged.at(-1);
      const after = last === undefined ? undefined : prefix + last;
      const page = await store.read({ range: { prefix }, after, limit: 1 });
      paged.push(...page.items.map((item) => item.value));
      if (!page.more) break;
    }
    assert.deepEqual(paged, names);
  });

  check("ends a prefix range right after its last byte", async ({ store, prefix }) => {
    const names = ["~", "ÿ", "ÿ/1", "ÿÿ", "Ā", "\uffff", "\uffff/1", "\u{10000}", "\u{10ffff}"];
    names.push("\u{10ffff}/1", "\u{10ffff}\u{10ffff}");
    for (const name of names) await put(store, prefix + name, name);
    assert.deepEqual(await namesBelow(store, prefix, "ÿ"), ["ÿ", "ÿ/1", "ÿÿ"]);
    assert.deepEqual(await namesBelow(store, prefix, "\uffff"), ["\uffff", "\uffff/1"]);
    assert.deepEqual(await namesBelow(store, prefix, "\u{10ffff}"), names.slice(8));
    assert.deepEqual(await namesBelow(store, prefix, "\u{10ffff}\u{10ffff}"), names.slice(10));
  });
}

function checkPaging(check: Check): void {
  check("gives pages by limit and says whether more follows", async ({ store, prefix }) => {
    for (const name of ["a", "b", "c", "d"]) await put(store, prefix + name, name);
    const range = { prefix };
    const first = await store.read({ range, limit: 2 });
    assert.deepEqual(keysOf(first.items), [`${prefix}a`, `${prefix}b`]);
    assert.equal(first.more, true);
    const second = await store.read({ range, limit: 2, after: `${prefix}b` });
    assert.deepEqual(keysOf(second.items), [`${prefix}c`, `${prefix}d`]);
    assert.equal(second.more, false);
    assert.deepEqual((await store.read({ range, after: `${prefix}d` })).items, []);
    assert.equal((await store.read({ range, after: `${prefix}bb` })).items.length, 2);
    assert.equal((await store.read({ range, after: `${prefix}` })).items.length, 4);
    assert.equal(
      (await store.read({ range: { prefix: `${prefix}b` }, after: prefix })).items.length,
      1,
    );
    assert.deepEqual(
      (await store.read({ range: { key: `${prefix}a` }, after: `${prefix}a` })).items,
      [],
    );
  });

  check("reads every page of one and the same state while writes go on", async (fixture) => {
    const { store, other, prefix } = fixture;
    const names = Array.from({ length: 30 }, (_, index) => `k${String(index).padStart(2, "0")}`);
    for (const name of names) await put(store, prefix + name, "before");
    const before = await readAll(store, { prefix });
    const revision = before.header.revision;
    const items = [];
    let after: string | undefined;
    for (let page = 0; page < 6; page += 1) {
      const result = await store.read({ range: { prefix }, revision, after, limit: 5 });
      assert.equal(result.more, page < 5);
      items.push(...result.items);
      after = result.items.at(-1)?.key;
      await put(other, `${prefix}k${page}5new`, "created meanwhile");
      await put(other, `${prefix}k27`, "changed meanwhile");
      await remove(other, `${prefix}k${page % 3}9`);
      assert.ok(result.header.revision >= revision);
    }
    assert.deepEqual(items, before.items);
  });

  check("leaves values out when only keys are asked for", async ({ store, prefix }) => {
    await put(store, `${prefix}a`, "long value");
    const full = await store.read({ range: { prefix } });
    const bare = await store.read({ range: { prefix }, keysOnly: true });
    assert.deepEqual(
      bare.items,
      full.items.map((item) => ({ ...item, value: "" })),
    );
  });

  check("holds 10,000 keys, at most 1,000 of them in a page", async ({ store, prefix }) => {
    const expected = new Map<string, string>();
    for (let batch = 0; batch < 100; batch += 1) {
      const operations: Operation[] = [];
      for (let index = 0; index < 100; index += 1) {
        // A stride that is coprime to 10,000, so that keys do not arrive in order.
        const number = ((batch * 100 + index) * 7_919) % 10_000;
        const key = `${prefix}states/machine-${number % 50}/unit-${number}.service`;
        operations.push({ type: "put", key, value: `value ${number}` });
        expected.set(key, `value ${number}`);
      }
      await store.transact({ comparisons: [], operations });
    }
    assert.equal((await store.read({ range: { prefix }, limit: 5_000 })).items.length, 1_000);
    const all = await readAll(store, { prefix });
    assert.deepEqual(keysOf(all.items), [...expected.keys()].sort());
    for (const item of all.items) assert.equal(item.value, expected.get(item.key));
    const some = await readAll(store, { prefix: `${prefix}states/machine-7/` });
    assert.equal(some.items.length, 200);
  });
}

function checkRevisions(check: Check): void {
  check("reads the state as of a past revision", async ({ store, prefix }) => {
    const key = `${prefix}k`;
    const first = (await put(store, key, "one")).header.revision;
    const second = (await put(store, key, "two")).header.revision;
    const third = (await remove(store, key)).header.revision;
    const valueAt = async (revision: number) =>
      (await store.read({ range: { key }, revision })).items[0]?.value;
    assert.equal(await valueAt(first), "one");
    assert.equal(await valueAt(second), "two");
    assert.equal(await valueAt(third), undefined);
    const header = (await store.read({ range: { key }, revision: first })).header;
    assert.equal(header.revision, third, "the header tells the newest revision");
  });

  check("refuses a compacted revision and keeps the one compacted to", async (fixture) => {
    const { store, prefix } = fixture;
    const key = `${prefix}k`;
    const first = (await put(store, key, "one")).header.revision;
    const second = (await put(store, key, "two")).header.revision;
    await put(store, key, "three");
    await fixture.compact(second);
    await assert.rejects(store.read({ range: { key }, revision: first }), {
      code: "store-compacted",
    });
    assert.equal((await store.read({ range: { key }, revision: second })).items[0]?.value, "two");
    assert.equal((await get(store, key))?.value, "three");
  });

  check("keeps keys that are old and forgets deleted ones at compaction", async (fixture) => {
    const { store, prefix } = fixture;
    const created = (await put(store, `${prefix}old`, "kept")).header.revision;
    await put(store, `${prefix}gone`, "x");
    await remove(store, `${prefix}gone`);
    await fixture.compact(await newestRevision(store, prefix));
    const all = await readAll(store, { prefix });
    assert.deepEqual(all.items, [
      { key: `${prefix}old`, value: "kept", createRevision: created, modRevision: created },
    ]);
    await put(store, `${prefix}gone`, "back");
    assert.equal((await get(store, `${prefix}gone`))?.value, "back");
  });

  check("refuses a revision that the store has not reached", async ({ store, prefix }) => {
    const revision = (await put(store, `${prefix}k`, "v")).header.revision;
    const request = { range: { prefix }, revision: revision + 1_000 };
    await assert.rejects(store.read(request), { code: "store-future-revision" });
  });
}

function checkContents(check: Check): void {
  check("gives values back byte for byte", async ({ store, prefix }) => {
    const values = [
      "",
      " ",
      "\n",
      "a\r\nb\n",
      "\u0000",
      "a\u0000b",
      "\ufeffbom",
      "\ufffd",
      "é",
      "é",
    ];
    values.push(
      "日本語",
      "👩‍👩‍👧‍👦",
      "\u{10ffff}",
      "\uffff",
      '{"a":"\\u0000"}',
      "\u2028\u2029",
      "%s'\";--",
    );
    for (const [index, value] of values.entries()) await put(store, `${prefix}${index}`, value);
    for (const [index, value] of values.entries()) {
      const found = await get(store, `${prefix}${index}`);
      assert.equal(found?.value, value, `value ${JSON.stringify(value)}`);
    }
  });

  check("holds values of 1 MiB, counted in bytes", async ({ store, prefix }) => {
    const plain = "0123456789abcdef".repeat(MIB / 16);
    const wide = "é".repeat(MIB / 2);
    await put(store, `${prefix}plain`, plain);
    await put(store, `${prefix}wide`, wide);
    const all = await readAll(store, { prefix });
    assert.ok(all.items[0]?.value === plain);
    assert.ok(all.items[1]?.value === wide);
  });

  check("reads twenty values of 1 MiB in one page", async ({ store, prefix }) => {
    const value = "x".repeat(MIB);
    for (let index = 0; index < 20; index += 1) await put(store, `${prefix}${index}`, value);
    const all = await readAll(store, { prefix });
    assert.equal(all.items.length, 20);
    assert.ok(all.items.every((item) => item.value === value));
  });
}

async function namesBelow(store: Store, prefix: string, name: string): Promise<readonly string[]> {
  const { items } = await readAll(store, { prefix: prefix + name });
  return items.map((item) => item.key.slice(prefix.length));
}
