import { AuthClient, type ICallable, type IResponseHeader, KVClient } from "etcd3";
import type { Clock } from "../runtime/clock.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import { EtcdConnection } from "./etcd-connection.ts";
import {
  isRefusal,
  isServerFault,
  isServersWord,
  isStaleToken,
  translate,
  unavailable,
} from "./etcd-errors.ts";
import { EtcdHistory } from "./etcd-history.ts";
import { keyValue, storeHeader } from "./etcd-wire.ts";
import { type CallOptions, type KeyValue, STORE_DEADLINE_MS } from "./store.ts";

export interface EtcdClientOptions {
  readonly servers: readonly string[];
  readonly firstServer: number;
  readonly description: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export interface Call<T> {
  /** For messages: `read /fleet-ts/units/`. */
  readonly action: string;
  readonly options?: CallOptions | undefined;
  readonly send: (context: SendContext) => Promise<T>;
}

export interface SendContext {
  readonly connection: EtcdConnection;
  readonly caller: ICallable<unknown>;
  readonly token: string | undefined;
  readonly signal: AbortSignal;
  /** Answers of linearizable calls go through here: it notices a store that was replaced or set back. `newest`: an item of the answer. */
  readonly observe: (header: IResponseHeader, newest?: KeyValue) => void;
}

/** A server gets this long to take a connection before the next is tried. */
const CONNECT_MS = 1_000;

/** A connection over which calls have gone unanswered for this long is taken for dead when one of them reaches its deadline. */
const SILENCE_MS = 1_000;

let connectionsMade = 0;

/** Keeps one connection to one of several servers and runs calls on it, each exactly once. */
export class EtcdClient {
  readonly history = new EtcdHistory();
  readonly #options: EtcdClientOptions;
  readonly #inFlight = new Set<AbortController>();
  readonly #closed = new AbortController();
  #server: number;
  #connection: EtcdConnection | undefined;
  #connecting: Promise<EtcdConnection> | undefined;
  #token: Promise<string> | undefined;
  /** When the oldest call since the last answer over this connection was sent. */
  #unansweredSinceMs: number | undefined;

  constructor(options: EtcdClientOptions) {
    this.#options = options;
    this.#server = options.firstServer;
  }

  /** Aborts with `store-closed` when the store is closed. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  async call<T>(call: Call<T>): Promise<T> {
    const { description, clock } = this.#options;
    const deadlineMs = call.options?.deadlineMs ?? STORE_DEADLINE_MS;
    const caller = call.options?.signal;
    this.#closed.signal.throwIfAborted();
    caller?.throwIfAborted();
    const controller = new AbortController();
    const onCallerAbort = () => controller.abort(caller?.reason);
    caller?.addEventListener("abort", onCallerAbort, { once: true });
    const onDeadline = () => {
      const message = `cannot ${call.action}: ${description} did not answer within ${deadlineMs} ms`;
      controller.abort(new FleetError("store-deadline", message, { retriable: true }));
    };
    const cancel = clock.setTimer(deadlineMs, onDeadline);
    this.#inFlight.add(controller);
    try {
      return await this.#run(call, controller.signal);
    } catch (error) {
      throw translate(error, { action: call.action, store: description });
    } finally {
      cancel();
      this.#inFlight.delete(controller);
      caller?.removeEventListener("abort", onCallerAbort);
    }
  }

  /** The connection in use, or a new one to the first server that takes it. */
  async connect(action: string, signal: AbortSignal): Promise<EtcdConnection> {
    signal.throwIfAborted();
    if (this.#connection !== undefined) return this.#connection;
    this.#connecting ??= this.#tryServers(action).finally(() => {
      this.#connecting = undefined;
    });
    return await untilAborted(signal, this.#connecting);
  }

  /** Gives the connection up; the next call goes to the next server. */
  giveUp(connection: EtcdConnection, reason: Error): void {
    connection.discard(reason);
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#server = (this.#server + 1) % this.#options.servers.length;
  }

  async token(connection: EtcdConnection): Promise<string | undefined> {
    const { username, password } = this.#options;
    if (username === undefined) return undefined;
    if (this.#token === undefined) {
      const auth = new AuthClient(connection.caller({ signal: this.#closed.signal }));
      const asked = auth
        .authenticate({ name: username, password: password ?? "" })
        .then(({ token }) => token);
      this.#token = asked;
      asked.catch(() => this.forgetToken(asked));
    }
    return await this.#token;
  }

  forgetToken(token: Promise<string> | undefined = this.#token): void {
    if (this.#token === token) this.#token = undefined;
  }

  /**
   * Asks, linearizably, whether the store still is the one it was: `history.generation` has changed afterwards if not.
   * `key` is one that the user may read.
   */
  async verify(key: Buffer, options: CallOptions): Promise<number> {
    const action = "check the state";
    return await this.call({
      action,
      options,
      send: async ({ caller, observe }) => {
        const kv = new KVClient(caller);
        const { header } = await kv.range({ key, keys_only: true });
        observe(header);
        const { witness } = this.history;
        if (witness !== undefined) {
          const request = { key: Buffer.from(witness.key), revision: witness.modRevision };
          try {
            const { kvs } = await kv.range(request);
            this.history.testWitness(witness, kvs[0] === undefined ? undefined : keyValue(kvs[0]));
          } catch (error) {
            // Compacted, or no longer allowed to be read: what it was can't be told.
            if (!isRefusal(error)) throw error;
          }
        }
        return storeHeader(header).revision;
      },
    });
  }

  close(): void {
    if (this.#closed.signal.aborted) return;
    const error = new FleetError("store-closed", `${this.#options.description} was closed`);
    this.#closed.abort(error);
    for (const controller of this.#inFlight) controller.abort(error);
    this.#connection?.discard(error);
    this.#connection = undefined;
  }

  async #run<T>(call: Call<T>, signal: AbortSignal): Promise<T> {
    const connection = await this.connect(call.action, signal);
    this.#unansweredSinceMs ??= this.#options.clock.monotonicMs();
    try {
      try {
        return await this.#send(call, { connection, signal });
      } catch (error) {
        if (this.#options.username === undefined || !isStaleToken(error)) throw error;
        // Refused before anything was done, so this is the call's first true attempt.
        this.forgetToken();
        return await this.#send(call, { connection, signal });
      }
    } catch (error) {
      this.#judge(connection, error);
      throw error;
    }
  }

  async #send<T>(
    call: Call<T>,
    { connection, signal }: { connection: EtcdConnection; signal: AbortSignal },
  ): Promise<T> {
    const token = await untilAborted(signal, this.token(connection));
    const shown = this.history.revision;
    const observe = (header: IResponseHeader, newest?: KeyValue) => {
      // Late answers over a connection that was given up may come from a store that is no more.
      if (connection.discarded.aborted) return;
      this.history.observe(storeHeader(header), shown);
      if (newest !== undefined) this.history.remember(newest);
    };
    const caller = connection.caller({ token, signal });
    const answer = await call.send({ connection, caller, token, signal, observe });
    this.#unansweredSinceMs = undefined;
    return answer;
  }

  /** Gives the connection up when the call's end says that it, or the server behind it, is no good. */
  #judge(connection: EtcdConnection, error: unknown): void {
    if (!(error instanceof Error)) return;
    if (isServerFault(error)) {
      if (this.#options.servers.length > 1 || !isServersWord(error)) this.giveUp(connection, error);
      return;
    }
    if (isRefusal(error)) {
      this.#unansweredSinceMs = undefined;
      return;
    }
    const nowMs = this.#options.clock.monotonicMs();
    const silent = nowMs - (this.#unansweredSinceMs ?? nowMs) >= SILENCE_MS;
    if (silent && isFleetError(error, "store-deadline")) this.giveUp(connection, error);
  }

  async #tryServers(action: string): Promise<EtcdConnection> {
    const { servers, description } = this.#options;
    let lastError: unknown;
    for (let attempt = 0; attempt < servers.length; attempt++) {
      this.#closed.signal.throwIfAborted();
      const server = servers[this.#server];
      if (server === undefined) break;
      const connection = this.#newConnection(server);
      try {
        await this.#connectInTime(connection);
        this.#closed.signal.throwIfAborted();
        connection.discarded.throwIfAborted();
        this.#connection = connection;
        this.#unansweredSinceMs = undefined;
        const onLost = () => this.giveUp(connection, connection.discarded.reason);
        connection.discarded.addEventListener("abort", onLost, { once: true });
        return connection;
      } catch (error) {
        lastError = error;
        connection.discard(error instanceof Error ? error : new Error(errorMessage(error)));
        this.#options.logger.debug("etcd-unreachable", { server, error: errorMessage(error) });
        this.#server = (this.#server + 1) % servers.length;
      }
    }
    this.#closed.signal.throwIfAborted();
    throw unavailable({ action, store: description }, lastError);
  }

  #newConnection(server: string): EtcdConnection {
    connectionsMade += 1;
    const { ca, cert, key } = this.#options;
    return new EtcdConnection({ server, name: `fleet-ts-${connectionsMade}`, ca, cert, key });
  }

  async #connectInTime(connection: EtcdConnection): Promise<void> {
    const late = new AbortController();
    const cancel = this.#options.clock.setTimer(CONNECT_MS, () =>
      late.abort(new Error(`no connection within ${CONNECT_MS} ms`)),
    );
    const onClose = () => late.abort(this.#closed.signal.reason);
    this.#closed.signal.addEventListener("abort", onClose, { once: true });
    try {
      await connection.connect(late.signal);
    } finally {
      cancel();
      this.#closed.signal.removeEventListener("abort", onClose);
    }
  }
}

/** Waits for work that others wait for too. */
export async function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    signal.throwIfAborted();
    return await Promise.race([work, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
  }
}
