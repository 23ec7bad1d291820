/** Small helpers that keep work and memory within limits. */

/** Runs `work` for every item, at most `parallelMax` at a time; results in order of the items. The first failure ends it. */
export async function mapBounded<T, R>(
  items: readonly T[],
  parallelMax: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  const queue = items.entries();
  const worker = async () => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(parallelMax, items.length) }, worker));
  return results;
}

/** A map that forgets what was used longest ago once the weights of its values exceed `weightMax`. */
export class LruMap<K, V> {
  readonly #weightMax: number;
  readonly #weigh: (value: V) => number;
  readonly #values = new Map<K, V>();
  #weight = 0;

  constructor(options: { readonly weightMax: number; readonly weigh?: (value: V) => number }) {
    this.#weightMax = options.weightMax;
    this.#weigh = options.weigh ?? (() => 1);
  }

  get(key: K): V | undefined {
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    this.#values.delete(key);
    this.#values.set(key, value);
    return value;
  }

  set(key: K, value: V): void {
    this.#forget(key);
    this.#values.set(key, value);
    this.#weight += this.#weigh(value);
    for (const oldest of this.#values.keys()) {
      if (this.#weight <= this.#weightMax) break;
      this.#forget(oldest);
    }
  }

  #forget(key: K): void {
    const value = this.#values.get(key);
    if (value === undefined) return;
    this.#values.delete(key);
    this.#weight -= this.#weigh(value);
  }
}
