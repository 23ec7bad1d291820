import type { Clock } from "../runtime/clock.ts";
import { Liveness } from "../runtime/liveness.ts";
import { ServiceNotifier } from "../runtime/service-notifier.ts";

/** Longer than any pass takes that will still end: its calls have deadlines, a daemon-reload the longest. */
const PASS_MAX_MS = 150_000;
/** How often the status line is brought up to date when nothing has happened. */
const INTERVAL_MAX_MS = 30_000;

export interface DaemonReportOptions {
  readonly clock: Clock;
  readonly env: NodeJS.ProcessEnv;
  readonly statusLine: (role: "leads" | "follows") => string;
}

/**
 * What the service manager hears of the daemon: its status line and, as long as every loop gets through its passes, that it is alive. A daemon that stays
 * silent for WatchdogSec= is killed and started anew; units run on (I4).
 */
export class DaemonReport {
  readonly liveness: Liveness;
  readonly #options: DaemonReportOptions;
  readonly #notifier: ServiceNotifier;
  #role: "leads" | "follows" = "follows";

  constructor(options: DaemonReportOptions) {
    this.#options = options;
    this.#notifier = new ServiceNotifier(options.env);
    this.liveness = new Liveness(options.clock);
  }

  get role(): "leads" | "follows" {
    return this.#role;
  }

  /** The engine has the lead, or has lost it. */
  lead(leads: boolean): void {
    this.#role = leads ? "leads" : "follows";
    this.tell();
  }

  tell(): void {
    this.#notifier.status(this.#options.statusLine(this.#role));
  }

  /** The daemon is ready, and from now on alive until `signal` aborts. */
  begin(signal: AbortSignal): void {
    this.#notifier.ready(this.#options.statusLine(this.#role));
    this.#beat(signal);
  }

  #beat(signal: AbortSignal): void {
    if (signal.aborted) return;
    const { watchdogMs } = this.#notifier;
    if (watchdogMs !== undefined && this.liveness.longestMs() < PASS_MAX_MS) this.#notifier.alive();
    this.tell();
    const intervalMs = Math.min(INTERVAL_MAX_MS, (watchdogMs ?? Number.POSITIVE_INFINITY) / 2);
    const cancel = this.#options.clock.setTimer(intervalMs, () => {
      signal.removeEventListener("abort", cancel);
      this.#beat(signal);
    });
    signal.addEventListener("abort", cancel, { once: true });
  }
}
