import type { Server } from "node:net";
import { getSystemErrorName } from "node:util";

/**
 * What node:net itself is made of: a connection by its sockets takes this process twice the time of one by their handles (`bench proxy`).
 * Nothing promises that a release leaves them as they are, and a wrong call can end the process: so they are used only with releases
 * that were tried, by `node-handles.test.ts` and the proxy contract. With others connections are carried by sockets.
 */
const RELEASES_TRIED: readonly string[] = ["v26.10.0"];

export interface TcpHandle {
  /** Gives what to read into from now on, undefined for the same. `state[kReadBytesOrError]` says how much was read, below 0 why not. */
  onread: () => Uint8Array | undefined;
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): number;
  readStop(): number;
  /** 0: done. An error, or a request in use: `state[kLastWriteErr]` says whether that has failed. */
  writeBuffer(request: null, bytes: Uint8Array): number | Request;
  /** 1: done already. */
  shutdown(request: Request): number;
  connect(request: Request, address: string, port: number): number;
  connect6(request: Request, address: string, port: number): number;
  setNoDelay(isOn: boolean): number;
  setKeepAlive(isOn: boolean, afterSeconds: number): number;
  getpeername(into: Partial<SocketName>): number;
  getsockname(into: Partial<SocketName>): number;
  close(): void;
  /** Closes too. Not after `shutdown`. */
  reset(): number;
}

export interface SocketName {
  address: string;
  port: number;
}

/** In use until `oncomplete`; all errors are numbers below 0. */
export interface Request {
  oncomplete: (status: number) => void;
  /** Keeps it from being collected. */
  buffer?: Uint8Array;
}

interface TcpBinding {
  readonly TCP: new (type: number) => TcpHandle;
  readonly TCPConnectWrap: new () => Request;
  readonly constants: { readonly SOCKET: number };
}

interface StreamBinding {
  readonly ShutdownWrap: new () => Request;
  /** Of the last call, in this thread. */
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly kLastWriteErr: number;
}

export type Handles = TcpBinding & StreamBinding;

/** Undefined with a release that was not tried, and where Node keeps them to itself (its permission model). */
export function findHandles(release: string): Handles | undefined {
  if (!RELEASES_TRIED.includes(release)) return undefined;
  try {
    const tcp: TcpBinding = Reflect.get(process, "binding").call(process, "tcp_wrap");
    const stream: StreamBinding = Reflect.get(process, "binding").call(process, "stream_wrap");
    return { ...tcp, ...stream };
  } catch {
    return undefined;
  }
}

/** Connections to `server`, which listens on TCP already, no longer become sockets. */
export function takeHandles(server: Server, take: (handle: TcpHandle) => void): void {
  const listening: object = Reflect.get(server, "_handle");
  Reflect.set(listening, "onconnection", (status: number, handle: TcpHandle) => {
    if (status < 0) server.emit("error", systemError("accept", status));
    else take(handle);
  });
}

export function systemError(what: string, status: number): Error {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`${what} ${code}`), { code });
}
