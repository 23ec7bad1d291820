import assert from "node:assert/strict";
import type { MachineEntry } from "./entries.ts";
import { compareText } from "./facts.ts";

/** A machine that has a slot, with the load it is indexed by. */
export interface LoadedMachine {
  readonly machine: MachineEntry;
  readonly load: number;
}

/** Whether the machine is the one that was looked for. */
export type Accepts = (machine: MachineEntry) => boolean;

/** The machines of one load: a bit for each slot. */
interface Bucket {
  readonly load: number;
  readonly bits: Int32Array;
  count: number;
}

/**
 * Machines by load, least first, ties by machine id. A change costs a binary search in the loads and one bit, taking the first costs a
 * look along the bits, so a unit without constraints is placed without looking at every machine.
 */
export class LoadIndex {
  readonly #slots: readonly (LoadedMachine | undefined)[];
  /** By load; none is empty. */
  readonly #buckets: Bucket[] = [];

  /** When a machine comes to have another slot, or slots are added, everything has to be indexed anew. */
  constructor(slots: readonly (LoadedMachine | undefined)[]) {
    this.#slots = slots;
  }

  get isEmpty(): boolean {
    return this.#buckets.length === 0;
  }

  clear(): void {
    this.#buckets.length = 0;
  }

  /** The machine must not be there. */
  add(entry: LoadedMachine): void {
    const { load } = entry;
    const slot = slotOf(entry);
    const at = this.#bucketAt(load);
    let bucket = this.#buckets[at];
    if (bucket?.load !== load) {
      bucket = { load, bits: new Int32Array(Math.ceil(this.#slots.length / 32)), count: 0 };
      this.#buckets.splice(at, 0, bucket);
    }
    bucket.bits[slot >>> 5] = wordAt(bucket, slot) | (1 << (slot & 31));
    bucket.count += 1;
  }

  /** The machine has to be there, with this load. */
  remove(entry: LoadedMachine): void {
    const { load, machine } = entry;
    const slot = slotOf(entry);
    const at = this.#bucketAt(load);
    const bucket = this.#buckets[at];
    const bit = 1 << (slot & 31);
    const isThere = bucket?.load === load && (wordAt(bucket, slot) & bit) !== 0;
    assert(isThere, `${machine.id} is not indexed with load ${load}`);
    bucket.bits[slot >>> 5] = wordAt(bucket, slot) & ~bit;
    bucket.count -= 1;
    if (bucket.count === 0) this.#buckets.splice(at, 1);
  }

  /** The least loaded that is accepted. Nothing may be changed meanwhile. */
  find(accepts: Accepts): MachineEntry | undefined {
    for (const { bits } of this.#buckets) {
      for (let word = 0; word < bits.length; word += 1) {
        for (let rest = bits[word] ?? 0; rest !== 0; rest &= rest - 1) {
          const machine = this.#slots[lowestSlot(word, rest)]?.machine;
          if (machine !== undefined && accepts(machine)) return machine;
        }
      }
    }
    return undefined;
  }

  /** Least loaded first. Nothing may be changed while it is being walked. */
  *entries(): Generator<LoadedMachine> {
    for (const { bits } of this.#buckets) {
      for (let word = 0; word < bits.length; word += 1) {
        for (let rest = bits[word] ?? 0; rest !== 0; rest &= rest - 1) {
          const entry = this.#slots[lowestSlot(word, rest)];
          if (entry !== undefined) yield entry;
        }
      }
    }
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

function slotOf({ machine }: LoadedMachine): number {
  return machine.slot ?? 0;
}

function wordAt({ bits }: Bucket, slot: number): number {
  return bits[slot >>> 5] ?? 0;
}

function lowestSlot(word: number, bits: number): number {
  return word * 32 + 31 - Math.clz32(bits & -bits);
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
  return left.load - right.load || slotOf(left) - slotOf(right);
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
