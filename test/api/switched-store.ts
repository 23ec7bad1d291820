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
import { FleetError } from "../../src/runtime/errors.ts";

/** A store that can be taken away, and whose next writes can be made to lose their answer. */
export class SwitchedStore implements Store {
  readonly #inner: Store;
  away = false;
  /** So many transactions are applied and then fail as if the connection had been cut. */
  answersToLose = 0;
  /** So many transactions fail and are not applied. */
  writesToLose = 0;
  /** Runs before each transaction: others' writes in the worst moment. */
  beforeTransact: (() => Promise<void>) | undefined;
  reads = 0;
  transactions = 0;
  watches = 0;

  constructor(inner: Store) {
    this.#inner = inner;
  }

  get description(): string {
    return "etcd at http://10.0.0.1:2379";
  }

  async read(request: ReadRequest, options?: CallOptions): Promise<ReadResult> {
    this.reads += 1;
    this.#check();
    return await this.#inner.read(request, options);
  }

  async readKeys(request: ReadKeysRequest, options?: CallOptions): Promise<ReadAllResult> {
    this.reads += 1;
    this.#check();
    return await this.#inner.readKeys(request, options);
  }

  async transact(transaction: Transaction, options?: CallOptions): Promise<TransactionResult> {
    this.transactions += 1;
    this.#check();
    await this.beforeTransact?.();
    if (this.writesToLose > 0) {
      this.writesToLose -= 1;
      throw cut();
    }
    const result = await this.#inner.transact(transaction, options);
    if (this.answersToLose > 0) {
      this.answersToLose -= 1;
      throw cut();
    }
    return result;
  }

  async *watch(request: WatchRequest): AsyncIterable<WatchBatch> {
    this.watches += 1;
    try {
      yield* this.#inner.watch(request);
    } finally {
      this.watches -= 1;
    }
  }

  async grantLease(ttlMs: number, options?: CallOptions): Promise<Lease> {
    return await this.#inner.grantLease(ttlMs, options);
  }

  async keepLeaseAlive(leaseId: string, options?: CallOptions): Promise<Lease | undefined> {
    return await this.#inner.keepLeaseAlive(leaseId, options);
  }

  async revokeLease(leaseId: string, options?: CallOptions): Promise<void> {
    await this.#inner.revokeLease(leaseId, options);
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  #check(): void {
    if (this.away) throw cut();
  }
}

function cut(): FleetError {
  return new FleetError("store-unavailable", "cannot reach etcd", { retriable: true });
}
