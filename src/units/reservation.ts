import type { Amount, Reservation } from "./requirements.ts";
import type { UnitFile } from "./unit-file.ts";
import { parseUnitName } from "./unit-name.ts";

/**
 * What a unit sets itself as limits (systemd.resource-control(5)), read as systemd reads it: in the section of its type, drop-ins behind
 * the unit file, the last assignment wins, an empty one takes it back, and one that systemd would pass over counts for nothing.
 * Undefined: it sets none.
 */
export function parseReservation(
  unitName: string,
  files: readonly UnitFile[],
): Reservation | undefined {
  const section = SECTIONS.get(parseUnitName(unitName)?.type ?? "");
  if (section === undefined) return undefined;
  const options = files.flatMap((file) =>
    file.options.filter((option) => option.section === section),
  );
  const last = <T>(wanted: string, parse: Parser<T>): T | undefined => {
    let limit: T | undefined;
    for (const { name, value } of options) {
      if (name !== wanted) continue;
      const parsed = value === "" ? "unlimited" : parse(value);
      if (parsed === "unlimited") limit = undefined;
      else if (parsed !== undefined) limit = parsed;
    }
    return limit;
  };
  const memory =
    last("MemoryMax", parseMemory) ??
    last("MemoryHigh", parseMemory) ??
    last("MemoryMin", parseMinimum);
  const cores = last("CPUQuota", parseQuota);
  const tasks = last("TasksMax", parseTasks);
  if (memory === undefined && cores === undefined && tasks === undefined) return undefined;
  return { memory, cores, tasks };
}

/** Cheap test for texts that cannot have a reservation: there may be very many. */
export function mentionsLimits(text: string): boolean {
  return /Memory(?:Max|High|Min)|CPUQuota|TasksMax/.test(text);
}

/** The other types have no processes of their own. */
const SECTIONS: ReadonlyMap<string, string> = new Map([
  ["service", "Service"],
  ["socket", "Socket"],
  ["mount", "Mount"],
  ["swap", "Swap"],
  ["slice", "Slice"],
]);

/** Undefined: systemd logs a warning and keeps what it has. */
type Parser<T> = (value: string) => T | "unlimited" | undefined;

/** systemd counts in 64 bits, and takes the highest number for no limit. */
const AMOUNT_END = 2 ** 64;

function parseMemory(value: string): Amount | "unlimited" | undefined {
  if (value === "infinity") return "unlimited";
  const share = parseShare(value);
  if (share !== undefined && share <= 1) {
    return share > 0 ? { type: "share", ratio: share } : undefined;
  }
  const bytes = parseSize(value);
  return bytes !== undefined && bytes > 0 ? { type: "absolute", amount: bytes } : undefined;
}

/** Protected rather than limited: here nothing is a value too. */
function parseMinimum(value: string): Amount | "unlimited" | undefined {
  return parseShare(value) === 0 || parseSize(value) === 0 ? "unlimited" : parseMemory(value);
}

function parseQuota(value: string): number | undefined {
  const share = parseShare(value);
  return share !== undefined && share > 0 ? share : undefined;
}

function parseTasks(value: string): Amount | "unlimited" | undefined {
  if (value === "infinity") return "unlimited";
  const share = parseShare(value);
  if (share !== undefined && share <= 1) return { type: "share", ratio: share };
  const count = parseWhole(value);
  return count > 0 && count < AMOUNT_END ? { type: "absolute", amount: count } : undefined;
}

/** `50%`, `12.25%`, `5‰`, `5.5‰`, `5‱`: down to a ten-thousandth. */
function parseShare(value: string): number | undefined {
  const parts = /^(?<whole>[^.]*?)(?:\.(?<part>[0-9]{1,2}))?(?<sign>[%‰‱])$/u.exec(value)?.groups;
  const digits = PLACES.get(parts?.["sign"] ?? "");
  const part = parts?.["part"] ?? "";
  if (parts === undefined || digits === undefined || part.length > digits) return undefined;
  const tenThousandths =
    parseWhole(parts["whole"] ?? "") * 10 ** digits + Number(part.padEnd(digits, "0"));
  return tenThousandths < 2 ** 31 ? tenThousandths / 10_000 : undefined;
}

/** Digits behind the point. */
const PLACES: ReadonlyMap<string, number> = new Map([
  ["%", 2],
  ["‰", 1],
  ["‱", 0],
]);

/** As C reads numbers: `0x1f`, `0o17`, `017` and `0b11` too. NaN for other text. */
function parseWhole(text: string): number {
  const plain = text.trimStart().replace(/^\+/, "");
  if (/^0[0-7]+$/.test(plain)) return Number.parseInt(plain, 8);
  return /^([0-9]+|0x[0-9a-f]+|0o[0-7]+|0b[01]+)$/i.test(plain) && !/^0[89]/.test(plain)
    ? Number(plain)
    : Number.NaN;
}

const SIZE_SUFFIXES = ["E", "P", "T", "G", "M", "K", "B", ""] as const;

/** Bytes of `512M`, `1.5G`, `1G 512M`: binary suffixes, each smaller than the one before. */
function parseSize(value: string): number | undefined {
  let bytes = 0;
  let rank = 0;
  let rest = value;
  do {
    const parts = /^\s*\+?(?<number>[0-9]+(?:\.[0-9]*)?)\s*/.exec(rest);
    if (parts === null) return undefined;
    rest = rest.slice(parts[0].length);
    const at = SIZE_SUFFIXES.findIndex((suffix, index) => index >= rank && rest.startsWith(suffix));
    const suffix = SIZE_SUFFIXES[at];
    if (suffix === undefined) return undefined;
    // Of a fraction, the bytes that are whole.
    bytes += Math.floor(Number(parts.groups?.["number"]) * 1024 ** Math.max(0, 6 - at));
    rank = at + 1;
    rest = rest.slice(suffix.length);
  } while (rest !== "");
  return bytes < AMOUNT_END ? bytes : undefined;
}
