/**
 * How fleet itself reads and writes unit files. It differs from systemd: a comment may be continued, a `#` inside
 * a continuation is data, a continued value keeps its backslashes and line ends. Needed only where results have
 * to agree with fleet's: hashes, and the option lists of /fleet/v1.
 */
export interface FleetOption {
  readonly section: string;
  readonly name: string;
  readonly value: string;
}

/** Undefined for a text that fleet refuses. (Not for its limit of 2048 bytes a line, which had no other meaning.) */
export function readFleetOptions(text: string): readonly FleetOption[] | undefined {
  const options: FleetOption[] = [];
  let section: string | undefined;
  let at = 0;
  while (at < text.length) {
    const char = text.charAt(at);
    if (char === "[") {
      const close = text.indexOf("]", at);
      if (close === -1) return undefined;
      section = text.slice(at + 1, close);
      const end = endOfLine(text, close + 1);
      if (trimSpace(text.slice(close + 1, end)) !== "") return undefined;
      at = end + 1;
    } else if (char === "#" || char === ";") {
      at = skipComment(text, at);
    } else if (section === undefined || isSpace(char)) {
      at += 1;
    } else {
      const option = readOption(text, at);
      if (option === undefined) return undefined;
      options.push({ section, name: option.name, value: option.value });
      at = option.end;
    }
  }
  return options;
}

/** Sections in order of first appearance, each with all of its options. */
export function printFleetOptions(options: readonly FleetOption[]): string {
  const sections = new Map<string, string[]>();
  for (const { section, name, value } of options) {
    const lines = sections.get(section) ?? [`[${section}]\n`];
    lines.push(`${name}=${value}\n`);
    sections.set(section, lines);
  }
  return Array.from(sections.values(), (lines) => lines.join("")).join("\n");
}

function skipComment(text: string, start: number): number {
  let at = start;
  while (at < text.length) {
    const end = endOfLine(text, at);
    const line = withoutReturn(text.slice(at, end), end, text);
    at = end + 1;
    if (!(line.endsWith(" ") ? line.slice(0, -1) : line).endsWith("\\")) break;
  }
  return at;
}

function readOption(
  text: string,
  start: number,
): { readonly name: string; readonly value: string; readonly end: number } | undefined {
  const equals = text.indexOf("=", start);
  if (equals === -1) return undefined;
  const name = text.slice(start, equals);
  if (name.includes("\n") || name.includes("\r")) return undefined;
  let raw = "";
  let at = equals + 1;
  for (;;) {
    const end = endOfLine(text, at);
    const line = withoutReturn(text.slice(at, end), end, text);
    at = end + 1;
    if (trimSpace(line) === "") break;
    raw += line;
    if (!line.endsWith("\\")) break;
    if (end < text.length) raw += "\n";
  }
  // A line end that a continuation put there is kept, so that the value does not swallow the next line when printed.
  const value = raw.endsWith("\n") ? `${trimSpace(raw)}\n` : trimSpace(raw);
  return { name: trimSpace(name), value, end: at };
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf("\n", from);
  return end === -1 ? text.length : end;
}

/** At the end of the text a carriage return is dropped, before a line feed it is not: fleet looks for them in that order. */
function withoutReturn(line: string, end: number, text: string): string {
  return end === text.length && line.endsWith("\r") ? line.slice(0, -1) : line;
}

/** White space as Go has it: unlike JavaScript's it includes U+0085 and excludes the byte order mark. */
const SPACES =
  "\\t\\n\\v\\f\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACE = new RegExp(`^[${SPACES}]$`);

function isSpace(char: string): boolean {
  return SPACE.test(char);
}

export function trimSpace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isSpace(text.charAt(start))) start += 1;
  while (end > start && isSpace(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}
