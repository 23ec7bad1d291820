import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { MachinesBody, UnitsBody } from "../src/api/protocol.ts";
import { Lab } from "../test/support/lab.ts";
import { followUnits, isActive } from "./follow-units.ts";
import type { Bench, BenchContext } from "./harness.ts";
import { destroyAll, fleetctl, SLEEPER, writeUnits } from "./lab-units.ts";

/** Enough that every machine holds some. */
const UNITS = 9;

interface Case {
  readonly name: string;
  readonly ttlSeconds: number;
  readonly victim: "leader" | "other";
}

const CASES: readonly Case[] = [
  { name: "failover.ttl5", ttlSeconds: 5, victim: "other" },
  { name: "failover.ttl5_leader", ttlSeconds: 5, victim: "leader" },
  { name: "failover.ttl30", ttlSeconds: 30, victim: "other" },
];

export const bench: Bench = {
  about: "three machines: plug pulled of one until its units are active elsewhere",
  references: {
    "failover.ttl5": "target: ttl + 1 s",
    "failover.ttl5_leader": "target: ttl + lease of the leader (5 s) + 1 s",
    "failover.ttl30": "target: ttl + 1 s; fleet: ttl + up to 2 s and a start of 2.5-4.8 s",
    "failover.from_expiry": "target: 1 s",
  },
  async run(context) {
    for (const test of CASES) {
      const lab = await Lab.open({
        machines: 3,
        settings: { agent_ttl: `${test.ttlSeconds}s` },
      });
      try {
        for (let round = 1; round <= context.rounds; round++) {
          await failOnce(lab, { ...test, round }, context);
        }
      } finally {
        await lab.close();
      }
    }
  },
};

async function failOnce(
  lab: Lab,
  test: Case & { readonly round: number },
  context: BenchContext,
): Promise<void> {
  const prefix = `fail-${test.round}`;
  const names = await writeUnits(lab, { prefix, count: UNITS, text: SLEEPER });
  await fleetctl(lab, "start", ...names);
  const victim = await pickVictim(lab, test.victim);
  const held = await unitsOf(lab, victim.id);
  assert(held.length > 0, `m${victim.machine} holds no unit`);
  // Anywhere between two keep-alives, which come every third of the ttl.
  await delay(context.random.fraction() * (test.ttlSeconds / 3) * 1000);

  const moved = followUnits({
    endpoint: await lab.endpoint(victim.machine === 1 ? 2 : 1),
    units: held,
    deadlineMs: (test.ttlSeconds + 60) * 1000,
    until: (units) => held.every((name) => isActive(units.get(name), victim.id)),
  });
  const expired = watchExpiry(lab, victim.id);
  const beganMs = performance.now();
  const [movedMs] = await Promise.all([moved, lab.kill(victim.machine)]);
  const expiredMs = await expired;

  const value = (movedMs - beganMs) / 1000;
  context.record({ name: test.name, unit: "s", value });
  if (test.victim === "other") {
    const fromExpiry = (movedMs - expiredMs) / 1000;
    context.record({ name: "failover.from_expiry", unit: "s", value: fromExpiry });
  }
  context.note(`${test.name}, round ${test.round}: ${held.length} units, ${value.toFixed(2)} s`);
  await lab.start(victim.machine);
  await lab.waitFor({
    what: "all machines are back",
    deadlineMs: 60_000,
    look: () => lab.presentMachines(1),
    until: (present) => present.length === lab.size,
  });
  await destroyAll(lab, names);
}

interface Victim {
  readonly id: string;
  readonly machine: number;
}

async function pickVictim(lab: Lab, kind: Case["victim"]): Promise<Victim> {
  const { machines } = (await lab.api(1, "/fleet/v2/machines")) as MachinesBody;
  const chosen = machines.find((machine) => machine.leader === (kind === "leader"));
  assert(chosen !== undefined, `no machine is ${kind}`);
  for (const machine of lab.machines) {
    if ((await lab.machineId(machine)) === chosen.id) return { id: chosen.id, machine };
  }
  throw new Error(`machine ${chosen.id} is none of the lab's`);
}

async function unitsOf(lab: Lab, machineId: string): Promise<readonly string[]> {
  const { units } = (await lab.api(1, "/fleet/v2/units")) as UnitsBody;
  return units.filter((unit) => unit.machineId === machineId).map((unit) => unit.name);
}

/** When the machine's record, which hangs on its lease, goes away. */
async function watchExpiry(lab: Lab, machineId: string): Promise<number> {
  const args = [`--endpoints=${await lab.etcdUrls()}`, "watch", `/fleet-ts/machines/${machineId}`];
  const etcdctl = spawn("etcdctl", args, {
    env: { ...process.env, ETCDCTL_API: "3" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    for await (const line of createInterface({ input: etcdctl.stdout })) {
      if (line === "DELETE") return performance.now();
    }
    throw new Error("etcdctl watch ended");
  } finally {
    etcdctl.kill();
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
