/**
 * systemd's escaping of text in unit names, as systemd-escape(1) does it: `/` becomes `-`, and every byte that a
 * name may not have becomes `\xNN`. It works on UTF-8 bytes, not on characters.
 */
export function escapeUnitText(text: string): string {
  let escaped = "";
  for (const [index, byte] of Buffer.from(text, "utf8").entries()) {
    if (byte === SLASH) escaped += "-";
    else if (isPlain(byte) && !(byte === DOT && index === 0)) escaped += String.fromCharCode(byte);
    else escaped += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return escaped;
}

/** Inverse of escapeUnitText; undefined if an escape is malformed or the bytes are not UTF-8 text. */
export function unescapeUnitText(escaped: string): string | undefined {
  if (!escaped.includes("\\")) return escaped.replaceAll("-", "/");
  const source = Buffer.from(escaped, "utf8");
  const bytes: number[] = [];
  for (let at = 0; at < source.length; at += 1) {
    const byte = source[at];
    if (byte === BACKSLASH) {
      const digits = /^x([0-9a-fA-F]{2})$/.exec(source.toString("latin1", at + 1, at + 4));
      const value = digits === null ? 0 : Number.parseInt(digits[1] ?? "", 16);
      // A zero byte would end the text for every C program that sees it.
      if (value === 0) return undefined;
      bytes.push(value);
      at += 3;
    } else if (byte !== undefined) {
      bytes.push(byte === DASH ? SLASH : byte);
    }
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes));
  } catch {
    return undefined;
  }
}

/** As `systemd-escape --path`: the name of the mount unit of a path, without type. Undefined for paths with `..`. */
export function escapePath(path: string): string | undefined {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) return undefined;
  return parts.length === 0 ? "-" : escapeUnitText(parts.join("/"));
}

/** Inverse of escapePath: an absolute path, or undefined if it is not one in its shortest form. */
export function unescapePath(escaped: string): string | undefined {
  if (escaped === "-") return "/";
  const text = unescapeUnitText(escaped);
  if (text === undefined) return undefined;
  const wrong = text.split("/").some((part) => part === "" || part === "." || part === "..");
  return wrong ? undefined : `/${text}`;
}

const SLASH = 0x2f;
const DASH = 0x2d;
const DOT = 0x2e;
const BACKSLASH = 0x5c;

/** A byte that stands for itself: a digit, a letter, `:`, `_` or `.`. */
function isPlain(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x3a ||
    byte === 0x5f ||
    byte === DOT
  );
}
