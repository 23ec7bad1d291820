import { setTimeout as pause } from "node:timers/promises";
import type { Random } from "../../src/runtime/random.ts";
import type { Lab } from "../support/lab.ts";
import { signalDaemon } from "../support/lab-units.ts";
import { runOk } from "../support/run.ts";

export const TTL_SECONDS = 10;
/** Whoever is silent for less has not lost its lease: that was renewed a third of it ago at most, and is renewed again soon after. */
export const SILENCE_MS = TTL_SECONDS * 500;

/** What a fault may do to units that are well; all else is a violation (I4). */
export interface Excuses {
  /** Their units may be stopped and started: the machines were lost, or their processes killed. */
  readonly machines: readonly number[];
  /** Units with Fencing=strict: on these machines, or everywhere. They ask for being stopped. */
  readonly strict: readonly number[] | "all" | "none";
}

export interface Fault {
  readonly name: string;
  readonly excuses: Excuses;
  /** Machines that cannot be talked to meanwhile. */
  readonly deaf: readonly number[];
  readonly registryAway: boolean;
  /** Machines that renew no lease meanwhile. */
  readonly silent: readonly number[];
  /** Stood still as a whole, beyond its lease. */
  readonly frozen: readonly number[];
  /** Machines whose daemon has to start anew; they are silent until it is back, which a busy host may delay. */
  readonly restarted: readonly number[];
  readonly begin: (lab: Lab) => Promise<void>;
  readonly end: (lab: Lab) => Promise<void>;
}

type Draw = (about: {
  readonly m: number;
  readonly member: number;
  readonly all: readonly number[];
}) => Fault;

const nothing = async (): Promise<void> => {};

function fault(name: string, parts: Partial<Fault>): Fault {
  return {
    name,
    excuses: { machines: [], strict: "none" },
    deaf: [],
    registryAway: false,
    silent: [],
    frozen: [],
    restarted: [],
    begin: nothing,
    end: nothing,
    ...parts,
  };
}

async function shell(lab: Lab, machine: number, script: string): Promise<void> {
  const { code, stdout, stderr } = await lab.exec(machine, "sh", "-c", script);
  if (code !== 0) throw new Error(`${script} on m${machine}: ${stdout}${stderr}`);
}

/** Takes all that is free in a file system that was made small for it; `end` gives it back. */
const FULL_RUN =
  "mount -o remount,size=$(($(df -k --output=used /run | tail -1) + 64))k /run; dd if=/dev/zero of=/run/.filled 2>/dev/null; true";
const FREE_RUN = "rm -f /run/.filled; mount -o remount,size=256m /run";
const FULL_VAR =
  "cp -a /var/lib/fleet-ts /run/small; mount -t tmpfs -o size=256k chaos /var/lib/fleet-ts; cp -a /run/small/. /var/lib/fleet-ts; rm -r /run/small; dd if=/dev/zero of=/var/lib/fleet-ts/.filled 2>/dev/null; true";
const FREE_VAR = "umount -l /var/lib/fleet-ts || true";

async function signalAll(lab: Lab, signal: string, machines: readonly number[]): Promise<void> {
  await Promise.all(machines.map((machine) => signalDaemon(lab, machine, signal)));
}

const ON_MACHINES: readonly Draw[] = [
  ({ m }) =>
    fault(`kill -9 of the daemon on m${m}`, {
      restarted: [m],
      begin: (lab) => lab.killDaemon(m),
    }),
  ({ m }) =>
    fault(`restart of the daemon on m${m}`, {
      restarted: [m],
      begin: (lab) => lab.daemon(m, "restart"),
    }),
  ({ all }) =>
    fault("kill -9 of all daemons", {
      restarted: all,
      begin: async (lab) => void (await Promise.all(all.map((one) => lab.killDaemon(one)))),
    }),
  ({ m }) =>
    fault(`SIGSTOP of the daemon on m${m}`, {
      excuses: { machines: [], strict: [m] },
      deaf: [m],
      silent: [m],
      begin: (lab) => signalDaemon(lab, m, "STOP"),
      end: (lab) => signalAll(lab, "CONT", [m]),
    }),
  ({ m }) =>
    fault(`plug of m${m} pulled`, {
      excuses: { machines: [m], strict: [m] },
      deaf: [m],
      begin: (lab) => lab.kill(m),
      end: (lab) => lab.start(m),
    }),
  ({ m }) =>
    fault(`m${m} powered off and on`, {
      excuses: { machines: [m], strict: [m] },
      deaf: [m],
      begin: (lab) => lab.poweroff(m),
      end: (lab) => lab.start(m),
    }),
  ({ m }) =>
    fault(`m${m} paused`, {
      excuses: { machines: [], strict: [m] },
      deaf: [m],
      silent: [m],
      frozen: [m],
      begin: (lab) => lab.pause(m),
      end: (lab) => lab.resume(m),
    }),
  ({ m }) =>
    fault(`m${m} cut off`, {
      excuses: { machines: [], strict: [m] },
      deaf: [m],
      silent: [m],
      begin: (lab) => lab.partition(m),
      end: (lab) => lab.heal(m),
    }),
  ({ m }) =>
    fault(`m${m}'s network comes and goes`, {
      excuses: { machines: [], strict: [m] },
      deaf: [m],
      begin: async (lab) => {
        for (let times = 0; times < 4; times++) {
          await lab.partition(m);
          await pause(700);
          await lab.heal(m);
          await pause(300);
        }
      },
    }),
  ({ m }) =>
    fault(`D-Bus daemon of m${m} restarted`, {
      begin: (lab) => shell(lab, m, "systemctl restart dbus.service"),
    }),
  ({ m }) =>
    fault(`systemd of m${m} re-executed`, {
      begin: (lab) => shell(lab, m, "systemctl daemon-reexec"),
    }),
  ({ m }) =>
    fault(`journald of m${m} restarted`, {
      begin: (lab) => shell(lab, m, "systemctl restart systemd-journald.service"),
    }),
  ({ m }) =>
    fault(`/run of m${m} full`, {
      // The fence cannot be renewed.
      excuses: { machines: [], strict: [m] },
      begin: (lab) => shell(lab, m, FULL_RUN),
      end: (lab) => shell(lab, m, FREE_RUN),
    }),
  ({ m }) =>
    fault(`/var/lib/fleet-ts of m${m} full`, {
      begin: (lab) => shell(lab, m, FULL_VAR),
      end: (lab) => shell(lab, m, FREE_VAR),
    }),
  ({ all }) =>
    fault("all plugs pulled", {
      excuses: { machines: all, strict: "all" },
      deaf: all,
      registryAway: true,
      begin: async (lab) => void (await Promise.all(all.map((one) => lab.kill(one)))),
      end: async (lab) => void (await Promise.all(all.map((one) => lab.start(one)))),
    }),
];

const ON_ETCD: readonly Draw[] = [
  () =>
    fault("etcd stopped", {
      excuses: { machines: [], strict: "all" },
      registryAway: true,
      begin: (lab) => lab.etcd("stop"),
      end: (lab) => lab.etcd("start"),
    }),
  () =>
    fault("etcd paused", {
      excuses: { machines: [], strict: "all" },
      registryAway: true,
      begin: (lab) => lab.etcd("pause"),
      end: (lab) => lab.etcd("resume"),
    }),
  ({ member }) =>
    fault(`member ${member} of etcd killed`, {
      begin: (lab) => lab.etcd("kill", member),
      end: (lab) => lab.etcd("start", member),
    }),
  ({ member }) =>
    fault(`member ${member} of etcd paused`, {
      begin: (lab) => lab.etcd("pause", member),
      end: (lab) => lab.etcd("resume", member),
    }),
  () => fault("etcd's leader changed", { begin: moveLeaderSoon }),
  ({ member }) =>
    fault("etcd's quorum lost", {
      excuses: { machines: [], strict: "all" },
      registryAway: true,
      begin: async (lab) => {
        await lab.etcd("kill", member);
        await lab.etcd("kill", (member % 3) + 1);
      },
      end: async (lab) => {
        await lab.etcd("start", member);
        await lab.etcd("start", (member % 3) + 1);
      },
    }),
];

/** A fault, in one of four a second one of the other kind beside it, and for how long. */
export function drawFaults(
  random: Random,
  machines: readonly number[],
): { readonly faults: readonly Fault[]; readonly holdMs: number } {
  const long = random.fraction() < 0.4;
  const about = {
    m: 1 + Math.floor(random.fraction() * machines.length),
    member: 1 + Math.floor(random.fraction() * 3),
    all: machines,
  };
  const first = random.fraction() < 0.7 ? ON_MACHINES : ON_ETCD;
  const other = first === ON_MACHINES ? ON_ETCD : ON_MACHINES;
  const faults = [oneOf(first, random)(about)];
  const second = oneOf(other, random)(about);
  if (random.fraction() < 0.25) faults.push(second);
  // Short ones end well within a lease, as it was last renewed a third of it ago at most.
  const holdMs = long
    ? (TTL_SECONDS + 2 + random.fraction() * 6) * 1_000
    : 500 + random.fraction() * 3_000;
  return { faults, holdMs };
}

export function oneOf<T>(list: readonly T[], random: Random): T {
  const found = list[Math.floor(random.fraction() * list.length)];
  if (found === undefined) throw new Error("nothing to choose from");
  return found;
}

/** A member that was started a moment ago may not take it yet. */
async function moveLeaderSoon(lab: Lab): Promise<void> {
  await lab.waitFor({
    what: "etcd has moved its leader",
    deadlineMs: 60_000,
    look: () => moveLeader(lab),
    until: () => true,
  });
}

async function moveLeader(lab: Lab): Promise<void> {
  const urls = (await lab.etcdUrls()).split(",");
  const members: { id: string; url: string; leads: boolean }[] = [];
  for (const url of urls) {
    const env = { ETCDCTL_API: "3" };
    const text = await runOk(
      ["etcdctl", `--endpoints=${url}`, "endpoint", "status", "-w", "fields"],
      { env },
    );
    const field = (name: string) => new RegExp(`"${name}" : (\\d+)`).exec(text)?.[1] ?? "";
    const id = field("MemberID");
    members.push({ id: BigInt(id).toString(16), url, leads: id === field("Leader") });
  }
  const leader = members.find(({ leads }) => leads);
  const next = members.find(({ leads }) => !leads);
  if (leader === undefined || next === undefined) throw new Error("etcd has no leader to move");
  await runOk(["etcdctl", `--endpoints=${leader.url}`, "move-leader", next.id], {
    env: { ETCDCTL_API: "3" },
  });
}
