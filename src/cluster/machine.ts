import type { MetadataRequirement } from "../units/requirements.ts";
import type { MachineSpec, OperatorSpec } from "./facts.ts";

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

export function unmetRequirement(
  requirements: readonly MetadataRequirement[],
  metadata: Metadata,
): MetadataRequirement | undefined {
  return requirements.find(({ key, operator, values }) => {
    const value = metadata.get(key);
    const isOneOf = value !== undefined && values.includes(value);
    return isOneOf !== (operator === "in");
  });
}

/** As written in the unit file: `disk=ssd`; several values of one key: `region=a|b`. */
export function requirementText({ key, values }: MetadataRequirement): string {
  return `${key}=${values.join("|")}`;
}

const SHORT_ID_LENGTH = 8;

/** A machine is meant by its full id or by the first eight characters. */
export function isMachineNamed(machineId: string, required: string): boolean {
  return required === machineId || required === machineId.slice(0, SHORT_ID_LENGTH);
}
