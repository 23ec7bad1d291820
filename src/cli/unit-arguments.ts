import type { UnitView } from "../cluster/views.ts";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import { globMatches } from "../units/glob.ts";
import { isTemplate, isUnitType, mangleUnitName } from "../units/unit-name.ts";
import { expandBraces } from "./braces.ts";
import type { Context } from "./context.ts";
import { isGroupWord, unitsOfGroup } from "./groups.ts";

/** `web@*`, `db?`, `[ab].timer` */
export function isPattern(word: string): boolean {
  return /[*?[]/.test(word);
}

/** As it stands, or with `.service` if it names no type. */
export function matchesPattern(pattern: string, name: string): boolean {
  return globMatches(pattern, name) || globMatches(mangleUnitName(pattern), name);
}

/** Braces expanded; `-` stands for the words on standard input, `GROUP/` for the units of a group. */
export async function expandArguments(
  context: Context,
  args: readonly string[],
  isElse: (word: string) => Promise<boolean> = async () => false,
): Promise<readonly string[]> {
  const words: string[] = [];
  for (const arg of args) {
    if (arg !== "-") words.push(...expandBraces(arg));
    else words.push(...(await standardInput(context)).split(/\s+/).filter((word) => word !== ""));
  }
  // As of a variable of a script that is not set.
  if (words.includes("")) throw new FleetError("usage", "a UNIT or FILE is empty");
  const expanded: string[] = [];
  for (const word of words) {
    if (!isGroupWord(word) || (await isElse(word))) expanded.push(word);
    else expanded.push(...(await unitsInGroup(context, word)));
  }
  return expanded;
}

/** Templates do not run, so no command that takes groups means them. */
async function unitsInGroup(context: Context, word: string): Promise<readonly string[]> {
  const units = unitsOfGroup(word, await context.client.units());
  const names = units.map(({ name }) => name).filter((name) => !isTemplate(name));
  if (names.length > 0) return names;
  throw new FleetError("not-found", `there is no group ${word}: fleetctl-ts list-groups`);
}

export async function standardInput(context: Context): Promise<string> {
  try {
    return await context.readIn();
  } catch (error) {
    throw new FleetError("usage", `cannot read standard input: ${errorMessage(error)}`);
  }
}

export interface FoundUnits {
  /** Each once, in the order of the arguments; of a pattern by name. */
  readonly units: readonly UnitView[];
  /** Names, or patterns that match nothing. */
  readonly missing: readonly string[];
}

/** Units of the registry that arguments name. */
export async function lookUpUnits(context: Context, args: readonly string[]): Promise<FoundUnits> {
  const words = await expandArguments(context, args);
  const names = words.filter((word) => !isPattern(word)).map(mangleUnitName);
  const [named, all] = await Promise.all([
    context.client.unitsNamed([...new Set(names)]),
    words.some(isPattern) ? context.client.units() : [],
  ]);
  const units = new Map<string, UnitView>();
  const missing = new Set<string>();
  for (const word of words) {
    const name = mangleUnitName(word);
    const found = isPattern(word)
      ? all.filter((unit) => matchesPattern(word, unit.name))
      : [named.get(name) ?? []].flat();
    if (found.length === 0) missing.add(isPattern(word) ? word : name);
    for (const unit of found) units.set(unit.name, unit);
  }
  return { units: [...units.values()], missing: [...missing] };
}

/** `global.service@1234abcd`: a unit on one machine. Undefined: the word names no machine. */
export function splitMachine(word: string): { unit: string; machine: string } | undefined {
  const at = word.lastIndexOf("@");
  const unit = word.slice(0, Math.max(0, at));
  const type = unit.slice(unit.lastIndexOf(".") + 1);
  if (at === -1 || !unit.includes(".") || !isUnitType(type)) return undefined;
  return { unit, machine: word.slice(at + 1) };
}
