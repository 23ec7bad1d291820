import type { HistoryEntry, HistorySpec, Versioned } from "../cluster/facts.ts";

/** So many stays are remembered. */
const ENTRIES_MAX = 20;

interface Departure {
  readonly machineId: string;
  readonly atMs: number;
  readonly why: string;
  readonly attempt?: string;
}

/** The history with the last stay ended. Fields of the record that this version does not know stay. */
export function left(
  history: Versioned<HistorySpec> | undefined,
  { machineId, atMs, why, attempt }: Departure,
): HistorySpec {
  const entries = [...(history?.record.entries ?? [])];
  const last = entries.at(-1);
  if (last?.machine === machineId && last.untilMs === undefined) {
    entries[entries.length - 1] = {
      ...last,
      untilMs: atMs,
      why,
      ...(attempt === undefined ? {} : { attempt }),
    };
  }
  return { ...history?.record, entries };
}

/** The history with a new stay begun, unless it has begun already. */
export function arrived(history: HistorySpec | undefined, entry: HistoryEntry): HistorySpec {
  // As with every new unit.
  if (history === undefined) return { entries: [entry] };
  const last = history.entries.at(-1);
  if (last?.machine === entry.machine && last.untilMs === undefined) return history;
  const entries = [...history.entries, entry].slice(-ENTRIES_MAX);
  return { ...history, entries };
}
