import { compareText } from "./facts.ts";

/**
 * Machines by load: fewest units first, ties by machine id. A change costs one binary search in two buckets, taking the
 * first costs nothing, so a unit without constraints is placed without looking at every machine.
 */
export class LoadIndex {
  /** Bucket `n` holds the ids with load `n`, sorted. */
  readonly #buckets: string[][] = [];
  readonly #loads = new Map<string, number>();

  set(machineId: string, load: number | undefined): void {
    const before = this.#loads.get(machineId);
    if (before === load) return;
    if (before !== undefined) {
      const bucket = this.#buckets[before] ?? [];
      bucket.splice(position(bucket, machineId), 1);
      this.#loads.delete(machineId);
    }
    if (load === undefined) return;
    while (this.#buckets.length <= load) this.#buckets.push([]);
    const bucket = this.#buckets[load] ?? [];
    bucket.splice(position(bucket, machineId), 0, machineId);
    this.#loads.set(machineId, load);
  }

  /** Least loaded first. Nothing may be set while it is being walked. */
  *[Symbol.iterator](): Iterator<string> {
    for (const bucket of this.#buckets) yield* bucket;
  }
}

/** Where `text` is, or belongs, in a sorted array. */
export function position(sorted: readonly string[], text: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareText(sorted[middle] ?? "", text) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
