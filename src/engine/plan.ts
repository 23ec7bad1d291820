import type { ClusterState } from "../cluster/cluster-state.ts";
import type { Dirty, ReadonlyDirty } from "../cluster/dirty.ts";
import { isWanted, type UnitEntry } from "../cluster/entries.ts";
import { compareText } from "../cluster/facts.ts";
import { byAge, groupOf, isAlone, isGroupable, peersOf, splitGroups } from "../cluster/groups.ts";
import { BLOCKED_INTERVAL_MS, blockedTask } from "./blocked.ts";
import { noteFailure, runFailures } from "./failures.ts";
import { scheduleGlobal, settleGlobal } from "./global.ts";
import type { Homeless } from "./homeless.ts";
import { noteMove, receiveGroup, runMoves } from "./moves.ts";
import { type Losses, PlanPass } from "./pass.ts";
import { scheduleGroup } from "./schedule.ts";
import { homelessOf, type Standings, settleGroup, withdraw } from "./settle.ts";
import type { EngineTask } from "./tasks.ts";

/**
 * What the engine has to do, as tasks with reasons: a pure function of the cluster state (which is as before when it returns). Looks
 * only at what is dirty and what that concerns; with everything dirty the result is the same (I7). Upholds I1, I6, I8 and I10.
 */
export interface PlanOptions {
  readonly dirty: Dirty;
  readonly losses: Losses;
  readonly now: { readonly monotonicMs: number; readonly wallMs: number };
  /** When the blocked record of a unit was written last, by the monotonic clock. */
  readonly blockedWrittenMs?: ReadonlyMap<string, number>;
}

export interface Plan {
  readonly tasks: readonly EngineTask[];
  /** Units whose blocked record is due, but was written a moment ago. */
  readonly later: readonly string[];
  readonly laterInMs: number | undefined;
}

export function plan(cluster: ClusterState, options: PlanOptions): Plan {
  const { dirty, losses, now } = options;
  const pass = new PlanPass({ cluster, dirty, losses, wallMs: now.wallMs });
  // Each round acts on a unit at most once per pass, so the rounds come to an end.
  while (!pass.isDone) {
    while (!pass.isDone) runRound(pass);
    runMoves(pass);
    runFailures(pass);
  }
  const decisions = pass.finish();
  const tasks = [...pass.tasks];
  const later: string[] = [];
  let laterInMs: number | undefined;
  for (const [name, reasons] of decisions) {
    const writtenMs = options.blockedWrittenMs?.get(name);
    const sinceWriteMs = writtenMs === undefined ? undefined : now.monotonicMs - writtenMs;
    const task = blockedTask(cluster.unit(name), { reasons, wallMs: now.wallMs, sinceWriteMs });
    if (task === "later") {
      later.push(name);
      const dueMs = BLOCKED_INTERVAL_MS - (sinceWriteMs ?? 0);
      laterInMs = Math.min(laterInMs ?? dueMs, dueMs);
    } else if (task !== undefined) {
      tasks.push(task);
    }
  }
  return { tasks, later, laterInMs };
}

/** What one round looks at: units, and global units on single machines. */
interface Round {
  readonly units: readonly UnitEntry[];
  readonly globalsOn: ReadonlyMap<string, ReadonlySet<string>>;
}

/**
 * First everything that has to go, then everything that needs a place, each oldest first: by the oldest of a group, not by the member that
 * happened to be dirty.
 */
function runRound(pass: PlanPass): void {
  const { units, globalsOn } = takeQueue(pass);
  const { heads, tied } = groupsOf(pass, units);
  /** By the oldest of those that go together, unless that is a new unit alone, as almost all are. */
  const homeless = new Map<UnitEntry, Homeless>();
  const schedule: UnitEntry[] = [];
  for (const oldest of heads) {
    if (!isWanted(oldest)) {
      withdraw(pass, oldest, { type: "not-wanted" });
      continue;
    }
    if (oldest.unit.record.global) {
      settleGlobal(pass, oldest, globalsOn.get(oldest.name));
      schedule.push(oldest);
      continue;
    }
    const group = tied.get(oldest) ?? [oldest];
    if (isNew(group)) {
      schedule.push(oldest);
      if (group.length > 1) homeless.set(oldest, { units: group, standings: NO_STANDINGS });
      continue;
    }
    const standings = settleGroup(pass, group);
    receiveGroup(pass, group, standings);
    for (const together of splitGroups(pass.cluster, homelessOf(standings))) {
      const [first = oldest] = together;
      schedule.push(first);
      homeless.set(first, { units: together, standings });
    }
  }
  for (const oldest of byAge(schedule)) {
    if (oldest.unit?.record.global === true) {
      scheduleGlobal(pass, oldest, globalsOn.get(oldest.name));
    } else {
      scheduleGroup(pass, homeless.get(oldest) ?? { units: [oldest], standings: NO_STANDINGS });
    }
  }
}

/** Nothing is to be settled before they are placed: so it is with almost all units that are. */
function isNew(group: readonly UnitEntry[]): boolean {
  for (const unit of group) {
    const isNowhere = unit.placement === undefined && unit.assignedTo.size === 0;
    if (!isNowhere || unit.constraints?.type !== "known") return false;
    for (const peer of peersOf(unit)) {
      if (!group.some(({ name }) => name === peer)) return false;
    }
  }
  return true;
}

const NO_STANDINGS: Standings = new Map();

interface Groups {
  /** The oldest unit of each, the oldest first. */
  readonly heads: readonly UnitEntry[];
  /** Members, oldest first, by the oldest; of groups that have more than one. */
  readonly tied: ReadonlyMap<UnitEntry, readonly UnitEntry[]>;
}

function groupsOf(pass: PlanPass, units: readonly UnitEntry[]): Groups {
  const heads: UnitEntry[] = [];
  const tied = new Map<UnitEntry, readonly UnitEntry[]>();
  const grouped = new Set<UnitEntry>();
  for (const unit of units) {
    if (isAlone(unit) || !isGroupable(unit)) {
      heads.push(unit);
      continue;
    }
    if (grouped.has(unit)) continue;
    const group = groupOf(pass.cluster, unit);
    for (const member of group) grouped.add(member);
    // Half of a group that was acted on is not a base to decide on: its writes come first.
    if (group.some((member) => pass.isTouched(member))) continue;
    const [oldest = unit] = group;
    heads.push(oldest);
    if (group.length > 1) tied.set(oldest, group);
  }
  return { heads: byAge(heads), tied };
}

function takeQueue(pass: PlanPass): Round {
  const { cluster } = pass;
  const { names, globalsOn } = namesOf(pass, pass.takeQueue());
  const units: UnitEntry[] = [];
  const take = (unit: UnitEntry) => {
    const isDue = unit.unreadable.size === 0 && !pass.isTouched(unit);
    if (isDue && (!isWanted(unit) || isPlannable(unit))) units.push(unit);
  };
  for (const name of names) {
    // Who is looked at as a whole need not be on single machines.
    globalsOn.delete(name);
    const unit = cluster.unit(name);
    // What was placed just now is looked at again when the write is seen.
    if (unit === undefined || unit.hasAssumedStay) continue;
    noteMove(pass, unit);
    noteFailure(pass, unit);
    take(unit);
  }
  for (const name of globalsOn.keys()) {
    const unit = cluster.unit(name);
    if (unit !== undefined) take(unit);
  }
  return { units: byAge(units), globalsOn };
}

/** The units that are meant, those on the machines included; global ones on these machines apart. */
function namesOf(pass: PlanPass, { units, machines }: ReadonlyDirty) {
  const { cluster } = pass;
  const globalsOn = new Map<string, Set<string>>();
  if (machines.size === 0) return { names: units, globalsOn };
  const names = new Set(units);
  for (const id of [...machines].sort(compareText)) {
    if (cluster.moves.draining.has(id)) pass.moves.draining.add(id);
    const machine = cluster.machine(id);
    for (const name of [...(machine?.occupants.keys() ?? []), ...(machine?.states.keys() ?? [])]) {
      if (!cluster.globals.has(name)) names.add(name);
    }
    for (const name of cluster.blocked) names.add(name);
    for (const name of cluster.globals) {
      const on = globalsOn.get(name);
      if (on === undefined) globalsOn.set(name, new Set([id]));
      else on.add(id);
    }
  }
  return { names, globalsOn };
}

function isPlannable(unit: UnitEntry): boolean {
  return unit.unit?.record.global === true || isGroupable(unit);
}
