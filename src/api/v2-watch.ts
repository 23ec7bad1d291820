import type { ServerResponse } from "node:http";
import * as v from "valibot";
import type { UnitListener, WatchUpdate } from "../registry/unit-listener.ts";
import { repeat, sleep } from "../runtime/clock.ts";
import { type ApiContext, notices } from "./context.ts";
import { decodeBody } from "./decode-body.ts";
import type { ApiRequest, Reply } from "./http.ts";
import type { Notice, WatchLine } from "./protocol.ts";
import type { Route } from "./router.ts";
import { writePart } from "./stream.ts";
import { eventStreams } from "./v2-events.ts";

const UNITS_MAX = 10_000;
/** A client may take silence of 5 s for a dead connection. */
const ALIVE_MS = 2_000;
/** A change is told at once, those that come so soon after it together. */
const GATHER_MS = 15;

export function v2WatchRoutes(context: ApiContext): readonly Route[] {
  return [
    {
      path: "watch",
      methods: { GET: eventStreams(context), POST: (request) => watch(context, request) },
    },
  ];
}

export const watchRequest = v.union([
  v.looseObject({ all: v.literal(true) }),
  v.looseObject({ units: v.pipe(v.array(v.string()), v.maxLength(UNITS_MAX)) }),
]);

async function watch(context: ApiContext, request: ApiRequest): Promise<Reply> {
  const asked = decodeBody(watchRequest, await request.body());
  const units = "all" in asked ? "all" : asked.units;
  // Before the head is sent, so that a registry that is away is a status and not a line.
  const listener = await context.registry.watch.open(units, request.call);
  return {
    type: "stream",
    status: 200,
    headers: { "content-type": "application/x-ndjson" },
    cancel: () => listener.close(),
    write: async (response) => {
      try {
        await new WatchStream(context, response).run(listener, request.signal);
      } finally {
        listener.close();
      }
    },
  };
}

class WatchStream {
  readonly #context: ApiContext;
  readonly #response: ServerResponse;
  #told: readonly Notice[] = [];
  #state = { leader: true, reachable: true };

  constructor(context: ApiContext, response: ServerResponse) {
    this.#context = context;
    this.#response = response;
  }

  async run(listener: UnitListener, signal: AbortSignal): Promise<void> {
    const first = await listener.next(signal);
    this.#state = first;
    this.#told = this.#notices();
    await this.#write([...unitLines(first), { type: "synced", notices: this.#told }], signal);
    const cancel = repeat(this.#context.clock, ALIVE_MS, () => this.#sayAlive());
    try {
      for (;;) {
        const update = await listener.next(signal);
        this.#state = update;
        await this.#write([...unitLines(update), ...this.#noticeLines()], signal);
        await sleep(this.#context.clock, GATHER_MS, signal);
      }
    } finally {
      cancel();
    }
  }

  /** Also the moment to notice what changed in the daemon itself. Not while the client is behind: it would only grow the backlog. */
  #sayAlive(): void {
    if (this.#response.writableNeedDrain) return;
    const [line = { type: "alive" } as const] = this.#noticeLines();
    this.#response.write(text([line]));
  }

  #notices(): readonly Notice[] {
    return notices(this.#context, this.#state);
  }

  #noticeLines(): readonly WatchLine[] {
    const now = this.#notices();
    if (JSON.stringify(now) === JSON.stringify(this.#told)) return [];
    this.#told = now;
    return [{ type: "notices", notices: now }];
  }

  async #write(lines: readonly WatchLine[], signal: AbortSignal): Promise<void> {
    if (lines.length === 0) return;
    await writePart(this.#response, text(lines), { clock: this.#context.clock, signal });
  }
}

function unitLines({ units, gone, present }: WatchUpdate): readonly WatchLine[] {
  return [
    ...(present === undefined ? [] : [{ type: "machines", present } as const]),
    ...units.map((unit) => ({ type: "unit", unit }) as const),
    ...gone.map((name) => ({ type: "gone", name }) as const),
  ];
}

function text(lines: readonly WatchLine[]): string {
  return lines.map((line) => `${JSON.stringify(line)}\n`).join("");
}
