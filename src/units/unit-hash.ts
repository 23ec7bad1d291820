import { createHash } from "node:crypto";
import {
  type FleetOption,
  printFleetOptions,
  readFleetOptions,
  trimSpace,
} from "./fleet-format.ts";
import type { UnitFile } from "./unit-file.ts";
import { excerpt } from "./unit-problem.ts";

/**
 * fleet's hash of a unit file: SHA-1 of its normalised text, in hexadecimal. Comments, blank lines and drop-ins
 * do not count. Shown and served for compatibility; decisions use manifestHash and effectiveHash.
 */
export function unitHash(unitFile: UnitFile): string {
  return createHash("sha1")
    .update(printFleetOptions(fleetOptions(unitFile)))
    .digest("hex");
}

/**
 * The options as fleet's API shows them. Where systemd can read a file that fleet could not (a comment between
 * continued lines), they are what systemd reads.
 */
export function fleetOptions(unitFile: UnitFile): readonly FleetOption[] {
  const read = readFleetOptions(unitFile.text);
  if (read !== undefined) return read;
  return unitFile.options.map(({ section, name, value }) => ({ section, name, value }));
}

export type ContentResult =
  | { readonly type: "content"; readonly content: string }
  | { readonly type: "refused"; readonly message: string };

/**
 * A unit file for the options that a client of fleet's API sends: fleet's normalised text, so hashes agree. Refused is
 * whatever would not be read back as the same options, above all text that would begin a line or section of its own.
 */
export function contentFromOptions(options: readonly FleetOption[]): ContentResult {
  for (const option of options) {
    const problem =
      sectionProblem(option.section) ?? nameProblem(option.name) ?? valueProblem(option.value);
    if (problem !== undefined) {
      const which = `option ${excerpt(option.name)} in section ${excerpt(option.section)}`;
      return { type: "refused", message: `${which}: ${problem}` };
    }
  }
  return { type: "content", content: printFleetOptions(options) };
}

function sectionProblem(section: string): string | undefined {
  if (section === "") return "the section is empty";
  return /[\n\r\0\]]/.test(section) ? 'a section cannot have line ends or "]"' : undefined;
}

function nameProblem(name: string): string | undefined {
  if (name === "") return "the name is empty";
  if (/[\n\r\0=]/.test(name)) return 'a name cannot have line ends or "="';
  return trimSpace(name) !== name || /^[#;[\ufeff]/.test(name)
    ? 'a name cannot begin with "#", ";", "[" or a blank, or end in a blank'
    : undefined;
}

/**
 * Line ends are fine where a backslash before them makes the next line part of the value. For fleet that is any
 * backslash, for systemd one that is not escaped by another.
 */
function valueProblem(value: string): string | undefined {
  if (/[\r\0]/.test(value)) return "the value has a carriage return or zero byte";
  const lines = value.split("\n");
  const last = lines.pop() ?? "";
  if (lines.some((line) => !endsInOddBackslashes(line))) {
    return "the value has a line end without a backslash before it";
  }
  if (last.endsWith("\\"))
    return "the value ends in a backslash, which would join the next line to it";
  if (lines.length > 0 && /^[ \t]*[#;]/.test(last)) {
    return "the value ends in a comment line, behind which systemd would go on with the next line";
  }
  return undefined;
}

function endsInOddBackslashes(line: string): boolean {
  const [backslashes = ""] = /\\*$/.exec(line) ?? [];
  return backslashes.length % 2 === 1;
}
