import { connect, type Socket } from "node:net";
import { backoffMs } from "../runtime/backoff.ts";
import { type Clock, sleep } from "../runtime/clock.ts";
import { errorMessage } from "../runtime/errors.ts";
import type { Random } from "../runtime/random.ts";
import type { Endpoint, LinkedService } from "../services/endpoint.ts";
import { LineReader } from "./line-reader.ts";
import {
  ALIVE_MS,
  type ClientMessage,
  LINE_BYTES_MAX,
  type Registration,
  type ServerMessage,
} from "./protocol.ts";

export interface ServicesClientOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Undefined: connected. Otherwise why there is no connection. */
  readonly onConnection?: (why: string | undefined) => void;
  readonly onHello?: (hello: Extract<ServerMessage, { type: "hello" }>) => void;
  readonly onEndpoint?: (message: Extract<ServerMessage, { type: "endpoint" }>) => void;
  readonly onRefused: (message: Extract<ServerMessage, { type: "refused" }>) => void;
  readonly onService?: (service: string, endpoints: readonly Endpoint[]) => void;
}

/** Well below the second that a new daemon waits, at least, for the owners of endpoints. */
const RECONNECT = { firstMs: 50, maxMs: 500 };

/**
 * The way of sidekicks and ambassadors to their machine's daemon. Says again all that holds whenever the connection is made anew; while there
 * is none, nothing is told and what was known holds.
 */
export class ServicesClient {
  readonly #options: ServicesClientOptions;
  readonly #endpoints = new Map<number, Registration>();
  #watched: readonly string[] = [];
  #link: Extract<ClientMessage, { type: "link" }> | undefined;
  #socket: Socket | undefined;

  constructor(options: ServicesClientOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#socket !== undefined;
  }

  register(id: number, endpoint: Registration): void {
    this.#endpoints.set(id, endpoint);
    this.#send({ type: "register", id, endpoint });
  }

  deregister(id: number): void {
    this.#endpoints.delete(id);
    this.#send({ type: "deregister", id });
  }

  watch(services: readonly string[]): void {
    this.#watched = services;
    this.#send({ type: "watch", services: [...services] });
  }

  link(consumer: string, services: readonly LinkedService[]): void {
    const link = { type: "link" as const, consumer, services: [...services] };
    if (JSON.stringify(link) === JSON.stringify(this.#link)) return;
    this.#link = link;
    this.#send(link);
  }

  /** Stays connected until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, path } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      const why = await this.#connection(signal, () => {
        failures = 0;
      });
      if (signal.aborted) return;
      failures += 1;
      this.#options.onConnection?.(`no connection to fleetd-ts (${path}): ${why}`);
      const pauseMs = backoffMs(failures, RECONNECT, random.fraction());
      await sleep(clock, pauseMs, signal).catch(() => undefined);
    }
  }

  /** From connecting to the end; gives back why it ended. */
  async #connection(signal: AbortSignal, onConnected: () => void): Promise<string> {
    const socket = connect(this.#options.path);
    const lines = new LineReader(LINE_BYTES_MAX);
    const ended = Promise.withResolvers<string>();
    const onAbort = () => socket.destroy();
    signal.addEventListener("abort", onAbort, { once: true });
    let cancelAlive = () => {};
    const alive = () => {
      cancelAlive = this.#options.clock.setTimer(ALIVE_MS, () => {
        this.#send({ type: "alive" });
        alive();
      });
    };
    socket.setEncoding("utf8");
    socket.on("connect", () => {
      this.#socket = socket;
      onConnected();
      this.#options.onConnection?.(undefined);
      this.#sayAll();
      alive();
    });
    socket.on("data", (chunk: string) => {
      const taken = lines.take(chunk);
      if (taken === undefined) socket.destroy(new Error("a line is too long"));
      for (const line of taken ?? []) this.#receive(line, socket);
    });
    socket.on("error", (error) => ended.resolve(errorMessage(error)));
    socket.on("end", () => socket.destroy());
    socket.on("close", () => ended.resolve("it closed the connection"));
    try {
      return await ended.promise;
    } finally {
      this.#socket = undefined;
      cancelAlive();
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
    }
  }

  #sayAll(): void {
    for (const [id, endpoint] of this.#endpoints) this.#send({ type: "register", id, endpoint });
    if (this.#watched.length > 0) this.#send({ type: "watch", services: [...this.#watched] });
    if (this.#link !== undefined) this.#send(this.#link);
  }

  #receive(line: string, socket: Socket): void {
    let message: ServerMessage;
    try {
      message = JSON.parse(line);
    } catch (error) {
      socket.destroy(new Error(`not fleetd-ts: ${errorMessage(error)}`));
      return;
    }
    const { onHello, onEndpoint, onRefused, onService } = this.#options;
    switch (message.type) {
      case "hello":
        onHello?.(message);
        return;
      case "endpoint":
        onEndpoint?.(message);
        return;
      case "refused":
        onRefused(message);
        return;
      case "service":
        onService?.(message.service, message.endpoints);
        return;
    }
  }

  #send(message: ClientMessage): void {
    if (this.#socket?.writable) this.#socket.write(`${JSON.stringify(message)}\n`);
  }
}
