import assert from "node:assert/strict";
import { test } from "node:test";
import { parseTimeSpan } from "../../src/units/time-span.ts";

for (const [text, spanMs] of [
  ["5", 5_000],
  ["1.5", 1_500],
  ["500ms", 500],
  ["1min 30s", 90_000],
  ["2h30min", 9_000_000],
  [" 1 d ", 86_400_000],
  ["infinity", Number.POSITIVE_INFINITY],
  ["0", 0],
  ["", undefined],
  ["soon", undefined],
  ["5 parsecs", undefined],
  ["-1", undefined],
  ["1..5", undefined],
] as const) {
  test(`parseTimeSpan() reads ${JSON.stringify(text)} as systemd does`, () => {
    assert.equal(parseTimeSpan(text), spanMs);
  });
}
