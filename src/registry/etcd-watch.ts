import type { IEvent } from "etcd3";
import type { FleetError } from "../runtime/errors.ts";
import { Waker } from "../runtime/waker.ts";
import type { Generation } from "./etcd-history.ts";
import { change, type KeyRange, keyRange } from "./etcd-wire.ts";
import type { Change, KeyValue, ResetReason, WatchBatch, WatchRequest } from "./store.ts";

/** Batches that wait to be taken: at most this many changes and this many characters of keys and values. */
export const WATCH_BUFFER_CHANGES_MAX = 65_536;
const WATCH_BUFFER_CHARACTERS_MAX = 64 * 2 ** 20;

const TAKEN_MAX = 1_024;

/**
 * One watch of a consumer: knows from where to resume, joins what belongs to one revision, buffers. It outlives the streams
 * that feed it.
 */
export class EtcdWatch {
  readonly range: KeyRange;
  readonly generation: Generation;
  /** The first revision not yet handed to the buffer, or known to hold nothing for this watch. */
  next: number;
  /** The newest item received. */
  lastItem: KeyValue | undefined;
  readonly #buffer: { readonly batch: WatchBatch; readonly characters: number }[] = [];
  /** How many batches at the front of the buffer were taken: removing them one by one would move all the others each time. */
  #taken = 0;
  #bufferedChanges = 0;
  #bufferedCharacters = 0;
  /** The last revision received, of which more may follow. */
  #partial: { readonly revision: number; readonly changes: Change[] } | undefined;
  #ended = false;
  #failure: FleetError | undefined;
  readonly #waker = new Waker();

  constructor(request: WatchRequest, generation: Generation) {
    this.range = keyRange(request.range);
    this.next = request.fromRevision;
    this.generation = generation;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** `complete`: the message's last revision is whole. etcd cuts a large message into fragments, also within a revision. */
  receive(events: readonly IEvent[], complete: boolean): void {
    for (const event of events) {
      const received = change(event);
      const revision = received.type === "put" ? received.item.modRevision : received.modRevision;
      if (revision < this.next) continue;
      if (this.#partial !== undefined && this.#partial.revision !== revision) this.#flush();
      this.#partial ??= { revision, changes: [] };
      this.#partial.changes.push(received);
      if (received.type === "put") this.lastItem = received.item;
    }
    if (complete) this.#flush();
  }

  /** etcd says that everything up to `revision` has been sent: no need to go back behind it, where it may be compacted. */
  progress(revision: number): void {
    if (this.#partial === undefined) this.next = Math.max(this.next, revision + 1);
  }

  /** The stream is gone: what it left unfinished comes again, whole. */
  interrupt(): void {
    this.#partial = undefined;
  }

  reset(why: ResetReason): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#partial = undefined;
    // Who was too slow has nothing from being told late what to read anew.
    if (why === "overflow") {
      this.#buffer.length = 0;
      this.#taken = 0;
    }
    this.#buffer.push({ batch: { type: "reset", why }, characters: 0 });
    this.#waker.wake();
  }

  fail(error: FleetError): void {
    this.#ended = true;
    this.#failure = error;
    this.#waker.wake();
  }

  /** The next batch; undefined when `signal` aborts. After a `reset` there is none. */
  async take(signal: AbortSignal | undefined): Promise<WatchBatch | undefined> {
    for (;;) {
      if (signal?.aborted === true) return undefined;
      if (this.#failure !== undefined) throw this.#failure;
      const batch = this.#shift();
      if (batch !== undefined) return batch;
      await this.#waker.woken(signal);
    }
  }

  #shift(): WatchBatch | undefined {
    const first = this.#buffer[this.#taken];
    if (first === undefined) return undefined;
    this.#taken += 1;
    if (this.#taken >= TAKEN_MAX || this.#taken === this.#buffer.length) {
      this.#buffer.splice(0, this.#taken);
      this.#taken = 0;
    }
    if (first.batch.type === "changes") this.#bufferedChanges -= first.batch.changes.length;
    this.#bufferedCharacters -= first.characters;
    return first.batch;
  }

  #flush(): void {
    const partial = this.#partial;
    this.#partial = undefined;
    if (partial === undefined || this.#ended) return;
    const { revision, changes } = partial;
    const characters = changes.reduce((sum, each) => sum + size(each), 0);
    this.#bufferedChanges += changes.length;
    this.#bufferedCharacters += characters;
    this.next = revision + 1;
    this.#buffer.push({ batch: { type: "changes", revision, changes }, characters });
    const tooMuch =
      this.#bufferedChanges > WATCH_BUFFER_CHANGES_MAX ||
      this.#bufferedCharacters > WATCH_BUFFER_CHARACTERS_MAX;
    if (tooMuch) this.reset("overflow");
    else this.#waker.wake();
  }
}

function size(each: Change): number {
  return each.type === "put" ? each.item.key.length + each.item.value.length : each.key.length;
}
