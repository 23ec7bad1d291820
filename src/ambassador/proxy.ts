import type { Backend, BalanceOptions } from "./backend.ts";

/**
 * Proxy port: carries what clients send to a link's endpoints to one of its backends. Adapters ("data planes"): `node-proxy.ts` (in this
 * process, everything below), `nft-proxy.ts` (in the kernel, TCP and UDP only, refuses options that need to see connections).
 */
export interface DataPlane {
  /**
   * Resolves when every endpoint takes connections; the set of backends is empty at first. Rejects when one endpoint cannot be had,
   * and leaves none open then. Errors: `proxy-address` (in use, denied, no such address), `proxy-unsupported`, `proxy-failed`.
   */
  open(link: LinkOptions): Promise<ProxyLink>;
  /** Closes every link that is still open, without drain time. */
  close(): Promise<void>;
}

export type { DataPlane as Proxy };

export interface ProxyLink {
  readonly name: string;
  /** Where it listens, in the order of its endpoints; port 0 has become a port. */
  readonly addresses: readonly BoundAddress[];
  /**
   * Replaces the whole set, atomically: a connection sees the old set or the new one. Connections that are established stay, whatever
   * becomes of their backend. UDP sessions whose backend is no longer in the set, or fails, are moved with their next datagram.
   * Numbers of a backend with the same id go on.
   */
  setBackends(backends: readonly Backend[]): Promise<void>;
  /** Replaces all tuning; what is not given falls back to its default. Established connections keep what they began with. */
  setTuning(tuning: Partial<LinkTuning>): Promise<void>;
  stats(): Promise<LinkStats>;
  /**
   * Takes no new connections from now on, waits up to `drainMs` for established ones to end and cuts the rest. Aborting ends
   * the wait. Resolves when nothing is left of the link.
   */
  close(options?: { readonly drainMs?: number; readonly signal?: AbortSignal }): Promise<void>;
}

export interface LinkOptions {
  /** Letters, digits, `-`, `_` and `.`; one link per name and proxy. */
  readonly name: string;
  readonly endpoints: readonly Endpoint[];
  readonly tuning?: Partial<LinkTuning>;
}

export type Endpoint =
  | { readonly type: "tcp"; readonly host: string; readonly port: number }
  | { readonly type: "udp"; readonly host: string; readonly port: number }
  /** A stale socket file (nobody listens behind it) is replaced. Backends are reached by TCP. */
  | { readonly type: "unix"; readonly path: string; readonly mode?: number }
  /** A socket handed over by systemd, bound already: see `handed-over.ts`. It is never unlinked. */
  | { readonly type: "fd"; readonly fd: number; readonly protocol: "stream" | "datagram" };

export interface BoundAddress {
  readonly type: "tcp" | "udp" | "unix";
  /** Address or path. */
  readonly host: string;
  /** 0 for unix sockets. */
  readonly port: number;
}

export interface LinkTuning extends BalanceOptions {
  /** For one attempt. */
  readonly connectTimeoutMs: number;
  /** Backends tried for one connection, each at most once, before any byte was sent; the client's bytes wait meanwhile. */
  readonly attemptsMax: number;
  /** How long a new connection waits while no backend can be used; 0 refuses at once. */
  readonly holdMs: number;
  /** Connections that may wait so at the same time. */
  readonly heldMax: number;
  /** Connections of this link, held ones included; more are refused. For UDP: sessions, where the one idle longest gives way. */
  readonly connectionsMax: number;
  /** Connections per backend; further ones go to others. */
  readonly backendConnectionsMax: number;
  /** Per connection and direction: what a slow reader leaves behind before the sender is paused. Not a limit on payload. */
  readonly bufferBytes: number;
  /** A UDP session without a datagram either way ends. */
  readonly sessionIdleMs: number;
  /** Sends a PROXY protocol version 2 header ahead of the client's first byte. TCP and unix only. */
  readonly proxyProtocol: boolean;
  /** After so many failed connects in a row a backend is ejected for `ejectFirstMs`, doubled each time up to `ejectMaxMs`. */
  readonly ejectAfter: number;
  readonly ejectFirstMs: number;
  readonly ejectMaxMs: number;
}

export const defaultTuning: LinkTuning = {
  balance: "round-robin",
  preferSameMachine: true,
  connectTimeoutMs: 2_000,
  attemptsMax: 3,
  holdMs: 10_000,
  heldMax: 1_000,
  connectionsMax: 20_000,
  backendConnectionsMax: 20_000,
  bufferBytes: 256 * 1024,
  sessionIdleMs: 60_000,
  proxyProtocol: false,
  ejectAfter: 2,
  ejectFirstMs: 1_000,
  ejectMaxMs: 30_000,
};

export interface LinkStats {
  readonly name: string;
  readonly addresses: readonly BoundAddress[];
  /** Connections (for UDP: sessions) open now, held ones included; undefined where the data plane does not see them. */
  readonly open: number | undefined;
  readonly held: number | undefined;
  /** Since the link was opened. */
  readonly accepted: number;
  /** Refused, by reason. */
  readonly refused: Readonly<Record<RefusalReason, number>>;
  /** In the order of the set; then those that left it and still have connections. */
  readonly backends: readonly BackendStats[];
}

export type RefusalReason =
  | "too-many-connections"
  | "too-many-held"
  /** No backend could be used within `holdMs`. */
  | "no-backend"
  /** Every attempt failed. */
  | "connect-failed";

export interface BackendStats {
  readonly id: string;
  readonly open: number | undefined;
  /** Connections given to it. */
  readonly total: number;
  readonly connectFailures: number;
  /** Established connections that ended with an error of the backend's side. */
  readonly errors: number;
  readonly bytesToBackend: number | undefined;
  readonly bytesToClient: number | undefined;
  /** How much longer it is ejected; 0 when it is not. */
  readonly ejectedMs: number;
  /** How long successful connects took. Cumulative, as Prometheus has it: `counts[i]` took at most `connectBoundsMs[i]`. */
  readonly connect: {
    readonly counts: readonly number[];
    readonly count: number;
    readonly sumMs: number;
  };
}

export const connectBoundsMs: readonly number[] = [
  0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500,
];
