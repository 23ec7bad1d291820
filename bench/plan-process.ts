// One run of bench/plan.bench.ts, in a process of its own whose memory is that of nothing else. The result goes to the parent.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import type { ClusterFact } from "../src/cluster/facts.ts";
import { SeededRandom } from "../src/runtime/seeded-random.ts";
import type { Requirements } from "../src/units/requirements.ts";
import { NO_REQUIREMENTS } from "../src/units/requirements.ts";
import { Oracle } from "../test/engine/oracle.ts";
import {
  type GeneratedCluster,
  generateCluster,
  nonGlobalUnits,
  pick,
  unitFacts,
} from "./plan-load.ts";
import { PlannedCluster } from "./planned-cluster.ts";

export interface PlanRun {
  readonly machines: number;
  readonly units: number;
  readonly seed: number;
  /** Measure single changes and lost machines too, and ask the oracle. */
  readonly whole: boolean;
}

export interface PlanFigures {
  readonly coldMs: number;
  /** So was the cold plan. */
  readonly isOnOneCore: boolean;
  readonly rssMb: number;
  readonly changesMs: readonly number[];
  readonly lossesMs: readonly number[];
}

const CHANGES = 2_000;
const LOSSES = 200;
/** Allowed is judged for every placement, the choice for so many of them: each looks at every machine. */
const CHOICES_JUDGED = 20;

function main(run: PlanRun): PlanFigures {
  const random = new SeededRandom(run.seed);
  const generated = generateCluster(run, random);
  const requirements = new Map(generated.requirements);
  const cores = allowedCores();
  const isOnOneCore = useCores(/\d+$/.exec(cores)?.[0] ?? "0");
  const coldMs = cpuMs();
  const planned = new PlannedCluster(requirements);
  planned.load(generated.facts);
  const tasks = planned.planAll();
  const figures = {
    coldMs: cpuMs() - coldMs,
    isOnOneCore,
    rssMb: process.resourceUsage().maxRSS / 1024,
  };
  useCores(cores);
  planned.write(tasks);
  planned.settle();
  const placed = [...planned.state.units.values()].filter((unit) => unit.placement !== undefined);
  assert.equal(placed.length, run.units, "all are placed");
  assert.equal(planned.state.blocked.size, 0, "none is blocked");
  if (!run.whole) return { ...figures, changesMs: [], lossesMs: [] };
  const options = { generated, planned, requirements, random };
  const measured = {
    ...figures,
    changesMs: measureChanges(options),
    lossesMs: measureLosses(options),
  };
  const read = (unit: string) => requirements.get(unit) ?? NO_REQUIREMENTS;
  const oracle = new Oracle(read, { lost: new Set() });
  for (const fact of generated.facts) oracle.apply(fact);
  const choices = Math.ceil(tasks.length / CHOICES_JUDGED);
  assert.deepEqual(oracle.judge(tasks, { choices }), [], "the oracle has no objection");
  return measured;
}

interface Measured {
  readonly generated: GeneratedCluster;
  readonly planned: PlannedCluster;
  readonly requirements: Map<string, Requirements>;
  readonly random: SeededRandom;
}

/** One at a time: a unit comes, is restarted, stopped or destroyed. Until its tasks are written and nothing is left to do. */
function measureChanges({ planned, requirements, random }: Measured): readonly number[] {
  const newcomers = nonGlobalUnits(CHANGES, random, "late-");
  const present = [...planned.state.units.keys()].filter((name) => !name.startsWith("global-"));
  return newcomers.map(([name, wish], index) => {
    const kind = index % 4;
    const subject = kind === 0 ? name : pick(present, random);
    if (kind === 0) requirements.set(name, { ...NO_REQUIREMENTS, ...wish });
    return timed(() => {
      planned.apply(change(planned, subject, kind));
      planned.settle();
    });
  });
}

function change(planned: PlannedCluster, unit: string, kind: number): readonly ClusterFact[] {
  const revision = planned.nextRevision;
  if (kind === 0) return unitFacts(unit, { revision });
  if (kind === 1) return [{ kind: "unit", unit, value: undefined }];
  const spec = kind === 2 ? ({ restarts: 1 } as const) : ({ desired: "inactive" } as const);
  const [, ...facts] = unitFacts(unit, { revision, spec });
  return facts;
}

/** From the end of a machine's presence until everything it had is elsewhere. Then it comes back. */
function measureLosses({ generated, planned, random }: Measured): readonly number[] {
  const presences = new Map<string, ClusterFact>();
  for (const fact of generated.facts) {
    if (fact.kind === "machine") presences.set(fact.machineId, fact);
  }
  return Array.from({ length: LOSSES }, () => {
    const machineId = pick(generated.machineIds, random);
    const ms = timed(() => {
      planned.apply([{ kind: "machine", machineId, value: undefined }]);
      planned.lose(machineId);
      planned.settle();
    });
    assert.equal(planned.state.machine(machineId)?.placed.length, 0, "all have left");
    const back = presences.get(machineId);
    planned.find(machineId);
    planned.apply(back === undefined ? [] : [back]);
    planned.settle();
    return ms;
  });
}

/** On the clock: a thread's CPU time is counted in ticks, which are longer than most changes take. */
function timed(work: () => void): number {
  const beganMs = performance.now();
  work();
  return performance.now() - beganMs;
}

/** As a list like `0-3,5`. */
function allowedCores(): string {
  const status = readFileSync("/proc/self/status", "utf8");
  return /^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? "";
}

/** From now on, with all its threads. False: there is no taskset (util-linux), so that nothing has changed. */
function useCores(cores: string): boolean {
  const which = ["--all-tasks", "--cpu-list", "--pid", cores, `${process.pid}`];
  return spawnSync("taskset", which).status === 0;
}

/** Of the whole process: helpers that collect garbage or compile count too. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

process.send?.(main(JSON.parse(process.argv[2] ?? "") as PlanRun));
