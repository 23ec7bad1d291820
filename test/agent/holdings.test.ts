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

const MANIFEST = { content: "[Service]\nExecStart=/bin/sleep infinity\n", dropIns: [] };
const RECORD = { identity: 1, restarts: 0, effective: "", sinceBeforeMs: 0 };

/** The unit is on disk, and its start is about to be asked for. */
async function openHoldings() {
  const random = new SeededRandom(1);
  const systemd = new SlowSystemd(new MemoryMachine({ clock: new VirtualClock() }));
  const records = new MemoryHost({ machineId: "m1", random }).volatile;
  const holdings = new Holdings({ systemd, records });
  await systemd.write([{ unit: UNIT, manifest: MANIFEST }]);
  await holdings.load();
  await holdings.setStart(UNIT, { ...RECORD, outcome: "pending" });
  return { systemd, records, holdings };
}

test("the end of a start is not told beside a status from before it", async () => {
  const { systemd, holdings } = await openHoldings();
  const outcome = await systemd.start(UNIT);
  const answer = Promise.withResolvers<void>();
  systemd.answered = answer.promise;
  const told = () => [holdings.outcome(UNIT), holdings.status(UNIT).active];
  const ended = holdings.endStart(UNIT, { ...RECORD, outcome });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(holdings.start(UNIT)?.outcome, "done", "a daemon that dies now has noted it");
  assert.deepEqual(told(), ["pending", "inactive"]);
  answer.resolve();
  await ended;
  assert.deepEqual(told(), ["done", "active"]);
});

test("a start that was made void before its end was heard of stays void", async () => {
  const { systemd, records, holdings } = await openHoldings();
  const outcome = await systemd.start(UNIT);
  await holdings.clearStart(UNIT);
  await holdings.endStart(UNIT, { ...RECORD, outcome });
  assert.equal(holdings.start(UNIT), undefined);
  assert.deepEqual(await records.list("started"), []);
  assert.equal(holdings.status(UNIT).active, "active");
});
