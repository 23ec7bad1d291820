import { Assumptions } from "./assumptions.ts";
import type { ClusterState } from "./cluster-state.ts";
import {
  isPlacedOn,
  isPresent,
  isWanted,
  knownConstraints,
  type MachineEntry,
  type UnitEntry,
} from "./entries.ts";
import type { UnitSpec, Versioned } from "./facts.ts";
import { peersOf } from "./groups.ts";
import type { MachineReason } from "./reason.ts";

/** One thing that somebody would have to do. */
export type RemedyStep =
  /** Ends draining too. */
  | { readonly type: "uncordon"; readonly machineId: string }
  /** `value` null: the key has to go. */
  | {
      readonly type: "set-metadata";
      readonly machineId: string;
      readonly key: string;
      readonly value: string | null;
    }
  /** Take the unit off its machine. */
  | { readonly type: "unload"; readonly unit: string }
  /** MachineOf= names a unit that nobody wants loaded. */
  | { readonly type: "load"; readonly unit: string }
  /** MachineOf= names a unit that does not exist. */
  | { readonly type: "submit"; readonly unit: string }
  /** Remove the machine's own unit of that name. */
  | { readonly type: "free-name"; readonly machineId: string; readonly unit: string };

/** Everything that would have to be done for the unit to fit on a machine; without `machineId` that is not yet enough. */
export interface Remedy {
  readonly machineId?: string;
  readonly steps: readonly RemedyStep[];
}

type WhyNot = (
  cluster: ClusterState,
  unit: UnitEntry,
  machine: MachineEntry,
) => MachineReason | undefined;

const REMEDIES_MAX = 5;
const STEPS_MAX = 6;
/** Of one machine, tried one by one when nothing else helps. */
const EVICTIONS_MAX = 50;
/** Questions of feasibility per explanation: some 50 ms of work. */
const QUESTIONS_MAX = 20_000;

/**
 * What would have to change for the unit to be placed, the least first. Nothing is guessed from the wording of a reason: each step is assumed
 * in the cluster state, the same question is asked again, and all is taken back.
 */
export function remedies(cluster: ClusterState, name: string, whyNot: WhyNot): readonly Remedy[] {
  const search = new Search(cluster, name, whyNot);
  try {
    const common = search.wakePeers();
    if (common.some(({ type }) => type === "submit")) return [{ steps: common }];
    const found = [...cluster.machineIds].flatMap((machineId) => {
      const steps = search.stepsOn(machineId);
      return steps === undefined ? [] : [{ machineId, steps: [...common, ...steps] }];
    });
    return found.sort((a, b) => effort(a) - effort(b)).slice(0, REMEDIES_MAX);
  } finally {
    search.takeBack();
  }
}

/** Taking work away from others costs more than any number of settings. */
function effort({ steps }: Remedy): number {
  return steps.reduce((sum, { type }) => sum + (type === "unload" ? STEPS_MAX : 1), 0);
}

class Search {
  readonly #cluster: ClusterState;
  readonly #name: string;
  readonly #whyNot: WhyNot;
  readonly #assumptions: Assumptions;
  #questions = 0;

  constructor(cluster: ClusterState, name: string, whyNot: WhyNot) {
    this.#cluster = cluster;
    this.#assumptions = new Assumptions(cluster);
    this.#name = name;
    this.#whyNot = whyNot;
  }

  /** Assumes that every unit it asks to be with is wanted, as far as it exists. */
  wakePeers(): readonly RemedyStep[] {
    const steps: RemedyStep[] = [];
    const names = new Set([this.#name]);
    for (const name of names) {
      const entry = this.#cluster.unit(name);
      if (name !== this.#name && !isWanted(entry)) {
        if (entry?.unit === undefined) {
          steps.push({ type: "submit", unit: name });
          continue;
        }
        steps.push({ type: "load", unit: name });
        this.#assumeUnit(name, entry.unit, "loaded");
      }
      for (const peer of entry === undefined ? [] : peersOf(entry)) names.add(peer);
    }
    return steps;
  }

  /** Undefined: nothing that is known here to help does. */
  stepsOn(machineId: string): readonly RemedyStep[] | undefined {
    const mark = this.#assumptions.count;
    const steps: RemedyStep[] = [];
    try {
      while (steps.length < STEPS_MAX) {
        const reason = this.#ask(machineId);
        if (reason === undefined) return steps;
        const step = reason === "enough" ? undefined : this.#step(machineId, reason);
        if (step === undefined) return undefined;
        steps.push(step);
      }
      return this.#ask(machineId) === undefined ? steps : undefined;
    } finally {
      this.takeBack(mark);
    }
  }

  takeBack(mark = 0): void {
    this.#assumptions.takeBack(mark);
  }

  #ask(machineId: string): MachineReason | "enough" | undefined {
    this.#questions += 1;
    if (this.#questions > QUESTIONS_MAX) return "enough";
    const unit = this.#cluster.unit(this.#name);
    const machine = this.#cluster.machine(machineId);
    if (unit === undefined || machine === undefined) return { type: "away" };
    return this.#whyNot(this.#cluster, unit, machine);
  }

  /** Assumes what might remove the reason. */
  #step(machineId: string, reason: MachineReason): RemedyStep | undefined {
    const { subject, own } = subjectOf(this.#name, reason);
    const machine = this.#cluster.machine(machineId);
    if (machine === undefined || !isPresent(machine)) return undefined;
    switch (own.type) {
      case "machine-id-differs":
      case "machine-id-excluded":
      case "failed-there":
      case "fencing-too-slow":
      case "peer-elsewhere":
      case "leaving":
      case "away":
        return undefined;
      case "cordoned":
      case "draining":
        this.#assumeOperator(machine, {});
        return { type: "uncordon", machineId };
      case "metadata-differs":
        return this.#metadataStep(machine, subject, reason);
      case "conflict":
      case "replaced":
        return this.#evict(machine, own.unit) ? { type: "unload", unit: own.unit } : undefined;
      case "name-taken":
        this.#assumptions.assume({ kind: "state", machineId, unit: subject, value: undefined });
        return { type: "free-name", machineId, unit: subject };
      case "no-room":
      case "too-many-instances":
        return this.#evictionStep(machine, reason);
    }
  }

  /** One of the unit's requirements: which one, feasibility tells. */
  #metadataStep(
    machine: MachineEntry,
    subject: string,
    reason: MachineReason,
  ): RemedyStep | undefined {
    const unit = this.#cluster.unit(subject);
    const requirements = unit && knownConstraints(unit)?.requirements.metadata;
    for (const { key, operator, values } of requirements ?? []) {
      const value = operator === "in" ? (values[0] ?? "") : null;
      if ((machine.metadata.get(key) ?? null) === value) continue;
      const mark = this.#assumptions.count;
      this.#assumeOperator(machine, { [key]: value });
      if (!isSame(this.#ask(machine.id), reason)) {
        return { type: "set-metadata", machineId: machine.id, key, value };
      }
      this.takeBack(mark);
    }
    return undefined;
  }

  /** Room of whatever kind is missing: does it help if one of the others goes? */
  #evictionStep(machine: MachineEntry, reason: MachineReason): RemedyStep | undefined {
    for (const other of [...machine.occupants.keys()].sort().slice(0, EVICTIONS_MAX)) {
      const mark = this.#assumptions.count;
      if (!this.#evict(machine, other)) continue;
      const after = this.#ask(machine.id);
      if (after === "enough") return undefined;
      if (after?.type !== reason.type) return { type: "unload", unit: other };
      this.takeBack(mark);
    }
    return undefined;
  }

  /** False: it is not there, or it is what is to be placed. */
  #evict(machine: MachineEntry, name: string): boolean {
    const unit = this.#cluster.unit(name);
    if (unit === undefined || name === this.#name || !machine.occupants.has(name)) return false;
    if (isPlacedOn(unit, machine)) {
      this.#assumptions.assume({ kind: "placement", unit: name, value: undefined });
    }
    const place = { machineId: machine.id, unit: name, value: undefined };
    this.#assumptions.assume({ kind: "assignment", ...place });
    this.#assumptions.assume({ kind: "state", ...place });
    if (unit.unit !== undefined) this.#assumeUnit(name, unit.unit, "inactive");
    return true;
  }

  #assumeUnit(unit: string, value: Versioned<UnitSpec>, desired: "loaded" | "inactive"): void {
    this.#assumptions.assume({
      kind: "unit",
      unit,
      value: { ...value, record: { ...value.record, desired } },
    });
  }

  /** Open, with this metadata besides what it has. */
  #assumeOperator(machine: MachineEntry, metadata: Readonly<Record<string, string | null>>): void {
    const known = machine.operator?.record;
    const isOpening = Object.keys(metadata).length === 0;
    const record = {
      ...known,
      cordoned: !isOpening && (known?.cordoned ?? false),
      draining: !isOpening && (known?.draining ?? false),
      metadata: { ...known?.metadata, ...metadata },
    };
    const value = { createRevision: 0, modRevision: 0, ...machine.operator, record };
    this.#assumptions.assume({ kind: "operator", machineId: machine.id, value });
  }
}

/** The unit of the group that the reason is about. */
function subjectOf(
  name: string,
  reason: MachineReason,
): { readonly subject: string; readonly own: Exclude<MachineReason, { type: "group-member" }> } {
  let subject = name;
  let own = reason;
  while (own.type === "group-member") {
    subject = own.unit;
    own = own.because;
  }
  return { subject, own };
}

function isSame(one: MachineReason | "enough" | undefined, other: MachineReason): boolean {
  return one === "enough" || JSON.stringify(one) === JSON.stringify(other);
}
