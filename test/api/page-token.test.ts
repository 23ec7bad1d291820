import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Refusal } from "../../src/api/http.ts";
import {
  cutPage,
  decodePageToken,
  encodePageToken,
  requestedPage,
} from "../../src/api/page-token.ts";
import { openApiWorld } from "./api-world.ts";

test("encodePageToken() writes what fleet writes", () => {
  const encode = (limit: number, page: number) =>
    encodePageToken({ limit, page, revision: undefined });
  assert.equal(encode(12482, 0), "wjAAAA==");
  assert.equal(encode(19, 11852), "EwBMLg==");
  assert.equal(encode(100, 2), "ZAACAA==");
});

test("a token with a revision begins as fleet's does, so that its decoder reads it", () => {
  const token = encodePageToken({ limit: 100, page: 2, revision: 123_456_789_012 });
  assert.equal(Buffer.from(token, "base64url").subarray(0, 4).toString("base64"), "ZAACAA==");
});

test("decodePageToken() inverts encodePageToken()", () => {
  const short = fc.integer({ min: 0, max: 0xffff });
  const revision = fc.option(fc.integer({ min: 0, max: 2 ** 48 - 1 }), { nil: undefined });
  fc.assert(
    fc.property(
      fc.record({ limit: short, page: short, revision }, { noNullPrototype: true }),
      (token) => {
        assert.deepEqual(decodePageToken(encodePageToken(token)), token);
      },
    ),
  );
});

test("decodePageToken() reads any text or says what is wrong", () => {
  fc.assert(fc.property(fc.string(), (text) => void decodePageToken(text)));
});

const REQUESTS: readonly (readonly [query: string, expected: string])[] = [
  ["nextPageToken=ZABMLg%3D%3D", "page 11852"],
  ["filter=foobar&nextPageToken=ZABMLg==", "page 11852"],
  ["filter=foobar", "page 1"],
  ["nextPageToken=ZABMLg==&nextPageToken=ZABMLg==", "too many values for page token"],
  ["nextPageToken=FAAJAA==", "token limit must be 100"],
  ["nextPageToken=ZAAAAA==", "token page must be greater than zero"],
  ["nextPageToken=zz", "illegal base64 data at input byte 0"],
  ["nextPageToken=basdfasdf", "illegal base64 data at input byte 8"],
  ["nextPageToken=", "EOF"],
];

test("requestedPage() judges tokens as fleet does", () => {
  for (const [query, expected] of REQUESTS) {
    const page = requestedPage(new URLSearchParams(query), 100);
    assert.equal(page instanceof Refusal ? page.message : `page ${page.page}`, expected, query);
  }
});

test("cutPage() ends without an empty page and never wraps round", () => {
  const cut = (total: number, limit: number, page: number) => {
    const all = Array.from({ length: total }, (_, index) => index);
    const { items, next } = cutPage(all, { limit, page, revision: undefined }, 7);
    return [items.length, items[0], next?.page];
  };
  assert.deepEqual(cut(103, 60, 1), [60, 0, 2]);
  assert.deepEqual(cut(103, 60, 2), [43, 60, undefined]);
  assert.deepEqual(cut(100, 100, 1), [100, 0, undefined]);
  assert.deepEqual(cut(70_000, 100, 657), [100, 65_600, 658]);
  assert.deepEqual(cut(5, 100, 9), [0, undefined, undefined]);
});

test("all pages show the list as it was for the first", async (t) => {
  const world = await openApiWorld(t);
  const content = "[Service]\nExecStart=/bin/true\n";
  const submit = (name: string) => ({ type: "submit", name, content }) as const;
  const names = Array.from({ length: 250 }, (_, n) => `u${String(n).padStart(3, "0")}.service`);
  await world.registry.apply(names.map(submit));
  const seen: string[] = [];
  let query = "";
  for (let page = 1; page <= 3; page += 1) {
    const body = JSON.parse((await world.call("GET", `/fleet/v1/units${query}`)).text);
    seen.push(...body.units.map((unit: { name: string }) => unit.name));
    query = `?nextPageToken=${body.nextPageToken}`;
    await world.registry.apply([
      submit(`a${page}.service`),
      { type: "destroy", name: `u24${page}.service` },
    ]);
  }
  assert.equal(query, "?nextPageToken=undefined");
  assert.deepEqual(seen, names);
});
