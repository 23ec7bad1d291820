import type { UnitEntry } from "../cluster/entries.ts";
import type { Origin } from "./place.ts";
import type { Standings } from "./settle.ts";

/** Units that have no place and have to get one together, oldest first. */
export interface Homeless {
  readonly units: readonly UnitEntry[];
  readonly standings: Standings;
  /** The only machine that counts, if an operator has chosen one. */
  readonly to?: string | undefined;
}

/** Where homeless units have to go. */
export interface Tied {
  readonly machineIds: readonly string[];
  /** The unit outside the group because of which only these machines count. */
  readonly because: string;
}

/** They have a place that they could keep. */
export function isMove({ units, standings }: Homeless): boolean {
  return units.some((unit) => originOf(unit, standings)?.moving !== undefined);
}

export function originOf(unit: UnitEntry, standings: Standings): Origin | undefined {
  if (standings.size === 0) return undefined;
  const standing = standings.get(unit.name);
  return standing?.type === "homeless" ? standing.origin : undefined;
}
