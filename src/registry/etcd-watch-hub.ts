import type { IDuplexStream, IResponseHeader, IWatchRequest, IWatchResponse } from "etcd3";
import { backoffMs } from "../runtime/backoff.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { EtcdClient } from "./etcd-client.ts";
import type { EtcdConnection } from "./etcd-connection.ts";
import type { EtcdWatch } from "./etcd-watch.ts";

/** How soon a lost stream is opened again. */
const RECONNECT = { firstMs: 50, maxMs: 1_000 };

export interface WatchHubOptions {
  readonly client: EtcdClient;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Feeds every watch of a store over one stream, and opens another whenever that ends, for whatever reason: each watch resumes
 * after the last revision it was given. Before a watch is (re)created, a linearizable read makes sure that the store still is the same:
 * etcd lets a watch wait without a word for a revision that its store, emptied meanwhile, may reach in a year.
 */
export class EtcdWatchHub {
  readonly #options: WatchHubOptions;
  readonly #watches = new Set<EtcdWatch>();
  #stream: WatchStream | undefined;
  #running = false;
  #idle: AbortController | undefined;

  constructor(options: WatchHubOptions) {
    this.#options = options;
    options.client.history.onBreak(() => this.#dropStale());
  }

  add(watch: EtcdWatch): void {
    this.#watches.add(watch);
    if (this.#stream !== undefined) this.#attachLater(this.#stream, watch);
    else if (!this.#running) void this.#run();
  }

  remove(watch: EtcdWatch): void {
    this.#watches.delete(watch);
    this.#stream?.detach(watch);
    if (this.#watches.size === 0) this.#idle?.abort();
  }

  close(error: FleetError): void {
    for (const watch of this.#watches) watch.fail(error);
    this.#watches.clear();
    this.#idle?.abort();
  }

  /** Keeps a stream as long as there are watches. Never rejects. */
  async #run(): Promise<void> {
    const { clock, logger } = this.#options;
    this.#running = true;
    let failures = 0;
    while (this.#watches.size > 0) {
      const idle = new AbortController();
      this.#idle = idle;
      try {
        const heard = await this.#stay(idle.signal);
        failures = heard ? 1 : failures + 1;
      } catch (error) {
        failures += 1;
        if (!idle.signal.aborted) {
          logger.warn("watch-interrupted", { failures, error: errorMessage(error) });
        }
      }
      for (const watch of this.#watches) watch.interrupt();
      if (this.#watches.size === 0) break;
      await sleep(clock, backoffMs(failures, RECONNECT), idle.signal).catch(() => undefined);
    }
    this.#running = false;
  }

  /** From opening a stream to its end. Says whether anything came over it. */
  async #stay(signal: AbortSignal): Promise<boolean> {
    const { client, logger } = this.#options;
    const first = this.#watches.values().next().value;
    if (first === undefined) return true;
    const verified = await this.#verify(first, signal);
    if (this.#watches.size === 0) return true;
    const connection = await client.connect("watch", signal);
    const stream = await WatchStream.open(client, connection);
    this.#stream = stream;
    const onIdle = () => stream.end(undefined);
    signal.addEventListener("abort", onIdle, { once: true });
    if (signal.aborted) onIdle();
    try {
      for (const watch of this.#watches) {
        if (verified.has(watch)) stream.attach(watch);
        else this.#attachLater(stream, watch);
      }
      const error = await stream.ended;
      if (error !== undefined) {
        logger.info("watch-resumes", { server: connection.server, error: error.message });
      }
      return stream.heard;
    } finally {
      signal.removeEventListener("abort", onIdle);
      this.#stream = undefined;
    }
  }

  #attachLater(stream: WatchStream, watch: EtcdWatch): void {
    this.#verify(watch, undefined).then(
      () => {
        if (this.#stream === stream && this.#watches.has(watch)) stream.attach(watch);
      },
      (error: unknown) => {
        stream.end(error instanceof Error ? error : new Error(errorMessage(error)));
      },
    );
  }

  /**
   * Resets every watch that the store can't go on with. Gives those it looked at. What is added meanwhile may know more than this
   * read, and so may a watch that was fed while the answer was on its way: what counts is where it stood before.
   */
  async #verify(
    asking: EtcdWatch,
    signal: AbortSignal | undefined,
  ): Promise<ReadonlySet<EtcdWatch>> {
    const waiting = new Map([...this.#watches].map((watch) => [watch, watch.next]));
    const revision = await this.#newestRevision(asking, signal);
    this.#dropStale();
    for (const [watch, next] of waiting) {
      if (next - 1 > revision) this.#reset(watch, "rewound");
    }
    return new Set(waiting.keys());
  }

  async #newestRevision(asking: EtcdWatch, signal: AbortSignal | undefined): Promise<number> {
    try {
      return await this.#options.client.verify(asking.range.key, { signal });
    } catch (error) {
      // Who may not read it may not watch it either, which the watch will be told. The others go on.
      if (isFleetError(error, "store-denied")) return Number.POSITIVE_INFINITY;
      throw error;
    }
  }

  #dropStale(): void {
    const { generation } = this.#options.client.history;
    for (const watch of [...this.#watches]) {
      if (watch.generation !== generation) this.#reset(watch, generation.why);
    }
  }

  #reset(watch: EtcdWatch, why: "rewound" | "replaced" | "compacted" | "overflow"): void {
    watch.reset(why);
    this.remove(watch);
  }
}

/** One bidirectional gRPC stream that carries many watches, told apart by number. */
class WatchStream {
  readonly ended: Promise<Error | undefined>;
  heard = false;
  readonly #client: EtcdClient;
  readonly #connection: EtcdConnection;
  readonly #stream: IDuplexStream<IWatchRequest, IWatchResponse>;
  readonly #watches = new Map<string, EtcdWatch>();
  #lastId = 0;
  #end: ((error: Error | undefined) => void) | undefined;

  static async open(client: EtcdClient, connection: EtcdConnection): Promise<WatchStream> {
    const token = await client.token(connection);
    connection.discarded.throwIfAborted();
    return new WatchStream(client, connection, await connection.openWatchStream(token));
  }

  private constructor(
    client: EtcdClient,
    connection: EtcdConnection,
    stream: IDuplexStream<IWatchRequest, IWatchResponse>,
  ) {
    this.#client = client;
    this.#connection = connection;
    this.#stream = stream;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    stream.on("data", (message) => this.#receive(message));
    stream.on("error", (error) => this.#fail(error));
    stream.on("end", () => this.#fail(new Error("the server ended the watch")));
    const onDiscard = () => this.end(connection.discarded.reason);
    connection.discarded.addEventListener("abort", onDiscard, { once: true });
    void this.ended.then(() => connection.discarded.removeEventListener("abort", onDiscard));
  }

  attach(watch: EtcdWatch): void {
    if (watch.ended || this.#end === undefined) return;
    this.#lastId += 1;
    this.#watches.set(String(this.#lastId), watch);
    this.#stream.write({
      create_request: {
        ...watch.range,
        start_revision: watch.next,
        watch_id: this.#lastId,
        fragment: true,
        progress_notify: true,
      },
    });
  }

  detach(watch: EtcdWatch): void {
    for (const [id, attached] of this.#watches) {
      if (attached !== watch) continue;
      this.#watches.delete(id);
      if (this.#end !== undefined) this.#stream.write({ cancel_request: { watch_id: id } });
    }
  }

  end(error: Error | undefined): void {
    const end = this.#end;
    if (end === undefined) return;
    this.#end = undefined;
    this.#watches.clear();
    this.#stream.cancel();
    end(error);
  }

  /** The next stream is opened over another connection, to another server if there is one. */
  #fail(error: Error): void {
    if (this.#end !== undefined) this.#client.giveUp(this.#connection, error);
    this.end(error);
  }

  #receive(message: IWatchResponse): void {
    if (this.#end === undefined) return;
    if (this.#isOfAnotherStore(message.header)) {
      this.#fail(new Error("another etcd answers"));
      return;
    }
    const watch = this.#watches.get(message.watch_id);
    if (watch === undefined) return;
    if (message.canceled) {
      this.#canceled(message, watch);
      return;
    }
    this.heard = true;
    if (message.created) return;
    if (message.events.length === 0) {
      if (!message.fragment) watch.progress(Number(message.header.revision));
      return;
    }
    watch.receive(message.events, !message.fragment);
    if (watch.lastItem !== undefined) this.#client.history.remember(watch.lastItem);
    if (watch.ended) this.detach(watch);
  }

  #canceled(message: IWatchResponse, watch: EtcdWatch): void {
    this.#watches.delete(message.watch_id);
    if (message.compact_revision !== "0") {
      watch.reset("compacted");
      return;
    }
    // Refused for its token, which may have run out, or for a right that may be given later: it goes on trying, ever more slowly.
    this.heard = false;
    this.#client.forgetToken();
    this.end(
      new FleetError("store-denied", `etcd refused a watch: ${message.cancel_reason}`, {
        retriable: true,
      }),
    );
  }

  #isOfAnotherStore(header: IResponseHeader): boolean {
    const { storeId } = this.#client.history;
    return storeId !== undefined && header.cluster_id !== storeId;
  }
}
