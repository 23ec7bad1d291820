import { type Glob, parseGlob } from "../units/glob.ts";
import type { Requirements } from "../units/requirements.ts";
import { expandMachineSpecifiers, hasMachineSpecifiers } from "../units/specifiers.ts";
import { type Metadata, machineNames } from "./machine.ts";

/** Patterns of one option, ready to be asked often. A bad pattern matches nothing. */
export interface PatternSet {
  /** What the names that are meant begin with, a bit for each character: that tells almost all others apart. */
  readonly initials: number;
  readonly literals: ReadonlySet<string>;
  readonly globs: readonly Glob[];
}

/** Requirements with their patterns parsed: once per unit and manifest, not once per decision. */
export interface Constraints {
  readonly requirements: Requirements;
  readonly conflicts: PatternSet;
  readonly replaces: PatternSet;
  /** Some patterns hold `%H` or `%m`. They are missing from the sets until a machine is named (neighbourOn). */
  readonly isPerMachine: boolean;
}

/** A unit as its neighbours on a machine see it. */
export interface Neighbour {
  readonly name: string;
  /** Of all its patterns. */
  readonly initials: number;
  /** More than one while another version of it is still there. */
  readonly constraints: readonly Constraints[];
}

/** A unit with these constraints; several while another version of it is still there. */
export function makeNeighbour(name: string, constraints: readonly Constraints[]): Neighbour {
  let initials = 0;
  for (const { conflicts, replaces } of constraints) {
    initials |= conflicts.initials | replaces.initials;
  }
  return { name, initials, constraints };
}

export function makeConstraints(requirements: Requirements): Constraints {
  const { conflicts, replaces } = requirements;
  const isPerMachine = conflicts.some(hasMachineSpecifiers) || replaces.some(hasMachineSpecifiers);
  const isSame = (pattern: string) => !hasMachineSpecifiers(pattern);
  return {
    requirements,
    conflicts: parsePatterns(isPerMachine ? conflicts.filter(isSame) : conflicts),
    replaces: parsePatterns(isPerMachine ? replaces.filter(isSame) : replaces),
    isPerMachine,
  };
}

interface Machine {
  readonly id: string;
  readonly metadata: Metadata;
}

/** The unit as its neighbours on this machine see it. Asked for every unit that comes or goes, and almost always as it is everywhere. */
export function neighbourOn(unit: Neighbour, machine: Machine): Neighbour {
  return isPerMachine(unit) ? expandOn(unit, machine) : unit;
}

function expandOn(unit: Neighbour, machine: Machine): Neighbour {
  const names = machineNames(machine);
  const expand = (pattern: string) => expandMachineSpecifiers(pattern, names);
  const constraints = unit.constraints.map((one) => ({
    ...one,
    conflicts: parsePatterns(one.requirements.conflicts.map(expand)),
    replaces: parsePatterns(one.requirements.replaces.map(expand)),
  }));
  return makeNeighbour(unit.name, constraints);
}

export function isPerMachine({ constraints }: Neighbour): boolean {
  for (const one of constraints) if (one.isPerMachine) return true;
  return false;
}

export function matches(patterns: PatternSet, name: string): boolean {
  // Most units have no patterns, and this is asked more often than anything else.
  if (patterns === NO_PATTERNS) return false;
  if (patterns.literals.size > 0 && patterns.literals.has(name)) return true;
  for (const glob of patterns.globs) if (glob.matches(name)) return true;
  return false;
}

/** It says Conflicts= or Replaces= of a unit of this name. */
export function mentions({ initials, constraints }: Neighbour, name: string): boolean {
  if ((initials & initialOf(name)) === 0) return false;
  for (const { conflicts, replaces } of constraints) {
    if (matches(conflicts, name) || matches(replaces, name)) return true;
  }
  return false;
}

/** It says Conflicts= or Replaces= of somebody. */
export function speaks({ initials }: Neighbour): boolean {
  return initials !== 0;
}

/** Others on the machine that name the unit, or that it names; whichever of the two says so, all others have nothing to do with it. */
export function relatedOn(
  machine: {
    readonly occupants: ReadonlyMap<string, Neighbour>;
    /** Those of them that name others. */
    readonly guarded: readonly Neighbour[];
  },
  unit: Neighbour,
): readonly Neighbour[] {
  let found: Neighbour[] | undefined;
  for (const other of machine.guarded) {
    if (other === unit || !mentions(other, unit.name)) continue;
    found ??= [];
    found.push(other);
  }
  if (!speaks(unit)) return found ?? NO_NEIGHBOURS;
  for (const name of machine.occupants.keys()) {
    if (name === unit.name || !mentions(unit, name)) continue;
    const other = machine.occupants.get(name);
    if (other === undefined || mentions(other, unit.name)) continue;
    found ??= [];
    found.push(other);
  }
  return found ?? NO_NEIGHBOURS;
}

const NO_NEIGHBOURS: readonly Neighbour[] = [];

/** Symmetric; a unit never conflicts with itself. */
export function conflicts(one: Neighbour, other: Neighbour): boolean {
  // Names are compared last: it takes long, and seldom comes to that.
  return (
    (names(one, other, "conflicts") || names(other, one, "conflicts")) && one.name !== other.name
  );
}

/** Whether `one` takes the place of `other`. If each says so of the other, neither does. */
export function replaces(one: Neighbour, other: Neighbour): boolean {
  return names(one, other, "replaces") && !names(other, one, "replaces") && one.name !== other.name;
}

function names(one: Neighbour, other: Neighbour, option: "conflicts" | "replaces"): boolean {
  for (const constraints of one.constraints) {
    if (matches(constraints[option], other.name)) return true;
  }
  return false;
}

const NO_LITERALS: ReadonlySet<string> = new Set();
const NO_PATTERNS: PatternSet = { initials: 0, literals: NO_LITERALS, globs: [] };

function parsePatterns(patterns: readonly string[]): PatternSet {
  if (patterns.length === 0) return NO_PATTERNS;
  let initials = 0;
  const literals: string[] = [];
  const globs: Glob[] = [];
  for (const pattern of patterns) {
    const [prefix = ""] = UP_TO_SPECIAL.exec(pattern) ?? [];
    initials |= prefix === "" ? ANY_INITIAL : initialOf(prefix);
    if (prefix === pattern) literals.push(pattern);
    else globs.push(globWithPrefix(pattern, prefix));
  }
  return { initials, literals: literals.length === 0 ? NO_LITERALS : new Set(literals), globs };
}

const UP_TO_SPECIAL = /^[^*?[\\]*/;
const ANY_INITIAL = -1;

function initialOf(name: string): number {
  return 1 << (name.charCodeAt(0) % 32);
}

/** Almost every name that does not match differs at its beginning already, so that most patterns need not be parsed at all. */
function globWithPrefix(pattern: string, prefix: string): Glob {
  let parsed: Glob | undefined;
  return {
    pattern,
    literal: undefined,
    matches(text) {
      if (!text.startsWith(prefix)) return false;
      parsed ??= parseGlob(pattern);
      return parsed?.matches(text) ?? false;
    },
  };
}

const NOBODY: ReadonlySet<string> = new Set();

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

  /** Adds the units that name `name`. */
  markNaming(name: string, found: Set<string>): void {
    for (const unit of this.#literals.get(name) ?? NOBODY) found.add(unit);
    if (this.#globs.size === 0) return;
    for (const { glob, units } of this.#globs.values()) {
      if (!glob.matches(name)) continue;
      for (const unit of units) found.add(unit);
    }
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
