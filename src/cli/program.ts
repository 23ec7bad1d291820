import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { FleetError, isFleetError } from "../runtime/errors.ts";
import { VERSION } from "../runtime/version.ts";
import { COMMANDS, type CommandSpec, type OptionSpec } from "./commands.ts";
import type { CommandOptions } from "./context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE } from "./exit-code.ts";
import type { GlobalOptions, Terminal } from "./terminal.ts";

const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  {
    flags: "--endpoint <url>",
    description: "API of fleetd-ts: unix:// or http(s)://, several comma separated",
  },
  {
    flags: "--request-timeout <seconds>",
    description: "for an answer of the API",
    value: "seconds",
  },
  { flags: "--ca-file <path>", description: "certificates that sign the API's" },
  { flags: "--cert-file <path>", description: "own certificate for the API" },
  { flags: "--key-file <path>", description: "key of that certificate" },
  { flags: "--ssh-username <name>", description: "for status and journal where ssh is needed" },
  { flags: "--debug", description: "print requests on standard error" },
  { flags: "--tunnel <host>", description: "not there", hidden: true },
  { flags: "--driver <name>", description: "API only", hidden: true },
];

const EXIT_OF_ERROR: Readonly<Record<string, number>> = {
  usage: EXIT_USAGE,
  "not-found": EXIT_NOT_FOUND,
};

const DEFAULTS: GlobalOptions = { endpoint: "unix:///run/fleet.sock", requestTimeout: 3 };

/** Runs a command line (without the two words of the process) and gives back its exit status. */
export async function runCommandLine(args: readonly string[], terminal: Terminal): Promise<number> {
  let exit = EXIT_DONE;
  const program = makeProgram(terminal, (code) => {
    exit = code;
  });
  try {
    applyEnvironment(program, terminal.environment);
    const words = normalise(args, program);
    if (words.length === 0) program.outputHelp();
    else await program.parseAsync(words, { from: "user" });
    return exit;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_DONE : EXIT_USAGE;
    if (!isFleetError(error)) throw error;
    terminal.writeError(`${error.message}\n`);
    return EXIT_OF_ERROR[error.code] ?? EXIT_FAILED;
  }
}

function makeProgram(terminal: Terminal, onExit: (code: number) => void): Command {
  const program = new Command("fleetctl-ts")
    .description("Runs systemd units on many machines as if they were one.")
    .usage("[global options] <command> [options] [arguments]")
    .version(`fleetctl-ts version ${VERSION}`, "-v, --version")
    .helpOption("-h, --help")
    .showHelpAfterError("Run 'fleetctl-ts --help' for usage.")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: terminal.writeOut,
      writeErr: terminal.writeError,
      outputError: (text, write) => write(text.replace(/^error:/, "Error:")),
    })
    .exitOverride();
  for (const option of GLOBAL_OPTIONS) program.addOption(makeOption(option));
  for (const [name, value] of Object.entries(DEFAULTS)) {
    program.setOptionValueWithSource(name, value, "default");
  }
  for (const spec of COMMANDS) addCommand({ program, spec, terminal, onExit });
  program
    .command("version")
    .summary("Print the version")
    .action(() => terminal.writeOut(`fleetctl-ts version ${VERSION}\n`));
  return program;
}

function addCommand(options: {
  readonly program: Command;
  readonly spec: CommandSpec;
  readonly terminal: Terminal;
  readonly onExit: (code: number) => void;
}): void {
  const { program, spec, terminal } = options;
  const command = program
    .command(spec.args === undefined ? spec.name : `${spec.name} ${spec.args}`)
    .summary(spec.summary)
    .description([spec.summary, spec.description].filter(Boolean).join(".\n"))
    .addHelpText("after", `\nExamples:\n${spec.examples.map(exampleLine).join("")}`);
  for (const option of spec.options ?? []) command.addOption(makeOption(option));
  command.action(async () => {
    const [{ makeContext }, run] = await Promise.all([import("./make-context.ts"), spec.load()]);
    const globalOptions = program.opts<GlobalOptions>();
    refuseUnsupported(globalOptions);
    const context = makeContext(globalOptions, terminal);
    options.onExit(await run(context, command.args, command.opts<CommandOptions>()));
  });
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
function refuseUnsupported({ tunnel, driver }: GlobalOptions): void {
  if (tunnel !== undefined) {
    throw new FleetError(
      "usage",
      `--tunnel (FLEETCTL_TUNNEL) is not there: ssh -N -L /tmp/fleet.sock:/run/fleet.sock ${tunnel}, then --endpoint unix:///tmp/fleet.sock`,
    );
  }
  if (driver !== undefined && driver !== "API") {
    throw new FleetError("usage", `--driver ${driver} (FLEETCTL_DRIVER): there is only the API`);
  }
}

function numberParser(kind: "count" | "seconds"): (text: string) => number {
  return (text) => {
    const value = Number(text);
    const valid = text.trim() !== "" && Number.isFinite(value) && value >= 0;
    if (valid && (kind === "seconds" || Number.isInteger(value))) return value;
    throw new InvalidArgumentError(
      kind === "count" ? "It takes a whole number." : "It takes a number of seconds.",
    );
  };
}

/** Every option has a variable: `--no-legend` is FLEETCTL_NO_LEGEND. The command line overrides it, an empty one counts as unset. */
function applyEnvironment(
  program: Command,
  environment: Readonly<Record<string, string | undefined>>,
): void {
  for (const command of [program, ...program.commands]) {
    for (const option of command.options) {
      const variable = `FLEETCTL_${option.long?.slice(2).toUpperCase().replaceAll("-", "_")}`;
      const text = environment[variable];
      if (text === undefined || text === "" || option.long === "--version") continue;
      const value = option.isBoolean() ? booleanValue(option, text) : optionValue(option, text);
      if (value === undefined) {
        throw new FleetError("usage", `the variable ${variable} has no valid value: ${text}`);
      }
      command.setOptionValueWithSource(option.attributeName(), value, "env");
    }
  }
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

/** What fleetctl took besides: one-letter options with two dashes, and unambiguous beginnings of commands. */
function normalise(args: readonly string[], program: Command): readonly string[] {
  const end = args.indexOf("--");
  const words = args.map((word, index) =>
    /^--[a-zA-Z]$/.test(word) && (end === -1 || index < end) ? word.slice(1) : word,
  );
  const index = commandIndex(words, program);
  const word = index === undefined ? undefined : words[index];
  if (index === undefined || word === undefined) return words;
  const names = [...program.commands.map((command) => command.name()), "help"];
  const candidates = names.filter((name) => name.startsWith(word));
  const [only] = candidates;
  if (names.includes(word) || only === undefined) return words;
  if (candidates.length > 1) {
    throw new FleetError(
      "usage",
      `Error: command "${word}" is ambiguous: ${candidates.join(", ")}\nRun 'fleetctl-ts --help' for usage.`,
    );
  }
  return words.with(index, only);
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
