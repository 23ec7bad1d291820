import type { ClusterState, ReplaceableFact } from "./cluster-state.ts";
import type { Dirty } from "./dirty.ts";
import type { FactValue } from "./facts.ts";

/** Facts that are taken for true for a while, so that decisions can build on one another, and are taken back then. */
export class Assumptions {
  readonly #cluster: ClusterState;
  readonly #facts: ReplaceableFact[] = [];
  /** What was there before each. */
  readonly #replaced: FactValue<unknown>[] = [];

  constructor(cluster: ClusterState) {
    this.#cluster = cluster;
  }

  assume(fact: ReplaceableFact, dirty?: Dirty): void {
    this.#facts.push(fact);
    this.#replaced.push(this.#cluster.replace(fact, dirty));
  }

  get count(): number {
    return this.#facts.length;
  }

  /** The cluster is again as it was when there were so many. */
  takeBack(count = 0): void {
    for (let at = this.#facts.length - 1; at >= count; at -= 1) {
      // Kind and value keep belonging together, which the compiler cannot see through a spread.
      const fact = { ...this.#facts[at], value: this.#replaced[at] } as ReplaceableFact;
      this.#cluster.replace(fact);
    }
    this.#facts.length = count;
    this.#replaced.length = count;
  }
}
