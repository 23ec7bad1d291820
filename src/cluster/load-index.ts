import assert from "node:assert/strict";
import type { MachineEntry } from "./entries.ts";
import { compareText } from "./facts.ts";

/** A machine with the load it is indexed by. */
export interface LoadedMachine {
  readonly machine: MachineEntry;
  readonly load: number;
  /** Orders the machines as their ids do. */
  readonly order: number;
}

/** Whether the machine is the one that was looked for. */
export type Accepts = (machine: MachineEntry) => boolean;

/**
 * Machines by load, least first, ties by machine id. A change costs a binary search in two buckets, taking the
 * first costs nothing, so a unit without constraints is placed without looking at every machine.
 */
export class LoadIndex {
  /** By load; none is empty, and each is sorted by id. */
  readonly #buckets: { readonly load: number; readonly machines: LoadedMachine[] }[] = [];

  get isEmpty(): boolean {
    return this.#buckets.length === 0;
  }

  /** The machine must not be there. */
  add(entry: LoadedMachine): void {
    const at = this.#bucketAt(entry.load);
    const bucket = this.#buckets[at];
    if (bucket?.load !== entry.load) {
      this.#buckets.splice(at, 0, { load: entry.load, machines: [entry] });
      return;
    }
    const { machines } = bucket;
    // Machines are filled in order of id, so that it belongs at the end more often than not, and was the first elsewhere.
    if ((machines.at(-1)?.order ?? -1) < entry.order) machines.push(entry);
    else machines.splice(placeOf(machines, entry.order), 0, entry);
  }

  /** The machine has to be there, with this load. */
  remove(entry: LoadedMachine): void {
    const bucketAt = this.#bucketAt(entry.load);
    const machines = this.#buckets[bucketAt]?.machines ?? [];
    if (machines[0] === entry) {
      machines.shift();
    } else {
      const at = placeOf(machines, entry.order);
      assert(machines[at] === entry, `${entry.machine.id} is not indexed with load ${entry.load}`);
      machines.splice(at, 1);
    }
    if (machines.length === 0) this.#buckets.splice(bucketAt, 1);
  }

  /** The least loaded that is accepted. Nothing may be changed meanwhile. */
  find(accepts: Accepts): MachineEntry | undefined {
    for (const { machines } of this.#buckets) {
      for (const { machine } of machines) if (accepts(machine)) return machine;
    }
    return undefined;
  }

  /** Least loaded first. Nothing may be changed while it is being walked. */
  *entries(): Generator<LoadedMachine> {
    for (const { machines } of this.#buckets) yield* machines;
  }

  /** Where the bucket of this load is, or belongs. */
  #bucketAt(load: number): number {
    let low = 0;
    let high = this.#buckets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#buckets[middle]?.load ?? 0) < load) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Up to so many indexes are merged step by step; more are sorted at once. */
const MERGED_MAX = 8;

/** As find() of one index that had the machines of all of them. */
export function findInAll(
  indexes: readonly LoadIndex[],
  accepts: Accepts,
): MachineEntry | undefined {
  const [only] = indexes;
  if (only !== undefined && indexes.length === 1) return only.find(accepts);
  if (indexes.length > MERGED_MAX) {
    const all = indexes.flatMap((index) => [...index.entries()]).sort(compareLoad);
    return all.find(({ machine }) => accepts(machine))?.machine;
  }
  const heads = indexes.map((index) => {
    const entries = index.entries();
    return { entries, next: entries.next() };
  });
  for (;;) {
    let first: (typeof heads)[number] | undefined;
    for (const head of heads) {
      if (head.next.done === true) continue;
      if (first?.next.done !== false || compareLoad(head.next.value, first.next.value) < 0) {
        first = head;
      }
    }
    if (first?.next.done !== false) return undefined;
    const { machine } = first.next.value;
    if (accepts(machine)) return machine;
    first.next = first.entries.next();
  }
}

function compareLoad(left: LoadedMachine, right: LoadedMachine): number {
  return left.load - right.load || left.order - right.order;
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

function placeOf(sorted: readonly LoadedMachine[], order: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle]?.order ?? 0) < order) low = middle + 1;
    else high = middle;
  }
  return low;
}
