import assert from "node:assert/strict";
import { KVClient, LeaseClient } from "etcd3";
import { FleetError } from "../runtime/errors.ts";
import { silentLogger } from "../runtime/logger.ts";
import { type Call, EtcdClient } from "./etcd-client.ts";
import { isNotFound } from "./etcd-errors.ts";
import { keepAliveOnce } from "./etcd-keep-alive.ts";
import type { EtcdStoreOptions } from "./etcd-options.ts";
import { EtcdWatch } from "./etcd-watch.ts";
import { EtcdWatchHub } from "./etcd-watch-hub.ts";
import {
  compareRequest,
  isLeaseId,
  keyValue,
  operationRequest,
  rangeRequest,
  storeHeader,
} from "./etcd-wire.ts";
import {
  type CallOptions,
  type Lease,
  type Range,
  type ReadAllResult,
  type ReadKeysRequest,
  type ReadRequest,
  type ReadResult,
  type Store,
  TRANSACTION_OPERATIONS_MAX,
  type Transaction,
  type TransactionResult,
  type WatchBatch,
  type WatchRequest,
} from "./store.ts";

export class EtcdStore implements Store {
  readonly description: string;
  readonly #client: EtcdClient;
  readonly #hub: EtcdWatchHub;

  constructor(options: EtcdStoreOptions) {
    const { servers, clock, random, logger = silentLogger, ...access } = options;
    assert(servers.length > 0, "etcd needs at least one server");
    this.description = `etcd at ${servers.join(", ")}`;
    this.#client = new EtcdClient({
      ...access,
      servers,
      firstServer: Math.floor((random?.fraction() ?? 0) * servers.length),
      description: this.description,
      clock,
      logger,
    });
    this.#hub = new EtcdWatchHub({ client: this.#client, clock, logger });
  }

  async read(request: ReadRequest, options?: CallOptions): Promise<ReadResult> {
    return await this.#client.call({
      action: `read ${rangeText(request.range)}`,
      options,
      send: async ({ caller, observe }) => {
        const answer = await new KVClient(caller).range(rangeRequest(request));
        const items = answer.kvs.map(keyValue);
        observe(answer.header, request.keysOnly === true ? undefined : items.at(-1));
        return { header: storeHeader(answer.header), items, more: answer.more };
      },
    });
  }

  async readKeys(request: ReadKeysRequest, options?: CallOptions): Promise<ReadAllResult> {
    const { keys, revision } = request;
    const action = `read ${keys[0] ?? "nothing"}${keys.length > 1 ? ` and ${keys.length - 1} more` : ""}`;
    this.#refuseTooLarge(action, keys.length);
    return await this.#client.call({
      action,
      options,
      send: async ({ caller, observe }) => {
        const success = keys.map((key) => ({
          request_range: rangeRequest({ range: { key }, revision }),
        }));
        const answer = await new KVClient(caller).txn({ success });
        const items = answer.responses.flatMap(({ response_range }) =>
          response_range.kvs.map(keyValue),
        );
        observe(answer.header, items.at(-1));
        return { header: storeHeader(answer.header), items };
      },
    });
  }

  async transact(transaction: Transaction, options?: CallOptions): Promise<TransactionResult> {
    const { comparisons, operations } = transaction;
    const action = `write ${operations[0]?.key ?? "nothing"}${operations.length > 1 ? ` and ${operations.length - 1} more` : ""}`;
    const keys = new Set(operations.map(({ key }) => key));
    assert.equal(keys.size, operations.length, "a transaction writes each key at most once");
    this.#refuseTooLarge(action, Math.max(comparisons.length, operations.length));
    this.#refuseBadLeases(action, transaction);
    return await this.#client.call({
      action,
      options,
      send: async ({ caller, observe }) => {
        const answer = await new KVClient(caller).txn({
          compare: comparisons.map(compareRequest),
          success: operations.map(operationRequest),
        });
        observe(answer.header);
        return { header: storeHeader(answer.header), applied: answer.succeeded };
      },
    });
  }

  watch(request: WatchRequest): AsyncIterable<WatchBatch> {
    return this.#watch(request, new EtcdWatch(request, this.#client.history.generation));
  }

  async grantLease(ttlMs: number, options?: CallOptions): Promise<Lease> {
    return await this.#client.call({
      action: "grant a lease",
      options,
      send: async ({ caller }) => {
        const seconds = Math.max(1, Math.ceil(ttlMs / 1_000));
        const answer = await new LeaseClient(caller).leaseGrant({ TTL: seconds });
        return { leaseId: answer.ID, ttlMs: Number(answer.TTL) * 1_000 };
      },
    });
  }

  async keepLeaseAlive(leaseId: string, options?: CallOptions): Promise<Lease | undefined> {
    if (!isLeaseId(leaseId)) return undefined;
    const send: Call<Lease | undefined>["send"] = async (context) =>
      await keepAliveOnce(leaseId, context);
    return await this.#client.call({ action: `keep lease ${leaseId} alive`, options, send });
  }

  async revokeLease(leaseId: string, options?: CallOptions): Promise<void> {
    if (!isLeaseId(leaseId)) return;
    await this.#client.call({
      action: `revoke lease ${leaseId}`,
      options,
      send: async ({ caller }) => {
        try {
          await new LeaseClient(caller).leaseRevoke({ ID: leaseId });
        } catch (error) {
          if (!isNotFound(error)) throw error;
        }
      },
    });
  }

  async close(): Promise<void> {
    this.#client.close();
    this.#hub.close(this.#client.closed.reason);
  }

  async *#watch(request: WatchRequest, watch: EtcdWatch): AsyncGenerator<WatchBatch, void> {
    this.#client.closed.throwIfAborted();
    if (request.signal?.aborted === true) return;
    this.#hub.add(watch);
    try {
      for (;;) {
        const batch = await watch.take(request.signal);
        if (batch === undefined) return;
        yield batch;
        if (batch.type === "reset") return;
      }
    } finally {
      this.#hub.remove(watch);
    }
  }

  #refuseTooLarge(action: string, operations: number): void {
    if (operations <= TRANSACTION_OPERATIONS_MAX) return;
    const message = `cannot ${action} in ${this.description}: ${operations} operations or comparisons, ${TRANSACTION_OPERATIONS_MAX} are allowed`;
    throw new FleetError("store-too-large", message);
  }

  #refuseBadLeases(action: string, { operations }: Transaction): void {
    for (const operation of operations) {
      if (operation.type !== "put" || operation.leaseId === undefined) continue;
      if (isLeaseId(operation.leaseId)) continue;
      const message = `cannot ${action} in ${this.description}: there is no lease ${operation.leaseId}`;
      throw new FleetError("store-denied", message);
    }
  }
}

function rangeText(range: Range): string {
  return "key" in range ? range.key : `${range.prefix}*`;
}
