import assert from "node:assert/strict";
import { Socket } from "node:net";
import { after } from "node:test";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { describeProxyContract } from "./proxy-contract.ts";

// In a process of its own (as .real tests are): modules that were loaded before have looked already.
// Another version of Node may keep what `onread` sets elsewhere: as if this one did.
const symbolsOf = Object.getOwnPropertySymbols;
let hidden = 0;
Object.getOwnPropertySymbols = (owner: unknown) => {
  if (!(owner instanceof Socket)) return symbolsOf(owner);
  hidden += 1;
  return [];
};
const { nodeProxy } = await import("../../src/ambassador/node-proxy.ts");
Object.getOwnPropertySymbols = symbolsOf;
assert.equal(hidden, 1, "it looked for them");
const listeners: number[] = [];
const resume = Socket.prototype.resume;
Socket.prototype.resume = function (this: Socket) {
  listeners.push(this.listenerCount("data"));
  return resume.call(this);
};
after(() => assert(listeners.includes(1), "bytes came by events"));

describeProxyContract("in this process, reading by events", async () =>
  nodeProxy({ clock: systemClock, logger: silentLogger }),
);
