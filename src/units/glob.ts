/**
 * Patterns of unit names in [X-Fleet], matched as Go's `path.Match` does, because unit files written for fleet
 * rely on it: `*` any run without `/`, `?` one character but `/`, `[a-c]`, `[^a-c]` (not `[!a-c]`), `\` takes the
 * next character as it is. The whole name has to match; letters of other case differ.
 */
export interface Glob {
  readonly pattern: string;
  /** The name it means if it has no special character. */
  readonly literal: string | undefined;
  matches(text: string): boolean;
}

type Token =
  | { readonly type: "star" }
  | { readonly type: "any" }
  | { readonly type: "char"; readonly code: number }
  | { readonly type: "class"; readonly negated: boolean; readonly ranges: readonly CodeRange[] };

interface CodeRange {
  readonly low: number;
  readonly high: number;
}

/** Undefined for a bad pattern: an unclosed or empty `[...]`, a range without end, a `\` at the end. */
export function parseGlob(pattern: string): Glob | undefined {
  const tokens = parseTokens(Array.from(pattern, (char) => char.codePointAt(0) ?? 0));
  if (tokens === undefined) return undefined;
  const literal = literalOf(tokens);
  return {
    pattern,
    literal,
    matches:
      literal === undefined ? (text) => matchTokens(tokens, text) : (text) => text === literal,
  };
}

function literalOf(tokens: readonly Token[]): string | undefined {
  let literal = "";
  for (const token of tokens) {
    if (token.type !== "char") return undefined;
    literal += String.fromCodePoint(token.code);
  }
  return literal;
}

/** A bad pattern matches nothing. For many names, keep what parseGlob gives. */
export function globMatches(pattern: string, text: string): boolean {
  return parseGlob(pattern)?.matches(text) ?? false;
}

const STAR = 0x2a;
const QUESTION = 0x3f;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const BACKSLASH = 0x5c;
const DASH = 0x2d;
const CARET = 0x5e;
const SLASH = 0x2f;

function parseTokens(codes: readonly number[]): Token[] | undefined {
  const tokens: Token[] = [];
  let at = 0;
  while (at < codes.length) {
    const code = codes[at] ?? 0;
    if (code === STAR) {
      if (tokens.at(-1)?.type !== "star") tokens.push({ type: "star" });
      at += 1;
    } else if (code === QUESTION) {
      tokens.push({ type: "any" });
      at += 1;
    } else if (code === OPEN) {
      const parsed = parseClass(codes, at + 1);
      if (parsed === undefined) return undefined;
      tokens.push(parsed.token);
      at = parsed.end;
    } else {
      if (code === BACKSLASH) at += 1;
      const char = codes[at];
      if (char === undefined) return undefined;
      tokens.push({ type: "char", code: char });
      at += 1;
    }
  }
  return tokens;
}

/** From behind the `[`; `end` is behind the `]`. */
function parseClass(
  codes: readonly number[],
  start: number,
): { readonly token: Token; readonly end: number } | undefined {
  const negated = codes[start] === CARET;
  const ranges: CodeRange[] = [];
  let at = negated ? start + 1 : start;
  while (ranges.length === 0 || codes[at] !== CLOSE) {
    const low = classChar(codes, at);
    if (low === undefined) return undefined;
    at = low.end;
    if (codes[at] === DASH) {
      const high = classChar(codes, at + 1);
      if (high === undefined) return undefined;
      ranges.push({ low: low.code, high: high.code });
      at = high.end;
    } else {
      ranges.push({ low: low.code, high: low.code });
    }
  }
  return { token: { type: "class", negated, ranges }, end: at + 1 };
}

/** A bare `-` or `]` cannot be a member: it has to be escaped. */
function classChar(
  codes: readonly number[],
  at: number,
): { readonly code: number; readonly end: number } | undefined {
  const first = codes[at];
  if (first === undefined || first === DASH || first === CLOSE) return undefined;
  if (first !== BACKSLASH) return { code: first, end: at + 1 };
  const escaped = codes[at + 1];
  return escaped === undefined ? undefined : { code: escaped, end: at + 2 };
}

/**
 * Goes back to the last star only: what an earlier star could take, the last one can take too (as long as no `/`
 * is in the way, which stops both). So the time is at most pattern x text.
 */
function matchTokens(tokens: readonly Token[], text: string): boolean {
  let token = 0;
  let at = 0;
  let starToken = -1;
  let starAt = 0;
  while (at < text.length || token < tokens.length) {
    const current = tokens[token];
    if (current?.type === "star") {
      starToken = token;
      starAt = at;
      token += 1;
      continue;
    }
    const code = text.codePointAt(at);
    if (current !== undefined && code !== undefined && matchesOne(current, code)) {
      token += 1;
      at += width(code);
      continue;
    }
    const skipped = starToken === -1 ? undefined : text.codePointAt(starAt);
    if (skipped === undefined || skipped === SLASH) return false;
    starAt += width(skipped);
    at = starAt;
    token = starToken + 1;
  }
  return true;
}

function matchesOne(token: Token, code: number): boolean {
  switch (token.type) {
    case "star":
      return false;
    case "any":
      return code !== SLASH;
    case "char":
      return code === token.code;
    case "class":
      return token.ranges.some(({ low, high }) => low <= code && code <= high) !== token.negated;
  }
}

function width(code: number): number {
  return code > 0xffff ? 2 : 1;
}
