import assert from "node:assert/strict";
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

  get isEmpty(): boolean {
    return this.#loads.length === 0;
  }

  /** The machine must not be there. */
  add(machineId: string, load: number): void {
    const bucket = this.#buckets.get(load);
    if (bucket !== undefined) {
      // Machines are filled in order of id, so that it belongs at the end more often than not, and was the first elsewhere.
      if (compareText(bucket.at(-1) ?? "", machineId) < 0) bucket.push(machineId);
      else bucket.splice(position(bucket, machineId), 0, machineId);
      return;
    }
    this.#buckets.set(load, [machineId]);
    const at = this.#loads.findIndex((other) => other > load);
    this.#loads.splice(at === -1 ? this.#loads.length : at, 0, load);
  }

  /** The machine has to be there, with this load. */
  remove(machineId: string, load: number): void {
    const bucket = this.#buckets.get(load) ?? [];
    if (bucket[0] === machineId) {
      bucket.shift();
    } else {
      const at = position(bucket, machineId);
      assert(bucket[at] === machineId, `${machineId} is not indexed with load ${load}`);
      bucket.splice(at, 1);
    }
    if (bucket.length > 0) return;
    this.#buckets.delete(load);
    this.#loads.splice(this.#loads.indexOf(load), 1);
  }

  /** Least loaded first. Nothing may be changed while it is being walked. */
  *entries(): Generator<LoadEntry> {
    for (const load of this.#loads) {
      for (const machineId of this.#buckets.get(load) ?? []) yield { machineId, load };
    }
  }

  /** As entries(), only the ids. */
  *[Symbol.iterator](): Generator<string> {
    for (const load of this.#loads) yield* this.#buckets.get(load) ?? [];
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
