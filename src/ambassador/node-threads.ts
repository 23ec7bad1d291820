import type { Worker } from "node:worker_threads";
import { addedStats } from "./added-stats.ts";
import type { Backend } from "./backend.ts";
import { type NodeProxyParts, newCounts } from "./node-link.ts";
import { nodeProxy } from "./node-proxy.ts";
import type { Answer, Ask } from "./node-thread.ts";
import type { DataPlane, LinkOptions, LinkStats, LinkTuning, ProxyLink } from "./proxy.ts";

export interface NodeThreadsOptions extends NodeProxyParts {
  /** This one included. */
  readonly threads: number;
  /** Starts one that calls `serveThread`. */
  readonly startThread: () => Worker;
}

/**
 * Data plane in several threads of this process: each listens on the same TCP addresses (SO_REUSEPORT) and the kernel deals connections out among
 * them. Limits of a link are those of all threads together; balance and ejection are each thread's own. This thread listens first and
 * alone on what cannot be shared (UDP, unix sockets, sockets handed over); others join in when they are up.
 */
export function nodeThreadsProxy(options: NodeThreadsOptions): DataPlane {
  const local = nodeProxy(options);
  const threads = Array.from(
    { length: options.threads - 1 },
    () => new Thread(options.startThread()),
  );
  return {
    async open(link: LinkOptions): Promise<ProxyLink> {
      const isTcp = link.endpoints.some(({ type }) => type === "tcp");
      if (threads.length === 0 || !isTcp) return await local.open(link);
      const counts = newCounts();
      const own = await local.open({ ...link, counts });
      const endpoints = own.addresses.flatMap(({ type, host, port }) =>
        type === "tcp" ? [{ type, host, port }] : [],
      );
      const shared = new SharedLink(own, threads);
      const joining = { ...link, endpoints, counts, isJoining: true };
      void Promise.all(
        threads.map((thread) => thread.ask({ link: link.name, what: "open", options: joining })),
      );
      return shared;
    },
    async close() {
      await local.close();
      await Promise.all(threads.map((thread) => thread.close()));
    },
  };
}

type Question<T = Ask> = T extends Ask ? Omit<T, "id"> : never;

/** Another thread, as this one sees it. That it fails is a bug: it ends the process, as it would here. */
class Thread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, (value: unknown) => void>();
  #asked = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.on("message", ({ id, value }: Answer) => {
      this.#waiting.get(id)?.(value);
      this.#waiting.delete(id);
    });
    worker.on("error", (error) => {
      throw error;
    });
  }

  async ask(question: Question): Promise<unknown> {
    this.#asked += 1;
    const id = this.#asked;
    const ask: Ask = { ...question, id };
    return await new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#worker.postMessage(ask);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
    for (const resolve of this.#waiting.values()) resolve(undefined);
  }
}

class SharedLink implements ProxyLink {
  readonly #own: ProxyLink;
  readonly #threads: readonly Thread[];

  constructor(own: ProxyLink, threads: readonly Thread[]) {
    this.#own = own;
    this.#threads = threads;
  }

  get name(): string {
    return this.#own.name;
  }

  get addresses() {
    return this.#own.addresses;
  }

  async setBackends(backends: readonly Backend[]): Promise<void> {
    const link = this.name;
    const others = this.#ask({ link, what: "backends", backends });
    await Promise.all([this.#own.setBackends(backends), others]);
  }

  async setTuning(tuning: Partial<LinkTuning>): Promise<void> {
    const others = this.#ask({ link: this.name, what: "tuning", tuning });
    await Promise.all([this.#own.setTuning(tuning), others]);
  }

  async stats(): Promise<LinkStats> {
    const others = this.#ask({ link: this.name, what: "stats" });
    const [own, answers] = await Promise.all([this.#own.stats(), others]);
    return (answers as readonly (LinkStats | undefined)[]).reduce<LinkStats>(addedStats, own);
  }

  async close(
    options: { readonly drainMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const link = this.name;
    const cut = () => void this.#ask({ link, what: "cut" });
    options.signal?.addEventListener("abort", cut, { once: true });
    const drainMs = options.signal?.aborted ? 0 : (options.drainMs ?? 0);
    const others = this.#ask({ link, what: "close", drainMs });
    await Promise.all([this.#own.close(options), others]);
    options.signal?.removeEventListener("abort", cut);
  }

  async #ask(question: Question): Promise<readonly unknown[]> {
    return await Promise.all(this.#threads.map((thread) => thread.ask(question)));
  }
}
