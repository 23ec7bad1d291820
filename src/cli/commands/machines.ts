import { FleetError } from "../../runtime/errors.ts";
import { machineIdText } from "../columns.ts";
import type { CommandRun } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND } from "../exit-code.ts";

/** Ends the detached state of the machine whose daemon answers. */
export const rejoin: CommandRun = async (context, _args, options) => {
  if ((options.keep === true) === (options.discard === true)) {
    throw new FleetError(
      "usage",
      "say either --keep (submit again what the machine holds) or --discard (stop and remove it)",
    );
  }
  const mode = options.keep === true ? "keep" : "discard";
  const { units } = await context.client.rejoin(mode);
  const done = mode === "keep" ? "kept" : "discarded";
  context.out(`Rejoined the cluster, ${done} units [${units.join(" ")}].`);
  return EXIT_DONE;
};

/** Gives up a machine that is away for good: what it was assigned may go elsewhere. */
export const forget: CommandRun = async (context, args) => {
  const wanted = (args[0] ?? "").replace(/\.\.\.$/, "");
  const machines = (await context.client.machines()).filter(({ id }) => id.startsWith(wanted));
  const [machine, another] = machines;
  if (machine === undefined) {
    context.err(`Machine ${wanted} not found`);
    return EXIT_NOT_FOUND;
  }
  if (another !== undefined) {
    context.err(`Found more than one machine: ${machines.map(({ id }) => id).join(", ")}`);
    return EXIT_FAILED;
  }
  if (machine.present) {
    context.err(`Machine ${machineIdText(machine.id, true)} is present: stop its daemon first`);
    return EXIT_FAILED;
  }
  await context.client.forget(machine.id);
  context.out(`Forgot machine ${machine.id}`);
  return EXIT_DONE;
};
