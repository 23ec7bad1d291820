import { UPDATE_MODES } from "./deployment.ts";
import {
  booleanProblem,
  instanceProblem,
  machineIdProblem,
  metadataKeyProblem,
  metadataProblem,
  oneOf,
  patternProblem,
  peerProblem,
  timeSpanProblem,
  type ValueSplit,
  wholeNumberProblem,
} from "./x-fleet-values.ts";

export interface OptionRule {
  /** Under which its values are gathered. */
  readonly list: string;
  /** The name in use first; names that begin with `X-` are fleet's old spellings. */
  readonly names: readonly [string, ...string[]];
  readonly split: ValueSplit;
  /** What is wrong with one value, the unit's specifiers replaced. */
  readonly check: (value: string, unitName: string) => string | undefined;
  /** `%H` and `%m` stay in its values, for the planner to fill in (specifiers.ts). Elsewhere they are refused. */
  readonly machineSpecifiers?: boolean;
  /** Which malformed values fleet dropped without a word: warnings where units are read leniently. */
  readonly droppedByFleet?: (value: string) => boolean;
}

const metadata = {
  split: "items",
  check: metadataProblem,
  machineSpecifiers: true,
} as const;

function isNoPair(value: string): boolean {
  return !/^[^=]+=[^=]+$/.test(value);
}

/**
 * Every option of [X-Fleet]. A new one is a line here, one in Requirements with its default, one in parseRequirements and, where it
 * cannot stand beside another, one in EXCLUSIVE.
 */
// biome-ignore format: one line each
export const OPTION_RULES = [
  { list: "machineId", names: ["MachineID"], split: "items", check: machineIdProblem, machineSpecifiers: true },
  { list: "conditionMachineId", names: ["X-ConditionMachineID"], split: "items", check: machineIdProblem, machineSpecifiers: true },
  { list: "conditionMachineBootId", names: ["X-ConditionMachineBootID"], split: "items", check: machineIdProblem, machineSpecifiers: true },
  { list: "notMachineId", names: ["NotMachineID"], split: "words", check: machineIdProblem, machineSpecifiers: true },
  { list: "machineOf", names: ["MachineOf", "X-ConditionMachineOf"], split: "words", check: peerProblem },
  { list: "metadata", names: ["MachineMetadata", "X-ConditionMachineMetadata"], ...metadata, droppedByFleet: isNoPair },
  { list: "preferredMetadata", names: ["PreferMachineMetadata"], ...metadata },
  { list: "spreadBy", names: ["SpreadBy"], split: "line", check: metadataKeyProblem },
  { list: "maxPerMachine", names: ["MaxPerMachine"], split: "line", check: wholeNumberProblem },
  { list: "weight", names: ["Weight"], split: "line", check: wholeNumberProblem },
  { list: "conflicts", names: ["Conflicts", "X-Conflicts"], split: "words", check: patternProblem, machineSpecifiers: true },
  { list: "replaces", names: ["Replaces"], split: "words", check: patternProblem, machineSpecifiers: true },
  { list: "global", names: ["Global"], split: "items", check: booleanProblem },
  { list: "maxUnavailable", names: ["MaxUnavailable"], split: "line", check: wholeNumberProblem },
  { list: "onFailure", names: ["OnFailure"], split: "line", check: oneOf("stay", "move") },
  { list: "moveLimit", names: ["MoveLimit"], split: "line", check: wholeNumberProblem },
  { list: "moveIntervalSec", names: ["MoveIntervalSec"], split: "line", check: timeSpanProblem },
  { list: "fencing", names: ["Fencing"], split: "line", check: oneOf("none", "strict") },
  { list: "state", names: ["State"], split: "line", check: oneOf("inactive", "loaded", "launched") },
  { list: "replicas", names: ["Replicas"], split: "line", check: wholeNumberProblem },
  { list: "instances", names: ["Instances"], split: "words", check: instanceProblem },
  { list: "minReadySec", names: ["MinReadySec"], split: "line", check: timeSpanProblem },
  { list: "onUpdate", names: ["OnUpdate"], split: "line", check: oneOf(...UPDATE_MODES) },
] as const satisfies readonly OptionRule[];

export type ListName = (typeof OPTION_RULES)[number]["list"];

const RULES_BY_NAME: ReadonlyMap<string, OptionRule & { readonly list: ListName }> = new Map(
  OPTION_RULES.flatMap((rule) => rule.names.map((name) => [name, rule] as const)),
);

export function optionRule(name: string): (OptionRule & { readonly list: ListName }) | undefined {
  return RULES_BY_NAME.get(name);
}

/** The option that was probably meant by a name that is none: other case, fleet's prefix, up to two slips. */
export function closestOption(name: string): string | undefined {
  const plain = name.toLowerCase().replace(/^x-(condition)?/, "");
  const close = OPTION_RULES.map(({ names: [known] }) => ({
    known,
    slips: slips(plain, known.toLowerCase()),
  }))
    // A third of a short name would be another name.
    .filter(({ known, slips: count }) => count <= Math.min(2, known.length / 3))
    .sort((a, b) => a.slips - b.slips);
  return close[0]?.known;
}

/** Letters to add, drop or change to make one text of the other (Levenshtein). */
function slips(from: string, to: string): number {
  // Names in a unit file may be of any length; far from each other is all that matters then.
  if (Math.abs(from.length - to.length) > 2) return Number.POSITIVE_INFINITY;
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [at, letter] of [...from].entries()) {
    const next = [at + 1];
    for (const [index, other] of [...to].entries()) {
      const [diagonal = 0, above = 0] = row.slice(index, index + 2);
      const left = next[index] ?? 0;
      next.push(Math.min(diagonal + (letter === other ? 0 : 1), above + 1, left + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
