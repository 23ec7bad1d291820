import type { CommandRun } from "./context.ts";
import type { OptionSpec } from "./options.ts";

/** One command: what commander has to know of it, and where its code is. Code is loaded when it runs. */
export interface CommandSpec {
  readonly name: string;
  /** In commander's notation. */
  readonly args?: string;
  readonly summary: string;
  readonly description?: string;
  readonly options?: readonly OptionSpec[];
  readonly examples: readonly string[];
  /** Not in the help. */
  readonly hidden?: boolean;
  /** Without the options that all commands have (options.ts). */
  readonly plain?: boolean;
  /** From its first argument on all words are arguments, also those that look like options: the command of another program. */
  readonly passThrough?: boolean;
  readonly load: () => Promise<CommandRun>;
}
