import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "../../src/runtime/clock.ts";
import { startDaemon, submit } from "../support/virtual-daemon.ts";
import { openVirtualWorld } from "../support/virtual-world.ts";

/** The agent writes them in several passes, and what is not named here comes between. */
const MANY = 600;
const WRITE_MS = 1_000;

const PARTNERS: ReadonlyMap<string, string> = new Map([
  ["a.service", "z-last.service"],
  ["a.timer", "z-tick.service"],
]);

test("a unit is started only when the partners that come to its machine too are on disk, however many come with them", async () => {
  const world = openVirtualWorld();
  const content = "[Unit]\nRequires=z-last.service\nAfter=z-last.service gone.service\n[Service]\n";
  await submit(world, "a.service", `${content}ExecStart=/bin/a\n`);
  await submit(world, "a.timer", "[Unit]\nPartOf=a.service\n[Timer]\nUnit=z-tick.service\n");
  for (let index = 0; index < MANY; index += 1) await submit(world, `m${index}.service`);
  for (const unit of PARTNERS.values()) await submit(world, unit);
  const daemon = startDaemon(world, 0);
  try {
    const { systemd } = daemon;
    const write = systemd.write.bind(systemd);
    systemd.write = async (units, signal) => {
      await sleep(world.clock, WRITE_MS, signal);
      return write(units, signal);
    };
    const start = systemd.start.bind(systemd);
    const early: string[] = [];
    systemd.start = async (unit, signal) => {
      const partner = PARTNERS.get(unit);
      const held = await systemd.held();
      if (partner !== undefined && !held.some((one) => one.unit === partner)) early.push(unit);
      return start(unit, signal);
    };
    await world.clock.advance(60_000);
    assert.equal(daemon.machine.runs.length, MANY + 2 * PARTNERS.size);
    assert.deepEqual(early, []);
  } finally {
    await daemon.stop();
    await world.store.close();
  }
});
