import { assertNoProblems, excerpt, UnitFileError, type UnitProblem } from "./unit-problem.ts";

/**
 * Unit files as systemd reads them (systemd.syntax(7)). The text is kept byte for byte, so what was submitted is
 * what is shown and written; the options are what systemd makes of it. What systemd would only warn about and
 * then ignore is a problem here: better heard at submit than found in a journal later.
 */
export interface UnitFile {
  /** Names the file in messages: the unit, or `<unit>.d/<drop-in>`. */
  readonly file: string;
  readonly text: string;
  /** In order of the file; optionValues brings repeated sections together. */
  readonly options: readonly UnitOption[];
}

export interface UnitOption {
  readonly section: string;
  readonly name: string;
  /** Lines joined (backslash and line end become one space), blanks at both ends taken off. */
  readonly value: string;
  /** Where it begins, both from 1. */
  readonly line: number;
  readonly column: number;
}

export interface ScannedUnitFile {
  readonly unitFile: UnitFile;
  /** In order of line, at most PROBLEMS_MAX. Options near them may be missing. */
  readonly problems: readonly UnitProblem[];
}

/** systemd's LONG_LINE_MAX: a line, its continuations included, is shorter than this in bytes. */
export const LINE_BYTES_MAX = 1024 * 1024;

/** The scan ends there: a text with more is something else, not a unit file. */
export const PROBLEMS_MAX = 20;

/** Throws UnitFileError, and nothing else, if systemd would not take every line of it. */
export function parseUnitFile(text: string, file: string): UnitFile {
  const scanned = scanUnitFile(text, file);
  assertNoProblems(scanned.problems);
  return scanned.unitFile;
}

/** Inverse of parseUnitFile. */
export function printUnitFile(unitFile: UnitFile): string {
  return unitFile.text;
}

/** Text of a file's bytes, a byte order mark included; throws UnitFileError unless it is UTF-8. */
export function decodeUnitText(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // No byte of a longer character is a line feed, so a line that is wrong is wrong by itself.
    const lines = Buffer.from(bytes).toString("latin1").split("\n");
    const index = lines.findIndex((line) => {
      const lineBytes = Buffer.from(line, "latin1");
      return !lineBytes.equals(Buffer.from(lineBytes.toString("utf8"), "utf8"));
    });
    const message = "the line is not UTF-8 text";
    throw new UnitFileError([{ file, line: index + 1, column: undefined, message }]);
  }
}

/**
 * Values of one option, in order. An empty assignment takes back what came before it, as systemd has it for every
 * option that is a list. For a unit with drop-ins, pass the options of all files in their order.
 */
export function optionValues(
  options: readonly UnitOption[],
  wanted: { readonly section: string; readonly name: string },
): readonly string[] {
  let values: string[] = [];
  for (const option of options) {
    if (option.name !== wanted.name || option.section !== wanted.section) continue;
    if (option.value === "") values = [];
    else values.push(option.value);
  }
  return values;
}

const TAB = 0x09;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const HASH = 0x23;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const OPEN = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE = 0x5d;
const BYTE_ORDER_MARK = 0xfeff;

interface Scan {
  readonly text: string;
  readonly file: string;
  readonly options: UnitOption[];
  readonly problems: UnitProblem[];
  /** Undefined before the first header and after a broken one. */
  section: string | undefined;
  /** After a broken header, assignments are passed over in silence: one mistake, one message. */
  lost: boolean;
}

/** Lines that are continued, so far. */
interface Continued {
  readonly parts: string[];
  readonly line: number;
  length: number;
}

/** Reads as much as can be read, in one pass; never throws. */
export function scanUnitFile(text: string, file: string): ScannedUnitFile {
  const scan: Scan = {
    text,
    file,
    options: [],
    problems: [],
    section: undefined,
    lost: false,
  };
  checkCharacters(scan);
  const bomAtStart = text.charCodeAt(0) === BYTE_ORDER_MARK;
  let at = bomAtStart ? 1 : 0;
  let line = 0;
  let continued: Continued | undefined;
  while (at < text.length && scan.problems.length < PROBLEMS_MAX) {
    line += 1;
    const end = lineEnd(text, at);
    const start = skipBlanks(text, at, end);
    const first = start < end ? text.charCodeAt(start) : SPACE;
    if (first === BYTE_ORDER_MARK && start === at) {
      addProblem(scan, { line, column: 1, message: "byte order mark inside the file" });
    }
    const open = isContinued(text, at, end);
    if (first === HASH || first === SEMICOLON) {
      // Also between continued lines: they go on behind the comment.
      if (open && line === 1 && bomAtStart) {
        // To systemd a comment behind a byte order mark is none, so it would join the next line to this one.
        const message = "a comment behind a byte order mark cannot end in a backslash";
        addProblem(scan, { line, column: end, message });
      }
    } else if (continued === undefined && !open) {
      if (end - at > LINE_BYTES_MAX / 4) checkLength(scan, text.slice(at, end), line);
      readLine(scan, { text, start, end, line, column: start - at + 1 });
    } else {
      continued ??= { parts: [], line, length: 0 };
      continued.parts.push(open ? `${text.slice(at, end - 1)} ` : text.slice(at, end));
      continued.length += end - at;
      if (!open) {
        readContinued(scan, continued);
        continued = undefined;
      }
    }
    at = afterLineEnd(text, end);
  }
  if (continued !== undefined) readContinued(scan, continued);
  scan.problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
  return { unitFile: { file, text, options: scan.options }, problems: scan.problems };
}

function readContinued(scan: Scan, continued: Continued): void {
  const text = continued.parts.join("");
  if (continued.length > LINE_BYTES_MAX / 4) checkLength(scan, text, continued.line);
  const start = skipBlanks(text, 0, text.length);
  // Blanks alone on the first line: then it begins on a later one, but this is where the reader has to look.
  const column = start < (continued.parts[0]?.length ?? 0) ? start + 1 : 1;
  readLine(scan, { text, start, end: text.length, line: continued.line, column });
}

interface Line {
  readonly text: string;
  /** First character that is no blank. */
  readonly start: number;
  readonly end: number;
  /** Where it begins in the file. */
  readonly line: number;
  readonly column: number;
}

/** One line with its continuations: nothing, a header or an assignment. */
function readLine(scan: Scan, where: Line): void {
  const { text, start, line } = where;
  const end = trimBlanks(text, start, where.end);
  if (start >= end) return;
  if (text.charCodeAt(start) === OPEN) {
    scan.lost = text.charCodeAt(end - 1) !== CLOSE;
    scan.section = scan.lost ? undefined : text.slice(start + 1, end - 1);
    if (scan.lost) {
      const header = excerpt(text.slice(start, end));
      addProblem(scan, { ...where, message: `section header ${header} does not end in "]"` });
    }
    return;
  }
  const equals = equalsIn(text, start, end);
  if (equals === -1) {
    const message = `missing "=" in ${excerpt(text.slice(start, end))}`;
    addProblem(scan, { ...where, message });
  } else if (equals === start) {
    const message = `missing option name before ${excerpt(text.slice(start, end))}`;
    addProblem(scan, { ...where, message });
  } else if (scan.section !== undefined) {
    scan.options.push({
      section: scan.section,
      name: text.slice(start, trimBlanks(text, start, equals)),
      value: text.slice(skipBlanks(text, equals + 1, end), end),
      line,
      column: where.column,
    });
  } else if (!scan.lost) {
    const message = `${excerpt(text.slice(start, end))} is outside of any section`;
    addProblem(scan, { ...where, message });
  }
}

function addProblem(
  scan: Scan,
  problem: { readonly line: number; readonly column: number; readonly message: string },
): void {
  const { line, column, message } = problem;
  scan.problems.push({ file: scan.file, line, column, message });
}

/** What systemd does not take for text: zero bytes, halves of surrogate pairs, code points that are no characters. */
function checkCharacters(scan: Scan): void {
  const found = /[\0\p{Surrogate}\p{Noncharacter_Code_Point}]/u.exec(scan.text);
  if (found === null) return;
  const before = scan.text.slice(0, found.index).split(/\r\n|\n\r|\n|\r/);
  const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  addProblem(scan, {
    line: before.length,
    column: (before.at(-1)?.length ?? 0) + 1,
    message: `character U+${code} cannot be in a unit file`,
  });
}

function checkLength(scan: Scan, text: string, line: number): void {
  if (Buffer.byteLength(text) < LINE_BYTES_MAX) return;
  const message = `the line is longer than ${LINE_BYTES_MAX - 1} bytes`;
  addProblem(scan, { line, column: 1, message });
}

/** Index of the line's end: a line feed, a carriage return or the end of the text. */
function lineEnd(text: string, from: number): number {
  let at = from;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === LINE_FEED || code === CARRIAGE_RETURN) break;
    at += 1;
  }
  return at;
}

/** One of each (`\r\n` or `\n\r`) end the same line, as systemd counts. */
function afterLineEnd(text: string, end: number): number {
  if (end + 1 >= text.length) return end + 1;
  const first = text.charCodeAt(end);
  const second = text.charCodeAt(end + 1);
  const pair = first === LINE_FEED ? CARRIAGE_RETURN : LINE_FEED;
  return second === pair ? end + 2 : end + 1;
}

/** An even number of backslashes at the end is escaped backslashes. */
function isContinued(text: string, start: number, end: number): boolean {
  let at = end;
  while (at > start && text.charCodeAt(at - 1) === BACKSLASH) at -= 1;
  return (end - at) % 2 === 1;
}

function equalsIn(text: string, start: number, end: number): number {
  for (let at = start; at < end; at += 1) {
    if (text.charCodeAt(at) === EQUALS) return at;
  }
  return -1;
}

function skipBlanks(text: string, start: number, end: number): number {
  let at = start;
  while (at < end && isBlank(text.charCodeAt(at))) at += 1;
  return at;
}

/** New end without the blanks before it. */
function trimBlanks(text: string, start: number, end: number): number {
  let at = end;
  while (at > start && isBlank(text.charCodeAt(at - 1))) at -= 1;
  return at;
}

/** Spaces and tabs only: other white space of Unicode is part of a value to systemd. */
function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}
