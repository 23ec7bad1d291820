import type { ClusterFact, UnitSpec } from "../src/cluster/facts.ts";
import type { Random } from "../src/runtime/random.ts";
import type { Manifest } from "../src/units/manifest.ts";
import { NO_REQUIREMENTS, type Requirements } from "../src/units/requirements.ts";

export interface PlanLoad {
  readonly machines: number;
  /** Non-global ones: a tenth with Conflicts=, a tenth with MachineOf=, a fifth with MachineMetadata=. */
  readonly units: number;
}

/** A generated cluster with nothing placed yet: its facts in the order of their revisions, and what each unit asks for. */
export interface GeneratedCluster {
  readonly facts: readonly ClusterFact[];
  readonly machineIds: readonly string[];
  readonly requirements: ReadonlyMap<string, Requirements>;
}

const ZONES = ["a", "b", "c", "d"];
const GLOBALS = 10;
/** Units that may not be together come in sets of so many. */
const CONFLICT_SET = 3;
const GIB = 2 ** 30;

/** The same seed gives the same cluster. */
export function generateCluster(load: PlanLoad, random: Random): GeneratedCluster {
  const facts: ClusterFact[] = [];
  const requirements = new Map<string, Requirements>();
  const machineIds = Array.from({ length: load.machines }, () => random.id());
  for (const [index, machineId] of machineIds.entries()) {
    facts.push({
      kind: "machine",
      machineId,
      value: versioned(machineSpec(index, random), index + 1),
    });
    facts.push({ kind: "roster", machineId, value: versioned({}, index + 1) });
  }
  let revision = load.machines;
  const add = (name: string, wish: Partial<Requirements>) => {
    revision += 1;
    if (Object.keys(wish).length > 0) requirements.set(name, { ...NO_REQUIREMENTS, ...wish });
    facts.push(...unitFacts(name, { revision, global: wish.global === true }));
  };
  for (let index = 0; index < GLOBALS; index += 1) {
    const isPartial = index % 2 === 1;
    const metadata = isPartial ? [{ key: "edge", operator: "in", values: ["yes"] } as const] : [];
    add(`global-${index}.service`, { global: true, metadata });
  }
  for (const [name, wish] of shuffled(nonGlobalUnits(load.units, random), random)) add(name, wish);
  return { facts, machineIds, requirements };
}

/** The records of a launched unit with a manifest of its own. */
export function unitFacts(
  unit: string,
  options: {
    readonly revision: number;
    readonly global?: boolean;
    readonly spec?: Partial<UnitSpec>;
  },
): readonly ClusterFact[] {
  const { revision, global = false, spec } = options;
  const manifest = `files of ${unit}`;
  const record: UnitSpec = { desired: "launched", manifest, restarts: 0, global, ...spec };
  return [
    { kind: "file", manifest, value: versioned(MANIFEST, revision) },
    { kind: "unit", unit, value: versioned(record, revision) },
  ];
}

/** What each kind of unit in the load looks like; also for units that come later. */
export function nonGlobalUnits(
  count: number,
  random: Random,
  prefix = "",
): readonly (readonly [string, Partial<Requirements>])[] {
  const units: (readonly [string, Partial<Requirements>])[] = [];
  for (let index = 0; units.length < count; index += 1) {
    // Ten at a time: one in conflict, one that follows, two with metadata, six without a wish.
    const set = Math.floor(index / CONFLICT_SET);
    const member = index % CONFLICT_SET;
    units.push(
      [
        `${prefix}apart-${set}@${member}.service`,
        { conflicts: [`${prefix}apart-${set}@*.service`] },
      ],
      [`${prefix}plain-${index}-0.service`, {}],
      [`${prefix}sidekick-${index}.service`, { machineOf: [`${prefix}plain-${index}-0.service`] }],
      [`${prefix}fast-${index}.service`, metadataWish("disk", "ssd")],
      [`${prefix}zone-${index}.service`, metadataWish("zone", pick(ZONES, random))],
    );
    for (let plain = 1; plain < 6; plain += 1) {
      units.push([`${prefix}plain-${index}-${plain}.service`, {}]);
    }
  }
  return units.slice(0, count);
}

function metadataWish(key: string, value: string): Partial<Requirements> {
  return { metadata: [{ key, operator: "in", values: [value] }] };
}

function machineSpec(index: number, random: Random) {
  return {
    automatic: {
      arch: "x64",
      os: "debian",
      kernel: "6.1.0",
      hostname: `host-${index}`,
      systemd: "252",
    },
    metadata: {
      disk: random.fraction() < 0.3 ? "ssd" : "hdd",
      zone: pick(ZONES, random),
      edge: random.fraction() < 0.1 ? "yes" : "no",
    },
    format: 1,
    leaving: false,
    capacity: { cpus: 16, memoryBytes: 64 * GIB, tasks: 100_000 },
  };
}

function versioned<T>(record: T, revision: number) {
  return { record, createRevision: revision, modRevision: revision };
}

const MANIFEST: Manifest = { content: "[Service]\nExecStart=/bin/true\n", dropIns: [] };

export function pick<T>(items: readonly T[], random: Random): T {
  const item = items[Math.floor(random.fraction() * items.length)];
  if (item === undefined) throw new RangeError("nothing to pick from");
  return item;
}

function shuffled<T>(items: readonly T[], random: Random): readonly T[] {
  return items
    .map((item) => ({ item, at: random.fraction() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
