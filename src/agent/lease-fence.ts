import type { HeldLease } from "../registry/lease.ts";
import type { Clock } from "../runtime/clock.ts";
import { FleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Fencing } from "../units/requirements.ts";
import type { Holdings } from "./holdings.ts";
import type { Fence, Systemd } from "./systemd.ts";

export interface LeaseFenceOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly systemd: Systemd;
  readonly holdings: Holdings;
  /** Something about the unit has changed: look at it again. */
  readonly onChange: (unit: string) => void;
}

/** From the last kill to the end of the lease: for systemd to take note, and for a machine that is busy. */
const KILL_MARGIN_MS = 500;
/** From the moment by which stops should be over to the end of the lease. */
const STOP_MARGIN_MS = 1_000;

/**
 * Keeps systemd's fence around the units that say Fencing=strict as long as the machine's lease is sure to last: armed anew with every keep-alive, never for longer than
 * the lease that was acknowledged. A unit is inside the fence before it is on the machine, so nothing can start it outside.
 */
export class LeaseFence {
  readonly #options: LeaseFenceOptions;
  #lease: HeldLease | undefined;
  /** Not on disk yet, but about to be. */
  readonly #coming = new Map<string, Fencing>();
  #armed: { readonly units: string; readonly stopAtMs: number } | undefined;
  /** Calls that arm, one after the other: the last word has to be that of the newest lease. */
  #arming: Promise<unknown> = Promise.resolve();

  constructor(options: LeaseFenceOptions) {
    this.#options = options;
  }

  /** The machine is present: nothing fenced is started before this has resolved. */
  async begin(lease: HeldLease, signal: AbortSignal): Promise<void> {
    this.#lease = lease;
    this.#armed = undefined;
    await this.#inTurn(signal);
    await this.#makeUpForFall();
  }

  end(): void {
    this.#lease = undefined;
  }

  /** The lease was renewed, or units have come or gone. */
  async pass(signal: AbortSignal): Promise<undefined> {
    await this.#inTurn(signal);
  }

  /** Puts the fence around a unit that is about to be written or started. Throws, to be tried again, when the lease is about to end. */
  async cover(unit: string, fencing: Fencing, signal: AbortSignal): Promise<void> {
    this.#coming.set(unit, fencing);
    await this.#inTurn(signal);
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#armed !== undefined && this.#armed.stopAtMs > nowMs) return;
    const message = `${unit} cannot start: it is fenced, and this machine's lease is about to end`;
    throw new FleetError("conflict", message, { retriable: true });
  }

  /** It is no longer on the machine. */
  uncover(unit: string): void {
    this.#coming.delete(unit);
  }

  #inTurn(signal: AbortSignal): Promise<void> {
    const arm = () => this.#arm(signal);
    const armed = this.#arming.then(arm, arm);
    this.#arming = armed;
    return armed;
  }

  async #arm(signal: AbortSignal): Promise<void> {
    const { systemd } = this.#options;
    const lease = this.#lease;
    const fenced = this.#fenced();
    if (lease === undefined || (fenced.size === 0 && this.#armed === undefined)) return;
    const fence = fenceAround(fenced, lease.validUntilMs);
    const units = fence.units.join(" ");
    if (this.#armed?.units === units && this.#armed.stopAtMs === fence.stopAtMs) return;
    await systemd.fence(fence, signal);
    this.#armed = fenced.size === 0 ? undefined : { units, stopAtMs: fence.stopAtMs };
    // The one before may have fallen until the last moment.
    await this.#makeUpForFall();
  }

  #fenced(): ReadonlyMap<string, Fencing> {
    const { holdings } = this.#options;
    const fenced = new Map(this.#coming);
    for (const unit of holdings.units()) {
      const fencing = holdings.file(unit)?.fencing;
      if (fencing !== undefined) fenced.set(unit, fencing);
    }
    return fenced;
  }

  /** What a fall has stopped counts as never started, so it is started again if it is still wanted; what somebody has started since is not stopped for it. */
  async #makeUpForFall(): Promise<void> {
    const { systemd, holdings, logger, onChange } = this.#options;
    const fallen = await systemd.fallen();
    if (fallen.length === 0) return;
    for (const unit of fallen.filter((name) => holdings.start(name) !== undefined)) {
      logger.warn("fence-fell", { unit });
      await holdings.clearStart(unit);
      onChange(unit);
    }
    await systemd.forgetFallen(fallen);
  }
}

function fenceAround(fenced: ReadonlyMap<string, Fencing>, endMs: number): Fence {
  if (fenced.size === 0) return { units: [], stopAtMs: 0, killAtMs: 0 };
  const stopMs = Math.max(...[...fenced.values()].map((fencing) => fencing.stopMs));
  return {
    units: [...fenced.keys()].sort(),
    stopAtMs: endMs - STOP_MARGIN_MS - stopMs,
    killAtMs: endMs - KILL_MARGIN_MS,
  };
}
