import { errorMessage, isFleetError } from "../runtime/errors.ts";
import { openLogger } from "../runtime/pino-logger.ts";
import { VERSION } from "../runtime/version.ts";
import { type Config, loadConfig } from "./config.ts";
import { runDaemon } from "./daemon.ts";

const USAGE = `Usage: fleetd-ts [--config FILE]

The daemon of fleet-ts: runs on every machine of the cluster, as root.

  --config FILE   read this instead of /etc/fleet/fleet.conf
  --version       print the version
  --help          print this

Every setting of fleet.conf can be given as FLEET_<SETTING> in the environment.
SIGHUP reads it again, SIGUSR1 writes how things stand to /run/fleet/state.json.
Exit status: 0 ended, 1 failed, 2 wrong usage or configuration, 65 the machine id is in use elsewhere.
`;

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** In the unit's RestartPreventExitStatus=: starting again would not help. */
const EXIT_DUPLICATE_MACHINE = 65;

async function main(args: readonly string[]): Promise<number> {
  const parsed = parseArguments(args);
  if (parsed.type === "print") {
    process.stdout.write(parsed.text);
    return 0;
  }
  if (parsed.type === "wrong") {
    process.stderr.write(`fleetd-ts: ${parsed.message}\n${USAGE}`);
    return EXIT_USAGE;
  }
  let config: Config;
  try {
    config = loadConfig(parsed.config, process.env);
  } catch (error) {
    if (!isFleetError(error)) throw error;
    process.stderr.write(`fleetd-ts: ${error.message}\n`);
    return EXIT_USAGE;
  }
  const logger = openLogger({
    debug: config.verbose,
    prefixLevel: process.env["JOURNAL_STREAM"] !== undefined,
  });
  try {
    const load = () => loadConfig(parsed.config, process.env);
    await runDaemon({ config, load, logger });
    return 0;
  } catch (error) {
    if (!isFleetError(error)) throw error;
    logger.error("ended", { code: error.code, error: errorMessage(error) });
    return error.code === "duplicate-machine" ? EXIT_DUPLICATE_MACHINE : EXIT_FAILED;
  }
}

type Arguments =
  | { readonly type: "run"; readonly config: string | undefined }
  | { readonly type: "print"; readonly text: string }
  | { readonly type: "wrong"; readonly message: string };

function parseArguments(args: readonly string[]): Arguments {
  let config: string | undefined;
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    const [name, inline] = arg.replace(/^--?(?=\w)/, "--").split(/=(.*)/s, 2);
    switch (name) {
      case "--help":
      case "--h":
        return { type: "print", text: USAGE };
      case "--version":
      case "version":
        return { type: "print", text: `fleetd-ts version ${VERSION}\n` };
      case "--config":
        config = inline ?? rest.shift();
        if (config === undefined || config === "")
          return { type: "wrong", message: "--config wants a file" };
        break;
      default:
        return {
          type: "wrong",
          message: arg.startsWith("-")
            ? `unknown option ${arg}`
            : `takes no arguments ("${arg}"): did you mean fleetctl-ts?`,
        };
    }
  }
  return { type: "run", config };
}

// No top-level await: single executables are built from CommonJS, which has none. The exit is explicit since libraries may leave
// sockets behind that keep the process alive; all that matters has been closed in order.
void main(process.argv.slice(2)).then((exit) => process.exit(exit));
