import type { ManifestSummary } from "../cluster/unit-view.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { Manifest } from "../units/manifest.ts";
import { LruMap, mapBounded } from "./bounded.ts";
import type { Keys } from "./keys.ts";
import { summarizeManifest } from "./manifest-summary.ts";
import { decodeRecord, manifestRecord } from "./records.ts";
import type { CallOptions, Store } from "./store.ts";

const SUMMARIES_MAX = 20_000;
const CONTENT_CHARACTERS_MAX = 16 * 1024 * 1024;
const READS_PARALLEL = 64;

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
    const known = this.#manifests.get(hash);
    if (known !== undefined) return known;
    const key = this.#keys.file(hash);
    const { items } = await this.#store.read({ range: { key } }, call);
    const item = items[0];
    if (item === undefined) return undefined;
    const { content, dropIns } = decodeRecord(manifestRecord, key, item.value);
    const manifest = { content, dropIns: dropIns.map(({ name, content }) => ({ name, content })) };
    this.#manifests.set(hash, manifest);
    return manifest;
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
    await mapBounded(unknown, READS_PARALLEL, async (hash) => {
      const manifest = await this.manifest(hash, call).catch(unreadableIsMissing);
      if (manifest === undefined) return;
      const summary = summarizeManifest(manifest);
      this.#summaries.set(hash, summary);
      found.set(hash, summary);
    });
    return found;
  }
}

function unreadableIsMissing(error: unknown): undefined {
  if (isFleetError(error, "record-unreadable")) return undefined;
  throw error;
}
