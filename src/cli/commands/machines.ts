import type { OperatorChange } from "../../api/protocol.ts";
import type { MachineView } from "../../cluster/views.ts";
import { FleetError } from "../../runtime/errors.ts";
import { type CommandRun, type Context, fetchLegend } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_USAGE } from "../exit-code.ts";

/** After so long a wait is explained. */
const SILENT_MS = 1_000;

/** Ends the detached state of the machine whose daemon answers. */
export const rejoin: CommandRun = async (context, _args, options) => {
  if ((options.keep === true) === (options.discard === true)) {
    throw new FleetError(
      "usage",
      "say either --keep (submit again what the machine holds) or --discard (stop and remove it)",
    );
  }
  const mode = options.keep === true ? "keep" : "discard";
  const cancel = context.clock.setTimer(SILENT_MS, () =>
    context.err(
      "waiting until the machine has been detached for its agent_ttl: before that, others may still run fenced units that it would start",
    ),
  );
  const { units } = await context.client.rejoin(mode).finally(cancel);
  const done = mode === "keep" ? "kept" : "discarded";
  const message = `Rejoined the cluster, ${done} units [${units.join(" ")}].`;
  context.tell({ outcome: "done", units, message });
  return EXIT_DONE;
};

/** Takes a machine that is away for good off the list of known ones, so that nothing waits for it. */
export const forget: CommandRun = async (context, args) => {
  const machine = await findMachine(context, args[0] ?? "");
  if (machine.present) {
    const message = `Machine ${machine.id} is present: stop its daemon first`;
    context.tell({ machine: machine.id, outcome: "failed", message });
    return EXIT_FAILED;
  }
  await context.client.forget(machine.id);
  context.tell({ machine: machine.id, outcome: "done", message: `Forgot machine ${machine.id}` });
  return EXIT_DONE;
};

/** No new units; what is there stays. */
export const cordon: CommandRun = (context, args) =>
  setOnAll(context, args, { change: { cordoned: true }, done: "takes no new units now" });

/** Ends draining too. */
export const uncordon: CommandRun = (context, args) =>
  setOnAll(context, args, {
    change: { cordoned: false, draining: false },
    done: "takes new units again",
  });

async function setOnAll(
  context: Context,
  args: readonly string[],
  { change, done }: { readonly change: OperatorChange; readonly done: string },
): Promise<number> {
  // None is changed when one of them cannot be found.
  const machines = await findMachines(context, args);
  const legend = await fetchLegend(context);
  for (const { id } of machines) {
    await context.client.changeOperator(id, change);
    context.tell({ machine: id, outcome: "done", message: `Machine ${legend(id)} ${done}` });
  }
  return EXIT_DONE;
}

/** `key=value` sets, `key-` hides also what the machine says by itself, --reset lets that count again. */
export const setMetadata: CommandRun = async (context, args, options) => {
  const [asked = "", ...words] = args;
  if (words.length === 0) throw new FleetError("usage", "say which keys: key=value, or key-");
  const metadata: Record<string, string | null> = {};
  const reset: string[] = [];
  for (const word of words) {
    const [, key, value] = /^([A-Za-z0-9_.-]+?)(?:-|=(.+))?$/s.exec(word) ?? [];
    const isReset = options.reset === true;
    const isKeyAlone = value === undefined && !word.endsWith("-");
    if (key === undefined || isReset !== isKeyAlone) {
      const form = isReset ? "a key" : "key=value, or key- to hide it";
      throw new FleetError("usage", `${word}: it has to be ${form}`);
    }
    if (isReset) reset.push(key);
    else metadata[key] = value ?? null;
  }
  const { id } = await findMachine(context, asked);
  const legend = await fetchLegend(context);
  const body = await context.client.changeOperator(
    id,
    options.reset === true ? { reset } : { metadata },
  );
  const text = Object.entries(body.metadata)
    .map(([key, value]) => (value === null ? `${key} hidden` : `${key}=${value}`))
    .sort()
    .join(", ");
  const message = `Machine ${legend(id)}: set by operators: ${text === "" ? "nothing" : text}`;
  context.tell({ machine: id, outcome: "done", message, metadata: body.metadata });
  return EXIT_DONE;
};

/** Gives up machines that are away, without waiting for what the engine waits for when many vanish at once. */
export const evacuate: CommandRun = async (context, args, options) => {
  const machines = await findMachines(context, args);
  const legend = await fetchLegend(context);
  const units = await context.client.units();
  const present = machines.find((machine) => machine.present);
  if (present !== undefined) {
    const message = `Machine ${legend(present.id)} is present: only one that is away can be given up (to empty it: fleetctl-ts drain ${present.id})`;
    context.tell({ machine: present.id, outcome: "refused", message });
    return EXIT_FAILED;
  }
  for (const { id } of machines) {
    const count = units.filter(({ machineId }) => machineId === id).length;
    const noun = count === 1 ? "unit" : "units";
    if (options.confirm !== true) {
      const message = `Machine ${legend(id)} is away and has ${count} ${noun}: with --confirm it counts as lost, and they start on other machines at once. If it is only cut off, they run on there as well until it returns.`;
      context.tell({ machine: id, outcome: "refused", message });
      continue;
    }
    await context.client.changeOperator(id, { evacuate: true });
    const message = `Machine ${legend(id)} counts as lost: its ${count} ${noun} go to other machines`;
    context.tell({ machine: id, outcome: "done", message });
  }
  return options.confirm === true ? EXIT_DONE : EXIT_USAGE;
};

async function findMachines(
  context: Context,
  args: readonly string[],
): Promise<readonly MachineView[]> {
  const machines = new Map<string, MachineView>();
  for (const asked of args) {
    const machine = await findMachine(context, asked);
    machines.set(machine.id, machine);
  }
  return [...machines.values()];
}

/** By its id, the beginning of it, or the short form that tables show; else by host name or address. */
export async function findMachine(context: Context, asked: string): Promise<MachineView> {
  const beginning = asked.replace(/[.]{3}(?:\/.*)?$/, "");
  const all = await context.client.machines();
  const byId = all.filter(({ id }) => beginning !== "" && id.startsWith(beginning));
  const machines =
    byId.length > 0
      ? byId
      : all.filter(({ address, metadata }) => asked === address || asked === metadata["hostname"]);
  const [machine, another] = machines;
  if (machine === undefined) throw new FleetError("not-found", `Machine ${asked} not found`);
  if (another === undefined) return machine;
  const ids = machines.map(({ id }) => id).join(", ");
  throw new FleetError("usage", `${asked} names more than one machine: ${ids}`);
}
