import assert from "node:assert/strict";
import type { WatchLine } from "../src/api/protocol.ts";
import type { UnitView } from "../src/cluster/views.ts";

export interface Follow {
  /** `http://HOST:PORT` of a daemon. */
  readonly endpoint: string;
  readonly units: readonly string[];
  readonly deadlineMs: number;
  /** Ends it before. */
  readonly signal?: AbortSignal;
  /** Of the units that exist. */
  readonly until: (units: ReadonlyMap<string, UnitView>) => boolean;
}

/** Follows units as the client does and resolves, with the moment (performance.now()), as soon as `until` holds. */
export async function followUnits(follow: Follow): Promise<number> {
  const units = new Map<string, UnitView>();
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(late(follow, units)), follow.deadlineMs);
  const onAbort = () => abort.abort(follow.signal?.reason);
  follow.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const ask = () => openWatch(follow, abort.signal);
    // A connection that was kept may have been closed by the other side just then, or belong to a lab that is gone.
    const response = await ask().catch((error: unknown) => {
      if (error instanceof TypeError) return ask();
      throw error;
    });
    assert(response.ok && response.body !== null, `watch of units: HTTP ${response.status}`);
    for await (const line of lines(response.body)) {
      const event = JSON.parse(line) as WatchLine;
      if (event.type === "unit") units.set(event.unit.name, event.unit);
      if (event.type === "gone") units.delete(event.name);
      if (follow.until(units)) return performance.now();
    }
    throw new Error(`${follow.endpoint} ended the watch of units`);
  } finally {
    clearTimeout(timer);
    follow.signal?.removeEventListener("abort", onAbort);
    abort.abort();
  }
}

function openWatch({ endpoint, units }: Follow, signal: AbortSignal): Promise<Response> {
  return fetch(`${endpoint}/fleet/v2/watch`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ units }),
    signal,
  });
}

export function isActive(unit: UnitView | undefined, elsewhereThan?: string): boolean {
  return (
    unit?.states.some((state) => state.active === "active" && state.machineId !== elsewhereThan) ??
    false
  );
}

function late(follow: Follow, units: ReadonlyMap<string, UnitView>): Error {
  const active = follow.units.filter((name) => isActive(units.get(name))).length;
  return new Error(
    `after ${follow.deadlineMs} ms ${active} of ${follow.units.length} units are active; last seen of the others: ` +
      JSON.stringify([...units.values()].filter((unit) => !isActive(unit)).slice(0, 2)),
  );
}

async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) if (part !== "") yield part;
  }
}
