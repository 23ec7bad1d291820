import { unescapeUnitText } from "./unit-escape.ts";
import { parseUnitName } from "./unit-name.ts";

/**
 * Specifiers of systemd.unit(5) in values of [X-Fleet] are replaced in two steps. From the unit's name, when the file is read:
 *
 *   %n  full name            %N  name without type
 *   %p  prefix               %P  prefix, unescaped
 *   %i  instance             %I  instance, unescaped
 *   %j  behind the prefix's last dash   %J  the same, unescaped
 *
 * and from the machine that is asked about, when it is asked about: `%H` is its hostname, `%m` its machine id. Between the two a
 * text is a *machine text*: it holds `%H` and `%m` as they were written, and `%%` for each percent sign that is meant as one.
 * Any other percent sign stands for itself, as in fleet; other sections are systemd's own business.
 */
export interface MachineNames {
  readonly machineId: string;
  readonly hostname: string;
}

/** The first step. Undefined if an escape in the name cannot be undone for one of the unescaped forms. */
export function expandNameSpecifiers(text: string, unitName: string): string | undefined {
  if (!text.includes("%")) return text;
  let failed = false;
  const expanded = text.replace(/%([nNpPiIjJHm%])/g, (whole, letter: string) => {
    if (letter === "%" || letter === "H" || letter === "m") return whole;
    const value = nameSpecifier(letter, unitName);
    if (value === undefined) failed = true;
    return value?.replaceAll("%", "%%") ?? "";
  });
  return failed ? undefined : expanded;
}

/** The second step: what a machine text means on one machine. To be done before it is compared with anything. */
export function expandMachineSpecifiers(text: string, machine: MachineNames): string {
  if (!text.includes("%")) return text;
  return text.replace(/%([Hm%])/g, (_, letter: string) => {
    if (letter === "%") return "%";
    return letter === "H" ? machine.hostname : machine.machineId;
  });
}

/**
 * Whether a machine text is yet to be expanded. False: it is what it means, the same on every machine. True for a lone `%%`
 * too, so that what is compared is always either such a text or one that was expanded.
 */
export function hasMachineSpecifiers(text: string): boolean {
  return /%[Hm%]/.test(text);
}

/** The first `%H` or `%m` of a machine text. */
export function firstMachineSpecifier(text: string): string | undefined {
  return text.match(/%[Hm%]/g)?.find((specifier) => specifier !== "%%");
}

/** What a machine text without `%H` and `%m` means. */
export function plainText(text: string): string {
  return text.replaceAll("%%", "%");
}

function nameSpecifier(letter: string, unitName: string): string | undefined {
  const name = parseUnitName(unitName);
  const prefix = name?.prefix ?? unitName;
  const instance = name?.instance ?? "";
  const lastPart = prefix.slice(prefix.lastIndexOf("-") + 1);
  switch (letter) {
    case "n":
      return unitName;
    case "N":
      return name?.stem ?? unitName;
    case "p":
      return prefix;
    case "P":
      return unescapeUnitText(prefix);
    case "i":
      return instance;
    case "I":
      return unescapeUnitText(instance);
    case "j":
      return lastPart;
    default:
      return unescapeUnitText(lastPart);
  }
}
