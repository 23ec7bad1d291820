import { once } from "node:events";
import { connect } from "node:net";
import { PassThrough } from "node:stream";
import type { UnitView } from "../../cluster/views.ts";
import type { CancelTimer } from "../../runtime/clock.ts";
import { errorMessage, FleetError, isFleetError } from "../../runtime/errors.ts";
import { mangleUnitName } from "../../units/unit-name.ts";
import { type CommandOptions, type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED } from "../exit-code.ts";
import { holdersOf } from "../journal-targets.ts";
import { runSsh } from "../ssh.ts";
import { splitMachine } from "../unit-arguments.ts";
import { findMachine } from "./machines.ts";

/** A shell or a command on a machine, by its id or by a unit that is there; by the system's own ssh. */
export const ssh: CommandRun = async (context, args, options) => {
  const { machine, unit } = options;
  if (machine !== undefined && unit !== undefined) {
    throw new FleetError("usage", "Both machine and unit flags provided, please specify only one.");
  }
  const isNamed = machine !== undefined || unit !== undefined;
  const [first, ...rest] = args;
  if (!isNamed && first === undefined) {
    throw new FleetError("usage", "one machine or unit must be provided");
  }
  const words = isNamed ? args : rest;
  const command = words[0] === "--" ? words.slice(1) : words;
  const address = await findAddress(context, options, first ?? "");
  if (address === "") {
    context.err("Could not determine address of machine.");
    return EXIT_FAILED;
  }
  return await runSsh(context.ssh, {
    address,
    port: options.sshPort,
    forwardAgent: options.forwardAgent === true,
    command,
  });
};

async function findAddress(
  context: Context,
  { machine, unit }: CommandOptions,
  word: string,
): Promise<string> {
  if (machine !== undefined) return (await findMachine(context, machine)).address;
  if (unit !== undefined) {
    const found = await holderOf(context, unit);
    if (found === undefined) throw new FleetError("not-found", `unit ${unit} does not exist`);
    return found;
  }
  const [ofUnit, machines] = await Promise.all([
    holderOf(context, word),
    context.client.machines(),
  ]);
  const named = machines.filter(({ id }) => id.startsWith(word.replace(/[.]{3}$/, "")));
  if (ofUnit !== undefined && named.length > 0) {
    throw new FleetError(
      "usage",
      `ambiguous argument, both machine and unit found for \`${word}\`\nuse --machine ${word} or --unit ${word}`,
    );
  }
  if (ofUnit !== undefined) return ofUnit;
  const machineNamed = await findMachine(context, word).catch((error: unknown) => {
    if (!isFleetError(error, "not-found")) throw error;
    throw new FleetError("not-found", `could not find matching unit or machine: ${word}`);
  });
  return machineNamed.address;
}

/** The address of the machine that has a unit; undefined without such a unit. */
async function holderOf(context: Context, word: string): Promise<string | undefined> {
  const split = splitMachine(word);
  const name = mangleUnitName(split?.unit ?? word);
  const unit = (await context.client.unitsNamed([name])).get(name);
  if (unit === undefined) return undefined;
  if (split !== undefined) return (await findMachine(context, split.machine)).address;
  const machineId = await onlyHolder(context, unit);
  const machines = await context.client.machines();
  return machines.find(({ id }) => id === machineId)?.address ?? "";
}

async function onlyHolder(context: Context, unit: UnitView): Promise<string> {
  const [first, ...others] = holdersOf(unit);
  if (first === undefined) {
    throw new FleetError("not-found", `unit ${unit.name} is on no machine`);
  }
  if (others.length === 0) return first;
  const legend = await fetchLegend(context);
  const list = [first, ...others].map((id) => `${unit.name}@${id.slice(0, 8)}`).join(", ");
  throw new FleetError(
    "usage",
    `unit ${unit.name} is on ${others.length + 1} machines (${legend(first)}, ...): say which, ${list}`,
  );
}

/** Standard input to a unix socket and back, until both ends have ended: what fleetctl's tunnel runs on the other side. */
export const fdForward: CommandRun = async (context, args) => {
  const [path, ...others] = args;
  if (path === undefined || others.length > 0) {
    throw new FleetError("usage", "Provide a single argument");
  }
  const socket = connect({ path, allowHalfOpen: true });
  try {
    await once(socket, "connect");
  } catch (error) {
    context.err(`Failed dialing remote address: ${errorMessage(error)}`);
    return EXIT_FAILED;
  }
  const input = new PassThrough();
  let cancel: CancelTimer = () => {};
  const endSoon = () => {
    cancel();
    cancel = context.clock.setTimer(ANSWER_MS, () => socket.end());
  };
  try {
    input.once("end", endSoon);
    input.pipe(socket, { end: false });
    context.pipeIn(input);
    for await (const chunk of socket) {
      context.write(chunk);
      await context.drained();
      if (input.readableEnded) endSoon();
    }
    return EXIT_DONE;
  } catch (error) {
    context.err(`Encountered error during copy: ${errorMessage(error)}`);
    return EXIT_FAILED;
  } finally {
    cancel();
    socket.destroy();
  }
};

/** A daemon takes a closed side for a client that has gone, so after the end of the input the socket stays open until it has been silent for so long. */
const ANSWER_MS = 5_000;
