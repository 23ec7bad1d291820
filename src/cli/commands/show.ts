import type { IncomingMessage } from "node:http";
import { blockedText } from "../../cluster/reason-text.ts";
import type { UnitView } from "../../cluster/views.ts";
import { errorMessage, FleetError } from "../../runtime/errors.ts";
import { mangleUnitName } from "../../units/unit-name.ts";
import { type CommandOptions, type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, worstExit } from "../exit-code.ts";
import { ApiError } from "../http-client.ts";
import { reportNotFound } from "../reach.ts";
import { runOverSsh } from "../ssh.ts";
import { findMachine } from "./machines.ts";

/** The unit file byte for byte as it was submitted; drop-ins after it, as `systemctl cat` shows them. */
export const cat: CommandRun = async (context, args) => {
  const [argument, ...others] = args;
  if (argument === undefined || others.length > 0) {
    throw new FleetError("usage", "One unit file must be provided");
  }
  const name = mangleUnitName(argument);
  try {
    const manifest = await context.client.manifest(name);
    context.write(manifest.content);
    for (const dropIn of manifest.dropIns) {
      context.write(`\n# ${name}.d/${dropIn.name}\n${dropIn.content}`);
    }
    return EXIT_DONE;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    reportNotFound(context, name);
    return EXIT_NOT_FOUND;
  }
};

/** `systemctl status` on the machines that hold the unit; its exit status becomes the command's. */
export const status: CommandRun = async (context, args, options) => {
  const names = [...new Set(args.map(mangleUnitName))];
  const [units, legend] = await Promise.all([
    context.client.unitsNamed(names),
    fetchLegend(context),
  ]);
  const asked = await askedMachine(context, options);
  const exits: number[] = [];
  let printed = 0;
  for (const name of names) {
    const unit = units.get(name);
    if (unit === undefined) {
      context.err(`Unit ${name} does not exist.`);
      exits.push(EXIT_NOT_FOUND);
      continue;
    }
    const machines = holders(unit, asked);
    if (machines.length === 0) {
      context.err(`Unit ${name} does not appear to be loaded.`);
      if (unit.blocked.length > 0) {
        context.err(`Unit ${name} cannot be placed: ${blockedText(unit.blocked, legend)}`);
      }
      exits.push(EXIT_FAILED);
    }
    for (const machine of machines) {
      if (printed > 0) context.out("");
      printed += 1;
      if (machines.length > 1) context.out(context.paint.dim(`${legend(machine)}:`));
      const exit = await showText(context, options, {
        kind: "status",
        name,
        query: { machine },
        remote: ["systemctl", "status", "-l", "--no-pager", name],
      });
      exits.push(exit);
    }
  }
  return worstExit(exits);
};

/** Of any machine, also of a unit that has moved on: the API knows where it was. */
export const journal: CommandRun = async (context, args, options) => {
  const [argument, ...others] = args;
  if (argument === undefined || others.length > 0) {
    throw new FleetError("usage", "One unit file must be provided.");
  }
  const name = mangleUnitName(argument);
  const unit = (await context.client.unitsNamed([name])).get(name);
  const asked = await askedMachine(context, options);
  // Without a machine the API looks where the unit is or was.
  const machines = unit?.global === true ? holders(unit, asked) : [asked];
  if (machines.length === 0) {
    context.err(`Unit ${name} does not appear to be running.`);
    return EXIT_FAILED;
  }
  if (machines.length > 1 && options.follow === true) {
    const list = machines.join(", ");
    throw new FleetError(
      "usage",
      `${name} is global: say whose journal to follow with --machine (${list})`,
    );
  }
  const legend = await fetchLegend(context);
  const lines = String(options.lines ?? 10);
  const output = options.output ?? "short";
  const exits: number[] = [];
  for (const machine of machines) {
    if (machines.length > 1) context.out(context.paint.dim(`${legend(machine ?? "")}:`));
    exits.push(
      await showText(context, options, {
        kind: "journal",
        name,
        query: {
          lines,
          output,
          ...(options.follow === true ? { follow: "1" } : {}),
          ...(machine === undefined ? {} : { machine }),
        },
        remote: [
          ...["journalctl", "--unit", name, "--no-pager", "-n", lines, "--output", output],
          ...(options.follow === true ? ["-f"] : []),
        ],
      }),
    );
  }
  return worstExit(exits);
};

/** Machines that should hold it or report it; the one asked for, whatever is known of it. */
function holders(unit: UnitView, asked: string | undefined): readonly string[] {
  if (asked !== undefined) return [asked];
  const ids = [...unit.assigned, ...unit.states].map(({ machineId }) => machineId);
  return [...new Set(ids)].sort();
}

async function askedMachine(
  context: Context,
  options: CommandOptions,
): Promise<string | undefined> {
  return options.machine === undefined
    ? undefined
    : (await findMachine(context, options.machine)).id;
}

interface TextRequest {
  readonly kind: "journal" | "status";
  readonly name: string;
  readonly query: Readonly<Record<string, string>>;
  /** What to run over ssh where the machine's API cannot be reached. */
  readonly remote: readonly string[];
}

async function showText(
  context: Context,
  options: CommandOptions,
  request: TextRequest,
): Promise<number> {
  try {
    return await copyText(
      context,
      await context.client.text(request.kind, request.name, request.query),
    );
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const { code, address, message } = error.body;
    if (code === "no-api-address" && address !== undefined && address !== "") {
      return await runOverSsh({
        address,
        username: context.sshUsername,
        port: options.sshPort,
        command: request.remote,
      });
    }
    context.err(message);
    return error.status === 404 ? EXIT_NOT_FOUND : EXIT_FAILED;
  }
}

async function copyText(context: Context, response: IncomingMessage): Promise<number> {
  try {
    for await (const chunk of response) context.write(chunk);
  } catch (error) {
    throw new FleetError("api-unavailable", `the connection was cut: ${errorMessage(error)}`, {
      cause: error,
    });
  }
  const value = response.headers["fleet-exit-status"] ?? response.trailers["fleet-exit-status"];
  return value === undefined ? EXIT_DONE : Number(value);
}
