import type { KeyValue, ResetReason, StoreHeader } from "./store.ts";

/**
 * What the store has shown so far, to tell whether what answers still is the same store. An etcd that was emptied or restored and
 * started with the same flags has the same cluster id, so the id alone does not tell: its revision may have gone back, and a key
 * seen as of a revision must still be found as of that revision.
 */
export class EtcdHistory {
  #storeId: string | undefined;
  #revision = 0;
  #generation: Generation = { number: 0, why: "replaced" };
  #witness: KeyValue | undefined;
  #onBreak: (() => void) | undefined;

  /** Rises whenever another store, or an older state of the same, turns out to answer. */
  get generation(): Generation {
    return this.#generation;
  }

  get storeId(): string | undefined {
    return this.#storeId;
  }

  /** The newest revision shown. */
  get revision(): number {
    return this.#revision;
  }

  /** The newest item seen. */
  get witness(): KeyValue | undefined {
    return this.#witness;
  }

  /** Called after the generation has risen. */
  onBreak(callback: () => void): void {
    this.#onBreak = callback;
  }

  /** `shown` is `revision` as it was when the call was sent: answers may overtake one another. */
  observe(header: StoreHeader, shown: number): void {
    if (this.#storeId !== undefined && header.storeId !== this.#storeId) {
      this.#break("replaced", header);
    } else if (header.revision < Math.min(shown, this.#revision)) {
      this.#break("rewound", header);
    } else {
      this.#storeId = header.storeId;
      this.#revision = Math.max(this.#revision, header.revision);
    }
  }

  /** Remembers an item of an answer that was observed, or of a watch. */
  remember(item: KeyValue): void {
    if (item.modRevision > (this.#witness?.modRevision ?? 0)) this.#witness = item;
  }

  /** `found`: what the store has for the witness's key as of the witness's revision. */
  testWitness(witness: KeyValue, found: KeyValue | undefined): void {
    if (witness !== this.#witness) return;
    const same =
      found !== undefined &&
      found.modRevision === witness.modRevision &&
      found.createRevision === witness.createRevision &&
      found.value === witness.value;
    if (!same) {
      this.#break("replaced", { storeId: this.#storeId, revision: this.#revision });
    }
  }

  #break(why: ResetReason, header: { storeId: string | undefined; revision: number }): void {
    this.#storeId = header.storeId;
    this.#revision = header.revision;
    this.#witness = undefined;
    this.#generation = { number: this.#generation.number + 1, why };
    this.#onBreak?.();
  }
}

export interface Generation {
  readonly number: number;
  /** Why the one before ended. */
  readonly why: ResetReason;
}
