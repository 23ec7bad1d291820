import { type Clock, sleep } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import type { CallOptions, Lease, Store } from "./store.ts";

/**
 * A lease as its holder sees it: judged by the holder's own monotonic clock from the moment the last acknowledged call was *sent*.
 * So the holder stops believing in it no later than the store does, whatever the network does in between.
 */
export class HeldLease {
  readonly leaseId: string;
  readonly #store: Store;
  readonly #clock: Clock;
  #ttlMs: number;
  #acknowledgedSentMs: number;

  constructor(options: { store: Store; clock: Clock; lease: Lease; sentMs: number }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.leaseId = options.lease.leaseId;
    this.#ttlMs = options.lease.ttlMs;
    this.#acknowledgedSentMs = options.sentMs;
  }

  /** Until when it holds for certain, in monotonic milliseconds. */
  get validUntilMs(): number {
    return this.#acknowledgedSentMs + this.#ttlMs;
  }

  isValid(): boolean {
    return this.#clock.monotonicMs() < this.validUntilMs;
  }

  /** One keep-alive; false when the store says that the lease is gone. */
  async renew(call: CallOptions = {}): Promise<boolean> {
    const sentMs = this.#clock.monotonicMs();
    const lease = await this.#store.keepLeaseAlive(this.leaseId, call);
    if (lease === undefined) return false;
    this.#ttlMs = lease.ttlMs;
    // Answers may overtake one another.
    this.#acknowledgedSentMs = Math.max(this.#acknowledgedSentMs, sentMs);
    return true;
  }

  /**
   * Keeps the lease alive every third of its ttl.
   * Resolves when the lease is lost: `gone` the store said so, `expired` no answer came in time. Rejects when `signal` aborts.
   */
  async keep(signal: AbortSignal, onRenewed?: () => void): Promise<"gone" | "expired"> {
    for (;;) {
      const leftMs = this.validUntilMs - this.#clock.monotonicMs();
      await sleep(this.#clock, Math.max(0, Math.min(this.#ttlMs / 3, leftMs)), signal);
      const answer = await this.#renewInTime(signal);
      if (answer !== "renewed") return answer;
      onRenewed?.();
    }
  }

  /**
   * Asks until an answer comes or the lease is over, anew every tenth of the ttl while the calls before are still waited for: a member of the store that had no leader
   * when it was asked may never answer, and one that is slow may need longer than until the next call.
   */
  async #renewInTime(signal: AbortSignal): Promise<"renewed" | "gone" | "expired"> {
    const over = new AbortController();
    const calls = AbortSignal.any([signal, over.signal]);
    const answer = Promise.withResolvers<"renewed" | "gone">();
    const ask = () =>
      this.renew({ signal: calls, deadlineMs: Math.round(this.#ttlMs / 3) }).then(
        (alive) => answer.resolve(alive ? "renewed" : "gone"),
        (error) => {
          if (signal.aborted || !(error instanceof FleetError)) answer.reject(error);
        },
      );
    try {
      while (this.isValid()) {
        void ask();
        const leftMs = this.validUntilMs - this.#clock.monotonicMs();
        const next = sleep(this.#clock, Math.min(this.#ttlMs / 10, leftMs), calls);
        const first = await Promise.race([answer.promise, next]);
        if (first !== undefined) return first;
      }
      return "expired";
    } finally {
      over.abort();
    }
  }

  async revoke(call: CallOptions = {}): Promise<void> {
    this.#acknowledgedSentMs = Number.NEGATIVE_INFINITY;
    await this.#store.revokeLease(this.leaseId, call);
  }
}

export async function grantLease(
  store: Store,
  clock: Clock,
  ttlMs: number,
  call: CallOptions = {},
): Promise<HeldLease> {
  const sentMs = clock.monotonicMs();
  const lease = await store.grantLease(ttlMs, call);
  return new HeldLease({ store, clock, lease, sentMs });
}
