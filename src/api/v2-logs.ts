import { repeat } from "../runtime/clock.ts";
import { JOURNAL_OUTPUTS, type JournalOutput, type JournalQuery } from "../units/journal-query.ts";
import type { ApiContext } from "./context.ts";
import { checkedUnitName, holderElsewhere, machineElsewhere, pass, unitName } from "./holder.ts";
import { type ApiRequest, badRequest, json, Refusal, type Reply, readFlag } from "./http.ts";
import type { HistoryBody, JournalEnd } from "./protocol.ts";
import type { Route } from "./router.ts";
import { writePart } from "./stream.ts";
import type { TextProcess } from "./unit-logs.ts";

const LINES_MAX = 1_000_000;
const UNITS_MAX = 1_000;
/** Of `systemctl status`, which is held back until its exit status is known. */
const STATUS_BYTES_MAX = 1024 * 1024;
const STATUS_MS = 10_000;
const JOURNAL_HEAD_MS = 2_500;
/** A client may take silence of 10 s for a dead connection. */
const ALIVE_MS = 2_000;
/** Child processes at the same time, followers included. */
const PROCESSES_MAX = 64;
const TEXT_MAX = 1_000;

const TEXT = { "content-type": "text/plain; charset=utf-8" };
const NDJSON = { "content-type": "application/x-ndjson" };

export function v2LogRoutes(context: ApiContext): readonly Route[] {
  const processes = { running: 0 };
  return [
    {
      path: "units/:name/journal",
      methods: {
        GET: async (request) => {
          const query = journalQuery(request, [unitName(request)]);
          const machine = await holderElsewhere(context, request);
          if (machine !== undefined) {
            return await pass(context, request, { machine, headMs: JOURNAL_HEAD_MS });
          }
          const process = limited(processes, () => context.logs.journal(query));
          return journal(context, process, request.signal);
        },
      },
    },
    {
      path: "units/:name/status",
      methods: {
        GET: async (request) => {
          const name = unitName(request);
          const machine = await holderElsewhere(context, request);
          if (machine !== undefined) {
            return await pass(context, request, { machine, headMs: STATUS_MS });
          }
          return await status(
            context,
            limited(processes, () => context.logs.status(name)),
          );
        },
      },
    },
    {
      path: "journal",
      methods: {
        GET: async (request) => {
          const query = { ...journalQuery(request, unitNames(request)), output: "json" } as const;
          const machineId = request.query.get("machine") ?? context.daemon.machineId;
          const what = "the journal asked for is";
          const machine = await machineElsewhere(context, request, { machineId, what });
          if (machine !== undefined) {
            return await pass(context, request, { machine, headMs: JOURNAL_HEAD_MS });
          }
          const process = limited(processes, () => context.logs.journal(query));
          return entries(context, process, request.signal);
        },
      },
    },
    {
      path: "history",
      methods: {
        GET: async (request) => {
          const names = request.query.getAll("unit");
          if (names.length > UNITS_MAX) throw badRequest(`more than ${UNITS_MAX} units`);
          const units = await context.registry.history(names, request.call);
          return json(200, { units } satisfies HistoryBody);
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

function journal({ clock }: ApiContext, process: TextProcess, signal: AbortSignal): Reply {
  return {
    type: "stream",
    status: 200,
    headers: TEXT,
    cancel: () => process.stop(),
    write: async (response) => {
      // Whoever waits for output would wait for ever.
      response.once("close", () => process.stop());
      try {
        for await (const part of process.output) await writePart(response, part, { clock, signal });
      } finally {
        process.stop();
      }
    },
  };
}

/** The entries as they come, an empty line now and then as long as there are none, and how it ended. */
function entries({ clock }: ApiContext, process: TextProcess, signal: AbortSignal): Reply {
  return {
    type: "stream",
    status: 200,
    headers: NDJSON,
    cancel: () => process.stop(),
    write: async (response) => {
      let quiet = true;
      let atLineStart = true;
      const cancel = repeat(clock, ALIVE_MS, () => {
        if (quiet && atLineStart && !response.writableNeedDrain) response.write("\n");
        quiet = true;
      });
      // Whoever waits for the response to drain would wait for ever.
      response.once("close", () => process.stop());
      try {
        for await (const chunk of process.output) {
          const part: Buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
          quiet = false;
          atLineStart = part.at(-1) === 0x0a;
          await writePart(response, part, { clock, signal });
        }
        const end: JournalEnd = { end: { exitStatus: await process.exitStatus } };
        response.write(`${atLineStart ? "" : "\n"}${JSON.stringify(end)}\n`);
      } finally {
        cancel();
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

function unitNames(request: ApiRequest): readonly string[] {
  const names = request.query.getAll("unit").map(checkedUnitName);
  if (names.length === 0 || names.length > UNITS_MAX) {
    throw badRequest(`expect unit=NAME, once to ${UNITS_MAX} times`);
  }
  return names;
}

function journalQuery(request: ApiRequest, units: readonly string[]): JournalQuery {
  const { query } = request;
  const lines = query.get("lines") ?? "10";
  if (lines !== "all" && !(/^\d{1,7}$/.test(lines) && Number(lines) <= LINES_MAX)) {
    throw badRequest(`invalid lines "${lines}": expect a number up to ${LINES_MAX}, or all`);
  }
  const output = query.get("output") ?? "short";
  if (!isJournalOutput(output)) {
    throw badRequest(`invalid output "${output}": expect one of ${JOURNAL_OUTPUTS.join(", ")}`);
  }
  const fields = textOf(query, "fields");
  return {
    units,
    lines: lines === "all" ? "all" : Number(lines),
    follow: readFlag(query, "follow"),
    output,
    since: textOf(query, "since"),
    until: textOf(query, "until"),
    priority: textOf(query, "priority"),
    grep: textOf(query, "grep"),
    afterCursor: textOf(query, "after"),
    fields: fields?.split(","),
  };
}

/** Goes to journalctl as it is, as one argument; no byte may end it early. */
function textOf(query: URLSearchParams, name: string): string | undefined {
  const text = query.get(name) ?? undefined;
  if (text !== undefined && (text.length > TEXT_MAX || text.includes("\0"))) {
    throw badRequest(`invalid ${name}: at most ${TEXT_MAX} characters, none of them NUL`);
  }
  return text;
}

function isJournalOutput(text: string): text is JournalOutput {
  return (JOURNAL_OUTPUTS as readonly string[]).includes(text);
}
