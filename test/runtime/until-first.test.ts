import assert from "node:assert/strict";
import { test } from "node:test";
import { untilFirst } from "../../src/runtime/until-first.ts";

/** Ends by the abort alone, as whoever waits for nothing else does. */
const forAbort = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));

test("untilFirst() ends the others with the first, and waits for them", async () => {
  const ended: string[] = [];
  await untilFirst(new AbortController().signal, [
    async () => void ended.push("first"),
    async (signal) => {
      await forAbort(signal);
      ended.push("other");
    },
  ]);
  assert.deepEqual(ended, ["first", "other"]);
});

test("untilFirst() rejects with the first failure that is not the abort", async () => {
  const tasks = [
    async () => {
      throw new Error("why");
    },
    async (signal: AbortSignal) => {
      await forAbort(signal);
      throw new Error("because of the abort");
    },
  ];
  await assert.rejects(untilFirst(new AbortController().signal, tasks), /^Error: why$/);
});

test("untilFirst() begins nothing when it is over already", async () => {
  let begun = false;
  await untilFirst(AbortSignal.abort(), [
    async (signal) => {
      begun = true;
      await forAbort(signal);
    },
  ]);
  assert.equal(begun, false);
});
