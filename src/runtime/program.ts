import { errorMessage, isFleetError } from "./errors.ts";
import { VERSION } from "./version.ts";

export interface Program<Spec> {
  readonly name: string;
  readonly usage: string;
  /** Throws `usage`. */
  readonly parse: (args: readonly string[]) => Spec;
  /** Gives back the exit status. */
  readonly run: (spec: Spec, process: ProgramProcess) => Promise<number>;
}

export interface ProgramProcess {
  /** Aborts at SIGTERM and SIGINT; a second one ends the process at once. */
  readonly signal: AbortSignal;
  /** Says what is wrong and gives back the exit status for wrong usage. */
  readonly fail: (message: string) => number;
}

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** A program's life around what it does: its arguments, signals, and exit status. Ends the process. */
export async function runProgram<Spec>(program: Program<Spec>): Promise<void> {
  const args = ownArguments();
  const { name, usage } = program;
  if (args.includes("--help") || args.includes("-h")) return print(usage);
  if (args.includes("--version")) return print(`${name} version ${VERSION}\n`);
  const say = (message: string) => process.stderr.write(`${name}: ${message}\n`);
  const fail = (message: string) => {
    say(message);
    return EXIT_USAGE;
  };
  try {
    const spec = program.parse(args);
    process.exit(await program.run(spec, { signal: signalOfEnd(), fail }));
  } catch (error) {
    if (!isFleetError(error)) throw error;
    say(errorMessage(error));
    if (error.code === "usage") say(`see ${name} --help`);
    process.exit(error.code === "usage" ? EXIT_USAGE : EXIT_FAILED);
  }
}

/** Without a `--` in front: Node looks for options of its own (--env-file) up to there, whatever program it runs. */
export function ownArguments(): readonly string[] {
  const args = process.argv.slice(2);
  return args[0] === "--" ? args.slice(1) : args;
}

function print(text: string): void {
  process.stdout.write(text);
}

function signalOfEnd(): AbortSignal {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(EXIT_FAILED);
    controller.abort();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  return controller.signal;
}
