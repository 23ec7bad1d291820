/**
 * Operating failures: something outside the program's control went wrong. Bugs are AssertionErrors and
 * are not caught; expected outcomes ("does not fit", "lost the race") are values, not exceptions.
 */
export type ErrorCode =
  // The store could not be asked or did not answer. A write may or may not have been applied.
  | "store-unavailable"
  // The call's own deadline passed. A write may or may not have been applied.
  | "store-deadline"
  // The revision asked for is older than what the store keeps.
  | "store-compacted"
  // The revision asked for is newer than the store's: it is not the store it was read from.
  | "store-future-revision"
  | "store-too-large"
  | "store-denied"
  // Another process has the embedded store open.
  | "store-in-use"
  | "store-corrupt"
  | "store-closed"
  // A record in the registry cannot be read by this version.
  | "record-unreadable"
  | "systemd-unavailable"
  | "systemd-deadline"
  // systemd refused: bad unit file, masked, denied, no such unit.
  | "systemd-refused"
  | "host-io"
  | "unit-invalid"
  | "config-invalid"
  | "usage"
  | "not-found"
  | "conflict"
  | "api-unavailable"
  | "api-refused"
  | "timed-out"
  | "duplicate-machine"
  // An address to listen on is in use, denied, or not this machine's.
  | "proxy-address"
  // The data plane cannot do what an option asks for.
  | "proxy-unsupported"
  // A tree of unit files cannot be reached or read.
  | "tree-unavailable"
  // A commit is not signed by a known key.
  | "tree-untrusted"
  // nftables refused, or is not there.
  | "proxy-failed";

export interface FleetErrorOptions {
  /** Whether the same call may succeed later without anyone changing anything. */
  readonly retriable?: boolean;
  readonly cause?: unknown;
}

/**
 * Message: lower case, what failed, which thing, what to do, e.g.
 * `cannot reach etcd at http://10.0.0.1:2379: start it or correct etcd_servers in fleet.conf`.
 */
export class FleetError extends Error {
  readonly code: ErrorCode;
  readonly retriable: boolean;

  constructor(code: ErrorCode, message: string, options: FleetErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "FleetError";
    this.code = code;
    this.retriable = options.retriable ?? false;
  }
}

export function isFleetError(error: unknown, ...codes: readonly ErrorCode[]): error is FleetError {
  return error instanceof FleetError && (codes.length === 0 || codes.includes(error.code));
}

/** Text of anything thrown, for logs and for messages that wrap it. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
