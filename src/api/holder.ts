import type { MachineView, UnitView } from "../cluster/views.ts";
import { validateUnitName } from "../units/unit-name.ts";
import type { ApiContext } from "./context.ts";
import { FORWARDED_HEADER, forward } from "./forward.ts";
import { type ApiRequest, badRequest, Refusal, type Reply } from "./http.ts";

export type ReachableMachine = MachineView & { readonly api: string };

export function unitName(request: ApiRequest): string {
  return checkedUnitName(request.params["name"] ?? "");
}

export function checkedUnitName(name: string): string {
  const problem = validateUnitName(name);
  if (problem !== undefined) throw badRequest(problem);
  return name;
}

/** The machine to ask about the unit of the path; undefined: this one. `?machine=` chooses another than where it is. */
export async function holderElsewhere(
  context: ApiContext,
  request: ApiRequest,
): Promise<ReachableMachine | undefined> {
  const { registry, daemon } = context;
  const name = unitName(request);
  const wanted = request.query.get("machine") ?? undefined;
  if (wanted === daemon.machineId) return undefined;
  refuseForwarded(context, request, `unit ${name} is`);
  const { units } = await registry.read.units([name], request.call);
  const [unit] = units;
  if (unit === undefined && wanted === undefined) {
    throw new Refusal(404, "not-found", `unit ${name} does not exist`);
  }
  const machineId = wanted ?? (unit && holder(unit, daemon.machineId));
  if (machineId === undefined) {
    throw new Refusal(409, "not-placed", `unit ${name} is on no machine${becauseOf(unit)}`);
  }
  return await machineElsewhere(context, request, { machineId, what: `unit ${name} is` });
}

/** How to reach a machine by its id; undefined: it is this one. `what` begins the refusals: `unit a.service is`. */
export async function machineElsewhere(
  context: ApiContext,
  request: ApiRequest,
  asked: { readonly machineId: string; readonly what: string },
): Promise<ReachableMachine | undefined> {
  const { machineId, what } = asked;
  if (machineId === context.daemon.machineId) return undefined;
  refuseForwarded(context, request, what);
  const { machines } = await context.registry.read.machines(request.call);
  const machine = machines.find(({ id }) => id === machineId);
  if (machine === undefined) {
    throw new Refusal(404, "not-found", `machine ${machineId} is not known`);
  }
  const who = { machineId, address: machine.address };
  if (!machine.present) {
    throw new Refusal(409, "machine-away", `${what} on machine ${machineId}, which is away`, who);
  }
  const { api } = machine;
  if (api === undefined) {
    const message = `${what} on machine ${machineId}, whose API listens on no TCP address: use ssh`;
    throw new Refusal(409, "no-api-address", message, who);
  }
  return { ...machine, api };
}

/** The same request, asked of that machine's daemon. */
export async function pass(
  { peers, clock }: ApiContext,
  request: ApiRequest,
  target: {
    readonly machine: ReachableMachine;
    readonly headMs: number;
    readonly body?: string;
  },
): Promise<Reply> {
  const { machine, headMs, body } = target;
  const query = new URLSearchParams(request.query);
  query.set("machine", machine.id);
  const path = `${request.path}?${query}`;
  return await forward({
    ...{ peers, clock, machine, path, headMs },
    signal: request.signal,
    ...(body === undefined ? {} : { body }),
  });
}

/** A daemon that another one took for the holder does not ask a third. */
function refuseForwarded({ daemon }: ApiContext, request: ApiRequest, what: string): void {
  if (request.headers[FORWARDED_HEADER] === undefined) return;
  throw new Refusal(409, "not-placed", `${what} not on machine ${daemon.machineId}`);
}

/** Where it is placed; of a global unit, or one that is moving, this machine rather than another. */
function holder(unit: UnitView, here: string): string | undefined {
  if (unit.machineId !== undefined) return unit.machineId;
  const holders = unit.states.map(({ machineId }) => machineId);
  return holders.includes(here) ? here : (holders[0] ?? unit.assigned[0]?.machineId);
}

function becauseOf(unit: UnitView | undefined): string {
  if (unit === undefined) return "";
  if (unit.desired === "inactive") return ": its desired state is inactive";
  const reasons = unit.blocked.map(({ reason }) => reason.type);
  return reasons.length === 0 ? "" : `: ${reasons.join(", ")}`;
}
