import type { Revision } from "../registry/store.ts";
import { isFleetError } from "../runtime/errors.ts";

/** By name. */
export type Views = ReadonlyMap<string, object>;

/** All that is watched, as of one revision. */
export interface Snapshot {
  readonly revision: Revision;
  readonly views: Views;
}

/** One step of what a client is shown. Who has it knows everything up to `revision`, and nothing beyond. */
export interface Step extends Snapshot {
  /** `snapshot`: all there is; what was shown before is void. */
  readonly type: "snapshot" | "change";
  /** Of a snapshot. `too-old`: the registry no longer knows what was shown last. */
  readonly why?: "start" | "too-old";
  readonly gone: readonly string[];
}

/** One kind of things, watched for one client. */
export interface EventSource {
  /** `after`: what the client was shown before it came back. */
  first(after: Revision | undefined): Promise<Step>;
  /** The next step, which may be empty. */
  next(signal: AbortSignal): Promise<Step>;
  /** For the notices. */
  state(): { readonly leader: boolean; readonly reachable: boolean };
  close(): void;
}

/** How any source begins. */
export async function firstStep(
  read: (revision: Revision | undefined) => Promise<Snapshot>,
  after: Revision | undefined,
): Promise<Step> {
  const now = await read(undefined);
  if (after === undefined) return { type: "snapshot", why: "start", ...now, gone: [] };
  const then = after > now.revision ? undefined : await known(read(after));
  if (then === undefined) return { type: "snapshot", why: "too-old", ...now, gone: [] };
  return { type: "change", revision: now.revision, ...difference(then.views, now.views) };
}

/** Undefined: the registry has that revision no more, or not yet. */
export async function known<T>(read: Promise<T>): Promise<T | undefined> {
  return await read.catch((error: unknown) => {
    if (isFleetError(error, "store-compacted", "store-future-revision")) return undefined;
    throw error;
  });
}

/** What has to be said to who was shown `before`. */
export function difference(before: Views, now: Views): Pick<Step, "views" | "gone"> {
  const changed = [...now].filter(([name, view]) => {
    const old = before.get(name);
    return old !== view && JSON.stringify(old) !== JSON.stringify(view);
  });
  return { views: new Map(changed), gone: [...before.keys()].filter((name) => !now.has(name)) };
}

export function byKey<T extends object>(items: readonly T[], key: (item: T) => string): Views {
  return new Map(items.map((item) => [key(item), item]));
}
