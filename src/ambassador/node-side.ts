/**
 * One side of a carried connection, the client's or the backend's. Two kinds: `node-handle-side.ts` (TCP, half the work for the processor)
 * and `node-socket-side.ts` (everything else).
 */
export interface Side {
  /** Begins to read. Once; no event comes before. */
  start(events: SideEvents): void;
  /** Reads on after `bytes` gave false. */
  resume(): void;
  /** False: the kernel does not have everything yet, `bytes` is in use, and `drained` follows. */
  write(bytes: Uint8Array): boolean;
  /** Says goodbye after all that was written; reading goes on. */
  end(): void;
  /** At once and in both directions: no event comes any more, what the kernel does not have yet is lost. Twice is harmless. */
  close(): void;
  /** As `close`, but the peer sees a broken stream, not a finished one. Only TCP can; and not once the goodbye is on its way. */
  reset(): void;
  /** The kernel finds out from now on whether a peer that says nothing is still there. */
  keepAlive(): void;
  /** Undefined where a client has no address. */
  readonly ends: SideEnds | undefined;
}

export interface SideEvents {
  /** False: nothing more is read until `resume`, and `chunk` is in use until then. It may change once true is given. */
  bytes(chunk: Uint8Array): boolean;
  /** The peer has said everything. */
  ended(): void;
  /** Everything that was written is with the kernel. May come without need. */
  drained(): void;
  /** Nothing can be read or written any more. */
  failed(error: Error): void;
}

export interface SideEnds {
  readonly remote: Address;
  readonly local: Address;
}

export interface Address {
  readonly address: string;
  readonly port: number;
}

/** Idle this long before a peer is asked whether it is still there. */
export const KEEP_ALIVE_AFTER_MS = 30_000;

/** Called once, never before the function that takes it has returned, and not after the side was closed. */
export type Connected = (error: Error | undefined) => void;
