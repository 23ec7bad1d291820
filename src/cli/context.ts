import type { Writable } from "node:stream";
import type { MachineLegend } from "../cluster/reason-text.ts";
import type { Clock } from "../runtime/clock.ts";
import { makeLegend } from "./columns.ts";
import type { FleetClient } from "./fleet-client.ts";
import type { Remote } from "./remote.ts";
import type { SshOptions } from "./ssh.ts";
import type { WaitingLine } from "./waiting-line.ts";

/** What a command may use of the world. */
export interface Context {
  readonly client: FleetClient;
  readonly clock: Clock;
  /** Writes to standard output, as it is. */
  readonly write: (text: string | Uint8Array) => void;
  /** A line on standard output; whatever a caller of the command may take apart. */
  readonly out: (line: string) => void;
  /** A line on standard error. */
  readonly err: (line: string) => void;
  /**
   * What became of a unit or machine: a line, on standard output where it is done, else on standard error; or, with `-o json`, an
   * entry of the list that is printed at the end.
   */
  readonly tell: (result: Result) => void;
  /** Whether results are for a program. */
  readonly json: boolean;
  /** Resolves when standard output has taken nearly all that was written. */
  readonly drained: () => Promise<void>;
  readonly readIn: () => Promise<string>;
  /** Standard input into a socket, its end included. */
  readonly pipeIn: (socket: Writable) => void;
  /** Opened when first asked for; every call gives the same. */
  readonly remote: () => Promise<Remote>;
  /** For the system's own ssh. */
  readonly ssh: SshOptions;
  /** Ends what would otherwise go on until the process is ended. */
  readonly signal: AbortSignal;
  readonly waitingLine: WaitingLine;
  readonly paint: Paint;
}

export interface Result {
  readonly unit?: string;
  readonly machine?: string;
  readonly outcome: Outcome;
  /** Lines for people. */
  readonly message: string;
  /** More for programs. */
  readonly [field: string]: unknown;
}

export type Outcome =
  | "done"
  /** Not waited for. */
  | "triggered"
  | "differs"
  | "failed"
  | "timed-out"
  | "not-found"
  | "refused";

export interface Paint {
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly strong: (text: string) => string;
  /** One of a few colours, by number. */
  readonly hue: (index: number, text: string) => string;
  /** False: none of these does anything. */
  readonly enabled: boolean;
}

/** Of the options a command declares (commands.ts), those that were given or have a default. */
export interface CommandOptions {
  readonly adopt?: boolean;
  readonly all?: boolean;
  readonly block?: boolean;
  readonly blockAttempts?: number;
  readonly confirm?: boolean;
  readonly dirty?: boolean;
  readonly discard?: boolean;
  readonly fields?: string;
  readonly follow?: boolean;
  readonly forwardAgent?: boolean;
  readonly full?: boolean;
  readonly grep?: string;
  readonly heal?: boolean;
  readonly keep?: boolean;
  readonly legend?: boolean;
  readonly lenient?: boolean;
  readonly lines?: number | "all";
  readonly machine?: string;
  readonly maxMoves?: number;
  readonly name?: string;
  readonly notify?: string;
  readonly output?: string;
  readonly plan?: boolean;
  readonly poll?: number;
  readonly priority?: string;
  readonly prune?: boolean;
  readonly pruneLimit?: number;
  readonly replace?: boolean;
  readonly requireSigned?: string;
  readonly reset?: boolean;
  readonly signal?: string;
  readonly since?: string;
  readonly sshPort?: number;
  readonly start?: boolean;
  readonly strict?: boolean;
  readonly sudo?: boolean;
  readonly tier?: number;
  readonly timeout?: number;
  readonly unit?: string;
  readonly wait?: boolean;
  readonly until?: string;
  readonly watch?: boolean;
  readonly weight?: number;
}

/** Gives back the exit status. */
export type CommandRun = (
  context: Context,
  args: readonly string[],
  options: CommandOptions,
) => Promise<number>;

export async function fetchLegend(context: Context): Promise<MachineLegend> {
  return makeLegend(await context.client.machines());
}
