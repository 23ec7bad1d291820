import {
  SOURCE_HISTORY_MAX,
  SOURCE_TEXTS_MAX,
  type SourceRecord,
} from "../registry/source-record.ts";
import type { Clock } from "../runtime/clock.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { SyncPlan } from "./plan-sync.ts";
import type { StoredSource, SyncCluster } from "./sync-cluster.ts";
import { refusalText } from "./sync-text.ts";
import type { TreeSource, TreeVersion } from "./tree.ts";

/** Characters of why something is away: what git says may be long. */
const AWAY_TEXT_MAX = 500;

export interface NoteOptions {
  readonly source: string;
  readonly tree: TreeSource;
  readonly cluster: SyncCluster;
  readonly clock: Clock;
  readonly runner: string;
}

/** Writes down what became of a version. */
export async function note(
  options: NoteOptions,
  stored: StoredSource,
  outcome: {
    readonly version: TreeVersion;
    readonly plan?: SyncPlan;
    readonly drift?: readonly string[];
    readonly rejected?: readonly string[];
    readonly untrusted?: boolean;
    readonly rolledBack?: boolean;
  },
  signal: AbortSignal,
): Promise<void> {
  const { cluster, clock, tree, source, runner } = options;
  const { version, plan, rejected } = outcome;
  const atMs = clock.wallMs();
  const { rejected: _, drift: __, ...kept } = stored.record ?? newRecord(options);
  const word = rejected === undefined ? "running" : outcome.rolledBack ? "rolled-back" : "rejected";
  const entry = { version: { ...version }, atMs, outcome: word, who: runner } as const;
  const isRepeated = kept.history[0]?.version.id === version.id && kept.history[0].outcome === word;
  const record: SourceRecord = {
    ...kept,
    tree: tree.description,
    wanted: { ...version },
    ...(rejected === undefined
      ? { running: { ...version } }
      : {
          rejected: {
            version: { ...version },
            atMs,
            problems: rejected.slice(0, SOURCE_TEXTS_MAX),
            ...(outcome.untrusted === true ? { untrusted: true } : {}),
          },
        }),
    refused: refusedTexts(plan),
    ...(outcome.drift === undefined || outcome.drift.length === 0
      ? {}
      : { drift: [...outcome.drift] }),
    history: isRepeated ? kept.history : [entry, ...kept.history].slice(0, SOURCE_HISTORY_MAX),
    runner,
    lookedMs: atMs,
  };
  await cluster.writeSource(source, { record, revision: stored.revision }, signal);
}

/** Writes down that tree or cluster are out of reach, once for each reason, if it can. */
export async function noteAway(
  options: NoteOptions,
  message: string,
  signal: AbortSignal,
): Promise<void> {
  const { cluster, source, clock } = options;
  const why = message.slice(0, AWAY_TEXT_MAX);
  try {
    const { record = newRecord(options), revision } = await cluster.source(source, signal);
    if (record.away?.why === why) return;
    const sinceMs = record.away?.sinceMs ?? clock.wallMs();
    const away = { ...record, away: { sinceMs, why } };
    await cluster.writeSource(source, { record: away, revision }, signal);
  } catch (error) {
    // The cluster itself may be what is away. Whoever runs the sync is told in any case.
    if (!isFleetError(error)) throw error;
  }
}

export async function noteReached(
  { cluster, source }: NoteOptions,
  stored: StoredSource,
  signal: AbortSignal,
): Promise<StoredSource> {
  if (stored.record?.away === undefined) return stored;
  const { away: _, ...record } = stored.record;
  return await cluster.writeSource(source, { record, revision: stored.revision }, signal);
}

export function changedTexts(
  record: SourceRecord | undefined,
  { plan, drift }: { readonly plan: SyncPlan; readonly drift: readonly string[] },
): boolean {
  const before = [record?.refused, record?.drift ?? []];
  return JSON.stringify(before) !== JSON.stringify([refusedTexts(plan), drift]);
}

function refusedTexts(plan: SyncPlan | undefined): string[] {
  return (plan?.refused ?? []).slice(0, SOURCE_TEXTS_MAX).map(refusalText);
}

function newRecord({ tree, runner, clock }: NoteOptions): SourceRecord {
  const lookedMs = clock.wallMs();
  return { tree: tree.description, refused: [], history: [], runner, lookedMs };
}
