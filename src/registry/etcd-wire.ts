import type {
  ICompare,
  IEvent,
  IKeyValue,
  IRangeRequest,
  IRequestOp,
  IResponseHeader,
} from "etcd3";
import {
  type Change,
  type Comparison,
  type KeyValue,
  type Operation,
  type Range,
  READ_PAGE_MAX,
  type ReadRequest,
  type StoreHeader,
} from "./store.ts";

/** Between the port's values and etcd's messages. Numbers of 64 bits arrive as decimal text. */

export interface KeyRange {
  readonly key: Buffer;
  /** Exclusive; absent for a single key. */
  readonly range_end?: Buffer;
}

const ZERO_BYTE = Buffer.of(0);

export function keyRange(range: Range): KeyRange {
  if ("key" in range) return { key: Buffer.from(range.key) };
  // etcd refuses an empty key; from \0 to \0 means all keys.
  if (range.prefix === "") return { key: ZERO_BYTE, range_end: ZERO_BYTE };
  const key = Buffer.from(range.prefix);
  const end = Buffer.from(key);
  // UTF-8 has no byte 0xff, so the last byte can always be raised.
  end[end.length - 1] = (end.at(-1) ?? 0) + 1;
  return { key, range_end: end };
}

export function rangeRequest(request: ReadRequest): IRangeRequest {
  const { key, range_end } = keyRange(request.range);
  const options: IRangeRequest = {
    limit: Math.min(request.limit ?? READ_PAGE_MAX, READ_PAGE_MAX),
    ...(request.revision === undefined ? {} : { revision: request.revision }),
    ...(request.keysOnly === true ? { keys_only: true } : {}),
  };
  if (request.after === undefined) {
    return range_end === undefined ? { ...options, key } : { ...options, key, range_end };
  }
  // The next key in byte order is the same one with a zero byte added.
  const successor = Buffer.concat([Buffer.from(request.after), ZERO_BYTE]);
  return {
    ...options,
    key: Buffer.compare(successor, key) > 0 ? successor : key,
    range_end: range_end ?? Buffer.concat([key, ZERO_BYTE]),
  };
}

export function storeHeader(header: IResponseHeader): StoreHeader {
  return { revision: Number(header.revision), storeId: header.cluster_id };
}

export function keyValue(item: IKeyValue): KeyValue {
  return {
    key: item.key.toString("utf8"),
    value: item.value.toString("utf8"),
    createRevision: Number(item.create_revision),
    modRevision: Number(item.mod_revision),
    ...(item.lease === "0" ? {} : { leaseId: item.lease }),
  };
}

export function change(event: IEvent): Change {
  return event.type === "Delete"
    ? {
        type: "delete",
        key: event.kv.key.toString("utf8"),
        modRevision: Number(event.kv.mod_revision),
      }
    : { type: "put", item: keyValue(event.kv) };
}

export function compareRequest(comparison: Comparison): ICompare {
  const key = Buffer.from(comparison.key);
  switch (comparison.type) {
    case "created-at":
      return { key, result: "Equal", target: "Create", create_revision: comparison.revision };
    case "modified-at":
      return { key, result: "Equal", target: "Mod", mod_revision: comparison.revision };
    case "value-is":
      return { key, result: "Equal", target: "Value", value: Buffer.from(comparison.value) };
  }
}

export function operationRequest(operation: Operation): IRequestOp {
  const key = Buffer.from(operation.key);
  if (operation.type === "delete") return { request_delete_range: { key } };
  const value = Buffer.from(operation.value);
  return operation.leaseId === undefined
    ? { request_put: { key, value } }
    : { request_put: { key, value, lease: operation.leaseId } };
}

/** Whether the text can be the id of a lease: positive and 64 bits. etcd takes lease 0 for "none". */
export function isLeaseId(text: string): boolean {
  return /^[1-9][0-9]{0,18}$/.test(text) && BigInt(text) < 2n ** 63n;
}
