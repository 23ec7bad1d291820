import type { ServerResponse } from "node:http";
import type { Revision } from "../registry/store.ts";
import { repeat } from "../runtime/clock.ts";
import { type ApiContext, notices } from "./context.ts";
import type { EventSource, Step } from "./event-source.ts";
import { type ApiRequest, badRequest, type Reply } from "./http.ts";
import { machineEventsOpener, openServiceEvents } from "./list-events.ts";
import { writePart } from "./stream.ts";
import { openUnitEvents } from "./unit-events.ts";

const UNITS_MAX = 10_000;
/** A client may take silence of 5 s for a dead connection. */
const ALIVE_MS = 2_000;
const KINDS = ["units", "machines", "services"] as const;
type Kind = (typeof KINDS)[number];

/**
 * Server-sent events that can be resumed: a step per event (event-source.ts), with the revision as its id. Who comes back with the id of the last
 * is sent the difference between what was shown then and what there is now, in one event, empty or not: nothing is lost, nothing comes twice.
 */
export function eventStreams(context: ApiContext): (request: ApiRequest) => Promise<Reply> {
  const openMachineEvents = machineEventsOpener(context);
  return async (request) => {
    const { kind, names, after } = askedFor(request);
    const source = await {
      units: () => openUnitEvents(context, request, names),
      machines: () => openMachineEvents(request),
      services: () => openServiceEvents(context, request),
    }[kind]();
    // Before the head is sent, so that a registry that is away is a status and not a line.
    const first = await source.first(after).catch((error: unknown) => {
      source.close();
      throw error;
    });
    return {
      type: "stream",
      status: 200,
      headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
      cancel: () => source.close(),
      write: (response) =>
        stream(context, { kind, source, first, response, signal: request.signal }).finally(() =>
          source.close(),
        ),
    };
  };
}

function askedFor({ query, headers }: ApiRequest): {
  readonly kind: Kind;
  /** Of units; undefined: all. */
  readonly names: readonly string[] | undefined;
  readonly after: Revision | undefined;
} {
  const said = query.get("kind") ?? "units";
  const kind = KINDS.find((one) => one === said);
  if (kind === undefined) throw badRequest(`kind: expect one of ${KINDS.join(", ")}`);
  const names = query.getAll("unit");
  const all = ["1", "true"].includes(query.get("all") ?? "");
  if (names.length > UNITS_MAX) throw badRequest(`more than ${UNITS_MAX} units in one request`);
  if (kind === "units" && all === names.length > 0) {
    throw badRequest("expect unit=NAME, once or more, or all=1");
  }
  const [id] = [headers["last-event-id"]].flat();
  if (id !== undefined && !/^\d{1,15}$/.test(id)) {
    throw badRequest("Last-Event-ID: expect the id of an event, which is a revision");
  }
  return {
    kind,
    names: kind === "units" && !all ? [...new Set(names)] : undefined,
    after: id === undefined ? undefined : Number(id),
  };
}

async function stream(
  context: ApiContext,
  parts: {
    readonly kind: Kind;
    readonly source: EventSource;
    readonly first: Step;
    readonly response: ServerResponse;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { kind, source, first, response, signal } = parts;
  const { clock } = context;
  let told = "[]";
  const noticesEvent = () => {
    const now = notices(context, source.state());
    const text = JSON.stringify(now);
    if (text === told) return "";
    told = text;
    return `event: notices\ndata: ${JSON.stringify({ type: "notices", notices: now })}\n\n`;
  };
  await writePart(response, stepEvent(kind, first) + noticesEvent(), { clock, signal });
  // Not while the client is behind: it would only grow the backlog. A comment is no event.
  const cancel = repeat(clock, ALIVE_MS, () => {
    if (!response.writableNeedDrain) response.write(`: alive\n\n${noticesEvent()}`);
  });
  try {
    for (;;) {
      const step = await source.next(signal);
      const isEmpty = step.type === "change" && step.views.size + step.gone.length === 0;
      const text = (isEmpty ? "" : stepEvent(kind, step)) + noticesEvent();
      if (text !== "") await writePart(response, text, { clock, signal });
    }
  } finally {
    cancel();
  }
}

function stepEvent(kind: Kind, { type, why, revision, views, gone }: Step): string {
  const event = {
    ...{ type, revision },
    ...(why === undefined ? {} : { why }),
    [kind]: [...views.values()],
    gone,
  };
  return `id: ${revision}\nevent: ${type}\ndata: ${JSON.stringify(event)}\n\n`;
}
