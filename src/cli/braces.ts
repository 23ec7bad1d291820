import { FleetError } from "../runtime/errors.ts";

/** Of one argument: beyond, it is a slip of the finger. */
const WORDS_MAX = 10_000;

/**
 * `web@{1..3}` -> `web@1 web@2 web@3`, `{a,b}-{1,2}` -> four words: as bash does it, for arguments that no such shell has seen. What is not
 * a list or a range stays as it is.
 */
export function expandBraces(word: string): readonly string[] {
  const match = /^(.*?)\{([^{}]*)\}(.*)$/s.exec(word);
  if (match === null) return [word];
  const [, before = "", inner = "", after = ""] = match;
  const items = rangeItems(inner) ?? (inner.includes(",") ? inner.split(",") : [`{${inner}}`]);
  const rest = expandBraces(after);
  if (items.length * rest.length > WORDS_MAX) {
    throw new FleetError("usage", `${word}: that is more than ${WORDS_MAX} units`);
  }
  return items.flatMap((item) => rest.map((end) => before + item + end));
}

/** `1..3`, `01..10` (padded), `c..a` */
function rangeItems(text: string): readonly string[] | undefined {
  const match = /^(?:(-?\d{1,9})\.\.(-?\d{1,9})|([a-zA-Z])\.\.([a-zA-Z]))$/.exec(text);
  if (match === null) return undefined;
  const [, from, to, first, last] = match;
  if (from === undefined || to === undefined) {
    const codes = steps(first?.codePointAt(0) ?? 0, last?.codePointAt(0) ?? 0);
    return codes.map((code) => String.fromCodePoint(code));
  }
  const padded = /^-?0\d/.test(from) || /^-?0\d/.test(to);
  const width = padded ? Math.max(from.length, to.length) : 0;
  return steps(Number(from), Number(to)).map((value) => {
    const digits = String(Math.abs(value));
    return value < 0 ? `-${digits.padStart(width - 1, "0")}` : digits.padStart(width, "0");
  });
}

function steps(from: number, to: number): readonly number[] {
  const count = Math.abs(to - from) + 1;
  if (count > WORDS_MAX) throw new FleetError("usage", `{${from}..${to}}: that is too many`);
  return Array.from({ length: count }, (_, index) => (from <= to ? from + index : from - index));
}
