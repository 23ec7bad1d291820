import type { Keys } from "../registry/keys.ts";
import type {
  CallOptions,
  Comparison,
  Operation,
  Revision,
  Store,
  Transaction,
} from "../registry/store.ts";
import { type EngineTask, taskWrites } from "./tasks.ts";

export interface WriteTasksOptions {
  readonly store: Store;
  readonly keys: Keys;
  /** Create revision of the leader's key: every transaction compares it (I2). */
  readonly token: Revision;
  readonly call: CallOptions;
  /** Told after each transaction that was applied. */
  readonly onApplied: (tasks: readonly EngineTask[], revision: Revision) => void;
}

export interface WriteTasksResult {
  /** Tasks that something spoke against; the watch will show what. */
  readonly refused: readonly EngineTask[];
}

/** A batch takes up to so many of each, unless one bundle alone needs more. */
const BATCH_MAX = 100;
/** Transactions under way at the same time. */
const CONCURRENCY = 4;

/** Tasks that are written by one transaction, and what that is. */
interface Batch {
  readonly bundles: readonly (readonly EngineTask[])[];
  readonly transaction: Transaction;
}

/**
 * Writes tasks in fenced transactions. A batch that is refused is written again bundle by bundle, once. Throws when the store does not
 * answer: then any of the writes may have happened.
 */
export async function writeTasks(
  tasks: readonly EngineTask[],
  options: WriteTasksOptions,
): Promise<WriteTasksResult> {
  const refused: EngineTask[] = [];
  await runBounded(makeBatches(bundlesOf(tasks), options), CONCURRENCY, async (batch) => {
    if (await write(batch, options)) return;
    if (batch.bundles.length === 1) {
      refused.push(...batch.bundles.flat());
      return;
    }
    for (const bundle of batch.bundles) {
      for (const single of makeBatches([bundle], options)) {
        if (!(await write(single, options))) refused.push(...bundle);
      }
    }
  });
  return { refused };
}

async function write(batch: Batch, options: WriteTasksOptions): Promise<boolean> {
  const { header, applied } = await options.store.transact(batch.transaction, options.call);
  if (applied) options.onApplied(batch.bundles.flat(), header.revision);
  return applied;
}

function bundlesOf(tasks: readonly EngineTask[]): readonly (readonly EngineTask[])[] {
  const named = new Map<string, EngineTask[]>();
  const bundles: EngineTask[][] = [];
  for (const task of tasks) {
    const name = task.type === "place" ? task.bundle : undefined;
    const bundle = name === undefined ? undefined : named.get(name);
    if (bundle !== undefined) {
      bundle.push(task);
      continue;
    }
    const next = [task];
    bundles.push(next);
    if (name !== undefined) named.set(name, next);
  }
  return bundles;
}

/** In the order of the tasks, so that room is made before it is taken as far as one batch can tell. */
function makeBatches(
  bundles: readonly (readonly EngineTask[])[],
  { keys, token }: Pick<WriteTasksOptions, "keys" | "token">,
): readonly Batch[] {
  const fence: Comparison = { type: "created-at", key: keys.leader, revision: token };
  const batches: Batch[] = [];
  let taken: (readonly EngineTask[])[] = [];
  let comparisons: Comparison[] = [fence];
  let operations: Operation[] = [];
  let written = new Set<string>();
  const close = () => {
    if (taken.length === 0) return;
    batches.push({ bundles: taken, transaction: { comparisons, operations } });
    taken = [];
    comparisons = [fence];
    operations = [];
    written = new Set();
  };
  for (const bundle of bundles) {
    const writes = bundle.map((task) => taskWrites(keys, task));
    const more = writes.flatMap((one) => one.operations);
    const conditions = writes.flatMap((one) => one.comparisons);
    const isFull =
      operations.length + more.length > BATCH_MAX ||
      comparisons.length + conditions.length > BATCH_MAX;
    // A transaction may name each key once.
    if (isFull || more.some(({ key }) => written.has(key))) close();
    taken.push(bundle);
    comparisons.push(...conditions);
    operations.push(...more);
    for (const { key } of more) written.add(key);
  }
  close();
  return batches;
}

async function runBounded<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  let failed = false;
  const worker = async () => {
    for (const item of queue) {
      if (failed) return;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: limit }, worker));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}
