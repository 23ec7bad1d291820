import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import fc from "fast-check";
import {
  escapePath,
  escapeUnitText,
  unescapePath,
  unescapeUnitText,
} from "../../src/units/unit-escape.ts";

const text = fc.string({ unit: "grapheme" }).filter((value) => value.isWellFormed());

/** The real systemd-escape(1): one process for all texts, which come back one per line. */
function systemdEscape(options: readonly string[], texts: readonly string[]): readonly string[] {
  const output = execFileSync("systemd-escape", [...options, "--", ...texts], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  // It puts a space between results; none of them can contain one.
  return output.replace(/\n$/, "").split(" ");
}

test("escapeUnitText() follows the manual's examples", () => {
  assert.equal(escapeUnitText("Hallöchen, Meister"), "Hall\\xc3\\xb6chen\\x2c\\x20Meister");
  assert.equal(escapeUnitText(".hidden/a.b"), "\\x2ehidden-a.b");
  assert.equal(escapeUnitText("a-b\\c"), "a\\x2db\\x5cc");
  assert.equal(escapeUnitText("user@host"), "user\\x40host");
  assert.equal(escapeUnitText(""), "");
});

test("unescapeUnitText() is the inverse of escapeUnitText()", () => {
  fc.assert(
    fc.property(text, (value) => {
      fc.pre(!value.includes("\0"));
      const escaped = escapeUnitText(value);
      assert.match(escaped, /^[0-9A-Za-z:_.\\-]*$/);
      assert.equal(unescapeUnitText(escaped), value);
    }),
  );
});

test("unescapeUnitText() gives nothing for escapes that mean nothing", () => {
  for (const bad of ["\\", "\\x", "\\x4", "\\xzz", "\\n", "\\x00", "\\xff", "\\xc3", "a\\x2"]) {
    assert.equal(unescapeUnitText(bad), undefined, bad);
  }
});

test("escapePath() names the mount unit of a path", () => {
  assert.equal(escapePath("/"), "-");
  assert.equal(escapePath("/foo//bar/baz/"), "foo-bar-baz");
  assert.equal(escapePath("/./tmp/./waldi"), "tmp-waldi");
  assert.equal(escapePath("/home/../etc"), undefined);
});

test("unescapePath() is the inverse of escapePath()", () => {
  const part = text.filter(
    (value) => value !== "" && value !== "." && value !== ".." && !/[\0/]/.test(value),
  );
  fc.assert(
    fc.property(fc.array(part), (parts) => {
      const path = `/${parts.join("/")}`;
      assert.equal(unescapePath(escapePath(path) ?? ""), path);
    }),
  );
});

test("unescapePath() refuses what escapePath() does not make", () => {
  for (const bad of ["", "-a", "a-", "a--b", "..", "a-.-b", "\\x2"]) {
    assert.equal(unescapePath(bad), undefined, bad);
  }
});

test("escapeUnitText(), escapePath() and unescapeUnitText() agree with systemd-escape(1)", () => {
  const samples = fc
    .sample(text, { numRuns: 300, seed: 7 })
    .filter((value) => value !== "" && !value.includes("\0"));
  const escaped = samples.map(escapeUnitText);
  assert.deepEqual(systemdEscape([], samples), escaped);

  const paths = samples
    .map((value) => `/srv/${value}/`)
    .filter((path) => escapePath(path) !== undefined);
  assert.deepEqual(
    systemdEscape(["--path"], paths),
    paths.map((path) => escapePath(path)),
  );

  const plain = escaped.filter((value) => !/[ \n]/.test(unescapeUnitText(value) ?? ""));
  assert.deepEqual(
    systemdEscape(["--unescape"], plain),
    plain.map((value) => unescapeUnitText(value)),
  );
});
