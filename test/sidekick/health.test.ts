import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type CheckResult,
  judge,
  nextCheckMs,
  UNCHECKED,
  type Verdict,
} from "../../src/sidekick/health.ts";

const GOOD: CheckResult = { ok: true };
const BAD: CheckResult = { ok: false, why: "refused" };
const PATIENCE = { rise: 3, fall: 2 };

function after(...results: readonly CheckResult[]): Verdict {
  return results.reduce((verdict, result) => judge(verdict, result, PATIENCE), UNCHECKED);
}

const TABLE: readonly (readonly [string, readonly CheckResult[], string])[] = [
  ["nothing was checked", [], "failing: not checked yet"],
  ["the first check fails", [BAD], "failing: refused"],
  ["the first check passes", [GOOD], "passing: "],
  ["one check fails", [GOOD, BAD], "passing: "],
  ["as many as --fall in a row fail", [GOOD, BAD, BAD], "failing: refused"],
  ["they fail, but not in a row", [GOOD, BAD, GOOD, BAD, GOOD], "passing: "],
  ["it passes again, fewer times than --rise", [GOOD, BAD, BAD, GOOD, GOOD], "failing: refused"],
  ["it passes again", [GOOD, BAD, BAD, GOOD, GOOD, GOOD], "passing: "],
  [
    "it passes again, but not in a row",
    [GOOD, BAD, BAD, GOOD, GOOD, BAD, GOOD],
    "failing: refused",
  ],
];
for (const [name, results, expected] of TABLE) {
  test(`judge() when ${name}`, () => {
    const { health, detail } = after(...results);
    assert.equal(`${health}: ${detail}`, expected);
  });
}

test("doubt is cleared up four times as quickly", () => {
  assert.equal(nextCheckMs(after(GOOD), 1_000), 1_000);
  assert.equal(nextCheckMs(after(GOOD, BAD), 1_000), 250);
  assert.equal(nextCheckMs(after(GOOD, BAD, BAD), 1_000), 1_000);
});
