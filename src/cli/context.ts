import type { MachineLegend } from "../cluster/reason-text.ts";
import type { Clock } from "../runtime/clock.ts";
import { makeLegend } from "./columns.ts";
import type { FleetClient } from "./fleet-client.ts";
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
  readonly waitingLine: WaitingLine;
  readonly paint: Paint;
  readonly sshUsername: string | undefined;
}

export interface Paint {
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly dim: (text: string) => string;
}

/** Of the options a command declares (commands.ts), those that were given or have a default. */
export interface CommandOptions {
  readonly all?: boolean;
  readonly block?: boolean;
  readonly blockAttempts?: number;
  readonly discard?: boolean;
  readonly fields?: string;
  readonly follow?: boolean;
  readonly full?: boolean;
  readonly keep?: boolean;
  readonly legend?: boolean;
  readonly lenient?: boolean;
  readonly lines?: number | "all";
  readonly machine?: string;
  readonly output?: string;
  readonly replace?: boolean;
  readonly sshPort?: number;
  readonly tier?: number;
  readonly timeout?: number;
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
