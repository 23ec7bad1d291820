import { unescapeUnitText } from "./unit-escape.ts";
import { parseUnitName } from "./unit-name.ts";

/**
 * Replaces the specifiers of systemd.unit(5) that follow from the unit's name, in values of [X-Fleet]:
 *
 *   %n  full name            %N  name without type
 *   %p  prefix               %P  prefix, unescaped
 *   %i  instance             %I  instance, unescaped
 *   %j  behind the prefix's last dash   %J  the same, unescaped
 *   %%  a percent sign
 *
 * Anything else stays as it is, as in fleet: `%H` and `%m` belong to the machine that is to run the unit, and
 * requirements are about any machine. Other sections are systemd's own business.
 * Undefined if an escape in the name cannot be undone for one of the unescaped forms.
 */
export function expandSpecifiers(value: string, unitName: string): string | undefined {
  if (!value.includes("%")) return value;
  let failed = false;
  const expanded = value.replace(/%([nNpPiIjJ%])/g, (_, letter: string) => {
    const text = specifier(letter, unitName);
    if (text === undefined) failed = true;
    return text ?? "";
  });
  return failed ? undefined : expanded;
}

function specifier(letter: string, unitName: string): string | undefined {
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
    case "J":
      return unescapeUnitText(lastPart);
    default:
      return "%";
  }
}
