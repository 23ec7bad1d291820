import { keyOf } from "./embedded-mvcc.ts";
import type { Change, Range, ResetReason, Revision, WatchBatch } from "./store.ts";

/**
 * Watchers by what they watch. A write looks its keys up: once for the key itself and once for each length that a watched prefix
 * has, so a thousand machines that watch a prefix each (all of one length) cost a write no more than one does.
 */
export class EmbeddedWatches {
  readonly #batchesMax: number;
  readonly #byKey = new Map<string, Set<Watcher>>();
  readonly #byPrefix = new Map<string, Set<Watcher>>();
  /** Length of a watched prefix -> how many different ones there are. */
  readonly #prefixLengths = new Map<number, number>();

  /** `batchesMax`: how far a watcher may fall behind before it gets `overflow`. */
  constructor(batchesMax: number) {
    this.#batchesMax = batchesMax;
  }

  /** `backlog`: the batches that are due to it already. They do not count as falling behind. */
  add(range: Range, backlog: readonly WatchBatch[]): Watcher {
    const watcher = new Watcher(range, backlog, this.#batchesMax);
    const [index, name] = this.#indexOf(range);
    const watchers = index.get(name);
    if (watchers !== undefined) watchers.add(watcher);
    else {
      index.set(name, new Set([watcher]));
      if ("prefix" in range) this.#countLength(name.length, 1);
    }
    return watcher;
  }

  remove(watcher: Watcher): void {
    const [index, name] = this.#indexOf(watcher.range);
    const watchers = index.get(name);
    if (watchers?.delete(watcher) !== true || watchers.size > 0) return;
    index.delete(name);
    if ("prefix" in watcher.range) this.#countLength(name.length, -1);
  }

  publish(revision: Revision, changes: readonly Change[]): void {
    const due = new Map<Watcher, Change[]>();
    for (const change of changes) {
      for (const watcher of this.#watchersOf(keyOf(change))) {
        const list = due.get(watcher);
        if (list === undefined) due.set(watcher, [change]);
        else list.push(change);
      }
    }
    for (const [watcher, list] of due) watcher.give({ type: "changes", revision, changes: list });
  }

  resetAll(why: ResetReason): void {
    for (const watcher of this.#all()) watcher.reset(why);
  }

  /** Lets every watcher look again at whether the store is open. */
  wakeAll(): void {
    for (const watcher of this.#all()) watcher.wake();
  }

  *#watchersOf(key: string): Generator<Watcher> {
    yield* this.#byKey.get(key) ?? [];
    for (const length of this.#prefixLengths.keys()) {
      // A longer slice is the key itself and would find its watchers twice.
      if (length <= key.length) yield* this.#byPrefix.get(key.slice(0, length)) ?? [];
    }
  }

  *#all(): Generator<Watcher> {
    for (const watchers of this.#byKey.values()) yield* watchers;
    for (const watchers of this.#byPrefix.values()) yield* watchers;
  }

  #indexOf(range: Range): readonly [Map<string, Set<Watcher>>, string] {
    return "key" in range ? [this.#byKey, range.key] : [this.#byPrefix, range.prefix];
  }

  #countLength(length: number, difference: 1 | -1): void {
    const count = (this.#prefixLengths.get(length) ?? 0) + difference;
    if (count === 0) this.#prefixLengths.delete(length);
    else this.#prefixLengths.set(length, count);
  }
}

/** One running watch: the batches due to it, taken by its iterator. */
export class Watcher {
  readonly range: Range;
  readonly #batches: WatchBatch[];
  readonly #batchesMax: number;
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(range: Range, backlog: readonly WatchBatch[], batchesMax: number) {
    this.range = range;
    this.#batches = [...backlog];
    this.#batchesMax = backlog.length + batchesMax;
  }

  give(batch: WatchBatch): void {
    if (this.#ended) return;
    if (this.#batches.length >= this.#batchesMax) {
      this.reset("overflow");
      return;
    }
    this.#batches.push(batch);
    this.wake();
  }

  /** What is not taken yet goes: who re-reads has no use for it. */
  reset(why: ResetReason): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#batches.splice(0, this.#batches.length, { type: "reset", why });
    this.wake();
  }

  take(): WatchBatch | undefined {
    return this.#batches.shift();
  }

  /** Resolves at the next `wake`. One caller at a time. */
  async changed(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

export function covers(range: Range, key: string): boolean {
  return "key" in range ? key === range.key : key.startsWith(range.prefix);
}
