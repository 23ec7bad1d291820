import type { MachineView, UnitStateView } from "../cluster/views.ts";
import type { FleetOption } from "../units/fleet-format.ts";
import type { DesiredState } from "../units/unit-state.ts";

/** Bodies of /fleet/v1 as fleet makes them: compact, keys in order of the alphabet, empty fields left out. */
export function v1Json(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    const fields = Object.entries(part).filter(([, field]) => !isEmpty(field));
    return Object.fromEntries(fields.sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** The message is there even when it is empty. */
export function v1Error(code: number, message: string): string {
  return JSON.stringify({ error: { code, message } });
}

export interface V1Unit {
  readonly name: string;
  readonly options: readonly FleetOption[];
  readonly desiredState: DesiredState;
  readonly currentState: DesiredState | undefined;
  readonly machineID: string | undefined;
}

export function v1Machine({ id, address, metadata }: MachineView) {
  return { id, primaryIP: address, metadata };
}

export function v1State(state: UnitStateView & { readonly unit: string }) {
  return {
    name: state.unit,
    hash: state.hash,
    machineID: state.machineId,
    systemdLoadState: state.load,
    systemdActiveState: state.active,
    systemdSubState: state.sub,
  };
}
