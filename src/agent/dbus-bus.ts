import type { Message, MessageBus } from "dbus-native";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import { translate } from "./dbus-errors.ts";
import { SignalFilter, type SignalFilterOptions } from "./dbus-signal-filter.ts";

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

export interface BusOptions extends SignalFilterOptions {
  readonly callDeadlineMs: number;
  readonly onMessage: (message: Message) => void;
  /** Told once, also of a connection that never came about. */
  readonly onClose: (error: unknown) => void;
}

export const BUS = "org.freedesktop.DBus";

/** One connection to the system bus, from its authentication to its end. */
export class Bus {
  readonly #options: BusOptions;
  readonly #filter: SignalFilter;
  readonly #bus: MessageBus;
  #isOver = false;
  #error: unknown;

  private constructor(
    options: BusOptions,
    createClient: typeof import("dbus-native")["createClient"],
  ) {
    this.#options = options;
    this.#filter = new SignalFilter(options);
    this.#bus = createClient({
      stream: this.#filter,
      authMethods: ["EXTERNAL"],
      // The package's own Hello throws past every caller when it fails.
      direct: true,
    });
    const { connection } = this.#bus;
    connection.on("error", (error) => {
      this.#error = error;
      this.destroy();
    });
    connection.on("message", (message) => options.onMessage(message));
    connection.on("close", () => {
      this.#isOver = true;
      options.onClose(this.#error);
    });
  }

  /** Resolves when `setUp` has ended. */
  static async open(options: BusOptions, setUp?: (bus: Bus) => Promise<void>): Promise<Bus> {
    // Some 40 ms: not at import, since the client imports types of this folder too.
    const { createClient } = await import("dbus-native");
    const bus = new Bus(options, createClient);
    try {
      await bus.call({
        destination: BUS,
        path: "/org/freedesktop/DBus",
        interface: BUS,
        member: "Hello",
      });
      await setUp?.(bus);
      if (bus.#isOver) throw bus.#error ?? new Error("the bus closed the connection");
      return bus;
    } catch (error) {
      bus.destroy();
      const why = errorMessage(bus.#error ?? error);
      throw new FleetError(
        "systemd-unavailable",
        `cannot reach systemd over ${options.socketPath}: ${why}`,
        { retriable: true, cause: error },
      );
    }
  }

  async call(call: DbusCall): Promise<unknown> {
    const { signal, deadlineMs, about: _, body, signature, ...target } = call;
    const content = signature === undefined ? {} : { signature, body: [...(body ?? [])] };
    const options = {
      timeout: deadlineMs ?? this.#options.callDeadlineMs,
      ...(signal === undefined ? {} : { signal }),
    };
    try {
      // The package's own promise takes the stack of each call.
      return await new Promise<unknown>((resolve, reject) => {
        this.#bus.invoke(
          { ...target, ...content },
          options,
          (error, ...values: readonly unknown[]) => {
            if (error !== null) reject(error);
            else resolve(values.length > 1 ? values : values[0]);
          },
        );
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw translate(call, error);
    }
  }

  /** Signals that were left to gather are read now. */
  attend(): void {
    this.#filter.attend();
  }

  /** Ends it at once; what is in flight fails. */
  destroy(): void {
    this.#filter.destroy();
  }

  async close(): Promise<void> {
    await this.#bus.close();
  }
}
