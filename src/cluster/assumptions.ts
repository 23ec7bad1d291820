import type { ClusterState, ReplaceableFact } from "./cluster-state.ts";
import type { Dirty } from "./dirty.ts";
import type { FactValue } from "./facts.ts";

/** Facts that are taken for true for a while, so that decisions can build on one another, and are taken back then. */
export class Assumptions {
  readonly #cluster: ClusterState;
  /** Each with the value that was there before in the place of its own. */
  readonly #facts: ReplaceableFact[] = [];

  constructor(cluster: ClusterState) {
    this.#cluster = cluster;
  }

  /** The fact belongs to the assumptions from then on. */
  assume(fact: ReplaceableFact, dirty?: Dirty): void {
    this.#exchange(fact, dirty);
    this.#facts.push(fact);
  }

  get count(): number {
    return this.#facts.length;
  }

  /** The cluster is again as it was when there were so many. */
  takeBack(count = 0): void {
    while (this.#facts.length > count) {
      const fact = this.#facts.pop();
      if (fact !== undefined) this.#exchange(fact);
    }
  }

  /** Done twice, all is as before. */
  #exchange(fact: ReplaceableFact, dirty?: Dirty): void {
    // Kind and value keep belonging together, which the compiler cannot see.
    (fact as { value: FactValue<unknown> }).value = this.#cluster.replace(fact, dirty);
  }
}
