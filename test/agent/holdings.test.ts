import assert from "node:assert/strict";
import { test } from "node:test";
import { Holdings } from "../../src/agent/holdings.ts";
import { MemoryHost } from "../../src/agent/memory-host.ts";
import { MemoryMachine } from "../../src/agent/memory-machine.ts";
import { MemorySystemd } from "../../src/agent/memory-systemd.ts";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";

const UNIT = "web.service";

/** Takes its time to say how a unit is. */
class SlowSystemd extends MemorySystemd {
  answered: Promise<void> = Promise.resolve();

  override async status(...args: Parameters<MemorySystemd["status"]>) {
    await this.answered;
    return await super.status(...args);
  }
}

test("the end of a start is not told beside a status from before it", async () => {
  const random = new SeededRandom(1);
  const systemd = new SlowSystemd(new MemoryMachine({ clock: new VirtualClock() }));
  const holdings = new Holdings({
    systemd,
    records: new MemoryHost({ machineId: "m1", random }).volatile,
  });
  const manifest = { content: "[Service]\nExecStart=/bin/sleep infinity\n", dropIns: [] };
  await systemd.write([{ unit: UNIT, manifest }]);
  await holdings.load();
  const record = { identity: 1, restarts: 0, effective: "", sinceBeforeMs: 0 };
  await holdings.setStart(UNIT, { ...record, outcome: "pending" });
  const outcome = await systemd.start(UNIT);
  const answer = Promise.withResolvers<void>();
  systemd.answered = answer.promise;
  const told = () => [holdings.outcome(UNIT), holdings.status(UNIT).active];
  const ended = holdings.endStart(UNIT, { ...record, outcome });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(holdings.start(UNIT)?.outcome, "done", "a daemon that dies now has noted it");
  assert.deepEqual(told(), ["pending", "inactive"]);
  answer.resolve();
  await ended;
  assert.deepEqual(told(), ["done", "active"]);
});
