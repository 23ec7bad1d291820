import { pipeline } from "node:stream/promises";
import type { MachineView, UnitView } from "../cluster/views.ts";
import { validateUnitName } from "../units/unit-name.ts";
import type { ApiContext } from "./context.ts";
import { FORWARDED_HEADER, forward } from "./forward.ts";
import { type ApiRequest, badRequest, Refusal, type Reply } from "./http.ts";
import type { Route } from "./router.ts";
import {
  JOURNAL_OUTPUTS,
  type JournalOptions,
  type JournalOutput,
  type TextProcess,
} from "./unit-logs.ts";

const LINES_MAX = 1_000_000;
/** Of `systemctl status`, which is held back until its exit status is known. */
const STATUS_BYTES_MAX = 1024 * 1024;
const STATUS_MS = 10_000;
const JOURNAL_HEAD_MS = 2_500;
/** Child processes at the same time, followers included. */
const PROCESSES_MAX = 64;

const TEXT = { "content-type": "text/plain; charset=utf-8" };

export function v2LogRoutes(context: ApiContext): readonly Route[] {
  const processes = { running: 0 };
  return [
    {
      path: "units/:name/journal",
      methods: {
        GET: async (request) => {
          const options = journalOptions(request);
          const elsewhere = await holderElsewhere(context, request);
          if (elsewhere !== undefined) {
            return await pass(context, request, { ...elsewhere, headMs: JOURNAL_HEAD_MS });
          }
          return journal(limited(processes, () => context.logs.journal(options)));
        },
      },
    },
    {
      path: "units/:name/status",
      methods: {
        GET: async (request) => {
          const name = unitName(request);
          const elsewhere = await holderElsewhere(context, request);
          if (elsewhere !== undefined) {
            return await pass(context, request, { ...elsewhere, headMs: STATUS_MS });
          }
          return await status(
            context,
            limited(processes, () => context.logs.status(name)),
          );
        },
      },
    },
  ];
}

function limited(processes: { running: number }, start: () => TextProcess): TextProcess {
  if (processes.running >= PROCESSES_MAX) {
    throw new Refusal(
      429,
      "too-many",
      `${PROCESSES_MAX} journals are being read on this machine already`,
    );
  }
  const process = start();
  processes.running += 1;
  void process.exitStatus.then(() => {
    processes.running -= 1;
  });
  return process;
}

function journal(process: TextProcess): Reply {
  return {
    type: "stream",
    status: 200,
    headers: TEXT,
    cancel: () => process.stop(),
    write: async (response) => {
      try {
        await pipeline(process.output, response);
      } finally {
        process.stop();
      }
    },
  };
}

async function status({ clock }: ApiContext, process: TextProcess): Promise<Reply> {
  const cancel = clock.setTimer(STATUS_MS, () => process.stop());
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of process.output) {
      const part: Buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
      bytes += part.length;
      if (bytes <= STATUS_BYTES_MAX) chunks.push(part);
    }
    const exitStatus = await process.exitStatus;
    return {
      type: "stream",
      status: 200,
      headers: { ...TEXT, "fleet-exit-status": String(exitStatus) },
      cancel: () => {},
      write: async (response) => {
        response.end(Buffer.concat(chunks));
      },
    };
  } finally {
    cancel();
    process.stop();
  }
}

async function pass(
  { peers, clock }: ApiContext,
  request: ApiRequest,
  target: { readonly machine: MachineView & { readonly api: string }; readonly headMs: number },
): Promise<Reply> {
  const { machine, headMs } = target;
  const query = new URLSearchParams(request.query);
  query.set("machine", machine.id);
  const path = `${request.path}?${query}`;
  return await forward({ peers, clock, machine, path, headMs, signal: request.signal });
}

/** The machine to ask; undefined: this one. */
async function holderElsewhere(
  { registry, daemon }: ApiContext,
  request: ApiRequest,
): Promise<{ readonly machine: MachineView & { readonly api: string } } | undefined> {
  const name = unitName(request);
  const wanted = request.query.get("machine") ?? undefined;
  if (wanted === daemon.machineId) return undefined;
  if (request.headers[FORWARDED_HEADER] !== undefined) {
    throw new Refusal(409, "not-placed", `unit ${name} is not on machine ${daemon.machineId}`);
  }
  const { units } = await registry.read.units([name], request.call);
  const [unit] = units;
  if (unit === undefined && wanted === undefined) {
    throw new Refusal(404, "not-found", `unit ${name} does not exist`);
  }
  const machineId = wanted ?? (unit && holder(unit, daemon.machineId));
  if (machineId === undefined) {
    throw new Refusal(409, "not-placed", `unit ${name} is on no machine${becauseOf(unit)}`);
  }
  if (machineId === daemon.machineId) return undefined;
  const { machines } = await registry.read.machines(request.call);
  const machine = machines.find(({ id }) => id === machineId);
  if (machine === undefined) {
    throw new Refusal(404, "not-found", `machine ${machineId} is not known`);
  }
  const who = { machineId, address: machine.address };
  if (!machine.present) {
    throw new Refusal(
      409,
      "machine-away",
      `unit ${name} is on machine ${machineId}, which is away`,
      who,
    );
  }
  const { api } = machine;
  if (api === undefined) {
    const message = `unit ${name} is on machine ${machineId}, whose API listens on no TCP address: use ssh`;
    throw new Refusal(409, "no-api-address", message, who);
  }
  return { machine: { ...machine, api } };
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

function unitName(request: ApiRequest): string {
  const name = request.params["name"] ?? "";
  const problem = validateUnitName(name);
  if (problem !== undefined) throw badRequest(problem);
  return name;
}

function journalOptions(request: ApiRequest): JournalOptions {
  const { query } = request;
  const lines = query.get("lines") ?? "10";
  if (lines !== "all" && !(/^\d{1,7}$/.test(lines) && Number(lines) <= LINES_MAX)) {
    throw badRequest(`invalid lines "${lines}": expect a number up to ${LINES_MAX}, or all`);
  }
  const output = query.get("output") ?? "short";
  if (!isJournalOutput(output)) {
    throw badRequest(`invalid output "${output}": expect one of ${JOURNAL_OUTPUTS.join(", ")}`);
  }
  const follow = query.get("follow") ?? "0";
  if (!["0", "1", "true", "false"].includes(follow)) {
    throw badRequest(`invalid follow "${follow}": expect 1 or 0`);
  }
  return {
    unit: unitName(request),
    lines: lines === "all" ? "all" : Number(lines),
    follow: follow === "1" || follow === "true",
    output,
  };
}

function isJournalOutput(text: string): text is JournalOutput {
  return (JOURNAL_OUTPUTS as readonly string[]).includes(text);
}
