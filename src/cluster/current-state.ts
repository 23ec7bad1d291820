import type { DesiredState } from "../units/unit-state.ts";

export interface CurrentStateFacts {
  readonly identity: number;
  readonly global: boolean;
  /** Where it is placed; undefined: nowhere. */
  readonly machineId: string | undefined;
  /** What that machine says it holds under the unit's name. */
  readonly state:
    | { readonly identity?: number | undefined; readonly current: DesiredState }
    | undefined;
}

/**
 * fleet's STATE column. `launched` says that the start was asked of systemd, not that it succeeded; `inactive` covers "not placed"
 * and "not yet reported". A global unit has none. What the machine holds of an earlier unit of the same name does not count.
 */
export function currentState(facts: CurrentStateFacts): DesiredState | undefined {
  if (facts.global) return undefined;
  if (facts.machineId === undefined || facts.state === undefined) return "inactive";
  if (facts.state.identity !== undefined && facts.state.identity !== facts.identity) {
    return "inactive";
  }
  return facts.state.current;
}
