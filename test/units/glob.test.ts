import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { globMatches, parseGlob } from "../../src/units/glob.ts";
import { codePoint } from "../support/code-point.ts";

const TABLE = [
  ["*", "foo.service", true],
  ["foo.*", "foo.socket", true],
  ["foo@*.service", "foo@12.service", true],
  ["foo@[abc].service", "foo@a.service", true],
  ["foo@[abc].service", "foo@d.service", false],
  ["foo@?.service", "foo@1.service", true],
  ["foo@?.service", "foo@12.service", false],
  ["foo.service", "bar.service", false],
  ["foo@[^abc].service", "foo@d.service", true],
  ["foo@[^abc].service", "foo@a.service", false],
  ["foo@[!abc].service", "foo@d.service", false],
  ["foo@[a-c].service", "foo@b.service", true],
  ["foo", "foo.service", false],
  ["foo*", "foo.service", true],
  ["*.service", "foo@.service", true],
  ["f?o.service", "foo.service", true],
  ["a\\*b", "a*b", true],
  ["a\\*b", "axb", false],
  ["foo{a,b}.service", "fooa.service", false],
  ["", "", true],
  ["*", "", true],
  ["FOO.service", "foo.service", false],
  ["**", "foo", true],
  ["*", "a/b", false],
  ["?", "/", false],
  ["a/b", "a/b", true],
  ["a*/b", "ax/b", true],
  ["[^a]", "/", true],
  ["[\\]]", "]", true],
  ["[\\-]", "-", true],
  ["[a-]", "a", false],
  ["a?c", "a\u{1f600}c", true],
  ["[ä-ü]", "ö", true],
  ["*b*c", "abbbc", true],
] as const;

for (const [pattern, text, matches] of TABLE) {
  test(`globMatches() says ${matches} for ${pattern} and ${text}`, () => {
    assert.equal(globMatches(pattern, text), matches);
  });
}

for (const pattern of [
  "[",
  "[]",
  "a[",
  "[]a]",
  "[-]",
  "[x-]",
  "[-x]",
  "[a-b-c]",
  "[^]",
  "a\\",
  "[\\",
  "[a",
]) {
  test(`parseGlob() gives nothing for the bad pattern ${pattern}, which matches nothing`, () => {
    assert.equal(parseGlob(pattern), undefined);
    assert.equal(globMatches(pattern, pattern), false);
  });
}

test("parseGlob() knows which patterns are plain names", () => {
  assert.equal(parseGlob("foo.service")?.literal, "foo.service");
  assert.equal(parseGlob("a\\*b")?.literal, "a*b");
  assert.equal(parseGlob("foo@*.service")?.literal, undefined);
});

type Part = { readonly type: "text"; readonly text: string } | { readonly type: "star" | "any" };

/** Tries everything, so it is right by being simple. */
function dumbMatch(parts: readonly Part[], text: string): boolean {
  const [part, ...rest] = parts;
  if (part === undefined) return text === "";
  if (part.type === "any") return text !== "" && text[0] !== "/" && dumbMatch(rest, text.slice(1));
  if (part.type === "text") {
    return text.startsWith(part.text) && dumbMatch(rest, text.slice(part.text.length));
  }
  if (dumbMatch(rest, text)) return true;
  return text !== "" && text[0] !== "/" && dumbMatch(parts, text.slice(1));
}

test("globMatches() agrees with a matcher that tries everything", () => {
  const part: fc.Arbitrary<Part> = fc.oneof(
    fc.record({
      type: fc.constant("text" as const),
      text: fc.constantFrom("a", "b", "ab", "/", "*"),
    }),
    fc.record({ type: fc.constantFrom("star" as const, "any" as const) }),
  );
  const text = fc.array(fc.constantFrom("a", "b", "/", "*"), { maxLength: 8 });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), text, (parts, letters) => {
      const pattern = parts
        .map((p) =>
          p.type === "text" ? p.text.replaceAll("*", "\\*") : p.type === "star" ? "*" : "?",
        )
        .join("");
      assert.equal(globMatches(pattern, letters.join("")), dumbMatch(parts, letters.join("")));
    }),
    { numRuns: 2000, seed: 1 },
  );
});

test("parseGlob() never throws, and what it gives neither", () => {
  fc.assert(
    fc.property(fc.string({ unit: codePoint }), fc.string({ unit: codePoint }), (pattern, text) => {
      parseGlob(pattern)?.matches(text);
    }),
  );
});

test("matches() takes time for the product of lengths, not for all ways to place the stars", () => {
  const glob = parseGlob(`${"*a".repeat(100)}b`);
  assert.equal(glob?.matches("a".repeat(255)), false);
});
