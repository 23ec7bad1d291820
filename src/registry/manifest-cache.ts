import type { ManifestSummary } from "../cluster/unit-view.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { Manifest } from "../units/manifest.ts";
import { LruMap } from "./bounded.ts";
import type { Keys } from "./keys.ts";
import { summarizeManifest } from "./manifest-summary.ts";
import { decodeRecord, manifestRecord } from "./records.ts";
import type { CallOptions, Store } from "./store.ts";

const SUMMARIES_MAX = 20_000;
const CONTENT_CHARACTERS_MAX = 16 * 1024 * 1024;
/** Files are small as a rule, and may be 1 MiB each. */
const KEYS_PER_READ = 64;

export const EMPTY_SUMMARY: ManifestSummary = { hash: "", description: "" };

/** Manifests by hash. What a hash stands for never changes, so nothing here goes stale. */
export class ManifestCache {
  readonly #store: Store;
  readonly #keys: Keys;
  readonly #summaries = new LruMap<string, ManifestSummary>({ weightMax: SUMMARIES_MAX });
  readonly #manifests = new LruMap<string, Manifest>({
    weightMax: CONTENT_CHARACTERS_MAX,
    weigh: ({ content, dropIns }) =>
      dropIns.reduce((sum, dropIn) => sum + dropIn.content.length, content.length + 100),
  });

  constructor(options: { readonly store: Store; readonly keys: Keys }) {
    this.#store = options.store;
    this.#keys = options.keys;
  }

  /** Undefined when the registry does not have it (any more). */
  async manifest(hash: string, call: CallOptions = {}): Promise<Manifest | undefined> {
    return (await this.manifests([hash], call)).get(hash);
  }

  /** By hash; those that the registry does not have are left out. `record-unreadable` when one cannot be read. */
  async manifests(
    hashes: Iterable<string>,
    call: CallOptions = {},
  ): Promise<ReadonlyMap<string, Manifest>> {
    const found = new Map<string, Manifest>();
    const unknown: string[] = [];
    for (const hash of new Set(hashes)) {
      const manifest = this.#manifests.get(hash);
      if (manifest === undefined) unknown.push(hash);
      else found.set(hash, manifest);
    }
    for (let first = 0; first < unknown.length; first += KEYS_PER_READ) {
      const chunk = unknown.slice(first, first + KEYS_PER_READ);
      const keys = chunk.map((hash) => this.#keys.file(hash));
      for (const { key, value } of (await this.#store.readKeys({ keys }, call)).items) {
        const { content, dropIns, lenient } = decodeRecord(manifestRecord, key, value);
        const manifest = {
          content,
          ...(lenient === true ? { lenient } : {}),
          dropIns: dropIns.map(({ name, content }) => ({ name, content })),
        };
        const hash = key.slice(this.#keys.file("").length);
        this.#manifests.set(hash, manifest);
        found.set(hash, manifest);
      }
    }
    return found;
  }

  knownSummary(hash: string): ManifestSummary | undefined {
    return this.#summaries.get(hash);
  }

  /** By hash; a manifest that is missing or unreadable has an empty summary. */
  async summaries(
    hashes: Iterable<string>,
    call: CallOptions = {},
  ): Promise<ReadonlyMap<string, ManifestSummary>> {
    const found = new Map<string, ManifestSummary>();
    const unknown: string[] = [];
    for (const hash of new Set(hashes)) {
      const summary = this.#summaries.get(hash);
      if (summary === undefined) unknown.push(hash);
      else found.set(hash, summary);
    }
    const manifests = await this.manifests(unknown, call).catch((error: unknown) => {
      if (isFleetError(error, "record-unreadable")) return this.#readableOf(unknown, call);
      throw error;
    });
    for (const [hash, manifest] of manifests) {
      const summary = summarizeManifest(manifest);
      this.#summaries.set(hash, summary);
      found.set(hash, summary);
    }
    return found;
  }

  /** One by one, without those that cannot be read. */
  async #readableOf(
    hashes: readonly string[],
    call: CallOptions,
  ): Promise<ReadonlyMap<string, Manifest>> {
    const found = new Map<string, Manifest>();
    for (const hash of hashes) {
      const manifest = await this.manifest(hash, call).catch(unreadableIsMissing);
      if (manifest !== undefined) found.set(hash, manifest);
    }
    return found;
  }
}

function unreadableIsMissing(error: unknown): undefined {
  if (isFleetError(error, "record-unreadable")) return undefined;
  throw error;
}
