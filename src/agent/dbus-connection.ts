import type { Message } from "dbus-native";
import { backoffMs } from "../runtime/backoff.ts";
import type { CancelTimer, Clock } from "../runtime/clock.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { Bus, type DbusCall } from "./dbus-bus.ts";
import { unanswered, unavailable } from "./dbus-errors.ts";
import { JobCalls } from "./dbus-job-calls.ts";
import type { SignalHeader } from "./dbus-signal-filter.ts";

export interface DbusSignal {
  readonly path: string;
  readonly member: string;
  readonly body: readonly unknown[];
}

export interface DbusConnectionOptions {
  readonly socketPath: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly callDeadlineMs: number;
  /** Asked for every signal before it is decoded. */
  readonly wants: (signal: SignalHeader) => boolean;
  /** How many signals are awaited: with any, none is held back as noise. */
  readonly awaitedSignals: () => number;
  readonly onSignal: (signal: DbusSignal) => void;
  /** Match rules and subscriptions, after every connect. A failure closes the connection, and it is tried again. */
  readonly setUp: (call: (call: DbusCall) => Promise<unknown>) => Promise<void>;
  readonly onLost: () => void;
  readonly onRestored: () => void;
}

/** dbus-daemon answers LimitsExceeded beyond 128 replies awaited by one connection. */
const IN_FLIGHT_MAX = 100;
const RECONNECT = { firstMs: 50, maxMs: 1_000 };
/** Of the 28 replies that are left beside those of calls, one a minute while systemd stands still. */
const PING: DbusCall = {
  destination: "org.freedesktop.systemd1",
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.DBus.Peer",
  member: "Ping",
  deadlineMs: 60_000,
};

/**
 * The system bus: calls with deadlines, signals, and a connection that comes back. What is in flight when it breaks fails with
 * `systemd-unavailable`, as does every call until it is back; nothing is repeated by itself.
 */
export class DbusConnection {
  readonly #options: DbusConnectionOptions;
  readonly #jobCalls: JobCalls;
  #bus: Bus | undefined;
  #closed = false;
  #failures = 0;
  #cancelRetry: CancelTimer | undefined;
  #inFlight = 0;
  #keptPlaces = 0;
  readonly #waiting = new Set<() => void>();
  readonly #restored = new Set<() => void>();

  private constructor(options: DbusConnectionOptions) {
    this.#options = options;
    this.#jobCalls = new JobCalls({
      open: ({ awaited, onClose }) =>
        Bus.open({
          ...options,
          wants: () => false,
          awaited,
          onMessage: () => {},
          onClose,
        }),
    });
  }

  static async open(options: DbusConnectionOptions): Promise<DbusConnection> {
    const connection = new DbusConnection(options);
    await connection.#connect();
    return connection;
  }

  /** Resolves when calls get through, at once if they do. */
  async whenUp(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#closed)
      throw new FleetError("systemd-unavailable", "the connection to systemd is closed");
    if (this.#bus !== undefined) return;
    await new Promise<void>((resolve, reject) => {
      const settle = () => {
        this.#restored.delete(settle);
        signal?.removeEventListener("abort", settle);
        if (signal?.aborted === true) reject(signal.reason);
        else resolve();
      };
      this.#restored.add(settle);
      signal?.addEventListener("abort", settle, { once: true });
    });
    if (this.#closed) await this.whenUp(signal);
  }

  async call(call: DbusCall): Promise<unknown> {
    call.signal?.throwIfAborted();
    await this.#takePlace(call);
    const bus = this.#bus;
    let isGivenUp = false;
    try {
      if (bus === undefined) throw unavailable(call, "not connected to the system bus");
      return await bus.call(call);
    } catch (error) {
      isGivenUp = isFleetError(error, "systemd-deadline") && bus === this.#bus;
      throw error;
    } finally {
      if (isGivenUp && bus !== undefined) this.#keepPlace(bus);
      else this.#givePlace();
    }
  }

  async #takePlace(call: DbusCall): Promise<void> {
    if (this.#inFlight < IN_FLIGHT_MAX) {
      this.#inFlight += 1;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    const cancel = this.#options.clock.setTimer(this.#options.callDeadlineMs, () => {
      if (this.#waiting.delete(resolve)) reject(unanswered(call));
    });
    await promise.finally(cancel);
  }

  #givePlace(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#inFlight -= 1;
      return;
    }
    // A place that is handed on stays counted.
    this.#waiting.delete(next);
    next();
  }

  /** For the bus a call that nobody waits for any more is under way until systemd has answered it. */
  #keepPlace(bus: Bus): void {
    this.#keptPlaces += 1;
    if (this.#keptPlaces === 1) void this.#giveWhenAnswered(bus);
  }

  async #giveWhenAnswered(bus: Bus): Promise<void> {
    while (this.#keptPlaces > 0) {
      const answeredToo = this.#keptPlaces;
      try {
        // systemd answers in the order it is asked.
        if (bus === this.#bus) await bus.call(PING);
      } catch (error) {
        if (!isFleetError(error)) throw error;
        if (bus === this.#bus) continue;
      }
      this.#keptPlaces -= answeredToo;
      for (let given = 0; given < answeredToo; given += 1) this.#givePlace();
    }
  }

  /** A call that makes a job, whose end is told over this connection. */
  async callForJob(call: DbusCall): Promise<unknown> {
    if (this.#bus === undefined) throw unavailable(call, "not connected to the system bus");
    this.#bus.attend();
    return await this.#jobCalls.call(call);
  }

  /** Gives the connection up, as if it had broken: systemd has left the bus, and it takes a new subscription when it returns. */
  drop(): void {
    this.#bus?.destroy();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRetry?.();
    const bus = this.#bus;
    this.#bus = undefined;
    this.#tellRestored();
    this.#options.onLost();
    this.#jobCalls.close();
    await bus?.close();
  }

  async #connect(): Promise<void> {
    const { setUp, awaitedSignals } = this.#options;
    let opened: Bus | undefined;
    opened = await Bus.open(
      {
        ...this.#options,
        awaited: () => this.#inFlight + awaitedSignals(),
        onMessage: (message) => this.#receive(message),
        onClose: (error) => {
          if (opened !== undefined && this.#bus === opened) this.#lose(error);
        },
      },
      (bus) => setUp((call) => bus.call(call)),
    );
    if (this.#closed) opened.destroy();
    else this.#bus = opened;
  }

  #receive(message: Message): void {
    if (message.type !== 4 || message.path === undefined || message.member === undefined) return;
    this.#options.onSignal({
      path: message.path,
      member: message.member,
      body: message.body ?? [],
    });
  }

  #lose(cause: unknown): void {
    this.#bus = undefined;
    if (this.#closed) return;
    this.#options.logger.warn("bus-lost", {
      error: cause === undefined ? "" : errorMessage(cause),
    });
    this.#options.onLost();
    this.#retry();
  }

  #retry(): void {
    this.#failures += 1;
    const delayMs = backoffMs(this.#failures, RECONNECT);
    this.#cancelRetry = this.#options.clock.setTimer(delayMs, () => {
      this.#connect().then(
        () => {
          if (this.#closed) return;
          this.#failures = 0;
          this.#options.logger.info("bus-restored");
          this.#options.onRestored();
          this.#tellRestored();
        },
        () => {
          if (!this.#closed) this.#retry();
        },
      );
    });
  }

  #tellRestored(): void {
    for (const settle of [...this.#restored]) settle();
  }
}
