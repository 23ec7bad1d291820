import { DEFAULT_DEPLOYMENT, type Deployment, type UpdateMode } from "./deployment.ts";
import { fencingOf, fencingProblem } from "./fencing.ts";
import { mergeByKey, parseMetadata } from "./metadata-requirement.ts";
import { type MetadataRequirement, NO_REQUIREMENTS, type Requirements } from "./requirements.ts";
import { parseReservation } from "./reservation.ts";
import { expandNameSpecifiers, firstMachineSpecifier, plainText } from "./specifiers.ts";
import { parseTimeSpan } from "./time-span.ts";
import { PROBLEMS_MAX, type UnitFile, type UnitOption } from "./unit-file.ts";
import { instanceOf, isTemplate, parseUnitName } from "./unit-name.ts";
import type { UnitProblem } from "./unit-problem.ts";
import type { DesiredState } from "./unit-state.ts";
import {
  combinationProblems,
  type Draft,
  entriesOf,
  pinned,
  problemAt,
} from "./x-fleet-combinations.ts";
import { closestOption, type ListName, type OptionRule, optionRule } from "./x-fleet-options.ts";
import { parseBoolean, splitValue } from "./x-fleet-values.ts";

/**
 * The [X-Fleet] section (docs/unit-files.md). Nothing that was written is passed over in silence: a requirement that is
 * dropped lets a unit run where it must not. The options are in x-fleet-options.ts.
 */
export const X_FLEET = "X-Fleet";

/** Values of one kind in a unit; peers and patterns are compared each with each. */
export const VALUES_MAX = 500;

/** Characters of one value, before and after its specifiers are replaced. */
export const VALUE_LENGTH_MAX = 1024;

export interface RequirementsResult {
  /** Only what could be read: not to be used for placing when there are problems. */
  readonly requirements: Requirements;
  readonly deployment: Deployment;
  /** At most PROBLEMS_MAX. */
  readonly problems: readonly UnitProblem[];
  /** What was passed over because the unit is read leniently. At most PROBLEMS_MAX. */
  readonly warnings: readonly UnitProblem[];
}

export interface ReadOptions {
  /** As fleet did: options it did not know and metadata it could not read are passed over. */
  readonly lenient?: boolean | undefined;
}

/**
 * Reads the section of a unit and the limits it sets itself; `files` are its unit file and then its drop-ins, whose lines come behind. A template is
 * read as if for an instance called `instance`, so that mistakes show when it is submitted.
 */
export function parseRequirements(
  unitName: string,
  files: readonly UnitFile[],
  { lenient = false }: ReadOptions = {},
): RequirementsResult {
  const name = isTemplate(unitName) ? (instanceOf(unitName, "instance") ?? unitName) : unitName;
  const draft: Draft = new Map();
  const problems: UnitProblem[] = [];
  const warnings: UnitProblem[] = [];
  for (const { file, options } of files) {
    for (const option of options) {
      if (problems.length >= PROBLEMS_MAX) break;
      const found =
        option.section === X_FLEET
          ? readOption(draft, { option, file, unitName: name })
          : sectionProblems(option.section);
      for (const { message, droppedByFleet } of found) {
        const list = lenient && droppedByFleet ? warnings : problems;
        list.push(problemAt({ option, file }, message));
      }
    }
  }
  const pin = pinned(draft, problems);
  problems.push(...combinationProblems(draft, pin, name), ...fencingProblems(draft, name, files));
  return {
    requirements: {
      ...requirementsOf(draft, pin?.value),
      reservation: parseReservation(unitName, files),
      fencing: fencingOf(files.flatMap(({ options }) => options)),
    },
    deployment: deploymentOf(draft),
    problems: problems.slice(0, PROBLEMS_MAX),
    warnings: warnings.slice(0, PROBLEMS_MAX),
  };
}

function fencingProblems(
  draft: Draft,
  unitName: string,
  files: readonly UnitFile[],
): readonly UnitProblem[] {
  const said = entriesOf(draft, "fencing").at(-1);
  if (said?.value !== "strict") return [];
  const type = parseUnitName(unitName)?.type ?? "";
  const options = files.flatMap((file) => file.options);
  const message = fencingProblem(type, options);
  return message === undefined ? [] : [problemAt(said, `Fencing=strict: ${message}`)];
}

type Asked = Omit<Requirements, "reservation" | "fencing">;

function requirementsOf(draft: Draft, machineId: string | undefined): Asked {
  const values = (list: ListName) => [...new Set(entriesOf(draft, list).map(({ value }) => value))];
  const last = (list: ListName) => entriesOf(draft, list).at(-1)?.value;
  const maxPerMachine = last("maxPerMachine");
  return {
    global: parseBoolean(last("global") ?? "no") === true,
    machineId,
    notMachineIds: values("notMachineId"),
    machineOf: values("machineOf"),
    metadata: mergeByKey(values("metadata").flatMap(metadataOf)),
    preferredMetadata: values("preferredMetadata").flatMap(metadataOf),
    spreadBy: last("spreadBy"),
    maxPerMachine: maxPerMachine === undefined ? undefined : Number(maxPerMachine),
    weight: Number(last("weight") ?? NO_REQUIREMENTS.weight),
    conflicts: values("conflicts"),
    replaces: values("replaces"),
    moveOnFailure:
      last("onFailure") === "move"
        ? {
            limit: Number(last("moveLimit") ?? MOVE_LIMIT),
            intervalMs: parseTimeSpan(last("moveIntervalSec") ?? MOVE_INTERVAL) ?? 0,
          }
        : undefined,
    maxUnavailable: Number(last("maxUnavailable") ?? NO_REQUIREMENTS.maxUnavailable),
  };
}

function deploymentOf(draft: Draft): Deployment {
  const last = (list: ListName) => entriesOf(draft, list).at(-1)?.value;
  const replicas = last("replicas");
  const named = entriesOf(draft, "instances").map(({ value }) => value);
  const counted =
    replicas === undefined
      ? undefined
      : Array.from({ length: Number(replicas) }, (_, index) => `${index + 1}`);
  return {
    state: (last("state") as DesiredState | undefined) ?? DEFAULT_DEPLOYMENT.state,
    instances: named.length > 0 ? [...new Set(named)] : counted,
    minReadyMs: parseTimeSpan(last("minReadySec") ?? "0") ?? 0,
    maxUnavailable: Number(last("maxUnavailable") ?? DEFAULT_DEPLOYMENT.maxUnavailable),
    onUpdate: (last("onUpdate") as UpdateMode | undefined) ?? DEFAULT_DEPLOYMENT.onUpdate,
  };
}

const MOVE_LIMIT = "3";
const MOVE_INTERVAL = "600";

function metadataOf(item: string): readonly MetadataRequirement[] {
  const parsed = parseMetadata(item);
  return typeof parsed === "string" ? [] : [parsed];
}

interface Finding {
  readonly message: string;
  readonly droppedByFleet: boolean;
}

/** Adds one line to the draft; gives back what is wrong with it. */
function readOption(
  draft: Draft,
  line: { readonly option: UnitOption; readonly file: string; readonly unitName: string },
): readonly Finding[] {
  const { option, file, unitName } = line;
  const rule = optionRule(option.name);
  if (rule === undefined) return [{ message: unknownOption(option.name), droppedByFleet: true }];
  const finding = (message: string, value?: string): Finding => ({
    message,
    droppedByFleet: value !== undefined && rule.droppedByFleet?.(value) === true,
  });
  const list = entriesOf(draft, rule.list);
  if (option.value === "") {
    // For drop-ins, as in systemd. With nothing to take back it is a value that got lost, which must not widen placement.
    const isReset = list.length > 0;
    list.length = 0;
    return isReset
      ? []
      : [finding(`${option.name}= has no value, and none before it to reset`, "")];
  }
  const parts = splitValue(option.value, rule.split);
  if (parts === undefined) {
    return [
      finding(`${option.name}=: quotes have to enclose each value of the line, as in "a=b" "c=d"`),
    ];
  }
  const findings: Finding[] = [];
  for (const part of parts) {
    const read = readValue(part, rule, unitName);
    if ("problem" in read)
      findings.push(finding(`${option.name}=${shortened(part)}: ${read.problem}`, read.value));
    else if (list.length < VALUES_MAX) list.push({ value: read.value, option, file });
    else return [...findings, finding(`${option.name}=: more than ${VALUES_MAX} values`)];
    if (findings.length === PROBLEMS_MAX) break;
  }
  return findings;
}

function readValue(
  part: string,
  rule: OptionRule,
  unitName: string,
): { readonly value: string } | { readonly value?: string; readonly problem: string } {
  const tooLong = { problem: `longer than ${VALUE_LENGTH_MAX} characters` };
  if (part.length > VALUE_LENGTH_MAX) return tooLong;
  const text = expandNameSpecifiers(part, unitName);
  if (text === undefined) return { problem: "an escape in the unit's name means nothing" };
  if (text.length > VALUE_LENGTH_MAX) return tooLong;
  const specifier = rule.machineSpecifiers === true ? undefined : firstMachineSpecifier(text);
  if (specifier !== undefined) return { problem: machineSpecifierRefused(specifier) };
  const value = rule.machineSpecifiers === true ? text : plainText(text);
  const problem = rule.check(value, unitName);
  return problem === undefined ? { value } : { value, problem };
}

/** Above all for MachineOf=, where it would be a circle. */
function machineSpecifierRefused(specifier: string): string {
  return `${specifier} is known only once the machine is chosen, and this helps to choose it`;
}

function shortened(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function unknownOption(name: string): string {
  const meant = closestOption(name);
  const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
  return `unrecognized requirement in [X-Fleet] section: "${name}"${hint}`;
}

/** systemd ignores every section that begins with `X-`, so nobody else would notice. */
function sectionProblems(section: string): readonly Finding[] {
  if (!/^\s*x[-_ ]?fleet\s*$/i.test(section)) return NO_FINDINGS;
  const message = `section [${section}] has to be spelled [${X_FLEET}]`;
  return [{ message, droppedByFleet: false }];
}

const NO_FINDINGS: readonly Finding[] = [];
