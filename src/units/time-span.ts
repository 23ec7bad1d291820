const SECOND_MS = 1_000;
const UNITS_MS: Readonly<Record<string, number>> = {
  us: 0.001,
  usec: 0.001,
  ms: 1,
  msec: 1,
  "": SECOND_MS,
  s: SECOND_MS,
  sec: SECOND_MS,
  second: SECOND_MS,
  seconds: SECOND_MS,
  m: 60 * SECOND_MS,
  min: 60 * SECOND_MS,
  minute: 60 * SECOND_MS,
  minutes: 60 * SECOND_MS,
  h: 3_600 * SECOND_MS,
  hr: 3_600 * SECOND_MS,
  hour: 3_600 * SECOND_MS,
  hours: 3_600 * SECOND_MS,
  d: 86_400 * SECOND_MS,
  day: 86_400 * SECOND_MS,
  days: 86_400 * SECOND_MS,
};

/** Milliseconds of a systemd.time(7) span, `1min 30s`: seconds where no unit is said; Infinity for `infinity`; undefined for what is none. */
export function parseTimeSpan(text: string): number | undefined {
  const trimmed = text.trim();
  if (trimmed === "infinity") return Number.POSITIVE_INFINITY;
  if (!/^(\d+(\.\d+)?\s*[a-z]*\s*)+$/.test(trimmed)) return undefined;
  let sumMs = 0;
  for (const [, digits, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]*)/g)) {
    const unitMs = UNITS_MS[unit ?? ""];
    if (unitMs === undefined) return undefined;
    sumMs += Number(digits) * unitMs;
  }
  return sumMs;
}
