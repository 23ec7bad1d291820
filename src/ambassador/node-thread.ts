import type { MessagePort } from "node:worker_threads";
import { errorMessage } from "../runtime/errors.ts";
import type { Backend } from "./backend.ts";
import { NodeLink, type NodeLinkOptions, type NodeProxyParts } from "./node-link.ts";
import type { LinkTuning } from "./proxy.ts";

/** What the first thread asks of the others. They answer each, by its number, in any order; and do what concerns one link in the order asked. */
export type Ask = { readonly id: number; readonly link: string } & (
  | { readonly what: "open"; readonly options: NodeLinkOptions }
  | { readonly what: "backends"; readonly backends: readonly Backend[] }
  | { readonly what: "tuning"; readonly tuning: Partial<LinkTuning> }
  | { readonly what: "stats" }
  | { readonly what: "close"; readonly drainMs: number }
  /** Ends the drain time of a `close`. */
  | { readonly what: "cut" }
);

export interface Answer {
  readonly id: number;
  /** Of `stats`; undefined for all else, and where this thread could not open the link. */
  readonly value: unknown;
}

/** One further thread of the data plane: carries its share of the connections of the first one's links. */
export function serveThread(port: MessagePort, parts: NodeProxyParts): void {
  const links = new Map<string, Promise<NodeLink | undefined>>();
  const cuts = new Map<string, AbortController>();
  port.on("message", async (ask: Ask) => {
    const { id, link: name } = ask;
    if (ask.what === "open") links.set(name, open(parts, ask.options));
    if (ask.what === "close") cuts.set(name, new AbortController());
    if (ask.what === "cut") cuts.get(name)?.abort();
    const found = links.get(name);
    if (ask.what === "close") links.delete(name);
    const link = await found;
    const value = link === undefined ? undefined : await work(link, ask, cuts.get(name)?.signal);
    if (ask.what === "close") cuts.delete(name);
    const answer: Answer = { id, value };
    port.postMessage(answer);
  });
}

/** The first thread listens already: whatever goes wrong here, connections are taken. */
async function open(
  parts: NodeProxyParts,
  options: NodeLinkOptions,
): Promise<NodeLink | undefined> {
  try {
    return await NodeLink.open(parts, options, () => undefined);
  } catch (error) {
    parts.logger.warn("thread-without-link", { link: options.name, error: errorMessage(error) });
    return undefined;
  }
}

async function work(link: NodeLink, ask: Ask, cut: AbortSignal | undefined): Promise<unknown> {
  switch (ask.what) {
    case "backends":
      return await link.setBackends(ask.backends);
    case "tuning":
      return await link.setTuning(ask.tuning);
    case "stats":
      return await link.stats();
    case "close":
      return await link.close({
        drainMs: ask.drainMs,
        ...(cut === undefined ? {} : { signal: cut }),
      });
    case "open":
    case "cut":
      return undefined;
  }
}
