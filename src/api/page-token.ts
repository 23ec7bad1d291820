import { badRequest, type Refusal } from "./http.ts";

/**
 * fleet's page token: URL-safe base64 of two little-endian 16-bit numbers, limit and page (from 1). Behind them ours carry the
 * revision of the first page, so that all pages are cut from the same list; fleet's decoder ignores what follows.
 */
export interface PageToken {
  readonly limit: number;
  readonly page: number;
  readonly revision: number | undefined;
}

const PAGE_MAX = 0xffff;

export function encodePageToken({ limit, page, revision }: PageToken): string {
  const bytes = Buffer.alloc(revision === undefined ? 4 : 10);
  bytes.writeUInt16LE(limit, 0);
  bytes.writeUInt16LE(page, 2);
  if (revision !== undefined) bytes.writeUIntLE(revision, 4, 6);
  return bytes.toString("base64").replaceAll("+", "-").replaceAll("/", "_");
}

/** A text for what is wrong with a token, in Go's words, as fleet's clients know them. */
export function decodePageToken(text: string): PageToken | string {
  const bad = /[^A-Za-z0-9_=-]|=(?=[^=])/.exec(text);
  if (bad !== null) return `illegal base64 data at input byte ${bad.index}`;
  if (text.length % 4 !== 0) {
    return `illegal base64 data at input byte ${text.length - (text.length % 4)}`;
  }
  const bytes = Buffer.from(text, "base64url");
  if (bytes.length < 4) return bytes.length === 0 ? "EOF" : "unexpected EOF";
  return {
    limit: bytes.readUInt16LE(0),
    page: bytes.readUInt16LE(2),
    revision: bytes.length === 10 ? bytes.readUIntLE(4, 6) : undefined,
  };
}

/** The page a request asks for: the first one without a token. */
export function requestedPage(query: URLSearchParams, limit: number): PageToken | Refusal {
  const [text, ...others] = query.getAll("nextPageToken");
  if (text === undefined) return { limit, page: 1, revision: undefined };
  if (others.length > 0) return badRequest("too many values for page token");
  const token = decodePageToken(text);
  if (typeof token === "string") return badRequest(token);
  if (token.limit !== limit) return badRequest(`token limit must be ${limit}`);
  if (token.page === 0) return badRequest("token page must be greater than zero");
  return token;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Undefined: this is the last one. */
  readonly next: PageToken | undefined;
}

export function cutPage<T>(all: readonly T[], token: PageToken, revision: number): Page<T> {
  const end = token.page * token.limit;
  const items = all.slice(end - token.limit, end);
  const more = end < all.length && token.page < PAGE_MAX;
  return { items, next: more ? { ...token, page: token.page + 1, revision } : undefined };
}
