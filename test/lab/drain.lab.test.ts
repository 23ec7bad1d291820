import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { Lab } from "../support/lab.ts";
import { destroyAll, places, runEachOnce, runsOn, sleeper, unitsOn } from "../support/lab-units.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 4, settings: { agent_ttl: "3s" } });

afterEach(async () => {
  const { lab } = fixture;
  await onAll(lab, "uncordon", lab.machines);
  await destroyAll(lab);
});

async function onAll(lab: Lab, command: string, machines: readonly number[]): Promise<void> {
  const ids = await Promise.all(machines.map((machine) => lab.machineId(machine)));
  const { code, stderr } = await lab.fleetctl(command, ...ids);
  assert.equal(code, 0, stderr);
}

async function start(lab: Lab, ...units: readonly string[]): Promise<void> {
  const { code, stderr } = await lab.fleetctl("start", ...units);
  assert.equal(code, 0, stderr);
}

/** Says when it goes down and when it is down. */
function telling(more = ""): string {
  return sleeper(
    `ExecStop=/bin/sh -c 'echo stopping; sleep 0.1'\nExecStopPost=/bin/echo down\n${more}`,
  );
}

interface Move {
  readonly unit: string;
  readonly from: number;
  readonly to: number;
  /** Times of the monotonic clock that all machines share: when the stop was seen first, and since when systemd has it up. */
  readonly stopsAtUs: number;
  readonly upAtUs: number;
}

interface Event {
  readonly text: string;
  readonly machine: number;
  readonly atUs: number;
}

/** What the unit has said of itself on all machines, in order. */
async function eventsOf(lab: Lab, unit: string): Promise<readonly Event[]> {
  const events = await Promise.all(
    lab.machines.map(async (machine) => {
      const lines = (await lab.journal(machine, "-u", unit, "-o", "json")).split("\n");
      return lines
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Record<string, string>)
        .map((entry) => ({
          text: entry["MESSAGE"] ?? "",
          machine,
          atUs: Number(entry["__MONOTONIC_TIMESTAMP"]),
        }));
    }),
  );
  return events
    .flat()
    .filter(({ text }) => ["up", "stopping", "down"].includes(text))
    .sort((one, other) => one.atUs - other.atUs);
}

/** A unit that has moved once: it has finished stopping before it starts. */
async function moveOf(lab: Lab, unit: string): Promise<Move> {
  const events = await eventsOf(lab, unit);
  const told = events.map(({ text }) => text).join(" ");
  assert.equal(told, "up stopping down up", `${unit} is interrupted once`);
  const [first, stops, down] = events;
  const [now] = (await unitsOn(lab, [unit])).filter(({ active }) => active === "active");
  assert(first !== undefined && stops !== undefined && down !== undefined && now !== undefined);
  assert.equal(stops.machine, first.machine);
  const { machine: to, activeSinceUs: upAtUs } = now;
  return { unit, from: first.machine, to, stopsAtUs: stops.atUs, upAtUs };
}

const names = (count: number, name: (index: number) => string) =>
  Array.from({ length: count }, (_, index) => name(index + 1));

test("drain moves 20 units, each interrupted once and only for its own stop and start, and no rule is broken on the way", async () => {
  const { lab } = fixture;
  const [one, two, three, four] = await Promise.all(lab.machines.map((m) => lab.machineId(m)));
  for (const [id, zone] of [
    [one, "a"],
    [two, "b"],
    [three, "c"],
    [four, "a"],
  ] as const)
    assert.equal((await lab.fleetctl("set-metadata", id ?? "", `zone=${zone}`)).code, 0);
  await lab.unitFile("s@.service", telling("[X-Fleet]\nSpreadBy=zone\n"));
  await lab.unitFile("w@.service", telling("[X-Fleet]\nMaxPerMachine=1\n"));
  await lab.unitFile("g.service", telling("[X-Fleet]\nGlobal=true\n"));
  await lab.unitFile("of.service", telling("[X-Fleet]\nMachineOf=peer.service\n"));
  await lab.unitFile("peer.service", telling());
  await lab.unitFile("pin.service", telling(`[X-Fleet]\nMachineID=${one}\n`));
  await lab.unitFile("once.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n");
  const plain = names(16, (index) => `u${index}.service`);
  for (const name of plain) await lab.unitFile(name, telling());
  // Two instances of each template where they are to stay, then 20 units that move and 3 that do not on m1.
  await onAll(lab, "cordon", [1, 4]);
  await start(lab, "s@2", "s@3", "w@2", "w@3");
  await onAll(lab, "uncordon", [1]);
  await onAll(lab, "cordon", [2, 3]);
  await start(lab, "peer.service", "of.service", "s@1", "w@1", ...plain);
  await start(lab, "pin.service", "once.service", "g.service");
  await onAll(lab, "uncordon", [2, 3, 4]);
  const moving = ["peer.service", "of.service", "s@1.service", "w@1.service", ...plain];
  assert.deepEqual(
    Object.values(await places(lab, moving)),
    moving.map(() => [1]),
  );

  const drained = await lab.fleetctl("drain", one ?? "");
  assert.equal(drained.code, 0, drained.stderr);
  assert.equal(
    drained.stdout.match(/^Unit .* moved from .* to .*, down for (at most )?[0-9.]+ s$/gm)?.length,
    20,
    drained.stdout,
  );
  assert.match(drained.stdout, /pin\.service stays: MachineID= keeps it/);
  assert.match(drained.stdout, /once\.service stays: it has finished/);
  assert.match(drained.stdout, /Drained machine .*: 20 moved, 2 stay/);

  await runEachOnce(lab, moving, { machines: [2, 3, 4] });
  const moves = await Promise.all(moving.map((unit) => moveOf(lab, unit)));
  moves.sort((a, b) => a.stopsAtUs - b.stopsAtUs);
  for (const [index, move] of moves.entries()) {
    assert.equal(move.from, 1);
    const next = moves[index + 1];
    const isPair = [move.unit, next?.unit].sort().join() === "of.service,peer.service";
    if (next === undefined || isPair) continue;
    assert.ok(move.upAtUs < next.stopsAtUs, `${next.unit} runs until ${move.unit} is up`);
  }
  const to = (unit: string) => moves.find((move) => move.unit === unit)?.to;
  assert.equal(to("of.service"), to("peer.service"));
  assert.equal(to("w@1.service"), 4, "the only machine without an instance");
  assert.equal(to("s@1.service"), 4, "the only zone without an instance");
  assert.deepEqual(await runsOn(lab, "pin.service"), [1]);
  assert.deepEqual(await runsOn(lab, "g.service"), [2, 3, 4]);
  const last = (await eventsOf(lab, "g.service")).find(({ text }) => text === "stopping");
  assert.ok(
    last !== undefined && moves.every(({ upAtUs }) => upAtUs < last.atUs),
    "global units last",
  );
});

test("drain leaves running what no machine takes, says why, and takes it when one does", async () => {
  const { lab } = fixture;
  const id = await lab.machineId(1);
  assert.equal((await lab.fleetctl("set-metadata", id, "disk=ssd")).code, 0);
  await lab.unitFile("db.service", telling("[X-Fleet]\nMachineMetadata=disk=ssd\n"));
  await start(lab, "db.service");
  const stuck = await lab.fleetctl("drain", id);
  assert.equal(stuck.code, 1);
  assert.match(
    stuck.stderr,
    /db\.service cannot leave its machine: .*MachineMetadata=disk=ssd does not hold \(3 machines/,
  );
  assert.deepEqual(await runsOn(lab, "db.service"), [1]);
  const timed = await lab.fleetctl("drain", "--timeout", "3", id);
  assert.equal(timed.code, 1, "it is stuck, not slow");
  assert.equal((await lab.fleetctl("set-metadata", await lab.machineId(3), "disk=ssd")).code, 0);
  await runEachOnce(lab, ["db.service"], { machines: [3] });
  await moveOf(lab, "db.service");
  await lab.fleetctl("set-metadata", id, "disk-");
  await lab.fleetctl("set-metadata", await lab.machineId(3), "disk-");
});

test("a drain stops at a unit that does not start elsewhere, and goes on when it runs", async () => {
  const { lab } = fixture;
  await onAll(lab, "cordon", [2, 3, 4]);
  const text = sleeper(
    "ExecStartPre=/bin/sh -c 'test $(hostname) = m1 || test -e /var/may-start'\n",
  );
  await lab.unitFile("a.service", text);
  await lab.unitFile("b.service", telling());
  await start(lab, "a.service");
  await start(lab, "b.service");
  await onAll(lab, "uncordon", [2, 3, 4]);
  const id = await lab.machineId(1);
  const failed = await lab.fleetctl("drain", id);
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /a\.service failed to start on/);
  assert.match(failed.stderr, /not drained, a unit does not start elsewhere/);
  assert.deepEqual(await runsOn(lab, "b.service"), [1]);
  for (const machine of lab.machines) await lab.writeFile(machine, "/var/may-start", "");
  const restart = lab.fleetctl("restart", "a.service");
  const again = await lab.fleetctl("drain", id);
  assert.equal(again.code, 0, again.stderr);
  assert.equal((await restart).code, 0);
  await runEachOnce(lab, ["a.service", "b.service"], { machines: [2, 3, 4] });
});

test("rebalance says what it would move, moves it one by one, and finds nothing the second time", async () => {
  const { lab } = fixture;
  await onAll(lab, "cordon", [2, 3, 4]);
  const units = names(8, (index) => `r${index}.service`);
  for (const name of units) await lab.unitFile(name, telling());
  await start(lab, ...units);
  await onAll(lab, "uncordon", [2, 3, 4]);
  const plan = await lab.fleetctl("rebalance", "--plan");
  assert.equal(plan.code, 0, plan.stderr);
  assert.match(plan.stdout, /6 moves: load per machine 0 to 8 before, 2 to 2 after/);
  assert.deepEqual(await runsOn(lab, "r1.service"), [1], "nothing has moved");
  const done = await lab.fleetctl("rebalance");
  assert.equal(done.code, 0, done.stderr);
  assert.equal(done.stdout.match(/moved from/g)?.length, 6);
  const where = Object.values(await runEachOnce(lab, units)).flat();
  for (const machine of lab.machines) assert.equal(where.filter((on) => on === machine).length, 2);
  const again = await lab.fleetctl("rebalance");
  assert.match(again.stdout, /Nothing to move/);
});
