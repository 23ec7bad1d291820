/** What is asked of one machine's journal, by daemons (as child processes) and by the client (over SSH). */
export interface JournalQuery {
  readonly units: readonly string[];
  /** The newest so many, or all. */
  readonly lines: number | "all";
  readonly follow: boolean;
  readonly output: JournalOutput;
  /** Times in journalctl's own notations, in the machine's time zone. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  /** `err`, `3`, `warning..err` */
  readonly priority?: string | undefined;
  /** A regular expression. */
  readonly grep?: string | undefined;
  /** Only what comes after this entry. */
  readonly afterCursor?: string | undefined;
  /** Of `json`: names of the fields to print; all without. */
  readonly fields?: readonly string[] | undefined;
}

export type JournalOutput = "short" | "short-iso" | "short-precise" | "json" | "cat" | "verbose";

export const JOURNAL_OUTPUTS: readonly JournalOutput[] = [
  "short",
  "short-iso",
  "short-precise",
  "json",
  "cat",
  "verbose",
];

/** Everything in `--name=value`, so that no value can be taken for an option. */
export function journalctlArguments(query: JournalQuery): readonly string[] {
  const { since, until, priority, grep, afterCursor, fields } = query;
  const named = { since, until, priority, grep, "after-cursor": afterCursor };
  return [
    ...query.units.map((unit) => `--unit=${unit}`),
    "--no-pager",
    `--lines=${query.lines}`,
    `--output=${query.output}`,
    ...(fields === undefined ? [] : [`--output-fields=${fields.join(",")}`]),
    ...Object.entries(named).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}=${value}`],
    ),
    ...(query.follow ? ["--follow"] : []),
  ];
}
