import * as v from "valibot";
import type { Endpoint, Link } from "../services/endpoint.ts";
import type { Keys } from "./keys.ts";
import { decodeRecord, encodeRecord } from "./records.ts";
import type { KeyValue } from "./store.ts";

const text = v.string();
const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));
const share = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));

/** `services/<service>/<instance>`: an endpoint without the names that its key has. */
export const endpointRecord = v.looseObject({
  host: text,
  port,
  protocol: v.picklist(["tcp", "udp"]),
  health: v.picklist(["unknown", "passing", "failing", "draining"]),
  detail: text,
  weight: share,
  priority: share,
  tags: v.record(text, text),
  unit: v.exactOptional(text),
  machine: v.exactOptional(text),
  sinceMs: v.number(),
});

/** `links/<machine>/<consumer>`. */
export const linkRecord = v.looseObject({
  services: v.array(v.looseObject({ service: text, local: text })),
});

/** Undefined for a key that is no endpoint's; throws `record-unreadable`. */
export function readEndpoint(keys: Keys, item: KeyValue): Endpoint | undefined {
  const parsed = keys.parse(item.key);
  if (parsed?.kind !== "services") return undefined;
  const { service, instance } = parsed;
  return { ...decodeRecord(endpointRecord, item.key, item.value), service, instance };
}

export function readLink(keys: Keys, item: KeyValue): Link | undefined {
  const parsed = keys.parse(item.key);
  if (parsed?.kind !== "links") return undefined;
  const { machineId: machine, consumer } = parsed;
  return { ...decodeRecord(linkRecord, item.key, item.value), machine, consumer };
}

/** What `services/<service>/<instance>` holds; the names are in the key. */
export function encodeEndpoint(endpoint: Endpoint): string {
  const { service: _, instance: __, ...record } = endpoint;
  return encodeRecord(record);
}

export function encodeLink({ services }: Link): string {
  return encodeRecord({ services });
}
