import { backoffMs } from "../runtime/backoff.ts";
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
    this.#acknowledgedSentMs = sentMs;
    return true;
  }

  /**
   * Keeps the lease alive every third of its ttl; after a failure it tries again with a backoff of at most a quarter.
   * Resolves when the lease is lost: `gone` the store said so, `expired` no answer came in time. Rejects when `signal` aborts.
   */
  async keep(signal: AbortSignal, onRenewed?: () => void): Promise<"gone" | "expired"> {
    let failures = 0;
    for (;;) {
      const intervalMs =
        failures === 0
          ? this.#ttlMs / 3
          : backoffMs(failures, { firstMs: this.#ttlMs / 32, maxMs: this.#ttlMs / 4 });
      const leftMs = this.validUntilMs - this.#clock.monotonicMs();
      await sleep(this.#clock, Math.max(0, Math.min(intervalMs, leftMs)), signal);
      if (!this.isValid()) return "expired";
      try {
        const deadlineMs = Math.max(
          1,
          Math.min(this.#ttlMs / 3, this.validUntilMs - this.#clock.monotonicMs()),
        );
        if (!(await this.renew({ signal, deadlineMs }))) return "gone";
        failures = 0;
        onRenewed?.();
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof FleetError)) throw error;
        failures += 1;
      }
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
