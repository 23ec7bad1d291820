import type { Lease } from "./store.ts";

interface RunningLease extends Lease {
  expiresMs: number;
}

/** Leases and when they end, by monotonic time. */
export class EmbeddedLeases {
  readonly #leases = new Map<string, RunningLease>();

  get(leaseId: string): Lease | undefined {
    return publicPart(this.#leases.get(leaseId));
  }

  list(): readonly Lease[] {
    return [...this.#leases.values()].flatMap((lease) => publicPart(lease) ?? []);
  }

  /** Begins, or begins again, with a full ttl. */
  start(lease: Lease, nowMs: number): void {
    const { leaseId, ttlMs } = lease;
    this.#leases.set(leaseId, { leaseId, ttlMs, expiresMs: nowMs + ttlMs });
  }

  renew(leaseId: string, nowMs: number): Lease | undefined {
    const lease = this.#leases.get(leaseId);
    if (lease !== undefined) lease.expiresMs = nowMs + lease.ttlMs;
    return publicPart(lease);
  }

  renewAll(nowMs: number): void {
    for (const lease of this.#leases.values()) lease.expiresMs = nowMs + lease.ttlMs;
  }

  /** Gives back how to undo it. */
  end(leaseId: string): () => void {
    const lease = this.#leases.get(leaseId);
    this.#leases.delete(leaseId);
    return () => {
      if (lease !== undefined) this.#leases.set(leaseId, lease);
    };
  }

  /** The earliest expiry; undefined without leases. Looks at every lease. */
  nextExpiryMs(): number | undefined {
    let earliestMs: number | undefined;
    for (const { expiresMs } of this.#leases.values()) {
      if (earliestMs === undefined || expiresMs < earliestMs) earliestMs = expiresMs;
    }
    return earliestMs;
  }

  /** Leases that are over, oldest grant first. */
  expired(nowMs: number): readonly string[] {
    return [...this.#leases.values()]
      .filter((lease) => lease.expiresMs <= nowMs)
      .map((lease) => lease.leaseId);
  }
}

function publicPart(lease: RunningLease | undefined): Lease | undefined {
  return lease && { leaseId: lease.leaseId, ttlMs: lease.ttlMs };
}
