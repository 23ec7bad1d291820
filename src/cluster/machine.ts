import type { MetadataRequirement } from "../units/requirements.ts";
import {
  expandMachineSpecifiers,
  hasMachineSpecifiers,
  type MachineNames,
} from "../units/specifiers.ts";
import type { MachineSpec, OperatorSpec, Versioned } from "./facts.ts";

export type Metadata = ReadonlyMap<string, string>;

/** Automatic metadata, then fleet.conf's, then what operators set; null hides. */
export function effectiveMetadata(
  machine: Pick<MachineSpec, "automatic" | "metadata"> | undefined,
  operator: Pick<OperatorSpec, "metadata"> | undefined,
): Metadata {
  const metadata = new Map<string, string>();
  for (const layer of [machine?.automatic, machine?.metadata, operator?.metadata]) {
    for (const [key, value] of Object.entries(layer ?? {})) {
      if (value === null) metadata.delete(key);
      else metadata.set(key, value);
    }
  }
  return metadata;
}

/** Whether what the machine says of `key` is only what its daemon found by itself: that never makes a placed unit leave. */
export function isAutomatic(
  key: string,
  machine: Pick<MachineSpec, "automatic" | "metadata"> | undefined,
  operator: Pick<OperatorSpec, "metadata"> | undefined,
): boolean {
  return (
    machine !== undefined &&
    Object.hasOwn(machine.automatic, key) &&
    !Object.hasOwn(machine.metadata, key) &&
    !(operator !== undefined && Object.hasOwn(operator.metadata, key))
  );
}

/** What %H and %m stand for on a machine. */
export function machineNames(machine: {
  readonly id: string;
  readonly metadata: Metadata;
}): MachineNames {
  return { machineId: machine.id, hostname: machine.metadata.get(HOSTNAME) ?? "" };
}

export const HOSTNAME = "hostname";

export function unmetRequirement(
  requirements: readonly MetadataRequirement[],
  machine: { readonly id: string; readonly metadata: Metadata },
): MetadataRequirement | undefined {
  for (const requirement of requirements) if (!isMet(requirement, machine)) return requirement;
  return undefined;
}

export function isMet(
  { key, operator, values }: MetadataRequirement,
  machine: { readonly id: string; readonly metadata: Metadata },
): boolean {
  const value = machine.metadata.get(key);
  const isOneOf = value !== undefined && values.some((text) => onMachine(text, machine) === value);
  return isOneOf === (operator === "in");
}

/** What a machine text means there (units/specifiers.ts). */
export function onMachine(
  text: string,
  machine: { readonly id: string; readonly metadata: Metadata },
): string {
  return text.includes("%") ? expandMachineSpecifiers(text, machineNames(machine)) : text;
}

/** In the forms of the unit file: `disk=ssd`, `disk!=hdd`, `region in (a, b)`, `region not in (a, b)`. */
export function requirementText({ key, operator, values }: MetadataRequirement): string {
  const isIn = operator === "in";
  const [only = ""] = values;
  if (values.length === 1) return `${key}${isIn ? "=" : "!="}${only}`;
  return `${key} ${isIn ? "in" : "not in"} (${values.join(", ")})`;
}

/** Whether the machine's own name has a part in what is required. */
export function namesMachine(texts: readonly string[]): boolean {
  return texts.some(hasMachineSpecifiers);
}

const SHORT_ID_LENGTH = 8;

/** A machine is meant by its full id or by the first eight characters. */
export function isMachineNamed(machineId: string, required: string): boolean {
  return required === machineId || required === machineId.slice(0, SHORT_ID_LENGTH);
}

/** A heartbeat writes the record anew: nothing that decides anything is different. */
export function isSamePresence(
  before: Versioned<MachineSpec> | undefined,
  after: Versioned<MachineSpec> | undefined,
): boolean {
  if (before === undefined || after === undefined) return before === after;
  return (
    before.createRevision === after.createRevision &&
    before.record.leaving === after.record.leaving &&
    before.record.ttlMs === after.record.ttlMs &&
    areSameValues(before.record.capacity, after.record.capacity) &&
    areSameValues(before.record.overcommit, after.record.overcommit) &&
    areSameValues(before.record.automatic, after.record.automatic) &&
    areSameValues(before.record.metadata, after.record.metadata)
  );
}

function areSameValues(left: object | undefined, right: object | undefined): boolean {
  const one = new Map<string, unknown>(Object.entries(left ?? {}));
  const other: readonly (readonly [string, unknown])[] = Object.entries(right ?? {});
  return one.size === other.length && other.every(([key, value]) => one.get(key) === value);
}
