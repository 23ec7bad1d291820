import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { Listener, type WatchUpdate } from "../../src/registry/unit-listener.ts";

const UPDATE: WatchUpdate = {
  ...{ units: [], gone: [], clusterChanged: false, leader: true, reachable: true },
  ...{ revision: 1, readings: 1, machinesRevision: 1 },
};

test("a listener leaves nothing behind with the signal it waits by", async () => {
  const listener = new Listener("all", { take: () => UPDATE, close: () => undefined });
  const { signal } = new AbortController();
  for (let update = 0; update < 3; update += 1) {
    const waiting = listener.next(signal);
    assert.equal(getEventListeners(signal, "abort").length, 1);
    listener.touch(["web.service"]);
    assert.equal(await waiting, UPDATE);
    assert.equal(getEventListeners(signal, "abort").length, 0);
  }
});
