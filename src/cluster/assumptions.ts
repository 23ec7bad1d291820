import type { ClusterState, ReplaceableFact, Stay } from "./cluster-state.ts";
import type { Dirty } from "./dirty.ts";
import type { FactValue } from "./facts.ts";

/** Facts that are taken for true for a while, so that decisions can build on one another, and are taken back then. */
export class Assumptions {
  readonly #cluster: ClusterState;
  /** Each with the value that was there before in the place of its own. */
  readonly #made: (ReplaceableFact | Stay)[] = [];

  constructor(cluster: ClusterState) {
    this.#cluster = cluster;
  }

  /** The fact belongs to the assumptions from then on. */
  assume(fact: ReplaceableFact, dirty?: Dirty): void {
    this.#exchange(fact, dirty);
    this.#made.push(fact);
  }

  /** Likewise that the unit has come to the machine. */
  assumeStay(stay: Stay, dirty: Dirty): void {
    this.#cluster.assumeStay(stay, dirty);
    this.#made.push(stay);
  }

  get count(): number {
    return this.#made.length;
  }

  /** The cluster is again as it was when there were so many. */
  takeBack(count = 0): void {
    while (this.#made.length > count) {
      const last = this.#made.pop();
      if (last === undefined) return;
      if ("kind" in last) this.#exchange(last);
      else this.#cluster.endStay(last);
    }
  }

  /** Done twice, all is as before. */
  #exchange(fact: ReplaceableFact, dirty?: Dirty): void {
    // Kind and value keep belonging together, which the compiler cannot see.
    (fact as { value: FactValue<unknown> }).value = this.#cluster.replace(fact, dirty);
  }
}
