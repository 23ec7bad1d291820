import type { UnitHistory } from "../api/protocol.ts";
import type { MachineView, UnitView } from "../cluster/views.ts";
import { isTemplate, mangleUnitName, templateOf } from "../units/unit-name.ts";
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
  /** Asked for as UNIT@MACHINE, or with --machine: only those of `holders`. */
  readonly bound: boolean;
  /** Neither in the registry nor in its history: it may be a global unit that was destroyed, or a slip of the finger. */
  readonly unknown: boolean;
}

export interface Targets {
  readonly units: readonly UnitTarget[];
  /** Patterns that match nothing. */
  readonly missing: readonly string[];
  /** For a unit that came later: what a pattern or template makes of it. Undefined: there is none among the words. */
  readonly later: ((name: string) => UnitTarget | undefined) | undefined;
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
  const found = await find(context, [...new Set(asked.map(({ word }) => word))]);
  const known = [...new Set([...found.views.keys(), ...found.histories.keys()])].sort();
  const targets = new Map<string, UnitTarget>();
  const missing = new Set<string>();
  for (const { word, on } of asked) {
    const names = isMany(word)
      ? known.filter((name) => standsFor(word, name))
      : [mangleUnitName(word)];
    if (names.length === 0) missing.add(word);
    for (const name of names) {
      targets.set(name, union(targets.get(name), makeTarget({ ...found, name, on })));
    }
  }
  const many = asked.filter(({ word }) => isMany(word));
  const later = (name: string) => {
    const fresh = { views: new Map(), histories: new Map(), name };
    return many
      .filter(({ word }) => standsFor(word, name))
      .map(({ on }) => makeTarget({ ...fresh, on }))
      .reduce<UnitTarget | undefined>(union, undefined);
  };
  return {
    units: [...targets.values()],
    missing: [...missing],
    later: many.length === 0 ? undefined : later,
  };
}

interface Found {
  readonly views: ReadonlyMap<string, UnitView>;
  readonly histories: ReadonlyMap<string, UnitHistory>;
}

async function find(context: Context, words: readonly string[]): Promise<Found> {
  const many = words.some(isMany);
  const plain = words.filter((word) => !isMany(word)).map(mangleUnitName);
  const [units, history] = await Promise.all([
    many
      ? context.client.units()
      : context.client.unitsNamed(plain).then((map) => [...map.values()]),
    context.client.history(many ? [] : plain),
  ]);
  return {
    views: new Map(units.map((unit) => [unit.name, unit])),
    histories: new Map(history.map((unit) => [unit.name, unit])),
  };
}

/** A pattern, or a template, which means all its instances. */
function isMany(word: string): boolean {
  return isPattern(word) || isTemplate(mangleUnitName(word));
}

function standsFor(word: string, name: string): boolean {
  return isPattern(word)
    ? matchesPattern(word, name)
    : !isTemplate(name) && templateOf(name) === mangleUnitName(word);
}

function makeTarget(
  found: Found & { readonly name: string; readonly on: string | undefined },
): UnitTarget {
  const { name, on, views, histories } = found;
  const view = views.get(name);
  const history = histories.get(name);
  const holders = holdersOf(view);
  const former = [...new Set(history?.entries.map(({ machineId }) => machineId))].filter(
    (id) => !holders.includes(id),
  );
  const unknown = view === undefined && history === undefined;
  const bound = on !== undefined;
  if (!bound) return { name, view, holders, former, bound, unknown };
  return { name, view, holders: [on], former: [], bound, unknown };
}

/** Machines that should hold a unit or report it. */
export function holdersOf(view: UnitView | undefined): readonly string[] {
  if (view === undefined) return [];
  const ids = [...view.assigned, ...view.states].map(({ machineId }) => machineId);
  return [...new Set(ids)].sort();
}

function union(a: UnitTarget | undefined, b: UnitTarget): UnitTarget {
  if (a === undefined) return b;
  return {
    ...a,
    holders: [...new Set([...a.holders, ...b.holders])].sort(),
    former: [...new Set([...a.former, ...b.former])],
    bound: a.bound && b.bound,
  };
}

/** Machines to ask about a unit that nobody knows: all that are there. */
export function presentIds(machines: readonly MachineView[]): readonly string[] {
  return machines.filter(({ present }) => present).map(({ id }) => id);
}
