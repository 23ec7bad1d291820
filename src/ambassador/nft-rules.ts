import { isIPv4, isIPv6 } from "node:net";
import type { Backend } from "./backend.ts";

/** An endpoint of a link, its port known. */
export interface NftEndpoint {
  readonly protocol: "tcp" | "udp";
  readonly host: string;
  readonly port: number;
}

/** A backend that gets a share, and the number that names its counter: names of backends may hold what nftables does not take. */
export interface NftBackend {
  readonly backend: Backend;
  readonly number: number;
}

export interface NftLink {
  /** As nftables has it, see `nftName`. */
  readonly name: string;
  readonly endpoints: readonly NftEndpoint[];
}

export interface NftRules {
  readonly link: NftLink;
  readonly backends: readonly NftBackend[];
}

/** Kept for good once it is there: without it, `route_localnet` lets the network reach what listens on this machine's loopback only. */
export const guardScript = `add table ip fleet_ambassador_guard
delete table ip fleet_ambassador_guard
table ip fleet_ambassador_guard {
  chain guard { type filter hook prerouting priority -310; iifname != "lo" ip daddr 127.0.0.0/8 drop; }
}
`;

/** Letters, digits and `_`: other characters by their code. */
export function nftName(name: string): string {
  return name.replace(/[^A-Za-z0-9]/g, (other) => `_${other.charCodeAt(0).toString(16)}`);
}

export function removeTableScript(table: string): string {
  return `add table inet ${table}\ndelete table inet ${table}\n`;
}

/**
 * The whole table anew, in one transaction: the kernel goes from the old rules to the new ones at once, and connections it translates
 * already stay translated. Counters begin at 0.
 */
export function tableScript(table: string, links: readonly NftRules[]): string {
  const lines = [
    removeTableScript(table),
    `table inet ${table} {
  chain output { type nat hook output priority -100; }
  chain prerouting { type nat hook prerouting priority -100; }
  chain postrouting { type nat hook postrouting priority 100; }
}`,
  ];
  for (const { link, backends } of links) {
    for (const { number } of backends) {
      lines.push(`add counter inet ${table} ${counterName(link, number)}`);
    }
    for (const [index, endpoint] of link.endpoints.entries()) {
      const chain = `link_${link.name}_${index}`;
      lines.push(
        `add chain inet ${table} ${chain}`,
        ...shares({ table, chain, link, endpoint, backends }),
      );
      for (const hook of isLoopback(endpoint.host) ? ["output"] : ["output", "prerouting"]) {
        lines.push(`add rule inet ${table} ${hook} ${destination(endpoint)} goto ${chain}`);
      }
      lines.push(
        `add rule inet ${table} postrouting ${translated(endpoint)} oifname != "lo" masquerade`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

export function counterName(link: NftLink, number: number): string {
  return `conn_${link.name}_${number}`;
}

/** Whether the kernel can send there what came to that endpoint: it does not translate between IPv4 and IPv6. */
export function canReach(endpoint: NftEndpoint, backend: Backend): boolean {
  return isIPv4(endpoint.host) ? isIPv4(backend.host) : isIPv6(backend.host);
}

export function isLoopback(host: string): boolean {
  return host === "::1" || (isIPv4(host) && host.startsWith("127."));
}

/** One rule per unit of weight would be long; a map of ranges gives each backend its part of a counter that goes round. */
function shares(parts: {
  readonly table: string;
  readonly chain: string;
  readonly link: NftLink;
  readonly endpoint: NftEndpoint;
  readonly backends: readonly NftBackend[];
}): readonly string[] {
  const { table, chain, link, endpoint } = parts;
  const backends = parts.backends.filter(({ backend }) => canReach(endpoint, backend));
  if (backends.length === 0) {
    // A flow that the kernel once let pass untranslated would stay so. TCP falls through to a socket that refuses.
    return endpoint.protocol === "udp" ? [`add rule inet ${table} ${chain} drop`] : [];
  }
  const lines: string[] = [];
  const ranges: string[] = [];
  let total = 0;
  for (const { backend, number } of backends) {
    const own = `${chain}_${number}`;
    const family = isIPv4(backend.host) ? "ip" : "ip6";
    const to = isIPv4(backend.host) ? backend.host : `[${backend.host}]`;
    lines.push(`add chain inet ${table} ${own}`);
    lines.push(
      `add rule inet ${table} ${own} meta l4proto ${endpoint.protocol} ` +
        `counter name ${counterName(link, number)} dnat ${family} to ${to}:${backend.port}`,
    );
    ranges.push(`${range(total, total + backend.weight - 1)} : goto ${own}`);
    total += backend.weight;
  }
  return [
    ...lines,
    `add rule inet ${table} ${chain} numgen inc mod ${total} vmap { ${ranges.join(", ")} }`,
  ];
}

function range(first: number, last: number): string {
  return first === last ? String(first) : `${first}-${last}`;
}

function destination({ host, port, protocol }: NftEndpoint): string {
  return `${address(host, "", "daddr")} ${protocol} dport ${port}`;
}

/** The same traffic once its destination was changed. */
function translated({ host, port, protocol }: NftEndpoint): string {
  return `ct status dnat ${address(host, "ct original ", "daddr")} meta l4proto ${protocol} ct original proto-dst ${port}`;
}

function address(host: string, before: string, field: string): string {
  const family = isIPv4(host) ? "ip" : "ip6";
  if (host === "0.0.0.0" || host === "::") {
    return before === ""
      ? `meta nfproto ipv${isIPv4(host) ? 4 : 6} fib daddr type local`
      : `meta nfproto ipv${isIPv4(host) ? 4 : 6}`;
  }
  return `${before}${family} ${field} ${host}`;
}
