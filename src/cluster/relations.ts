import { type Glob, parseGlob } from "../units/glob.ts";
import type { Requirements } from "../units/requirements.ts";

/** Patterns of one option, ready to be asked often. A bad pattern matches nothing. */
export interface PatternSet {
  readonly literals: ReadonlySet<string>;
  readonly globs: readonly Glob[];
}

/** Requirements with their patterns parsed: once per unit and manifest, not once per decision. */
export interface Constraints {
  readonly requirements: Requirements;
  readonly conflicts: PatternSet;
  readonly replaces: PatternSet;
}

/** A unit as its neighbours on a machine see it. */
export interface Neighbour {
  readonly name: string;
  /** More than one while another version of it is still there. */
  readonly constraints: readonly Constraints[];
}

export function makeConstraints(requirements: Requirements): Constraints {
  return {
    requirements,
    conflicts: parsePatterns(requirements.conflicts),
    replaces: parsePatterns(requirements.replaces),
  };
}

export function matches(patterns: PatternSet, name: string): boolean {
  if (patterns.literals.has(name)) return true;
  for (const glob of patterns.globs) if (glob.matches(name)) return true;
  return false;
}

export function hasPatterns({ conflicts, replaces }: Constraints): boolean {
  return !isEmpty(conflicts) || !isEmpty(replaces);
}

/** Symmetric; a unit never conflicts with itself. */
export function conflicts(one: Neighbour, other: Neighbour): boolean {
  return (
    one.name !== other.name && (names(one, other, "conflicts") || names(other, one, "conflicts"))
  );
}

/** Whether `one` takes the place of `other`. If each says so of the other, neither does. */
export function replaces(one: Neighbour, other: Neighbour): boolean {
  return one.name !== other.name && names(one, other, "replaces") && !names(other, one, "replaces");
}

function names(one: Neighbour, other: Neighbour, option: "conflicts" | "replaces"): boolean {
  for (const constraints of one.constraints) {
    if (matches(constraints[option], other.name)) return true;
  }
  return false;
}

function isEmpty(patterns: PatternSet): boolean {
  return patterns.literals.size === 0 && patterns.globs.length === 0;
}

const EMPTY: PatternSet = { literals: new Set(), globs: [] };

function parsePatterns(patterns: readonly string[]): PatternSet {
  if (patterns.length === 0) return EMPTY;
  const literals = new Set<string>();
  const globs: Glob[] = [];
  for (const pattern of patterns) {
    const glob = parseGlob(pattern);
    if (glob === undefined) continue;
    if (glob.literal === undefined) globs.push(glob);
    else literals.add(glob.literal);
  }
  return { literals, globs };
}

/**
 * Finds the units that name a given unit in Conflicts=, Replaces= or MachineOf=, without asking each: literals by
 * lookup, globs once per pattern text however many units carry it.
 */
export class NamingIndex {
  readonly #literals = new Map<string, Set<string>>();
  readonly #globs = new Map<string, { readonly glob: Glob; readonly units: Set<string> }>();

  add(unit: string, constraints: Constraints): void {
    for (const literal of literalsOf(constraints)) {
      const units = this.#literals.get(literal);
      if (units === undefined) this.#literals.set(literal, new Set([unit]));
      else units.add(unit);
    }
    for (const glob of globsOf(constraints)) {
      const entry = this.#globs.get(glob.pattern);
      if (entry === undefined) this.#globs.set(glob.pattern, { glob, units: new Set([unit]) });
      else entry.units.add(unit);
    }
  }

  remove(unit: string, constraints: Constraints): void {
    for (const literal of literalsOf(constraints)) {
      const units = this.#literals.get(literal);
      if (units?.delete(unit) && units.size === 0) this.#literals.delete(literal);
    }
    for (const { pattern } of globsOf(constraints)) {
      const entry = this.#globs.get(pattern);
      if (entry?.units.delete(unit) && entry.units.size === 0) this.#globs.delete(pattern);
    }
  }

  /** Calls back, in no particular order and perhaps twice, for each unit that names `name`. */
  forEachNaming(name: string, callback: (unit: string) => void): void {
    this.#literals.get(name)?.forEach(callback);
    for (const { glob, units } of this.#globs.values())
      if (glob.matches(name)) units.forEach(callback);
  }
}

function* literalsOf(constraints: Constraints): Iterable<string> {
  yield* constraints.conflicts.literals;
  yield* constraints.replaces.literals;
  yield* constraints.requirements.machineOf;
}

function* globsOf(constraints: Constraints): Iterable<Glob> {
  yield* constraints.conflicts.globs;
  yield* constraints.replaces.globs;
}
