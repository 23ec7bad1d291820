import * as v from "valibot";
import type { Endpoint } from "../services/endpoint.ts";
import type { KnownEndpoint } from "./known-endpoints.ts";

const text = v.string();
const saved = v.record(
  text,
  v.array(
    v.object({
      service: text,
      instance: text,
      host: text,
      port: v.number(),
      protocol: v.picklist(["tcp", "udp"]),
      health: v.picklist(["unknown", "passing", "failing", "draining"]),
      detail: text,
      weight: v.number(),
      priority: v.number(),
      tags: v.record(text, text),
      unit: v.exactOptional(text),
      machine: v.exactOptional(text),
      sinceMs: v.number(),
    }),
  ),
);

/** By name of the link: what an ambassador knew, for the one after it. */
export function savedText(known: ReadonlyMap<string, readonly KnownEndpoint[]>): string {
  const entries = [...known].map(([name, list]) => [name, list.map(({ endpoint }) => endpoint)]);
  return JSON.stringify(Object.fromEntries(entries));
}

/** What cannot be read is no loss worth a word: the daemon knows it, too. */
export function readSaved(text: string | undefined): ReadonlyMap<string, readonly Endpoint[]> {
  try {
    const parsed = v.safeParse(saved, JSON.parse(text ?? "{}"));
    return new Map(parsed.success ? Object.entries(parsed.output) : []);
  } catch {
    return new Map();
  }
}
