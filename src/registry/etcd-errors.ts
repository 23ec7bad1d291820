import { errorMessage, FleetError } from "../runtime/errors.ts";

/** What grpc-js gives for a call that failed. */
interface GrpcFailure {
  readonly code: number;
  readonly details: string;
}

/** gRPC status codes (grpc.io/docs/guides/status-codes). */
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const OUT_OF_RANGE = 11;
const DATA_LOSS = 15;
const UNAUTHENTICATED = 16;

export interface Attempted {
  /** What failed, for the message: `read /fleet-ts/units/`. */
  readonly action: string;
  /** `etcd at http://10.0.0.1:2379`. */
  readonly store: string;
}

/** Turns what a call to etcd failed with into the port's error. FleetErrors and abort reasons pass unchanged. */
export function translate(error: unknown, { action, store }: Attempted): unknown {
  const failure = grpcFailure(error);
  if (failure === undefined) return error;
  const { details } = failure;
  const failed = `cannot ${action} in ${store}`;
  const options = { cause: error };
  switch (failure.code) {
    case OUT_OF_RANGE:
      return details.includes("compacted")
        ? new FleetError("store-compacted", `${failed}: the revision is no longer kept`, options)
        : new FleetError(
            "store-future-revision",
            `${failed}: the revision is yet to come`,
            options,
          );
    case INVALID_ARGUMENT:
      return /too (large|many)/.test(details)
        ? new FleetError("store-too-large", `${failed}: ${details}`, options)
        : new FleetError("store-denied", `${failed}: ${details}`, options);
    case RESOURCE_EXHAUSTED:
      return exhausted(details, failed, options);
    case NOT_FOUND:
    case FAILED_PRECONDITION:
      return new FleetError("store-denied", `${failed}: ${details}`, options);
    case PERMISSION_DENIED:
    case UNAUTHENTICATED:
      return new FleetError(
        "store-denied",
        `${failed}: ${details}; check the etcd user of fleet.conf and what it may do`,
        options,
      );
    case DATA_LOSS:
      return new FleetError("store-corrupt", `${failed}: ${details}`, options);
    case DEADLINE_EXCEEDED:
      return new FleetError("store-deadline", `${failed} in time: ${details}`, {
        retriable: true,
        ...options,
      });
    default:
      return unavailable({ action, store }, error);
  }
}

function exhausted(details: string, failed: string, options: { cause: unknown }): FleetError {
  if (details.includes("larger than max")) {
    return new FleetError("store-too-large", `${failed}: ${details}`, options);
  }
  const advice = details.includes("space exceeded")
    ? "; compact and defragment it, then disarm its alarm (etcdctl alarm disarm)"
    : "";
  return new FleetError("store-unavailable", `${failed}: ${details}${advice}`, {
    retriable: true,
    ...options,
  });
}

export function unavailable({ action, store }: Attempted, cause: unknown): FleetError {
  const details = grpcFailure(cause)?.details ?? errorMessage(cause);
  return new FleetError(
    "store-unavailable",
    `cannot ${action}: ${store} does not answer (${details}); start it or correct etcd_servers in fleet.conf`,
    { retriable: true, cause },
  );
}

/** The server refused before doing anything, because it no longer knows the token: asking for a new one helps. */
export function isStaleToken(error: unknown): boolean {
  const details = grpcFailure(error)?.details ?? "";
  return (
    details.includes("invalid auth token") || details.includes("revision of auth store is old")
  );
}

export function isNotFound(error: unknown): boolean {
  return grpcFailure(error)?.code === NOT_FOUND;
}

const FAULTS_OF_THE_SERVER: readonly number[] = [1, 2, 13, 14];

/** The connection, or the server behind it, is no good: cancelled, unknown, internal, unavailable. */
export function isServerFault(error: unknown): boolean {
  const code = grpcFailure(error)?.code;
  return code !== undefined && FAULTS_OF_THE_SERVER.includes(code);
}

/** The server understood and said no. */
export function isRefusal(error: unknown): boolean {
  return grpcFailure(error) !== undefined && !isServerFault(error);
}

/** The server itself said so (`etcdserver: no leader`), the connection to it works. */
export function isServersWord(error: unknown): boolean {
  return (grpcFailure(error)?.details ?? "").startsWith("etcdserver:");
}

function grpcFailure(error: unknown): GrpcFailure | undefined {
  if (!(error instanceof Error) || !("code" in error) || !("details" in error)) return undefined;
  const { code, details } = error;
  return typeof code === "number" && typeof details === "string" ? { code, details } : undefined;
}
