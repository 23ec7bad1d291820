import type { Socket } from "node:net";
import type { CancelTimer, Clock } from "../runtime/clock.ts";
import type { Endpoint } from "../services/endpoint.ts";
import { LineReader } from "./line-reader.ts";
import {
  ALIVE_MS,
  type ClientMessage,
  decodeClientMessage,
  LINE_BYTES_MAX,
  type Registration,
  type ServerMessage,
} from "./protocol.ts";
import type { EntryState } from "./publisher.ts";

/** What a connection may do, besides being there. */
export interface SessionHost {
  /** Why it is refused, or undefined. */
  register(session: Session, id: number, registration: Registration): string | undefined;
  deregister(session: Session, id: number): void;
  watch(service: string, listener: (endpoints: readonly Endpoint[]) => void): () => void;
  link(session: Session, message: Extract<ClientMessage, { type: "link" }>): string | undefined;
  closed(session: Session): void;
}

/** So many messages at once, then so many a second: whoever says more is read slowly. */
const BURST = 100;
const PER_SECOND = 20;
const SILENT_MAX = 3;

/** One connection of a sidekick or an ambassador. */
export class Session {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #host: SessionHost;
  readonly #lines = new LineReader(LINE_BYTES_MAX);
  readonly #watched = new Map<string, () => void>();
  /** Newest set per service that the client was too slow to take yet. */
  readonly #unsent = new Map<string, readonly Endpoint[]>();
  readonly #states = new Map<number, string>();
  readonly #queue: string[] = [];
  #tokens = BURST;
  #silent = 0;
  #cancelTick: CancelTimer;

  constructor(options: { socket: Socket; clock: Clock; host: SessionHost }) {
    this.#socket = options.socket;
    this.#clock = options.clock;
    this.#host = options.host;
    this.#cancelTick = this.#nextTick();
  }

  begin(hello: ServerMessage): void {
    const socket = this.#socket;
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      this.#silent = 0;
      const lines = this.#lines.take(chunk);
      if (lines === undefined) this.#refuse("a line is too long");
      else {
        this.#queue.push(...lines);
        this.#work();
      }
    });
    socket.on("drain", () => this.#flush());
    socket.on("error", () => socket.destroy());
    // A client that ended its half is gone.
    socket.on("end", () => socket.destroy());
    socket.once("close", () => {
      this.#cancelTick();
      for (const close of this.#watched.values()) close();
      this.#host.closed(this);
    });
    this.#send(hello);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Told once per change. */
  tellState(id: number, state: EntryState): void {
    const why = state.type === "pending" ? state.why : "";
    const text = `${state.type} ${why}`;
    if (this.#states.get(id) === text) return;
    if (state.type === "gone") this.#states.delete(id);
    else this.#states.set(id, text);
    this.#send({ type: "endpoint", id, state: state.type, why });
  }

  #work(): void {
    while (this.#tokens > 0 && !this.#socket.destroyed) {
      const line = this.#queue.shift();
      if (line === undefined) break;
      this.#tokens -= 1;
      const decoded = decodeClientMessage(line);
      if (decoded.type === "wrong") this.#refuse(decoded.why);
      else this.#handle(decoded.message);
    }
    if (this.#queue.length > 0) this.#socket.pause();
    else this.#socket.resume();
  }

  #handle(message: ClientMessage): void {
    switch (message.type) {
      case "register": {
        // It is answered, also when all is as it was.
        this.#states.delete(message.id);
        const why = this.#host.register(this, message.id, message.endpoint);
        if (why !== undefined) this.#send({ type: "refused", id: message.id, why });
        return;
      }
      case "deregister":
        this.#host.deregister(this, message.id);
        return;
      case "watch":
        this.#watch(new Set(message.services));
        return;
      case "link": {
        const why = this.#host.link(this, message);
        if (why !== undefined) this.#refuse(why);
        return;
      }
      case "alive":
        return;
    }
  }

  #watch(services: ReadonlySet<string>): void {
    for (const [service, close] of this.#watched) {
      if (services.has(service)) continue;
      close();
      this.#watched.delete(service);
      this.#unsent.delete(service);
    }
    for (const service of services) {
      if (this.#watched.has(service)) continue;
      // The listener may be called before `open` returns.
      const close = this.#host.watch(service, (endpoints) => {
        this.#unsent.set(service, endpoints);
        this.#flush();
      });
      this.#watched.set(service, close);
    }
  }

  #flush(): void {
    for (const [service, endpoints] of this.#unsent) {
      if (this.#socket.writableNeedDrain) return;
      this.#unsent.delete(service);
      this.#send({ type: "service", service, endpoints });
    }
  }

  #refuse(why: string): void {
    this.#send({ type: "refused", why });
    this.#socket.destroySoon();
  }

  #send(message: ServerMessage): void {
    if (this.#socket.writable) this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  /** Counted in ticks, so that a daemon that was stopped for a while does not take its own silence for the client's. */
  #nextTick(): CancelTimer {
    return this.#clock.setTimer(ALIVE_MS, () => {
      this.#cancelTick = this.#nextTick();
      this.#tokens = Math.min(BURST, this.#tokens + (PER_SECOND * ALIVE_MS) / 1_000);
      this.#work();
      this.#silent += 1;
      if (this.#silent > SILENT_MAX) this.#socket.destroy();
    });
  }
}
