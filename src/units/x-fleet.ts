import { parseGlob } from "./glob.ts";
import { type MetadataRequirement, NO_REQUIREMENTS, type Requirements } from "./requirements.ts";
import { expandSpecifiers } from "./specifiers.ts";
import { PROBLEMS_MAX, type UnitFile, type UnitOption } from "./unit-file.ts";
import { instanceOf, isTemplate } from "./unit-name.ts";
import type { UnitProblem } from "./unit-problem.ts";
import {
  booleanProblem,
  machineIdProblem,
  metadataProblem,
  parseBoolean,
  patternProblem,
  peerProblem,
  splitValue,
  type ValueSplit,
} from "./x-fleet-values.ts";

/**
 * The [X-Fleet] section (docs/unit-files.md). Nothing that was written is passed over in silence: a requirement that is
 * dropped lets a unit run where it must not. A new option is a line in OPTIONS, a list in Draft and a field in Requirements.
 */
export const X_FLEET = "X-Fleet";

/** Values of one kind in a unit; peers and patterns are compared each with each. */
export const VALUES_MAX = 500;

/** Characters of one value, before and after its specifiers are replaced. */
export const VALUE_LENGTH_MAX = 1024;

export interface RequirementsResult {
  /** Only what could be read: not to be used for placing when there are problems. */
  readonly requirements: Requirements;
  /** At most PROBLEMS_MAX. */
  readonly problems: readonly UnitProblem[];
}

interface Entry {
  readonly value: string;
  readonly option: UnitOption;
  readonly file: string;
}

type ListName = keyof Draft;

/** What was said so far, in order, by meaning. */
interface Draft {
  readonly machineId: Entry[];
  readonly conditionMachineId: Entry[];
  readonly conditionMachineBootId: Entry[];
  readonly machineOf: Entry[];
  readonly metadata: Entry[];
  readonly conflicts: Entry[];
  readonly replaces: Entry[];
  readonly global: Entry[];
}

interface OptionRule {
  readonly list: ListName;
  readonly split: ValueSplit;
  /** What is wrong with one value, specifiers replaced. */
  readonly check: (value: string, unitName: string) => string | undefined;
}

const machineOf: OptionRule = { list: "machineOf", split: "words", check: peerProblem };
const metadata: OptionRule = { list: "metadata", split: "items", check: metadataProblem };
const conflicts: OptionRule = { list: "conflicts", split: "words", check: patternProblem };
const replaces: OptionRule = { list: "replaces", split: "words", check: patternProblem };
const machine = { split: "items", check: machineIdProblem } as const;

/** The names that begin with `X-` are fleet's old spellings. */
const OPTIONS: ReadonlyMap<string, OptionRule> = new Map<string, OptionRule>([
  ["MachineID", { ...machine, list: "machineId" }],
  ["X-ConditionMachineID", { ...machine, list: "conditionMachineId" }],
  ["X-ConditionMachineBootID", { ...machine, list: "conditionMachineBootId" }],
  ["MachineOf", machineOf],
  ["X-ConditionMachineOf", machineOf],
  ["MachineMetadata", metadata],
  ["X-ConditionMachineMetadata", metadata],
  ["Conflicts", conflicts],
  ["X-Conflicts", conflicts],
  ["Replaces", replaces],
  ["Global", { list: "global", split: "items", check: booleanProblem }],
]);

/**
 * Reads the section of a unit; `files` are its unit file and then its drop-ins, whose lines come behind. A template is
 * read as if for an instance called `instance`, so that mistakes show when it is submitted.
 */
export function parseRequirements(
  unitName: string,
  ...files: readonly UnitFile[]
): RequirementsResult {
  const name = isTemplate(unitName) ? (instanceOf(unitName, "instance") ?? unitName) : unitName;
  const draft = emptyDraft();
  const problems: UnitProblem[] = [];
  for (const { file, options } of files) {
    for (const option of options) {
      if (problems.length >= PROBLEMS_MAX) break;
      if (option.section !== X_FLEET) {
        const message = sectionProblem(option.section);
        if (message !== undefined) problems.push(problemAt({ option, file }, message));
        continue;
      }
      for (const message of readOption(draft, { option, file, unitName: name })) {
        problems.push(problemAt({ option, file }, message));
      }
    }
  }
  const pin = pinned(draft, problems);
  for (const problem of combinationProblems(draft, pin)) problems.push(problem);
  return {
    requirements: {
      ...NO_REQUIREMENTS,
      global: parseBoolean(draft.global.at(-1)?.value ?? "false") === true,
      machineId: pin?.value,
      machineOf: valuesOf(draft.machineOf),
      metadata: byKey(draft.metadata),
      conflicts: valuesOf(draft.conflicts),
      replaces: valuesOf(draft.replaces),
    },
    problems: problems.slice(0, PROBLEMS_MAX),
  };
}

function emptyDraft(): Draft {
  return {
    machineId: [],
    conditionMachineId: [],
    conditionMachineBootId: [],
    machineOf: [],
    metadata: [],
    conflicts: [],
    replaces: [],
    global: [],
  };
}

/** Adds one line to the draft; gives back what is wrong with it. */
function readOption(
  draft: Draft,
  line: { readonly option: UnitOption; readonly file: string; readonly unitName: string },
): readonly string[] {
  const { option, file, unitName } = line;
  const rule = OPTIONS.get(option.name);
  if (rule === undefined) return [unknownOption(option.name)];
  const list = draft[rule.list];
  if (option.value === "") {
    // For drop-ins, as in systemd. With nothing to take back it is a value that got lost, which must not widen placement.
    if (list.length === 0) return [`${option.name}= has no value, and none before it to reset`];
    list.length = 0;
    return [];
  }
  const parts = splitValue(option.value, rule.split);
  if (parts === undefined) {
    return [`${option.name}=: quotes have to enclose each value of the line, as in "a=b" "c=d"`];
  }
  const problems: string[] = [];
  for (const part of parts) {
    const read = readValue(part, rule, unitName);
    if ("problem" in read) problems.push(`${option.name}=${shortened(part)}: ${read.problem}`);
    else if (list.length < VALUES_MAX) list.push({ value: read.value, option, file });
    else return [...problems, `${option.name}=: more than ${VALUES_MAX} values`];
    if (problems.length === PROBLEMS_MAX) break;
  }
  return problems;
}

function readValue(
  part: string,
  rule: OptionRule,
  unitName: string,
): { readonly value: string } | { readonly problem: string } {
  const tooLong = { problem: `longer than ${VALUE_LENGTH_MAX} characters` };
  if (part.length > VALUE_LENGTH_MAX) return tooLong;
  const value = expandSpecifiers(part, unitName);
  if (value === undefined) return { problem: "an escape in the unit's name means nothing" };
  if (value.length > VALUE_LENGTH_MAX) return tooLong;
  const problem = rule.check(value, unitName);
  return problem === undefined ? { value } : { problem };
}

function shortened(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function unknownOption(name: string): string {
  const plain = name.toLowerCase().replace(/^x-(condition)?/, "");
  const meant = Array.from(OPTIONS.keys()).find((known) => known.toLowerCase() === plain);
  const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
  return `unrecognized requirement in [X-Fleet] section: "${name}"${hint}`;
}

/** systemd ignores every section that begins with `X-`, so nobody else would notice. */
function sectionProblem(section: string): string | undefined {
  return /^\s*x[-_ ]?fleet\s*$/i.test(section)
    ? `section [${section}] has to be spelled [${X_FLEET}]`
    : undefined;
}

/** MachineID, or fleet's older name for it where there is none. */
function pinned(draft: Draft, problems: UnitProblem[]): Entry | undefined {
  const candidates = draft.machineId.length > 0 ? draft.machineId : draft.conditionMachineId;
  const [first, ...others] = candidates;
  const other = others.find(({ value }) => value !== first?.value);
  if (first !== undefined && other !== undefined) {
    const message = `${other.option.name}=${other.value}: the unit is pinned to ${first.value} already`;
    problems.push(problemAt(other, message));
  }
  const [bootId] = draft.conditionMachineBootId;
  if (first === undefined && bootId !== undefined) {
    const message = `${bootId.option.name}: fleet compared it with machine ids, so nothing ever matched; use MachineID`;
    problems.push(problemAt(bootId, message));
  }
  return first;
}

/** Requirements that no machine could ever meet together, in fleet's order and words. */
function combinationProblems(draft: Draft, pin: Entry | undefined): readonly UnitProblem[] {
  const problems: UnitProblem[] = [];
  const clashes = (what: string, entries: readonly Entry[]) => {
    const patterns = entries.map((entry) => ({ entry, glob: parseGlob(entry.value) }));
    for (const peer of draft.machineOf) {
      const hit = patterns.find(({ glob }) => glob?.matches(peer.value));
      if (hit === undefined) continue;
      const message = `unresolvable requirements: peer "${peer.value}" matches ${what} "${hit.entry.value}"`;
      problems.push(problemAt(hit.entry, message));
    }
  };
  clashes("conflict", draft.conflicts);
  clashes("replace", draft.replaces);
  const global = draft.global.at(-1);
  const isGlobal = global !== undefined && parseBoolean(global.value) === true;
  const said = {
    MachineID: pin,
    Peers: draft.machineOf[0],
    Conflicts: draft.conflicts[0],
    Global: isGlobal ? global : undefined,
    Replaces: draft.replaces[0],
  };
  for (const [one, other] of EXCLUSIVE) {
    const place = said[other];
    if (said[one] !== undefined && place !== undefined) {
      problems.push(problemAt(place, `${one} cannot be used with ${other}`));
    }
  }
  return problems;
}

const EXCLUSIVE = [
  ["MachineID", "Peers"],
  ["MachineID", "Conflicts"],
  ["MachineID", "Global"],
  ["MachineID", "Replaces"],
  ["Global", "Peers"],
  ["Global", "Replaces"],
  ["Conflicts", "Replaces"],
] as const;

function problemAt(
  place: { readonly option: UnitOption; readonly file: string },
  message: string,
): UnitProblem {
  return { file: place.file, line: place.option.line, column: undefined, message };
}

function valuesOf(entries: readonly Entry[]): readonly string[] {
  return Array.from(new Set(entries.map(({ value }) => value)));
}

/** Same key: any of the values. Different keys: all of them. In order of first mention. */
function byKey(entries: readonly Entry[]): readonly MetadataRequirement[] {
  const keys = new Map<string, Set<string>>();
  for (const { value } of entries) {
    const equals = value.indexOf("=");
    const key = value.slice(0, equals);
    const values = keys.get(key) ?? new Set();
    keys.set(key, values.add(value.slice(equals + 1)));
  }
  return Array.from(keys, ([key, values]) => ({
    key,
    operator: "in",
    values: Array.from(values),
  }));
}
