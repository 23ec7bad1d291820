import { FleetError } from "../runtime/errors.ts";
import type { Keys } from "./keys.ts";
import { decodeRecord, encodeRecord } from "./records.ts";
import { type SourceRecord, sourceRecord } from "./source-record.ts";
import { type CallOptions, type KeyValue, type Revision, readAll, type Store } from "./store.ts";

export interface StoredSource {
  readonly name: string;
  readonly record: SourceRecord;
  /** Mod revision: what whoever writes it next compares. */
  readonly revision: Revision;
}

/** `sources/<name>`: written by whoever runs the sync, and by operators who pin or suspend it. */
export class Sources {
  readonly #store: Store;
  readonly #keys: Keys;

  constructor(options: { readonly store: Store; readonly keys: Keys }) {
    this.#store = options.store;
    this.#keys = options.keys;
  }

  /** In order of name. */
  async all(call: CallOptions = {}): Promise<readonly StoredSource[]> {
    const { items } = await readAll(this.#store, { prefix: this.#keys.all("sources") }, call);
    return items.map((item) => this.#decode(item));
  }

  async get(name: string, call: CallOptions = {}): Promise<StoredSource | undefined> {
    const key = this.#keys.source(name);
    const [item] = (await this.#store.read({ range: { key } }, call)).items;
    return item === undefined ? undefined : this.#decode(item);
  }

  /** `revision`: of the record it was made from, 0 when there was none. Throws FleetError `conflict` when that has changed since. */
  async put(source: StoredSource, call: CallOptions = {}): Promise<StoredSource> {
    const { name, record, revision } = source;
    const key = this.#keys.source(name);
    const { applied, header } = await this.#store.transact(
      {
        comparisons: [{ type: "modified-at", key, revision }],
        operations: [{ type: "put", key, value: encodeRecord(record) }],
      },
      call,
    );
    if (applied) return { name, record, revision: header.revision };
    throw new FleetError("conflict", `the source ${name} was changed meanwhile`, {
      retriable: true,
    });
  }

  /** Resolves once the record is another than that of `revision`, or when the watch ends. */
  async changed(name: string, revision: Revision, signal: AbortSignal): Promise<void> {
    const key = this.#keys.source(name);
    const { header, items } = await this.#store.read({ range: { key } }, { signal });
    if ((items[0]?.modRevision ?? 0) !== revision) return;
    const range = { key };
    for await (const _ of this.#store.watch({ range, fromRevision: header.revision + 1, signal })) {
      return;
    }
  }

  /** Forgets what it did; its units stay, and are a person's from then on as soon as one touches them. */
  async remove(name: string, call: CallOptions = {}): Promise<boolean> {
    const key = this.#keys.source(name);
    const { items } = await this.#store.read({ range: { key } }, call);
    if (items.length === 0) return false;
    await this.#store.transact({ comparisons: [], operations: [{ type: "delete", key }] }, call);
    return true;
  }

  #decode({ key, value, modRevision }: KeyValue): StoredSource {
    return {
      name: key.slice(this.#keys.source("").length),
      record: decodeRecord(sourceRecord, key, value),
      revision: modRevision,
    };
  }
}
