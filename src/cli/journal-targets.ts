import type { UnitHistory } from "../api/protocol.ts";
import type { MachineView, UnitView } from "../cluster/views.ts";
import { isTemplate, mangleUnitName, parseUnitName } from "../units/unit-name.ts";
import { findMachine } from "./commands/machines.ts";
import type { Context } from "./context.ts";
import { expandArguments, isPattern, matchesPattern, splitMachine } from "./unit-arguments.ts";

/** A unit whose journal, or state, is asked for, and whom to ask. */
export interface UnitTarget {
  readonly name: string;
  readonly view: UnitView | undefined;
  /** Machines that have it or should, in order of id. */
  readonly holders: readonly string[];
  /** Machines that had it before. */
  readonly former: readonly string[];
  /** Neither in the registry nor in its history: it may be a global unit that was destroyed, or a slip of the finger. */
  readonly unknown: boolean;
}

export interface Targets {
  readonly units: readonly UnitTarget[];
  /** Patterns that match nothing. */
  readonly missing: readonly string[];
}

/**
 * Units by name, pattern, template (all its instances) and `UNIT@MACHINE`, those that were destroyed included, with `machine` on that one only.
 */
export async function findTargets(
  context: Context,
  args: readonly string[],
  machine: string | undefined,
): Promise<Targets> {
  const words = await expandArguments(context, args);
  const only = machine === undefined ? undefined : (await findMachine(context, machine)).id;
  const asked = await Promise.all(
    words.map(async (word) => {
      const split = splitMachine(word);
      if (split === undefined) return { word, on: only };
      return { word: split.unit, on: (await findMachine(context, split.machine)).id };
    }),
  );
  const found = await findNames(context, [...new Set(asked.map(({ word }) => word))]);
  const targets = new Map<string, UnitTarget>();
  const missing = new Set<string>();
  for (const { word, on } of asked) {
    const names = found.namesOf(word);
    if (names.length === 0) missing.add(word);
    for (const name of names) {
      const target = makeTarget({ ...found, name, on });
      const before = targets.get(name);
      targets.set(name, before === undefined ? target : union(before, target));
    }
  }
  return { units: [...targets.values()], missing: [...missing] };
}

interface Found {
  readonly views: ReadonlyMap<string, UnitView>;
  readonly histories: ReadonlyMap<string, UnitHistory>;
  readonly namesOf: (word: string) => readonly string[];
}

async function findNames(context: Context, words: readonly string[]): Promise<Found> {
  const isMany = (word: string) => isPattern(word) || isTemplate(mangleUnitName(word));
  const many = words.some(isMany);
  const plain = words.filter((word) => !isMany(word)).map(mangleUnitName);
  const [units, history] = await Promise.all([
    many
      ? context.client.units()
      : context.client.unitsNamed(plain).then((map) => [...map.values()]),
    context.client.history(many ? [] : plain),
  ]);
  const views = new Map(units.map((unit) => [unit.name, unit]));
  const histories = new Map(history.map((unit) => [unit.name, unit]));
  const known = [...new Set([...views.keys(), ...histories.keys()])].sort();
  const namesOf = (word: string) => {
    if (isPattern(word)) return known.filter((name) => matchesPattern(word, name));
    const name = mangleUnitName(word);
    if (!isTemplate(name)) return [name];
    const { prefix, type } = parseUnitName(name) ?? { prefix: "", type: "" };
    return known.filter(
      (one) => one.startsWith(`${prefix}@`) && one.endsWith(`.${type}`) && one !== name,
    );
  };
  return { views, histories, namesOf };
}

function makeTarget(found: Found & { readonly name: string; readonly on: string | undefined }) {
  const { name, on, views, histories } = found;
  const view = views.get(name);
  const history = histories.get(name);
  const holders = holdersOf(view);
  const former = [...new Set(history?.entries.map(({ machineId }) => machineId))].filter(
    (id) => !holders.includes(id),
  );
  const unknown = view === undefined && history === undefined;
  if (on === undefined) return { name, view, holders, former, unknown };
  return { name, view, holders: [on], former: [], unknown };
}

/** Machines that should hold a unit or report it. */
export function holdersOf(view: UnitView | undefined): readonly string[] {
  if (view === undefined) return [];
  const ids = [...view.assigned, ...view.states].map(({ machineId }) => machineId);
  return [...new Set(ids)].sort();
}

function union(a: UnitTarget, b: UnitTarget): UnitTarget {
  return {
    ...a,
    holders: [...new Set([...a.holders, ...b.holders])].sort(),
    former: [...new Set([...a.former, ...b.former])],
  };
}

/** Machines to ask about a unit that nobody knows: all that are there. */
export function presentIds(machines: readonly MachineView[]): readonly string[] {
  return machines.filter(({ present }) => present).map(({ id }) => id);
}
