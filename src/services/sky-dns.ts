import { type Endpoint, isUsable } from "./endpoint.ts";

/** Answers may be kept so long, at most: a resolver that asks again soon follows what moves. */
const TTL_S = 5;

/** Key and value in SkyDNS' form, as CoreDNS' etcd plugin reads it; undefined while nothing should be sent there. */
export function skyDnsEntry(
  endpoint: Endpoint,
  where: { readonly prefix: string; readonly domain: string },
): { readonly key: string; readonly value: string } | undefined {
  if (!isUsable(endpoint)) return undefined;
  const labels = [
    ...where.domain.split(".").reverse(),
    endpoint.service,
    dnsLabel(endpoint.instance),
  ];
  const { host, port, priority, weight } = endpoint;
  const value = JSON.stringify({ host, port, priority: priority + 1, weight, ttl: TTL_S });
  return { key: `${where.prefix}${labels.join("/")}`, value };
}

/** An instance as one label of DNS. */
export function dnsLabel(instance: string): string {
  return instance
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .slice(0, 63);
}
