import { isNameTaken, isPresent, type MachineEntry, type UnitEntry } from "../cluster/entries.ts";
import { compareText } from "../cluster/facts.ts";
import { displacedBy, whyNot } from "../cluster/feasibility.ts";
import { isAlone, peersOf } from "../cluster/groups.ts";
import { bestMachine } from "../cluster/ranking.ts";
import { areApart, giveUpEverywhere, giveUpStopping } from "./give-up.ts";
import { type Homeless, isMove, originOf, type Tied } from "./homeless.ts";
import type { PlanPass } from "./pass.ts";
import { mayHold, place } from "./place.ts";
import type { Standings } from "./settle.ts";
import type { TaskReason } from "./tasks.ts";

/** Comparisons, and operations, of one transaction that moves a group: a little below what a store takes (128). */
const BUNDLE_MAX = 124;
const OPERATIONS_PER_MOVE = 4;

/** Filter -> rank -> pick for units that go together; if no machine takes them all, each gets the reasons. */
export function scheduleGroup(pass: PlanPass, homeless: Homeless): void {
  const { units } = homeless;
  const group = units.length > 1 ? new Set(units.map(({ name }) => name)) : undefined;
  if (group !== undefined && areApart(pass, homeless)) return;
  const occupied = occupiedMachines(pass, homeless);
  if (occupied.length > 0) {
    adopt(pass, { homeless, group, occupied });
    return;
  }
  const tied = tiedMachines(pass, homeless);
  const machine = pickMachine(pass, { homeless, group, tied });
  if (machine !== undefined) placeAll(pass, homeless, { machine, why: WANTED });
  else giveUpEverywhere(pass, homeless, tied);
}

/** Units that are held somewhere stay there if they can, or have to stop first. */
function adopt(
  pass: PlanPass,
  options: {
    readonly homeless: Homeless;
    readonly group: ReadonlySet<string> | undefined;
    readonly occupied: readonly MachineEntry[];
  },
): void {
  const { homeless, group, occupied } = options;
  const { units } = homeless;
  const machine = occupied.length === 1 ? occupied[0] : undefined;
  if (machine !== undefined && fits(pass, { units, group, machine, isAdoption: true })) {
    placeAll(pass, homeless, { machine, why: { type: "held-there" } });
  } else {
    giveUpStopping(pass, homeless, occupied);
  }
}

const WANTED: TaskReason = { type: "wanted" };

function pickMachine(
  pass: PlanPass,
  options: {
    readonly homeless: Homeless;
    readonly group: ReadonlySet<string> | undefined;
    readonly tied: Tied | undefined;
  },
): MachineEntry | undefined {
  const { cluster } = pass;
  const { homeless, group, tied } = options;
  const { units, to } = homeless;
  // A move that nobody needs for itself does not drive others away.
  const isPeaceful = isMove(homeless);
  const accepts = (machine: MachineEntry) =>
    (to === undefined || to === machine.id) &&
    fits(pass, { units, group, machine }) &&
    !(isPeaceful && units.some((unit) => displacedBy(unit, machine).length > 0));
  if (tied === undefined && to === undefined) return bestMachine(cluster, units, accepts);
  const machines = (tied?.machineIds ?? [to ?? ""]).flatMap((id) => cluster.machine(id) ?? []);
  return machines.find(accepts);
}

function fits(
  pass: PlanPass,
  options: {
    readonly units: readonly UnitEntry[];
    readonly group: ReadonlySet<string> | undefined;
    readonly machine: MachineEntry;
    readonly isAdoption?: boolean;
  },
): boolean {
  const { units, group, machine, isAdoption = false } = options;
  for (const unit of units) {
    const held = isAdoption ? machine.states.get(unit.name)?.record : undefined;
    const holds = isAdoption && held?.identity === unit.unit?.createRevision;
    if (whyNot(pass.cluster, { unit, machine, group, holds }) !== undefined) return false;
  }
  return true;
}

/** Present machines that still hold one of the units, sorted. The machine a unit is about to move from is not one of them. */
function occupiedMachines(pass: PlanPass, { units, standings }: Homeless): readonly MachineEntry[] {
  if (units.every(({ assignedTo, statesOn }) => assignedTo.size === 0 && statesOn.size === 0)) {
    return NO_MACHINES;
  }
  const found = new Map<string, MachineEntry>();
  for (const unit of units) {
    const standing = standings.get(unit.name);
    const origin = standing?.type === "homeless" ? standing.origin?.machineId : undefined;
    for (const id of [...unit.assignedTo, ...unit.statesOn]) {
      const machine = pass.cluster.machine(id);
      if (machine === undefined || id === origin || !isPresent(machine)) continue;
      const isStateOnly = !unit.assignedTo.has(id);
      if (isStateOnly && isNameTaken(machine.states.get(unit.name))) continue;
      found.set(id, machine);
    }
  }
  return [...found.values()].sort((a, b) => compareText(a.id, b.id));
}

const NO_MACHINES: readonly MachineEntry[] = [];

/** Where the units have to go because units that stay are there: to their peers, or else to their followers. */
function tiedMachines(pass: PlanPass, { units, standings }: Homeless): Tied | undefined {
  if (units.every(isAlone)) return undefined;
  const peers = units.flatMap((unit) => settledOf(pass, peersOf(unit), standings));
  const first = peers[0];
  if (first !== undefined) return { machineIds: [first.machineId], because: first.unit };
  const followers = units.flatMap((unit) => settledOf(pass, [...unit.followers].sort(), standings));
  const because = followers[0]?.unit;
  if (because === undefined) return undefined;
  return { machineIds: [...new Set(followers.map(({ machineId }) => machineId))], because };
}

function settledOf(
  pass: PlanPass,
  names: readonly string[],
  standings: Standings,
): readonly { readonly unit: string; readonly machineId: string }[] {
  return names.flatMap((unit) => {
    const standing = standings.get(unit);
    if (standing?.type === "settled") return [{ unit, machineId: standing.machineId }];
    // Not to be read now, but still placed.
    const entry = pass.cluster.unit(unit);
    const machineId = entry?.placement?.record.machine;
    return standing === undefined && machineId !== undefined && entry?.unit?.record.global === false
      ? [{ unit, machineId }]
      : [];
  });
}

export function placeAll(
  pass: PlanPass,
  { units, standings }: Homeless,
  options: { readonly machine: MachineEntry; readonly why: TaskReason },
): void {
  const { machine, why } = options;
  const first = units[0]?.name ?? "";
  let bundles = 0;
  let comparisons = 0;
  let operations = 0;
  for (const unit of units) {
    const origin = originOf(unit, standings);
    if (units.length === 1) {
      place(pass, { unit, machine, origin, why: origin?.why ?? why, bundle: undefined });
      return;
    }
    // Placement, unit and the machine it comes from; and who may hold it.
    const more = 3 + mayHold(pass, unit, machine.id).length;
    if (comparisons + more > BUNDLE_MAX || operations + OPERATIONS_PER_MOVE > BUNDLE_MAX) {
      bundles += 1;
      comparisons = 0;
      operations = 0;
    }
    comparisons += more;
    operations += OPERATIONS_PER_MOVE;
    const bundle = `${first} ${bundles}`;
    place(pass, { unit, machine, origin, why: origin?.why ?? why, bundle });
  }
}
