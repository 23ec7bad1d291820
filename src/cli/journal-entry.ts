import type { JournalFormat } from "./journal-formats.ts";

/** An entry of journald as JSON: fields are text, bytes where they are not UTF-8, or lists of those. */
export type JournalEntry = Readonly<Record<string, unknown>>;

/** Fields that all formats but those that print everything get along with. */
export const BRIEF_FIELDS = [
  ...["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "_PID", "_COMM", "_HOSTNAME"],
  ...["_SYSTEMD_UNIT", "UNIT", "OBJECT_SYSTEMD_UNIT", "COREDUMP_UNIT"],
] as const;

export function printsAllFields(format: JournalFormat): boolean {
  return format === "verbose" || format.startsWith("json");
}

export function field(entry: JournalEntry, name: string): string | undefined {
  const value = entry[name];
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const [first] = value;
  return typeof first === "number" ? new TextDecoder().decode(Uint8Array.from(value)) : first;
}

/** What a date can be. */
const REALTIME_US_MAX = 8.64e18;

/** Microseconds since 1970; 0 where it is not said. */
export function realtimeUs(entry: JournalEntry): number {
  const us = Number(field(entry, "__REALTIME_TIMESTAMP"));
  return us > 0 && us < REALTIME_US_MAX ? us : 0;
}

/** Which of the units asked for it is about: also what systemd itself says of a unit, and what a core dump was of. */
export function unitOfEntry(entry: JournalEntry, units: ReadonlySet<string>): string {
  const fields = ["UNIT", "OBJECT_SYSTEMD_UNIT", "COREDUMP_UNIT", "_SYSTEMD_UNIT"];
  const named = fields.flatMap((name) => field(entry, name) ?? []);
  return named.find((name) => units.has(name)) ?? named[0] ?? "-";
}

/** Without the last end of line; `colour` keeps colours that the message itself has. */
export function formatEntry(entry: JournalEntry, format: JournalFormat, colour: boolean): string {
  switch (format) {
    case "json":
      return JSON.stringify(entry);
    case "json-pretty":
      return JSON.stringify(entry, undefined, 2);
    case "json-sse":
      return `data: ${JSON.stringify(entry)}\n`;
    case "verbose":
      return verbose(entry);
    case "cat":
      return messageText(entry, colour);
    default: {
      const host = field(entry, "_HOSTNAME") ?? "-";
      const who =
        (format === "with-unit" ? field(entry, "_SYSTEMD_UNIT") : undefined) ??
        field(entry, "SYSLOG_IDENTIFIER") ??
        field(entry, "_COMM") ??
        "unknown";
      const pid = field(entry, "_PID") ?? field(entry, "SYSLOG_PID");
      const head = `${timeText(entry, format)} ${host} ${who}${pid === undefined ? "" : `[${pid}]`}: `;
      return head + messageText(entry, colour).replaceAll("\n", `\n${" ".repeat(head.length)}`);
    }
  }
}

function messageText(entry: JournalEntry, colour: boolean): string {
  const message = field(entry, "MESSAGE") ?? "";
  const plain = message.replace(ANSI, "");
  if (UNPRINTABLE.test(plain)) return `[${Buffer.byteLength(message)}B blob data]`;
  return (colour ? `${message}${message === plain ? "" : "\u001b[0m"}` : plain).trimEnd();
}

/** Colours only: a message may not move the cursor. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it looks for
const ANSI = /\u001b\[[0-9;]*m/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it looks for
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f]/;

function verbose(entry: JournalEntry): string {
  const lines = Object.keys(entry)
    .filter((name) => !name.startsWith("__"))
    .map((name) => `    ${name}=${(field(entry, name) ?? "").replaceAll("\n", "\n        ")}`);
  const head = `${fullText(realtimeUs(entry), true)} [${field(entry, "__CURSOR") ?? ""}]`;
  return [head, ...lines].join("\n");
}

function timeText(entry: JournalEntry, format: JournalFormat): string {
  const us = realtimeUs(entry);
  const parts = dateParts(us);
  switch (format) {
    case "short-iso":
      return `${parts.iso}${parts.zone}`;
    case "short-iso-precise":
      return `${parts.iso}.${micros(us)}${parts.zone}`;
    case "short-precise":
      return `${parts.short}.${micros(us)}`;
    case "short-unix":
      return `${Math.floor(us / 1e6)}.${micros(us)}`;
    case "short-monotonic": {
      const monotonic = Number(field(entry, "__MONOTONIC_TIMESTAMP") ?? 0);
      return `[${`${Math.floor(monotonic / 1e6)}.${micros(monotonic)}`.padStart(12)}]`;
    }
    case "short-full":
    case "with-unit":
      return fullText(us, false);
    default:
      return parts.short;
  }
}

function fullText(us: number, precise: boolean): string {
  const { weekday, iso, zoneName } = dateParts(us);
  return `${weekday} ${iso.replace("T", " ")}${precise ? `.${micros(us)}` : ""} ${zoneName}`;
}

function micros(us: number): string {
  return String(us % 1e6).padStart(6, "0");
}

interface DateParts {
  readonly short: string;
  readonly iso: string;
  readonly zone: string;
  readonly zoneName: string;
  readonly weekday: string;
}

const FORMAT = new Intl.DateTimeFormat("en-US", {
  ...{ weekday: "short", year: "numeric", month: "short", day: "2-digit" },
  ...{ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
  timeZoneName: "longOffset",
});
const ZONE_FORMAT = new Intl.DateTimeFormat("en-US", { timeZoneName: "short" });
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** Of the last second asked for: neighbouring lines mostly share theirs. */
let last: { readonly second: number; readonly parts: DateParts } | undefined;

/** In this machine's time zone, so that lines of several machines compare. */
function dateParts(us: number): DateParts {
  const second = Math.floor(us / 1e6);
  if (last?.second === second) return last.parts;
  const read = Object.fromEntries(
    FORMAT.formatToParts(second * 1_000).map(({ type, value }) => [type, value]),
  );
  const { year, month = "", day, hour, minute, second: seconds, weekday = "" } = read;
  const number = String(MONTHS.indexOf(month) + 1).padStart(2, "0");
  const zoneName = ZONE_FORMAT.formatToParts(second * 1_000).find((p) => p.type === "timeZoneName");
  const parts = {
    short: `${month} ${day} ${hour}:${minute}:${seconds}`,
    iso: `${year}-${number}-${day}T${hour}:${minute}:${seconds}`,
    zone: (read["timeZoneName"] ?? "").replace("GMT", "").replace(":", "") || "+0000",
    zoneName: zoneName?.value ?? "",
    weekday,
  };
  last = { second, parts };
  return parts;
}
