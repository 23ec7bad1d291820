import type { Keys } from "../registry/keys.ts";
import { decodeRecord, manifestRecord } from "../registry/records.ts";
import type { Store } from "../registry/store.ts";
import type { Manifest } from "../units/manifest.ts";
import type { HeldFile } from "./holdings.ts";

export interface KnownManifest {
  readonly manifest: Manifest;
  readonly file: HeldFile;
}

const CACHED_MAX = 256;

/** Reads each manifest once. Content-addressed, so what is cached is never stale. */
export class ManifestCache {
  readonly #store: Store;
  readonly #keys: Keys;
  readonly #describe: (manifest: Manifest) => HeldFile;
  readonly #cached = new Map<string, KnownManifest>();

  constructor(options: { store: Store; keys: Keys; describe: (manifest: Manifest) => HeldFile }) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#describe = options.describe;
  }

  cached(hash: string): KnownManifest | undefined {
    return this.#cached.get(hash);
  }

  /** Reads those that are not cached yet, side by side. What the registry does not have stays away. */
  async fetch(hashes: Iterable<string>, signal: AbortSignal): Promise<void> {
    const missing = [...new Set(hashes)]
      .filter((hash) => !this.#cached.has(hash))
      .slice(0, CACHED_MAX / 2);
    const found = await Promise.all(missing.map((hash) => this.#read(hash, signal)));
    for (const [index, known] of found.entries()) {
      const hash = missing[index];
      if (known !== undefined && hash !== undefined) this.#keep(hash, known);
    }
  }

  async #read(hash: string, signal: AbortSignal): Promise<KnownManifest | undefined> {
    const { items } = await this.#store.read({ range: { key: this.#keys.file(hash) } }, { signal });
    const item = items[0];
    if (item === undefined) return undefined;
    const { content, dropIns } = decodeRecord(manifestRecord, item.key, item.value);
    const manifest = {
      content,
      dropIns: dropIns.map(({ name, content: text }) => ({ name, content: text })),
    };
    return { manifest, file: this.#describe(manifest) };
  }

  #keep(hash: string, known: KnownManifest): void {
    const oldest = this.#cached.keys().next().value;
    if (this.#cached.size >= CACHED_MAX && oldest !== undefined) this.#cached.delete(oldest);
    this.#cached.set(hash, known);
  }
}
