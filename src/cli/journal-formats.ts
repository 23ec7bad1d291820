/** What journalctl's `-o` takes. By themselves: every start of the client reads their names. */
export const JOURNAL_FORMATS = [
  "short",
  "short-full",
  "short-iso",
  "short-iso-precise",
  "short-precise",
  "short-monotonic",
  "short-unix",
  "with-unit",
  "cat",
  "verbose",
  "json",
  "json-pretty",
  "json-sse",
] as const;

export type JournalFormat = (typeof JOURNAL_FORMATS)[number];
