/** Splitting above this keeps an insertion's cost at moving a few KiB, whatever the number of keys. */
const CHUNK_KEYS_MAX = 512;

/** A set of keys in the order of their UTF-8 bytes: a sorted list of sorted chunks. */
export class SortedKeys {
  /** Never holds an empty chunk. */
  readonly #chunks: string[][] = [];

  /** The key must not be in the set. */
  add(key: string): void {
    const index = Math.max(0, this.#chunkOf(key));
    const chunk = this.#chunks[index];
    if (chunk === undefined) {
      this.#chunks.push([key]);
      return;
    }
    chunk.splice(lowerBound(chunk, key), 0, key);
    if (chunk.length > CHUNK_KEYS_MAX) {
      // Keys mostly arrive in order: a full last chunk stays nearly full.
      const keep =
        index === this.#chunks.length - 1 ? CHUNK_KEYS_MAX - 32 : Math.floor(CHUNK_KEYS_MAX / 2);
      this.#chunks.splice(index + 1, 0, chunk.splice(keep));
    }
  }

  /** The key must be in the set. */
  remove(key: string): void {
    const index = this.#chunkOf(key);
    const chunk = this.#chunks[index];
    if (chunk === undefined) return;
    chunk.splice(lowerBound(chunk, key), 1);
    if (chunk.length === 0) this.#chunks.splice(index, 1);
  }

  /** Every key that is not below `key`, in order. The set must not change meanwhile. */
  *from(key: string): Generator<string> {
    const first = Math.max(0, this.#chunkOf(key));
    for (let index = first; index < this.#chunks.length; index += 1) {
      const chunk = this.#chunks[index] ?? [];
      const start = index === first ? lowerBound(chunk, key) : 0;
      for (let at = start; at < chunk.length; at += 1) yield chunk[at] ?? "";
    }
  }

  /** The last chunk that does not begin above `key`; -1 when all do. */
  #chunkOf(key: string): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#chunks[middle]?.[0] ?? "", key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/**
 * Order of the UTF-8 bytes, which is that of code points. JavaScript's own `<` compares UTF-16 units and puts what lies beyond
 * U+FFFF before U+E000.
 */
export function compareKeys(left: string, right: string): number {
  const length = Math.min(left.length, right.length);
  for (let index = 0; index < length; index += 1) {
    const difference = left.charCodeAt(index) - right.charCodeAt(index);
    if (difference !== 0) {
      return rank(left.charCodeAt(index)) - rank(right.charCodeAt(index));
    }
  }
  return left.length - right.length;
}

/** Moves surrogates (half of a code point beyond U+FFFF) behind all other units. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(keys[middle] ?? "", key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
