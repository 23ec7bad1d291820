import type { ClusterState } from "../cluster/cluster-state.ts";
import type { Dirty } from "../cluster/dirty.ts";
import { compareAge, isWanted, type UnitEntry } from "../cluster/entries.ts";
import { compareText } from "../cluster/facts.ts";
import { groupOf, isAlone, isGroupable, splitGroups } from "../cluster/groups.ts";
import { BLOCKED_INTERVAL_MS, blockedTask } from "./blocked.ts";
import { noteFailures, runFailures } from "./failures.ts";
import { scheduleGlobal, settleGlobal } from "./global.ts";
import { noteMoves, receiveGroup, runMoves } from "./moves.ts";
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
  const pass = new PlanPass({ cluster, losses, wallMs: now.wallMs });
  for (const unit of dirty.units) pass.queue.units.add(unit);
  for (const machine of dirty.machines) pass.queue.machines.add(machine);
  // Each round acts on a unit at most once per pass, so the rounds come to an end.
  while (pass.queue.units.size > 0 || pass.queue.machines.size > 0) {
    while (pass.queue.units.size > 0 || pass.queue.machines.size > 0) runRound(pass);
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

interface Item {
  /** Oldest first. Several: they are tied by MachineOf. */
  readonly units: readonly UnitEntry[];
  readonly oldest: UnitEntry;
}

/**
 * First everything that has to go, then everything that needs a place, each oldest first: by the oldest of a group, not by the member that
 * happened to be dirty.
 */
function runRound(pass: PlanPass): void {
  const { units, globalsOn } = takeQueue(pass);
  const schedule: { readonly oldest: UnitEntry; readonly run: () => void }[] = [];
  for (const { units: group, oldest } of makeItems(pass, units)) {
    if (!isWanted(oldest)) {
      withdraw(pass, oldest, { type: "not-wanted" });
    } else if (oldest.unit.record.global) {
      const on = globalsOn.get(oldest.name);
      settleGlobal(pass, oldest, on);
      schedule.push({ oldest, run: () => scheduleGlobal(pass, oldest, on) });
    } else if (group.length === 1 && isNowhere(pass, oldest)) {
      schedule.push({
        oldest,
        run: () => scheduleGroup(pass, { units: group, standings: NO_STANDINGS }),
      });
    } else {
      const standings = settleGroup(pass, group);
      receiveGroup(pass, group, standings);
      const parts =
        group.length > 1
          ? splitGroups(pass.cluster, homelessOf(standings))
          : group
              .filter(({ name }) => standings.get(name)?.type === "homeless")
              .map((unit) => [unit]);
      for (const homeless of parts) {
        schedule.push({
          oldest: homeless[0] ?? oldest,
          run: () => scheduleGroup(pass, { units: homeless, standings }),
        });
      }
    }
  }
  schedule.sort((a, b) => compareAge(a.oldest, b.oldest));
  for (const { run } of schedule) run();
}

/** Nothing is to be settled before it is placed: so it is with almost all units that are. */
function isNowhere(pass: PlanPass, unit: UnitEntry): boolean {
  return (
    unit.placement === undefined &&
    unit.assignedTo.size === 0 &&
    unit.constraints?.type === "known" &&
    isAlone(pass.cluster, unit)
  );
}

const NO_STANDINGS: Standings = new Map();

function makeItems(pass: PlanPass, units: readonly UnitEntry[]): readonly Item[] {
  const items: Item[] = [];
  const grouped = new Set<string>();
  for (const unit of units) {
    if (grouped.has(unit.name)) continue;
    const group = isGroupable(unit) ? groupOf(pass.cluster, unit) : [unit];
    if (group.length > 1) for (const { name } of group) grouped.add(name);
    // Half of a group that was acted on is not a base to decide on: its writes come first.
    if (group.some(({ name }) => pass.isTouched(name))) continue;
    items.push({ units: group, oldest: group[0] ?? unit });
  }
  return items.sort((a, b) => compareAge(a.oldest, b.oldest));
}

function takeQueue(pass: PlanPass): Round {
  const names = new Set(pass.queue.units);
  const globalsOn = new Map<string, Set<string>>();
  for (const id of [...pass.queue.machines].sort(compareText)) {
    const machine = pass.cluster.machine(id);
    for (const name of [...(machine?.occupants.keys() ?? []), ...(machine?.states.keys() ?? [])]) {
      if (!pass.cluster.globals.has(name)) names.add(name);
    }
    for (const name of pass.cluster.blocked) names.add(name);
    for (const name of pass.cluster.globals) {
      const machines = globalsOn.get(name);
      if (machines === undefined) globalsOn.set(name, new Set([id]));
      else machines.add(id);
    }
  }
  noteMoves(pass, names, pass.queue.machines);
  noteFailures(pass, names);
  pass.queue.units.clear();
  pass.queue.machines.clear();
  for (const name of names) globalsOn.delete(name);
  const units: UnitEntry[] = [];
  for (const name of [...names, ...globalsOn.keys()]) {
    const unit = pass.cluster.unit(name);
    const isReadable = unit !== undefined && unit.unreadable.size === 0;
    if (isReadable && !pass.isTouched(name) && (!isWanted(unit) || isPlannable(unit))) {
      units.push(unit);
    }
  }
  return { units: units.sort(compareAge), globalsOn };
}

function isPlannable(unit: UnitEntry): boolean {
  return unit.unit?.record.global === true || isGroupable(unit);
}
