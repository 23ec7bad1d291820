import { parseGlob } from "./glob.ts";
import { hasMachineSpecifiers } from "./specifiers.ts";
import type { UnitOption } from "./unit-file.ts";
import { isInstance } from "./unit-name.ts";
import type { UnitProblem } from "./unit-problem.ts";
import type { ListName } from "./x-fleet-options.ts";
import { parseBoolean } from "./x-fleet-values.ts";

/** A value of [X-Fleet] and where it was said. */
export interface Entry {
  readonly value: string;
  readonly option: UnitOption;
  readonly file: string;
}

/** What was said so far, in order, by meaning. */
export type Draft = Map<ListName, Entry[]>;

export function entriesOf(draft: Draft, list: ListName): Entry[] {
  const known = draft.get(list);
  if (known !== undefined) return known;
  const entries: Entry[] = [];
  draft.set(list, entries);
  return entries;
}

export function problemAt(
  place: { readonly option: UnitOption; readonly file: string },
  message: string,
): UnitProblem {
  const { line, column } = place.option;
  return { file: place.file, line, column, message };
}

/** MachineID, or fleet's older name for it where there is none. */
export function pinned(draft: Draft, problems: UnitProblem[]): Entry | undefined {
  const own = entriesOf(draft, "machineId");
  const [first, ...others] = own.length > 0 ? own : entriesOf(draft, "conditionMachineId");
  const other = others.find(({ value }) => value !== first?.value);
  if (first !== undefined && other !== undefined) {
    const message = `${other.option.name}=${other.value}: the unit is pinned to ${first.value} already`;
    problems.push(problemAt(other, message));
  }
  const [bootId] = entriesOf(draft, "conditionMachineBootId");
  if (first === undefined && bootId !== undefined) {
    const message = `${bootId.option.name}: fleet compared it with machine ids, so nothing ever matched; use MachineID`;
    problems.push(problemAt(bootId, message));
  }
  return first;
}

/** Requirements that no machine could ever meet together, or of which one would have no effect; fleet's in its order and words. */
export function combinationProblems(
  draft: Draft,
  pin: Entry | undefined,
  unitName: string,
): readonly UnitProblem[] {
  const problems = [
    ...clashes(draft, "conflicts", "conflict"),
    ...clashes(draft, "replaces", "replace"),
  ];
  const global = entriesOf(draft, "global").at(-1);
  const isGlobal = global !== undefined && parseBoolean(global.value) === true;
  const first = (list: ListName) => entriesOf(draft, list)[0];
  const said = {
    MachineID: pin,
    Peers: first("machineOf"),
    Conflicts: first("conflicts"),
    Global: isGlobal ? global : undefined,
    Replaces: first("replaces"),
    NotMachineID: first("notMachineId"),
    PreferMachineMetadata: first("preferredMetadata"),
    SpreadBy: first("spreadBy"),
    MaxPerMachine: first("maxPerMachine"),
    "OnFailure=move": saying(draft, "onFailure", "move"),
    "Fencing=strict": saying(draft, "fencing", "strict"),
    Replicas: first("replicas"),
    Instances: first("instances"),
  };
  for (const [one, other] of EXCLUSIVE) {
    const place = said[other];
    if (said[one] !== undefined && place !== undefined) {
      problems.push(problemAt(place, `${one} cannot be used with ${other}`));
    }
  }
  const alone = (list: ListName, needs: string, isThere: boolean) => {
    const place = first(list);
    if (place === undefined || isThere) return;
    problems.push(problemAt(place, `${place.option.name}= is of no use without ${needs}`));
  };
  const isOfTemplate = isInstance(unitName);
  alone("maxUnavailable", "Global=yes, or in a template", isGlobal || isOfTemplate);
  alone("replicas", "a template (name@.service)", isOfTemplate);
  alone("instances", "a template (name@.service)", isOfTemplate);
  alone("moveLimit", "OnFailure=move", said["OnFailure=move"] !== undefined);
  alone("moveIntervalSec", "OnFailure=move", said["OnFailure=move"] !== undefined);
  for (const option of FOR_INSTANCES) {
    const place = said[option];
    if (place !== undefined && !isInstance(unitName)) {
      const message = `${option}= counts the instances of a template, and ${unitName} is none (it would be like name@instance.service)`;
      problems.push(problemAt(place, message));
    }
  }
  return problems;
}

function saying(draft: Draft, list: ListName, value: string): Entry | undefined {
  const entry = entriesOf(draft, list).at(-1);
  return entry?.value === value ? entry : undefined;
}

const EXCLUSIVE = [
  ["MachineID", "Peers"],
  ["MachineID", "Conflicts"],
  ["MachineID", "Global"],
  ["MachineID", "Replaces"],
  ["Global", "Peers"],
  ["Global", "Replaces"],
  ["Conflicts", "Replaces"],
  ["MachineID", "NotMachineID"],
  ["MachineID", "PreferMachineMetadata"],
  ["MachineID", "SpreadBy"],
  ["Global", "PreferMachineMetadata"],
  ["Global", "SpreadBy"],
  ["Global", "MaxPerMachine"],
  ["MachineID", "OnFailure=move"],
  ["Global", "OnFailure=move"],
  ["Global", "Fencing=strict"],
  ["Replicas", "Instances"],
  ["Global", "Replicas"],
  ["Global", "Instances"],
] as const;

const FOR_INSTANCES = ["SpreadBy", "MaxPerMachine"] as const;

/** Patterns with `%H` or `%m` are another matter on each machine: the planner finds out. */
function clashes(draft: Draft, list: ListName, what: string): UnitProblem[] {
  const patterns = entriesOf(draft, list)
    .filter(({ value }) => !hasMachineSpecifiers(value))
    .map((entry) => ({ entry, glob: parseGlob(entry.value) }));
  const problems: UnitProblem[] = [];
  for (const peer of entriesOf(draft, "machineOf")) {
    const hit = patterns.find(({ glob }) => glob?.matches(peer.value));
    if (hit === undefined) continue;
    const message = `unresolvable requirements: peer "${peer.value}" matches ${what} "${hit.entry.value}"`;
    problems.push(problemAt(hit.entry, message));
  }
  return problems;
}
