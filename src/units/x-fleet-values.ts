import { parseGlob } from "./glob.ts";
import { parseMetadata } from "./metadata-requirement.ts";
import { parseTimeSpan } from "./time-span.ts";
import { isTemplate, validateUnitName } from "./unit-name.ts";

/** `words`: names between blanks. `items`: one value, or several that are each in quotes. `line`: the line as it is. */
export type ValueSplit = "words" | "items" | "line";

/** Undefined if quotes are not balanced, or are not all around the line. */
export function splitValue(value: string, split: ValueSplit): readonly string[] | undefined {
  if (split === "line") return [value];
  if (!value.includes('"')) {
    return split === "items" ? [value] : value.split(/[ \t]+/);
  }
  if (!value.startsWith('"') || !value.endsWith('"')) return undefined;
  const parts: string[] = [];
  let part: string | undefined;
  let quoted = false;
  for (const char of value) {
    if (char === '"') {
      quoted = !quoted;
      part ??= "";
    } else if (!quoted && (char === " " || char === "\t")) {
      if (part !== undefined) parts.push(part);
      part = undefined;
    } else {
      part = (part ?? "") + char;
    }
  }
  if (part !== undefined) parts.push(part);
  if (quoted) return undefined;
  return split === "items" ? parts : parts.flatMap((words) => words.split(/[ \t]+/));
}

/** systemd's booleans, in any case of letters; undefined for other text. */
export function parseBoolean(text: string): boolean | undefined {
  const lower = text.toLowerCase();
  if (["1", "yes", "y", "true", "t", "on"].includes(lower)) return true;
  return ["0", "no", "n", "false", "f", "off"].includes(lower) ? false : undefined;
}

/*
 * What is wrong with one value of an option, specifiers replaced; undefined if nothing is.
 */

export function machineIdProblem(value: string): string | undefined {
  if (value === "") return "the machine id is empty";
  return /\s/.test(value) ? "it takes one machine id" : undefined;
}

export function peerProblem(value: string, unitName: string): string | undefined {
  const problem = validateUnitName(value);
  if (problem !== undefined) return problem;
  if (isTemplate(value)) return "a template never runs, name an instance of it";
  return value === unitName ? "a unit cannot ask for its own machine" : undefined;
}

export function metadataProblem(value: string): string | undefined {
  const item = parseMetadata(value);
  return typeof item === "string" ? item : undefined;
}

export function metadataKeyProblem(value: string): string | undefined {
  if (value === "") return "the key is empty";
  return /[="]/.test(value) ? "it takes one metadata key, without a value" : undefined;
}

/** Also the limit of Weight= and MaxPerMachine=; sums of very many stay exact. */
const WHOLE_NUMBER_MAX = 10_000;

export function wholeNumberProblem(value: string): string | undefined {
  const number = /^[0-9]{1,9}$/.test(value) ? Number(value) : 0;
  return number < 1 || number > WHOLE_NUMBER_MAX
    ? `it has to be a whole number from 1 to ${WHOLE_NUMBER_MAX}`
    : undefined;
}

export function instanceProblem(value: string): string | undefined {
  const problem = validateUnitName(`x@${value}.service`);
  return problem === undefined ? undefined : "it is no name of an instance";
}

export function patternProblem(value: string): string | undefined {
  if (value === "") return "the pattern is empty";
  return parseGlob(value) === undefined ? "bad pattern" : undefined;
}

export function booleanProblem(value: string): string | undefined {
  return parseBoolean(value) === undefined ? "it has to be yes or no" : undefined;
}

export function oneOf(...words: readonly string[]): (value: string) => string | undefined {
  return (value) => (words.includes(value) ? undefined : `it has to be ${words.join(" or ")}`);
}

export function timeSpanProblem(value: string): string | undefined {
  const spanMs = parseTimeSpan(value);
  return spanMs === undefined || spanMs === 0 || !Number.isFinite(spanMs)
    ? "it has to be a time span, as in 600 or 10min"
    : undefined;
}
