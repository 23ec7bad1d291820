import type { Absence } from "./absences.ts";
import { type Life, overlaps } from "./beats.ts";
import { type Fault, SILENCE_MS, TTL_SECONDS } from "./faults.ts";
import type { Sight } from "./observe.ts";

/** What may have happened to whom between two moments at which all was well. */
export interface Round {
  readonly name: string;
  readonly fromMs: number;
  untilMs: number;
  readonly faults: readonly Fault[];
  /** How long they really lasted, and when their end began. */
  heldMs: number;
  endingMs: number;
  readonly touched: Set<string>;
  /** Where units were when it began, and when all was well again. */
  readonly before: Sight;
  after: Sight | undefined;
}

/** What was done without a reason, and for how long a machine that had stood still ran a fenced unit beside its successor when it went on. */
export function judge(
  rounds: readonly Round[],
  all: readonly Life[],
  away: readonly Absence[],
): { readonly violations: readonly string[]; readonly afterFreezeMs: number } {
  const violations: string[] = [];
  const judged = rounds.map((round, index) => ({
    ...round,
    unleased: rounds.slice(0, index).some((earlier) => leftUnleased(earlier, round)),
    away: away.filter(({ fromMs }) => isWithin(round, fromMs)),
  }));
  for (const round of judged) violations.push(...changed(round));
  for (const life of all.filter(({ isStart }) => isStart)) {
    const round = judged.find((one) => isWithin(one, life.firstMs));
    if (round === undefined || hadReason(round, life.unit, life.machine)) continue;
    violations.push(`${round.name}: ${life.unit} was started on m${life.machine} without a reason`);
  }
  let afterFreezeMs = 0;
  for (const { older, younger, ms } of overlaps(all.filter(({ unit }) => isStrict(unit)))) {
    const frozen = rounds.find(
      (round) =>
        isWithin(round, younger.firstMs) &&
        round.faults.some((fault) => fault.frozen.includes(older.machine)),
    );
    if (frozen !== undefined)
      afterFreezeMs = Math.max(afterFreezeMs, older.lastMs - frozen.endingMs);
    else
      violations.push(
        `${older.unit} ran on m${older.machine} and m${younger.machine} for ${Math.round(ms)} ms`,
      );
  }
  return { violations, afterFreezeMs };
}

interface JudgedRound extends Round {
  /** Absences of daemons that began in it. */
  readonly away: readonly Absence[];
  /** The registry was away a moment before: leases that nobody could renew meanwhile may end in this round. */
  readonly unleased: boolean;
}

/**
 * All was well again, since a registry that comes back gives every lease its whole ttl anew. Its holder does not know that before it has been answered, and
 * goes by what it was told before.
 */
function leftUnleased(earlier: Round, round: Round): boolean {
  const wasAway = earlier.faults.some(({ registryAway }) => registryAway);
  return wasAway && round.fromMs < earlier.endingMs + TTL_SECONDS * 1_000;
}

function isStrict(unit: string): boolean {
  return unit.includes("strict");
}

function isWithin(round: Round, atMs: number): boolean {
  return atMs >= round.fromMs && atMs <= round.untilMs;
}

/** I4: what nobody touched runs on as the very same process. */
function changed(round: JudgedRound): readonly string[] {
  const { before, after, name } = round;
  if (after === undefined) return [];
  return before.seen.flatMap((old) => {
    if (old.invocation === "" || mayChange(round, old.unit, old.machine)) return [];
    const now = after.seen.find((one) => one.unit === old.unit && one.machine === old.machine);
    if (now?.invocation === old.invocation) return [];
    const how = now === undefined ? "taken away" : "restarted";
    return [`${name}: ${old.unit} on m${old.machine} was ${how} without a reason`];
  });
}

/** A unit that was on this machine may have been stopped or started in the round. */
function mayChange(round: JudgedRound, unit: string, machine: number): boolean {
  if (round.touched.has(unit) || unit === "chaos-tick.service") return true;
  return round.faults.some((fault) => {
    const { machines, strict } = fault.excuses;
    const away = round.away.filter((one) => one.machine === machine);
    const isLost =
      machines.includes(machine) ||
      (fault.silent.includes(machine) && round.heldMs >= SILENCE_MS) ||
      (fault.restarted.includes(machine) &&
        away.some(({ fromMs, untilMs }) => untilMs - fromMs >= SILENCE_MS));
    if (isLost || !isStrict(unit)) return isLost;
    if (round.unleased || strict === "all" || (strict !== "none" && strict.includes(machine)))
      return true;
    return fault.restarted.includes(machine) && away.some(({ fenceFell }) => fenceFell);
  });
}

/** A start has one where the unit's copies of before had one to change. */
function hadReason(round: JudgedRound, unit: string, machine: number): boolean {
  const before = round.before.seen.filter((one) => one.unit === unit);
  const global = unit.includes("global");
  return [
    ...before.filter((one) => !global || one.machine === machine).map((one) => one.machine),
    ...(before.length === 0 ? [machine] : []),
  ].some((one) => mayChange(round, unit, one));
}
