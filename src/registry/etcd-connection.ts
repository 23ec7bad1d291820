import assert from "node:assert/strict";
import { isIP } from "node:net";
import { checkServerIdentity, type PeerCertificate, rootCertificates } from "node:tls";
import {
  Etcd3,
  type ICallable,
  type IDuplexStream,
  type ILeaseKeepAliveRequest,
  type ILeaseKeepAliveResponse,
  type IOptions,
  type IWatchRequest,
  type IWatchResponse,
  LeaseClient,
  MaintenanceClient,
  WatchClient,
} from "etcd3";
import { FleetError } from "../runtime/errors.ts";

/**
 * One connection to one server, used until it fails once and then thrown away. etcd3 serves as transport and typed stubs only: its own
 * retries repeat transactions and its circuit breaker punishes the innocent, so calls go past both.
 */
export class EtcdConnection {
  readonly server: string;
  readonly #transport: Transport;
  readonly #discarded = new AbortController();

  constructor(options: ConnectionOptions) {
    this.server = options.server;
    this.#transport = new Transport(transportOptions(options), addressOf(options.server));
  }

  /** Aborts when the connection is lost or given up; streams on it must move to another. Unary calls in progress may still end well. */
  get discarded(): AbortSignal {
    return this.#discarded.signal;
  }

  discard(reason: Error): void {
    if (this.#discarded.signal.aborted) return;
    this.#discarded.abort(reason);
    this.#transport.close();
  }

  /** Resolves when requests can be sent; rejects when no connection can be made or `signal` aborts. Call it once. */
  async connect(signal: AbortSignal): Promise<void> {
    const channel = await this.#transport.channel();
    // Only a call that waits for the connection learns why there is none (refused, name unknown, certificate refused).
    const probe = new AbortController();
    const refusal = new MaintenanceClient(this.#transport.caller({ signal: probe.signal }))
      .status()
      .then(
        () => new Error("no connection"),
        (error: unknown) => error,
      );
    try {
      if ((await settledState(channel, signal)) !== READY) throw await refusal;
    } finally {
      probe.abort();
    }
    // A server that goes is noticed at once, also while nothing is being asked.
    channel.watchConnectivityState(READY, Number.POSITIVE_INFINITY, () =>
      this.discard(new Error("connection lost")),
    );
  }

  /** The unary stubs' way to the server: `new KVClient(connection.caller(...)).range(...)`. Never repeats a call. */
  caller(context: CallContext): ICallable<unknown> {
    return this.#transport.caller(context);
  }

  async openWatchStream(
    token: string | undefined,
  ): Promise<IDuplexStream<IWatchRequest, IWatchResponse>> {
    // `hasleader`: a member cut off from the others ends the stream instead of keeping silent.
    return await new WatchClient(this.#transport.caller({ token, needsLeader: true })).watch();
  }

  async openKeepAliveStream(
    token: string | undefined,
  ): Promise<IDuplexStream<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>> {
    return await new LeaseClient(
      this.#transport.caller({ token, needsLeader: true }),
    ).leaseKeepAlive();
  }
}

export interface ConnectionOptions {
  /** `http://` or `https://`, host and port. */
  readonly server: string;
  /** Different for every connection of the process: grpc-js would share one among equals, also a dead one. */
  readonly name: string;
  /** PEM text. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export interface CallContext {
  readonly token?: string | undefined;
  readonly needsLeader?: boolean;
  readonly signal?: AbortSignal;
}

/** grpc-js's connectivityState. */
const IDLE = 0;
const CONNECTING = 1;
const READY = 2;

function transportOptions(options: ConnectionOptions): IOptions {
  const { server, name, ca, cert, key } = options;
  const credentials = {
    rootCertificate: Buffer.from(ca ?? rootCertificates.join("\n")),
    ...(key === undefined ? {} : { privateKey: Buffer.from(key) }),
    ...(cert === undefined ? {} : { certChain: Buffer.from(cert) }),
  };
  return {
    hosts: [server],
    ...(server.startsWith("https://") ? { credentials } : {}),
    grpcOptions: {
      "grpc.primary_user_agent": name,
      ...(addressOf(server) === undefined
        ? {}
        : { "grpc.ssl_target_name_override": NAME_OF_ADDRESSES }),
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
      // A frozen server is noticed after 7 s. Pings more often than every 5 s make etcd close the connection.
      "grpc.keepalive_time_ms": 5_000,
      "grpc.keepalive_timeout_ms": 2_000,
      "grpc.enable_http_proxy": 0,
      "grpc.enable_retries": 0,
    },
  };
}

/** Lets the channel connect until it is ready or has failed once. */
function settledState(channel: GrpcChannel, signal: AbortSignal): Promise<number> {
  return new Promise<number>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const check = () => {
      if (signal.aborted) return;
      const state: number = channel.getConnectivityState(true);
      if (state === IDLE || state === CONNECTING) {
        channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, check);
        return;
      }
      signal.removeEventListener("abort", onAbort);
      resolve(state);
    };
    check();
  });
}

/**
 * Node refuses to begin a TLS handshake with an address for the server's name, which is what grpc-js does. The name it can be told to
 * use instead is then also the one it checks the certificate for, and nothing that etcd3 passes on says otherwise: so the check is put into
 * the credentials. Were that to fail, no certificate would be accepted.
 */
const NAME_OF_ADDRESSES = "etcd.invalid";

function checkCertificateFor(address: string, host: object): void {
  const credentials: unknown = Reflect.get(host, "channelCredentials");
  assert(typeof credentials === "object" && credentials !== null);
  const verifyOptions: unknown = Reflect.get(credentials, "verifyOptions");
  if (typeof verifyOptions !== "object" || verifyOptions === null) return;
  const check = (_: string, certificate: PeerCertificate) =>
    checkServerIdentity(address, certificate);
  Reflect.set(verifyOptions, "checkServerIdentity", check);
}

/** The address of a server reached over TLS, when it is named by one. */
function addressOf(server: string): string | undefined {
  const { protocol, hostname } = new URL(server);
  const host = hostname.replace(/^\[|\]$/g, "");
  return protocol === "https:" && isIP(host) !== 0 ? host : undefined;
}

type GrpcClient = Parameters<Parameters<ICallable<unknown>["withConnection"]>[1]>[0]["client"];
type GrpcMetadata = Parameters<Parameters<ICallable<unknown>["withConnection"]>[1]>[0]["metadata"];
type GrpcChannel = ReturnType<GrpcClient["getChannel"]>;

interface CancellableCall {
  cancel(): void;
}

/** Opens the protected connection pool, which holds one host here. */
class Transport extends Etcd3 {
  readonly #address: string | undefined;

  constructor(options: IOptions, address: string | undefined) {
    super(options);
    this.#address = address;
  }

  async channel(): Promise<GrpcChannel> {
    return (await this.#client("KV", {})).client.getChannel();
  }

  caller(context: CallContext): ICallable<unknown> {
    return {
      callOptionsFactory: undefined,
      markFailed: () => undefined,
      withConnection: async (service, fn) =>
        await fn({ resource: undefined, ...(await this.#client(service, context)) }),
      exec: async (service, method, payload) => {
        const { client, metadata } = await this.#client(service, context);
        return await unaryCall(client, { method, payload, metadata, signal: context.signal });
      },
    };
  }

  /** Nothing that can fail runs inside the pool's own fault handling. */
  async #client(
    service: Parameters<ICallable<unknown>["exec"]>[0],
    { token, needsLeader }: CallContext,
  ): Promise<{ client: GrpcClient; metadata: GrpcMetadata }> {
    const { client, metadata, resource } = await this.pool
      .withConnection(service, (found) => found)
      .catch((cause: unknown) => {
        // Given up by another call between being chosen and being used; nothing was sent.
        throw new FleetError("store-unavailable", "the connection to etcd was lost", {
          retriable: true,
          cause,
        });
      });
    if (this.#address !== undefined) checkCertificateFor(this.#address, resource);
    if (token !== undefined) metadata.set("token", token);
    if (needsLeader === true) metadata.set("hasleader", "true");
    return { client, metadata };
  }
}

function unaryCall<T>(
  client: GrpcClient,
  call: {
    readonly method: string;
    readonly payload: unknown;
    readonly metadata: GrpcMetadata;
    readonly signal: AbortSignal | undefined;
  },
): Promise<T> {
  const { method, payload, metadata, signal } = call;
  return new Promise<T>((resolve, reject) => {
    signal?.throwIfAborted();
    const send: unknown = Reflect.get(client, method);
    assert(typeof send === "function");
    const onAbort = () => {
      sent.cancel();
      reject(signal?.reason);
    };
    const onAnswer = (error: Error | null, answer: T) => {
      signal?.removeEventListener("abort", onAbort);
      if (error === null) resolve(answer);
      else reject(error);
    };
    const sent: CancellableCall = Reflect.apply(send, client, [payload, metadata, {}, onAnswer]);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
