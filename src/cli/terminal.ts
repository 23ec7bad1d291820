import type { Writable } from "node:stream";
import type { Clock } from "../runtime/clock.ts";
import type { Remote, RemoteSettings } from "./remote.ts";

/** Where a command line runs: the process, or a test. */
export interface Terminal {
  readonly clock: Clock;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly writeOut: (text: string | Uint8Array) => void;
  /** Resolves when standard output has taken nearly all that was written. */
  readonly drained: () => Promise<void>;
  readonly writeError: (text: string) => void;
  /** Columns of standard error, undefined when it is no terminal. */
  readonly width: number | undefined;
  /** All of standard input. */
  readonly readIn: () => Promise<string>;
  /** Standard input into a socket, its end included. */
  readonly pipeIn: (socket: Writable) => void;
  /** One line from the terminal, also where standard input is a file; undefined without one. */
  readonly ask: (question: string) => Promise<string | undefined>;
  readonly openRemote: (settings: RemoteSettings) => Promise<Remote>;
  /** Ends what would otherwise go on until the process is ended. */
  readonly signal: AbortSignal;
}

/** Options of every command; seconds where it is a time. */
export interface GlobalOptions {
  readonly endpoint: string;
  readonly requestTimeout: number;
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly sshUsername?: string;
  readonly sshTimeout?: number;
  readonly sshKeyFile?: string;
  readonly strictHostKeyChecking?: boolean;
  readonly knownHostsFile?: string;
  readonly debug?: boolean;
  readonly tunnel?: string;
  readonly driver?: string;
}
