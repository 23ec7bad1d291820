import assert from "node:assert/strict";
import { test } from "node:test";
import { Waker } from "../../src/runtime/waker.ts";

test("a wake ends every wait that there is, and none that comes", async () => {
  const waker = new Waker();
  waker.wake();
  const ended: string[] = [];
  const wait = async (name: string) => {
    await waker.woken(undefined);
    ended.push(name);
  };
  const waits = [wait("one"), wait("other")];
  await Promise.resolve();
  assert.deepEqual(ended, []);
  waker.wake();
  await Promise.all(waits);
  assert.deepEqual(ended, ["one", "other"]);
});

test("an abort ends one wait alone, also one that came before", async () => {
  const waker = new Waker();
  const abort = new AbortController();
  const ended: string[] = [];
  const aborted = waker.woken(abort.signal);
  const other = waker.woken(new AbortController().signal).then(() => ended.push("other"));
  abort.abort();
  await aborted;
  await waker.woken(abort.signal);
  assert.deepEqual(ended, []);
  waker.wake();
  await other;
});
