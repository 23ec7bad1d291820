import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import {
  destroyAll,
  lastEntry,
  property,
  runEachOnce,
  runsOn,
  signalDaemon,
  startUnits,
  unitJournal,
  unitsOn,
} from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const TTL_SECONDS = 6;
const fixture = useLab({
  machines: 3,
  settings: { agent_ttl: `${TTL_SECONDS}s`, boot_grace: "2s" },
});

const UNIT = "vault.service";
const SCRIPT = 'echo up $$FLEET_FENCING_TOKEN; trap "" TERM; while sleep 0.1; do echo beat; done';
const TEXT = [
  "[Service]",
  `ExecStart=/bin/sh -c '${SCRIPT}'`,
  "Restart=always",
  "TimeoutStopSec=500ms",
  "[X-Fleet]",
  "Fencing=strict",
  "",
].join("\n");
/** Stops others would be stopped by, too, were they not left alone (I4). */
const PLAIN = "plain.service";
const PLAIN_TEXT = "[Service]\nExecStart=/bin/sleep infinity\n[X-Fleet]\nMachineOf=vault.service\n";

afterEach(() => destroyAll(fixture.lab));

/** Each beat shows that it ran then. */
async function lastBeatUs(machine: number): Promise<number> {
  const entries = await unitJournal(fixture.lab, machine, UNIT);
  return entries.findLast(({ text }) => text === "beat")?.atUs ?? 0;
}

async function ups(machine: number): Promise<readonly { atUs: number; token: number }[]> {
  const entries = await unitJournal(fixture.lab, machine, UNIT);
  return entries
    .filter(({ text }) => text.startsWith("up "))
    .map(({ text, atUs }) => ({ atUs, token: Number(text.slice(3)) }));
}

async function presentEverywhere(): Promise<void> {
  const { lab } = fixture;
  for (const machine of lab.machines) {
    await lab.waitFor({
      what: `m${machine} lists all machines`,
      deadlineMs: 60_000,
      look: () => lab.presentMachines(machine),
      until: (present) => present.length === lab.size,
    });
  }
}

/** The unit is stopped on its machine before it starts on another, with a greater token; its neighbour runs on. */
async function fencedBy(
  cut: (machine: number) => Promise<void>,
): Promise<{ readonly from: number; readonly isUntouched: () => Promise<boolean> }> {
  const { lab } = fixture;
  await startUnits(lab, { [UNIT]: TEXT, [PLAIN]: PLAIN_TEXT });
  const [from = 0] = (await runEachOnce(lab, [UNIT]))[UNIT] ?? [];
  const [before] = await ups(from);
  const neighbour = { machine: from, unit: PLAIN, name: "InvocationID" };
  const invocation = await property(lab, neighbour);
  await cut(from);
  const others = lab.machines.filter((machine) => machine !== from);
  // The machine itself may be in no state to be asked.
  const [next] = await lab.waitFor({
    what: `${UNIT} runs on another machine than m${from}`,
    deadlineMs: 40_000,
    look: () => unitsOn(lab, [UNIT], others),
    until: ([unit, ...more]) => unit?.active === "active" && more.length === 0,
  });
  const to = next?.machine ?? 0;
  const up = (await ups(to)).at(-1);
  assert.ok(before !== undefined && up !== undefined);
  const gapMs = (up.atUs - (await lastBeatUs(from))) / 1_000;
  console.log(`started elsewhere ${Math.round(gapMs)} ms after the last sign of life`);
  assert.ok(gapMs > 0, `the second began ${-gapMs} ms before the first had ended`);
  assert.ok(up.token > before.token, `token ${up.token} after ${before.token}`);
  return { from, isUntouched: async () => (await property(lab, neighbour)) === invocation };
}

test("a fenced unit is stopped before its machine's lease ends although the daemon is dead", async () => {
  const { lab } = fixture;
  const { from, isUntouched } = await fencedBy(async (machine) => {
    const dropIn = "/run/systemd/system/fleetd-ts.service.d";
    const script = `mkdir -p ${dropIn}; printf '[Service]\\nRestart=no\\n' >${dropIn}/dead.conf; systemctl daemon-reload`;
    await lab.exec(machine, "sh", "-c", script);
    await lab.killDaemon(machine);
  });
  assert.ok(await isUntouched(), "others are not fenced (I4)");
  await lab.exec(
    from,
    "sh",
    "-c",
    "rm -r /run/systemd/system/fleetd-ts.service.d; systemctl daemon-reload",
  );
  await lab.daemon(from, "start");
  await presentEverywhere();
  assert.equal((await runsOn(lab, UNIT)).length, 1);
});

test("a fenced unit is stopped before its machine's lease ends although the daemon is stopped (SIGSTOP)", async () => {
  const { lab } = fixture;
  const { from, isUntouched } = await fencedBy((machine) => signalDaemon(lab, machine, "STOP"));
  assert.ok(await isUntouched(), "others are not fenced (I4)");
  const stoppedUs = await lastBeatUs(from);
  await signalDaemon(lab, from, "CONT");
  await presentEverywhere();
  assert.equal(await lastBeatUs(from), stoppedUs, "what goes on after the pause starts nothing");
});

test("a fenced unit is stopped before the lease of a machine that is cut off ends, and starts again when nobody else could take it", async () => {
  const { lab } = fixture;
  const { from, isUntouched } = await fencedBy((machine) => lab.partition(machine));
  assert.ok(await isUntouched(), "others are not fenced (I4)");
  await lab.heal(from);
  await presentEverywhere();
  await destroyAll(lab);
  await startUnits(lab, { [UNIT]: TEXT });
  const [machine = 0] = (await runEachOnce(lab, [UNIT]))[UNIT] ?? [];
  const earlier = (await ups(machine)).length;
  await lab.etcd("stop");
  await lastEntry(lab, { machine, unit: UNIT, text: "Stopped" });
  await lab.waitFor({
    what: "the unit is stopped everywhere",
    deadlineMs: 20_000,
    look: () => runsOn(lab, UNIT),
    until: (on) => on.length === 0,
  });
  await lab.etcd("start");
  await runEachOnce(lab, [UNIT], { machines: [machine], deadlineMs: 60_000 });
  assert.equal((await ups(machine)).length, earlier + 1, "once");
});

test("a machine that stood still as a whole stops its fenced unit right after it goes on", async () => {
  const { lab } = fixture;
  const { from } = await fencedBy((machine) => lab.pause(machine));
  const resumedUs = Date.now() * 1_000;
  await lab.resume(from);
  await lastEntry(lab, { machine: from, unit: UNIT, text: "Stopped" });
  const windowMs = Math.max(0, (await lastBeatUs(from)) - resumedUs) / 1_000;
  console.log(`ran ${Math.round(windowMs)} ms beside its successor after the freeze`);
  // The time of its stop, and what a busy host adds.
  assert.ok(windowMs < 10_000);
  await presentEverywhere();
  assert.equal((await runsOn(lab, UNIT)).length, 1);
});
