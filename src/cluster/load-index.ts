import { compareText } from "./facts.ts";

/**
 * Machines by load, least first, ties by machine id. A change costs a binary search in two buckets, taking the
 * first costs nothing, so a unit without constraints is placed without looking at every machine.
 */
export class LoadIndex {
  /** Ids with this load, sorted. None is empty. */
  readonly #buckets = new Map<number, string[]>();
  /** The loads there are, sorted. */
  readonly #loads: number[] = [];
  readonly #loadOf = new Map<string, number>();

  get size(): number {
    return this.#loadOf.size;
  }

  set(machineId: string, load: number | undefined): void {
    const before = this.#loadOf.get(machineId);
    if (before === load) return;
    if (before !== undefined) this.#remove(machineId, before);
    if (load !== undefined) this.#add(machineId, load);
  }

  /** Least loaded first. Nothing may be set while it is being walked. */
  *entries(): Generator<LoadEntry> {
    for (const load of this.#loads) {
      for (const machineId of this.#buckets.get(load) ?? []) yield { machineId, load };
    }
  }

  /** As entries(), only the ids. */
  *[Symbol.iterator](): Generator<string> {
    for (const load of this.#loads) yield* this.#buckets.get(load) ?? [];
  }

  #add(machineId: string, load: number): void {
    this.#loadOf.set(machineId, load);
    const bucket = this.#buckets.get(load);
    if (bucket !== undefined) {
      bucket.splice(position(bucket, machineId), 0, machineId);
      return;
    }
    this.#buckets.set(load, [machineId]);
    const at = this.#loads.findIndex((other) => other > load);
    this.#loads.splice(at === -1 ? this.#loads.length : at, 0, load);
  }

  #remove(machineId: string, load: number): void {
    this.#loadOf.delete(machineId);
    const bucket = this.#buckets.get(load) ?? [];
    bucket.splice(position(bucket, machineId), 1);
    if (bucket.length > 0) return;
    this.#buckets.delete(load);
    this.#loads.splice(this.#loads.indexOf(load), 1);
  }
}

export interface LoadEntry {
  readonly machineId: string;
  readonly load: number;
}

export function compareLoad(left: LoadEntry, right: LoadEntry): number {
  return left.load - right.load || compareText(left.machineId, right.machineId);
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
