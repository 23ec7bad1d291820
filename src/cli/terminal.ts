import type { Clock } from "../runtime/clock.ts";

/** Where a command line runs: the process, or a test. */
export interface Terminal {
  readonly clock: Clock;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly writeOut: (text: string | Uint8Array) => void;
  readonly writeError: (text: string) => void;
  /** Columns of standard error, undefined when it is no terminal. */
  readonly width: number | undefined;
}

/** Options of every command; seconds where it is a time. */
export interface GlobalOptions {
  readonly endpoint: string;
  readonly requestTimeout: number;
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly sshUsername?: string;
  readonly debug?: boolean;
  readonly tunnel?: string;
  readonly driver?: string;
}
