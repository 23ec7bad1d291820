import { compareText } from "./facts.ts";

/** When an absent machine was missed first, by the leader's monotonic clock. */
export interface Absence {
  /** `-Infinity`: it was gone, and held nothing, when the leader took over. */
  readonly sinceMs: number;
  /** Machines that were present just before, itself included. */
  readonly presentBefore: number;
}

export type Absences = ReadonlyMap<string, Absence>;

export type HoldReason = "boot-grace" | "mass-loss";

export interface LossRules {
  /** Until when no absence counts at all: a fresh leader alone, or one that had lost the store itself. */
  readonly graceUntilMs: number;
  /** Machines that go within this time of one another went at once. */
  readonly massWindowMs: number;
  /** How long a mass loss is held in a cluster below `massConfirmAt` machines; from there on operators have to confirm. */
  readonly massHoldMs: number;
  readonly massConfirmAt: number;
  /** How long to watch whether others go too, from three machines on. */
  readonly settleMs: number;
}

export const LOSS_RULES: LossRules = {
  graceUntilMs: Number.NEGATIVE_INFINITY,
  massWindowMs: 15_000,
  massHoldMs: 60_000,
  massConfirmAt: 5,
  settleMs: 200,
};

export interface LossJudgement {
  readonly lost: ReadonlySet<string>;
  readonly held: ReadonlyMap<string, HoldReason>;
  /** When time alone may change the judgement (monotonic). */
  readonly againAtMs: number | undefined;
}

export const NOTHING_LOST: LossJudgement = {
  lost: new Set(),
  held: new Map(),
  againAtMs: undefined,
};

export interface PresenceNow {
  readonly present: ReadonlySet<string>;
  /** Known and not present, with whether units are placed there. */
  readonly absent: ReadonlyMap<string, { readonly holdsUnits: boolean }>;
}

/** Notes who went and who came back. `previous` undefined: the leader has just taken over and cannot know since when. */
export function trackAbsences(
  previous: Absences | undefined,
  now: PresenceNow,
  nowMs: number,
): Absences {
  const fresh = previous === undefined;
  const gone = [...now.absent].filter(
    ([id, { holdsUnits }]) => !previous?.has(id) && (!fresh || holdsUnits),
  );
  const presentBefore = now.present.size + gone.length;
  const absences = new Map<string, Absence>();
  for (const [id] of now.absent) {
    const known = previous?.get(id);
    if (known !== undefined) absences.set(id, known);
    else if (fresh) absences.set(id, { sinceMs: Number.NEGATIVE_INFINITY, presentBefore: 0 });
  }
  for (const [id] of gone) absences.set(id, { sinceMs: nowMs, presentBefore });
  return absences;
}

/** Which absent machines are given up, and which are not yet. Pure: the same absences at the same time give the same answer. */
export function judgeLosses(
  absences: Absences,
  options: {
    readonly nowMs: number;
    readonly rules: LossRules;
    readonly isConfirmed: (machineId: string) => boolean;
    /** Until when a machine stays held although others that went with it have returned: it may be about to. */
    readonly heldUntilMs?: ReadonlyMap<string, number>;
  },
): LossJudgement {
  const { nowMs, rules, isConfirmed, heldUntilMs } = options;
  const lost = new Set<string>();
  const held = new Map<string, HoldReason>();
  let againAtMs: number | undefined;
  for (const group of goneTogether(absences, rules.massWindowMs)) {
    const mass = massLoss(group, rules);
    for (const { id, absence } of group) {
      if (isConfirmed(id)) {
        lost.add(id);
        continue;
      }
      const settledAtMs = absence.presentBefore >= 3 ? absence.sinceMs + rules.settleMs : nowMs;
      const massUntilMs = mass?.untilMs ?? heldUntilMs?.get(id) ?? nowMs;
      const dueMs = Math.max(settledAtMs, rules.graceUntilMs, massUntilMs);
      if (dueMs <= nowMs) {
        lost.add(id);
        continue;
      }
      if (rules.graceUntilMs > nowMs) held.set(id, "boot-grace");
      else if (massUntilMs > nowMs) held.set(id, "mass-loss");
      // What changes first: the grace ends, or the wait does.
      const nextMs = rules.graceUntilMs > nowMs ? rules.graceUntilMs : dueMs;
      if (Number.isFinite(nextMs)) againAtMs = Math.min(againAtMs ?? nextMs, nextMs);
    }
  }
  return { lost, held, againAtMs };
}

interface Gone {
  readonly id: string;
  readonly absence: Absence;
}

/** Groups by time: each begins with the first that went and takes in who followed within the window. */
function goneTogether(absences: Absences, windowMs: number): readonly (readonly Gone[])[] {
  const sorted = [...absences]
    .map(([id, absence]) => ({ id, absence }))
    .sort(
      (a, b) => compareNumbers(a.absence.sinceMs, b.absence.sinceMs) || compareText(a.id, b.id),
    );
  const groups: Gone[][] = [];
  for (const gone of sorted) {
    const group = groups.at(-1);
    const firstMs = group?.[0]?.absence.sinceMs;
    if (
      group !== undefined &&
      firstMs !== undefined &&
      (gone.absence.sinceMs === firstMs || gone.absence.sinceMs - firstMs <= windowMs)
    ) {
      group.push(gone);
    } else {
      groups.push([gone]);
    }
  }
  return groups;
}

function compareNumbers(left: number, right: number): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** More than half of at least three at once looks like a fault of the network or the store, not of the machines. */
function massLoss(
  group: readonly Gone[],
  rules: LossRules,
): { readonly untilMs: number } | undefined {
  const known = group[0]?.absence.presentBefore ?? 0;
  const lastMs = group.at(-1)?.absence.sinceMs ?? 0;
  if (known < 3 || group.length * 2 <= known) return undefined;
  return {
    untilMs: known >= rules.massConfirmAt ? Number.POSITIVE_INFINITY : lastMs + rules.massHoldMs,
  };
}
