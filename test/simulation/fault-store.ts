import type {
  CallOptions,
  Lease,
  ReadAllResult,
  ReadKeysRequest,
  ReadRequest,
  ReadResult,
  Store,
  Transaction,
  TransactionResult,
  WatchBatch,
  WatchRequest,
} from "../../src/registry/store.ts";
import { STORE_DEADLINE_MS } from "../../src/registry/store.ts";
import { type Clock, sleep } from "../../src/runtime/clock.ts";
import { withDeadline } from "../../src/runtime/deadline.ts";
import { FleetError } from "../../src/runtime/errors.ts";
import { never, type ProcessGate } from "./process-gate.ts";

/** A machine's way to the registry. It outlives the processes that use it. */
export class Link {
  /** One way, for calls and for what watches give. */
  delayMs = 0;
  /** So many of the next calls that write fail; `after`: although they were applied. */
  readonly failing = { before: 0, after: 0 };
  /** Calls and watches. */
  readonly all = new Barrier();
  /** Watches alone: a stream that hangs while calls go through. */
  readonly watches = new Barrier();

  get isCut(): boolean {
    return this.all.isDown;
  }

  get isClean(): boolean {
    const { before, after } = this.failing;
    return !this.all.isDown && this.delayMs === 0 && before === 0 && after === 0;
  }
}

/** Lets nothing through while anybody holds it down. */
class Barrier {
  #holders = 0;
  #lifted: PromiseWithResolvers<void> | undefined;

  get isDown(): boolean {
    return this.#holders > 0;
  }

  lower(): void {
    this.#holders += 1;
    this.#lifted ??= Promise.withResolvers();
  }

  lift(): void {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    this.#lifted?.resolve();
    this.#lifted = undefined;
  }

  async untilLifted(signal: AbortSignal): Promise<void> {
    while (this.#lifted !== undefined && !signal.aborted) {
      const aborted = Promise.withResolvers<void>();
      const onAbort = () => aborted.resolve();
      signal.addEventListener("abort", onAbort, { once: true });
      await Promise.race([this.#lifted.promise, aborted.promise]);
      signal.removeEventListener("abort", onAbort);
    }
  }
}

/** Told of every transaction that was applied or refused, in the order of their answers. */
export type OnTransaction = (transaction: Transaction, result: TransactionResult) => void;

export interface FaultStoreOptions {
  readonly inner: Store;
  readonly clock: Clock;
  readonly link: Link;
  readonly gate: ProcessGate;
  /** Aborts when the process dies. */
  readonly life: AbortSignal;
  readonly onTransaction: OnTransaction;
}

/**
 * The registry as one process reaches it: over a link that can be cut, slow or lossy, until the process is frozen or dead. Without any of these
 * it is the registry itself. A cut call ends by its deadline; cut watches give nothing until mended, and then everything.
 */
export class FaultStore implements Store {
  readonly #options: FaultStoreOptions;

  constructor(options: FaultStoreOptions) {
    this.#options = options;
  }

  get description(): string {
    return this.#options.inner.description;
  }

  async read(request: ReadRequest, options?: CallOptions): Promise<ReadResult> {
    const { inner, gate } = this.#options;
    return await gate.ask(() => this.#call(options, false, (call) => inner.read(request, call)));
  }

  async readKeys(request: ReadKeysRequest, options?: CallOptions): Promise<ReadAllResult> {
    const { inner, gate } = this.#options;
    return await gate.ask(() =>
      this.#call(options, false, (call) => inner.readKeys(request, call)),
    );
  }

  async transact(transaction: Transaction, options?: CallOptions): Promise<TransactionResult> {
    const { inner, gate, onTransaction } = this.#options;
    return await gate.effect(() =>
      this.#call(options, true, async (call) => {
        const result = await inner.transact(transaction, call);
        onTransaction(transaction, result);
        return result;
      }),
    );
  }

  async *watch(request: WatchRequest): AsyncGenerator<WatchBatch, void, void> {
    const { inner, gate, link, clock, life } = this.#options;
    if (gate.isDead) await never();
    const signal = request.signal === undefined ? life : AbortSignal.any([request.signal, life]);
    let deliveredMs = Number.NaN;
    for await (const batch of inner.watch({ ...request, signal })) {
      // What waited together comes together.
      if (link.delayMs > 0 && deliveredMs !== clock.monotonicMs()) {
        await sleep(clock, link.delayMs, signal).catch(() => undefined);
      }
      if (link.isCut) await link.all.untilLifted(signal);
      if (link.watches.isDown) await link.watches.untilLifted(signal);
      await gate.passage();
      if (signal.aborted) return;
      deliveredMs = clock.monotonicMs();
      yield batch;
    }
    await gate.passage();
  }

  async grantLease(ttlMs: number, options?: CallOptions): Promise<Lease> {
    const { inner, gate } = this.#options;
    return await gate.effect(() =>
      this.#call(options, true, (call) => inner.grantLease(ttlMs, call)),
    );
  }

  async keepLeaseAlive(leaseId: string, options?: CallOptions): Promise<Lease | undefined> {
    const { inner, gate } = this.#options;
    return await gate.ask(() =>
      this.#call(options, true, (call) => inner.keepLeaseAlive(leaseId, call)),
    );
  }

  async revokeLease(leaseId: string, options?: CallOptions): Promise<void> {
    const { inner, gate } = this.#options;
    await gate.effect(() => this.#call(options, true, (call) => inner.revokeLease(leaseId, call)));
  }

  async close(): Promise<void> {
    await this.#options.inner.close();
  }

  async #call<T>(
    options: CallOptions = {},
    writes: boolean,
    work: (call: CallOptions) => Promise<T>,
  ): Promise<T> {
    const { link } = this.#options;
    if (link.isClean) return await work(options);
    const deadlineMs = Math.min(options.deadlineMs ?? STORE_DEADLINE_MS, STORE_DEADLINE_MS);
    return await withDeadline(
      this.#options.clock,
      {
        deadlineMs,
        signal: options.signal,
        onDeadline: () => unavailable("the registry did not answer in time"),
      },
      (signal) => this.#overLink(signal, writes, work),
    );
  }

  async #overLink<T>(
    signal: AbortSignal,
    writes: boolean,
    work: (call: CallOptions) => Promise<T>,
  ): Promise<T> {
    const { link, clock } = this.#options;
    await link.all.untilLifted(signal);
    if (link.delayMs > 0) await sleep(clock, link.delayMs, signal);
    signal.throwIfAborted();
    if (link.isCut) throw unavailable("the connection broke before the call went out");
    if (writes && link.failing.before > 0) {
      link.failing.before -= 1;
      throw unavailable("the call did not reach the registry");
    }
    const isAnswerLost = writes && link.failing.after > 0;
    if (isAnswerLost) link.failing.after -= 1;
    const result = await work({ signal });
    if (link.delayMs > 0) await sleep(clock, link.delayMs, signal);
    if (isAnswerLost || link.isCut) throw unavailable("the connection broke before the answer");
    return result;
  }
}

function unavailable(message: string): FleetError {
  return new FleetError("store-unavailable", message, { retriable: true });
}
