/** Machine ids, manifest hashes, states, reasons: a few values each, repeated in thousands of records. Longer texts are rarely the same. */
const LENGTH_MAX = 64;
/** Beyond that the pool begins anew: what is in use stays shared where it is. */
const TEXTS_MAX = 20_000;

const pool = new Map<string, string>();

/** The same text, held in memory once however many records carry it. */
export function sharedText(text: string): string {
  if (text.length > LENGTH_MAX) return text;
  const known = pool.get(text);
  if (known !== undefined) return known;
  if (pool.size >= TEXTS_MAX) pool.clear();
  pool.set(text, text);
  return text;
}

/** Replaces the texts of a record that was just made from JSON, and of the records in it, by shared ones. */
export function shareTexts(record: object): void {
  const fields = record as Record<string, unknown>;
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value === "string") fields[name] = sharedText(value);
    else if (typeof value === "object" && value !== null) shareTexts(value);
  }
}
