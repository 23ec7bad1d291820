import type { Duplex, Readable } from "node:stream";

/**
 * Port to other machines by SSH, for what their daemons do not serve and for `--tunnel`. Adapter: ssh2-remote.ts. With a tunnel, every
 * connection goes through its host. Errors are `FleetError`s `host-io`.
 */
export interface Remote {
  /** Runs a command on a machine, each word quoted, with nothing on its standard input. */
  run(machine: RemoteMachine, command: readonly string[]): Promise<RemoteProcess>;
  /** A unix socket (`path`) or TCP address as the tunnel's host reaches it. */
  connect(target: TunnelTarget): Promise<Duplex>;
  /** Ends everything. */
  close(): void;
}

export interface RemoteMachine {
  readonly address: string;
  /** Undefined: what ~/.ssh/config says, or 22. */
  readonly port?: number | undefined;
}

export type TunnelTarget =
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

/** Both streams have to be read to their end: before, it does not end. */
export interface RemoteProcess {
  readonly output: Readable;
  readonly errors: Readable;
  /** Of the command; 128 and more when a signal ended it or the connection was lost. */
  readonly exitStatus: Promise<number>;
  stop(): void;
}

export interface RemoteSettings {
  /** `host`, `host:port`, `[address]:port`. */
  readonly tunnel: string | undefined;
  /** Undefined: the user of this process. */
  readonly username: string | undefined;
  readonly timeoutMs: number;
  /** False: any key is accepted and none is kept. */
  readonly strict: boolean;
  /** Undefined: ssh's own files, and fleetctl's. */
  readonly knownHostsFile: string | undefined;
  /** Of a private key; undefined: the usual ones in ~/.ssh. An agent's keys are tried first in any case. */
  readonly keyFile: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** One line asked for on the terminal; undefined without one. */
  readonly ask: (question: string) => Promise<string | undefined>;
  readonly say: (line: string) => void;
}

export const SSH_PORT = 22;

/** `host:port`, `[::1]:port`, `host`, and an IPv6 address as it is; `port` undefined where none was said. */
export function parseHostPort(
  text: string,
): { readonly host: string; readonly port: number | undefined } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) {
    return /^[0-9a-f:.]+$/i.test(text) && text.split(":").length > 2
      ? { host: text, port: undefined }
      : undefined;
  }
  const port = match[3] === undefined ? undefined : Number(match[3]);
  const host = match[1] ?? match[2] ?? "";
  const isPort = port === undefined || (port >= 1 && port <= 65_535);
  return isPort && !host.startsWith("-") ? { host, port } : undefined;
}

/** A remote shell takes the words apart again, so each is quoted. */
export function shellQuote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
