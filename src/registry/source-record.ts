import * as v from "valibot";

const version = v.looseObject({
  id: v.string(),
  author: v.string(),
  subject: v.string(),
  committedMs: v.number(),
});

/** `sources/<name>`: what a sync does with a directory of unit files. Times are Unix milliseconds, for people only. */
export const sourceRecord = v.looseObject({
  /** Directory or URL, branch and path; without passwords. */
  tree: v.string(),
  /** The newest version seen. */
  wanted: v.exactOptional(version),
  /** The version whose units the cluster has been given, all of them. */
  running: v.exactOptional(version),
  /** Not tried again until `wanted` is another, or trusted. */
  rejected: v.exactOptional(
    v.looseObject({
      ...{ version, atMs: v.number(), problems: v.array(v.string()) },
      /** Nobody who is trusted has signed it: that may change without a new version. */
      untrusted: v.exactOptional(v.boolean()),
    }),
  ),
  /** Tree or cluster could not be reached since, and why. */
  away: v.exactOptional(v.looseObject({ sinceMs: v.number(), why: v.string() })),
  /** An operator's: this version and no other, until `resume`. */
  pinned: v.exactOptional(v.string()),
  /** An operator's: nothing is done until `resume`. */
  suspended: v.exactOptional(v.boolean()),
  /** Left alone by the last run, with why, as text. */
  refused: v.array(v.string()),
  /** What a sync that does not heal has found changed by hand, as text. */
  drift: v.exactOptional(v.array(v.string())),
  /** Last first, bounded. */
  history: v.array(
    v.looseObject({
      version,
      atMs: v.number(),
      outcome: v.picklist(["running", "rejected", "rolled-back"]),
      who: v.string(),
    }),
  ),
  /** Host and process that ran it last. */
  runner: v.string(),
  /** When it last had a look, whatever came of it. */
  lookedMs: v.number(),
});
export type SourceRecord = v.InferOutput<typeof sourceRecord>;
export type SourceVersion = v.InferOutput<typeof version>;

export const SOURCE_HISTORY_MAX = 50;

/** Problems and refusals kept in the record: the first say enough. */
export const SOURCE_TEXTS_MAX = 20;
