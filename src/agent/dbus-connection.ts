import type { Message, MessageBus } from "dbus-native";
import { backoffMs } from "../runtime/backoff.ts";
import type { CancelTimer, Clock } from "../runtime/clock.ts";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { translate, unavailable } from "./dbus-errors.ts";
import { SignalFilter, type SignalHeader } from "./dbus-signal-filter.ts";

export interface DbusCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
  /** What the call is about, for messages: a unit. */
  readonly about?: string;
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
}

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
  /** Whether signals are awaited: then none is held back. */
  readonly isAwaiting: () => boolean;
  readonly onSignal: (signal: DbusSignal) => void;
  /** Match rules and subscriptions, after every connect. A failure closes the connection, and it is tried again. */
  readonly setUp: (call: (call: DbusCall) => Promise<unknown>) => Promise<void>;
  readonly onLost: () => void;
  readonly onRestored: () => void;
}

/** dbus-daemon answers LimitsExceeded beyond 128 replies awaited by one connection. */
const IN_FLIGHT_MAX = 100;
const RECONNECT = { firstMs: 50, maxMs: 1_000 };
const BUS = "org.freedesktop.DBus";

/**
 * The system bus: calls with deadlines, signals, and a connection that comes back. What is in flight when it breaks fails with
 * `systemd-unavailable`, as does every call until it is back; nothing is repeated by itself.
 */
export class DbusConnection {
  readonly #options: DbusConnectionOptions;
  #bus: MessageBus | undefined;
  #closed = false;
  #failures = 0;
  #cancelRetry: CancelTimer | undefined;
  #inFlight = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #restored = new Set<() => void>();

  private constructor(options: DbusConnectionOptions) {
    this.#options = options;
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
    if (this.#inFlight >= IN_FLIGHT_MAX) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#inFlight += 1;
    try {
      if (this.#bus === undefined) throw unavailable(call, "not connected to the system bus");
      return await this.#invoke(this.#bus, call);
    } finally {
      // A place that is handed on stays counted.
      const next = this.#waiting.shift();
      if (next === undefined) this.#inFlight -= 1;
      else next();
    }
  }

  /** Gives the connection up, as if it had broken: systemd has left the bus, and it takes a new subscription when it returns. */
  drop(): void {
    this.#bus?.connection.stream.destroy();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRetry?.();
    const bus = this.#bus;
    this.#bus = undefined;
    this.#tellRestored();
    this.#options.onLost();
    await bus?.close();
  }

  async #connect(): Promise<void> {
    // Some 40 ms: not at import, since the client imports types of this folder too.
    const { createClient } = await import("dbus-native");
    const { socketPath, setUp, wants, clock, isAwaiting } = this.#options;
    const bus = createClient({
      stream: new SignalFilter({
        socketPath,
        clock,
        wants,
        isAwaited: () => this.#inFlight > 0 || isAwaiting(),
      }),
      authMethods: ["EXTERNAL"],
      // The package's own Hello throws past every caller when it fails.
      direct: true,
    });
    let lastError: unknown;
    let over = false;
    bus.connection.on("error", (error) => {
      lastError = error;
      bus.connection.stream.destroy();
    });
    bus.connection.on("message", (message) => this.#receive(message));
    bus.connection.on("close", () => {
      over = true;
      if (this.#bus === bus) this.#lose(lastError);
    });
    try {
      await this.#invoke(bus, {
        destination: BUS,
        path: "/org/freedesktop/DBus",
        interface: BUS,
        member: "Hello",
      });
      await setUp((call) => this.#invoke(bus, call));
      if (over) throw lastError ?? new Error("the bus closed the connection");
    } catch (error) {
      bus.connection.stream.destroy();
      const why = errorMessage(lastError ?? error);
      throw new FleetError(
        "systemd-unavailable",
        `cannot reach systemd over ${socketPath}: ${why}`,
        {
          retriable: true,
          cause: error,
        },
      );
    }
    if (this.#closed) bus.connection.stream.destroy();
    else this.#bus = bus;
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

  async #invoke(bus: MessageBus, call: DbusCall): Promise<unknown> {
    const { signal, deadlineMs, about: _, body, signature, ...target } = call;
    const content = signature === undefined ? {} : { signature, body: [...(body ?? [])] };
    const options = {
      timeout: deadlineMs ?? this.#options.callDeadlineMs,
      ...(signal === undefined ? {} : { signal }),
    };
    try {
      // The package's own promise takes the stack of each call.
      return await new Promise<unknown>((resolve, reject) => {
        bus.invoke({ ...target, ...content }, options, (error, ...values: readonly unknown[]) => {
          if (error !== null) reject(error);
          else resolve(values.length > 1 ? values : values[0]);
        });
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw translate(call, error);
    }
  }
}
