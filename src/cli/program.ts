import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import type { Clock } from "../runtime/clock.ts";
import { FleetError, isFleetError } from "../runtime/errors.ts";
import { VERSION } from "../runtime/version.ts";
import type { CommandSpec } from "./command-spec.ts";
import { COMMANDS } from "./commands.ts";
import type { CommandOptions } from "./context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_TIMED_OUT, EXIT_USAGE } from "./exit-code.ts";
import { commonOptions, GLOBAL_OPTIONS, type OptionSpec } from "./options.ts";
import type { GlobalOptions, Terminal } from "./terminal.ts";

const EXIT_OF_ERROR: Readonly<Record<string, number>> = {
  usage: EXIT_USAGE,
  "not-found": EXIT_NOT_FOUND,
  "timed-out": EXIT_TIMED_OUT,
};

const DEFAULTS: GlobalOptions = { endpoint: "unix:///run/fleet.sock", requestTimeout: 3 };

/** Runs a command line (without the two words of the process), once, and gives back its exit status. */
export type CommandLine = (args: readonly string[], terminal: Terminal) => Promise<number>;

/** Puts all commands and options together, which takes as long as most commands do. */
export function prepareCommandLine(): CommandLine {
  const run = new Run();
  const program = makeProgram(run);
  return async (args, terminal) => {
    run.begin(terminal);
    try {
      const { words, off } = normalise(args, program);
      run.off = off;
      if (words.length === 0) program.outputHelp();
      else await program.parseAsync(words, { from: "user" });
      return run.exit;
    } catch (error) {
      if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_DONE : EXIT_USAGE;
      if (!isFleetError(error)) throw error;
      terminal.writeError(`${error.message}\n`);
      return EXIT_OF_ERROR[error.code] ?? EXIT_FAILED;
    }
  };
}

/** What commands learn when one of them runs. */
class Run {
  exit = EXIT_DONE;
  /** Switches that the command line says `=false` of. */
  off: ReadonlySet<string> = new Set();
  #terminal: Terminal | undefined;

  begin(terminal: Terminal): void {
    if (this.#terminal !== undefined) throw new TypeError("a command line runs once");
    this.#terminal = terminal;
  }

  get terminal(): Terminal {
    if (this.#terminal === undefined) throw new TypeError("the command line does not run yet");
    return this.#terminal;
  }
}

function makeProgram(run: Run): Command {
  const program = new Command("fleetctl-ts")
    .description(`fleetctl-ts ${VERSION} runs systemd units on many machines as if they were one.`)
    .usage("[global options] <command> [options] [arguments]")
    .version(`fleetctl-ts version ${VERSION}`, "-v, --version")
    .helpOption("-h, --help")
    .showHelpAfterError("Run 'fleetctl-ts --help' for usage.")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => run.terminal.writeOut(text),
      writeErr: (text) => run.terminal.writeError(text),
      outputError: (text, write) => write(text.replace(/^error:/, "Error:")),
    })
    .hook("preAction", (_, command) => {
      applyEnvironment(program, run);
      applyEnvironment(command, run);
    })
    .exitOverride();
  for (const option of GLOBAL_OPTIONS) program.addOption(makeOption(option));
  for (const [name, value] of Object.entries(DEFAULTS)) {
    program.setOptionValueWithSource(name, value, "default");
  }
  for (const spec of COMMANDS) addCommand({ program, spec, run });
  program
    .command("version")
    .summary("Print the version")
    .addOption(new Option("-o, --output <format>", "how to print").choices(["text", "json"]))
    .action(({ output }: CommandOptions) => {
      const text = `fleetctl-ts version ${VERSION}`;
      run.terminal.writeOut(`${output === "json" ? JSON.stringify({ version: VERSION }) : text}\n`);
    });
  return program;
}

function addCommand(options: {
  readonly program: Command;
  readonly spec: CommandSpec;
  readonly run: Run;
}): void {
  const { program, spec, run } = options;
  const name = spec.args === undefined ? spec.name : `${spec.name} ${spec.args}`;
  const command = program
    .command(name, { hidden: spec.hidden === true })
    .summary(spec.summary)
    .description([spec.summary, spec.description].filter(Boolean).join(".\n"))
    .addHelpText("after", `\nExamples:\n${spec.examples.map(exampleLine).join("")}`);
  for (const option of [...(spec.options ?? []), ...commonOptions(spec)]) {
    command.addOption(makeOption(option));
  }
  command.action(async () => {
    const [{ openContext }, work] = await Promise.all([import("./make-context.ts"), spec.load()]);
    const globals = renamed(program.opts());
    refuseUnsupported(globals);
    const given = command.opts<CommandOptions>();
    const { wait, ...settings } = given;
    const commandOptions = wait === true ? { ...settings, block: true } : settings;
    const { context, close } = openContext(globals, run.terminal, given.output === "json");
    const waits = (spec.options ?? []).some(({ flags }) => flags.startsWith("--timeout"));
    try {
      const done = work(context, command.args, commandOptions);
      run.exit = waits ? await done : await within(context.clock, given.timeout, done);
    } finally {
      await close();
    }
  });
}

/** For commands that do not judge by themselves what a time-out means. */
async function within(
  clock: Clock,
  seconds: number | undefined,
  work: Promise<number>,
): Promise<number> {
  if (seconds === undefined) return await work;
  const late = Promise.withResolvers<never>();
  const cancel = clock.setTimer(seconds * 1_000, () =>
    late.reject(new FleetError("timed-out", `not done within ${seconds} s`)),
  );
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    cancel();
  }
}

/** fleetctl had two names for the TLS files; the newer one counts. */
function renamed(
  options: GlobalOptions & {
    readonly etcdCafile?: string;
    readonly etcdCertfile?: string;
    readonly etcdKeyfile?: string;
  },
): GlobalOptions {
  const { etcdCafile, etcdCertfile, etcdKeyfile, ...globals } = options;
  return {
    ...(etcdCafile === undefined ? {} : { caFile: etcdCafile }),
    ...(etcdCertfile === undefined ? {} : { certFile: etcdCertfile }),
    ...(etcdKeyfile === undefined ? {} : { keyFile: etcdKeyfile }),
    ...globals,
  };
}

function exampleLine(example: string): string {
  return `  fleetctl-ts ${example}\n`;
}

function makeOption(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.description);
  if (spec.choices !== undefined) option.choices(spec.choices);
  if (spec.value !== undefined) option.argParser(numberParser(spec.value));
  return option.hideHelp(spec.hidden === true);
}

/** Doing something else than what fleetctl did with these could reach the wrong cluster. */
function refuseUnsupported({ driver }: GlobalOptions): void {
  if (driver !== undefined && driver !== "API") {
    throw new FleetError("usage", `--driver ${driver} (FLEETCTL_DRIVER): there is only the API`);
  }
}

const NUMBERS: Readonly<
  Record<NonNullable<OptionSpec["value"]>, { readonly max: number; readonly what: string }>
> = {
  // More would overflow timers; nobody waits a month.
  seconds: { max: 2_000_000, what: "a number of seconds" },
  count: { max: 1_000_000, what: "a whole number" },
  lines: { max: 1_000_000, what: "a whole number, or all" },
  port: { max: 65_535, what: "a port number" },
  attempts: { max: 1_000_000, what: "a whole number" },
};

function numberParser(kind: NonNullable<OptionSpec["value"]>): (text: string) => number | "all" {
  return (text) => {
    if (kind === "lines" && text === "all") return text;
    if (kind === "attempts" && /^-\d+$/.test(text)) return 0;
    const { max, what } = NUMBERS[kind];
    const value = Number(text);
    // Number() takes hexadecimal and exponents too.
    const isNumber = /^\d+(\.\d*)?$|^\.\d+$/.test(text.trim());
    const valid = isNumber && value <= max && (kind !== "port" || value > 0);
    if (valid && (kind === "seconds" || Number.isInteger(value))) return value;
    throw new InvalidArgumentError(`It takes ${what}${value > max ? ` up to ${max}` : ""}.`);
  };
}

/** Every option has a variable: `--no-legend` is FLEETCTL_NO_LEGEND. The command line overrides it, an empty one counts as unset. */
function applyEnvironment(command: Command, { terminal, off }: Run): void {
  for (const option of command.options) {
    const { long = "" } = option;
    const variable = `FLEETCTL_${long.slice(2).toUpperCase().replaceAll("-", "_")}`;
    const text = terminal.environment[variable];
    if (text === undefined || text === "" || long === "--version" || off.has(long)) continue;
    if (command.getOptionValueSource(option.attributeName()) === "cli") continue;
    // FLEETCTL_OUTPUT may be of another command.
    if (option.argChoices !== undefined && !option.argChoices.includes(text)) continue;
    const value = isSwitch(option) ? booleanValue(option, text) : optionValue(option, text);
    if (value === undefined) {
      throw new FleetError("usage", `the variable ${variable} has no valid value: ${text}`);
    }
    command.setOptionValueWithSource(option.attributeName(), value, "env");
  }
}

/** commander's own isBoolean() leaves out those that begin with `--no-`. */
function isSwitch({ required, optional }: Option): boolean {
  return !required && !optional;
}

function booleanValue(option: Option, text: string): boolean | undefined {
  if (/^(1|t|true|yes|on)$/i.test(text)) return !option.negate;
  return /^(0|f|false|no|off)$/i.test(text) ? option.negate : undefined;
}

function optionValue(option: Option, text: string): unknown {
  try {
    return option.parseArg === undefined ? text : option.parseArg<unknown>(text, undefined);
  } catch {
    return undefined;
  }
}

/**
 * What fleetctl took besides: one-letter options with two dashes, `--no-block=false`, and unambiguous beginnings of commands. What follows the
 * first argument of a command that hands words on is made arguments.
 */
function normalise(
  args: readonly string[],
  program: Command,
): { readonly words: readonly string[]; readonly off: ReadonlySet<string> } {
  const end = args.indexOf("--");
  const off = new Set<string>();
  const hasSwitch = (name: string) =>
    [program, ...program.commands].some(({ options }) =>
      options.some((option) => option.long === name && isSwitch(option)),
    );
  const words = args.flatMap((word, index) => {
    if (end !== -1 && index >= end) return word;
    if (/^--[a-zA-Z]$/.test(word)) return word.slice(1);
    const [, name, value] = /^(--[a-z-]+)=(true|false)$/.exec(word) ?? [];
    if (name === undefined || !hasSwitch(name)) return word;
    if (value === "true") return name;
    const opposite = name.replace("--", "--no-");
    if (hasSwitch(opposite)) return opposite;
    off.add(name);
    return [];
  });
  const index = commandIndex(words, program);
  const word = index === undefined ? undefined : words[index];
  if (index === undefined || word === undefined) return { words, off };
  const name = wholeName(word, program);
  const topic = name === "help" ? words[index + 1] : undefined;
  const wanted = topic === undefined || topic.startsWith("-") ? name : wholeName(topic, program);
  const isKnown = program.commands.some((command) => command.name() === wanted);
  // Of a command that it does not know, commander would print the help of all.
  if (!isKnown && wanted !== "help") return { words: [wanted], off };
  if (wanted !== name) return { words: [wanted, "--help"], off };
  const spec = COMMANDS.find((one) => one.name === name);
  const named = words.with(index, name);
  const all = spec?.passThrough === true ? passedThrough(named, index, program) : named;
  return { words: all, off };
}

function wholeName(word: string, program: Command): string {
  const shown = program.commands.map((command) => command.name()).filter((n) => !n.startsWith("_"));
  const names = [...shown, "help"];
  const candidates = names.filter((name) => name.startsWith(word));
  const [only] = candidates;
  if (names.includes(word) || only === undefined) return word;
  if (candidates.length === 1) return only;
  throw new FleetError(
    "usage",
    `Error: command "${word}" is ambiguous: ${candidates.join(", ")}\nRun 'fleetctl-ts --help' for usage.`,
  );
}

/** Puts `--` before the first argument, unless the user did. */
function passedThrough(
  words: readonly string[],
  index: number,
  program: Command,
): readonly string[] {
  const command = program.commands.find((one) => one.name() === words[index]);
  const options = [...program.options, ...(command?.options ?? [])];
  let at = index + 1;
  for (; at < words.length; at += 1) {
    const word = words[at] ?? "";
    if (word === "--") return words;
    if (!word.startsWith("-") || word === "-") break;
    if (options.find((one) => one.long === word || one.short === word)?.required === true) at += 1;
  }
  return at < words.length ? [...words.slice(0, at), "--", ...words.slice(at)] : words;
}

/** The first word that is neither a global option nor the value of one. */
function commandIndex(words: readonly string[], program: Command): number | undefined {
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? "";
    if (!word.startsWith("-")) return index;
    const option = program.options.find(({ long, short }) => long === word || short === word);
    if (option?.required === true) index += 1;
  }
  return undefined;
}
