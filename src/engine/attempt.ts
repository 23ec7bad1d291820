import type { UnitEntry } from "../cluster/entries.ts";

/** What a history entry says of the unit at that time, so that failures before an operator's start no longer count. */
export function attemptOf({ unit }: UnitEntry): string {
  return `${unit?.createRevision} ${unit?.record.restarts} ${unit?.record.manifest}`;
}
