import { ClusterState } from "../cluster/cluster-state.ts";
import { readRequirements } from "../cluster/read-requirements.ts";
import { itemFact, type OnUnreadable } from "./cluster-facts.ts";
import type { Keys } from "./keys.ts";
import type { KeyValue } from "./store.ts";

const SLICE = 2_000;

/** A cluster state that is filled with the registry's items as they are read; others have their turn meanwhile. */
export class ClusterSnapshot {
  readonly cluster = new ClusterState(readRequirements);
  readonly #keys: Keys;
  readonly #onUnreadable: OnUnreadable;

  constructor(keys: Keys, onUnreadable: OnUnreadable) {
    this.#keys = keys;
    this.#onUnreadable = onUnreadable;
  }

  async add(items: readonly KeyValue[]): Promise<void> {
    for (const [index, item] of items.entries()) {
      const fact = itemFact(this.#keys, item, this.#onUnreadable);
      if (fact !== undefined) this.cluster.apply(fact);
      if (index % SLICE === SLICE - 1) await nextTurn();
    }
  }
}

/** Lets timers and the network have their turn. */
async function nextTurn(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}
