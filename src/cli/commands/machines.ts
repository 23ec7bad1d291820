import type { MachineView } from "../../cluster/views.ts";
import { FleetError } from "../../runtime/errors.ts";
import type { CommandRun, Context } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED } from "../exit-code.ts";

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

/** Takes a machine that is away for good off the list of known ones, so that nothing waits for it. */
export const forget: CommandRun = async (context, args) => {
  const machine = await findMachine(context, args[0] ?? "");
  if (machine.present) {
    context.err(`Machine ${machine.id} is present: stop its daemon first`);
    return EXIT_FAILED;
  }
  await context.client.forget(machine.id);
  context.out(`Forgot machine ${machine.id}`);
  return EXIT_DONE;
};

/** By its id, the beginning of it, or the short form that tables show. */
export async function findMachine(context: Context, asked: string): Promise<MachineView> {
  const beginning = asked.replace(/[.]{3}$/, "");
  const machines = (await context.client.machines()).filter(({ id }) => id.startsWith(beginning));
  const [machine, another] = machines;
  if (machine === undefined) throw new FleetError("not-found", `Machine ${asked} not found`);
  if (another === undefined) return machine;
  const ids = machines.map(({ id }) => id).join(", ");
  throw new FleetError("usage", `${asked} is the beginning of more than one machine: ${ids}`);
}
