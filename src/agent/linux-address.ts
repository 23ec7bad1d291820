import { BlockList, isIPv4 } from "node:net";
import type { NetworkInterfaceInfo } from "node:os";

export interface AddressSources {
  /** /proc/net/route: a line per route; numbers in hexadecimal, in the machine's byte order. */
  readonly routes: string;
  /** /proc/net/ipv6_route */
  readonly routes6: string;
  readonly interfaces: Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;
}

/**
 * The first address, IPv4 first, that others can reach on the interface of the default route; empty when there is none. Of several default
 * routes the one with the lowest metric counts.
 */
export function defaultAddress(sources: AddressSources): string {
  const names = [...defaults4(sources.routes), ...defaults6(sources.routes6)];
  const infos = names.flatMap((name) => sources.interfaces[name] ?? []);
  const usable = infos.map((info) => info.address).filter(isUsableAddress);
  return usable.find(isIPv4) ?? usable[0] ?? "";
}

/** Global unicast: neither loopback nor link-local, multicast or unspecified. Private networks are as good as public ones. */
export function isUsableAddress(address: string): boolean {
  return !NOT_USABLE.check(address, isIPv4(address) ? "ipv4" : "ipv6");
}

const NOT_USABLE = new BlockList();
NOT_USABLE.addSubnet("0.0.0.0", 8, "ipv4");
NOT_USABLE.addSubnet("127.0.0.0", 8, "ipv4");
NOT_USABLE.addSubnet("169.254.0.0", 16, "ipv4");
// Multicast, what is reserved, broadcast.
NOT_USABLE.addSubnet("224.0.0.0", 3, "ipv4");
NOT_USABLE.addAddress("::", "ipv6");
NOT_USABLE.addAddress("::1", "ipv6");
NOT_USABLE.addSubnet("fe80::", 10, "ipv6");
NOT_USABLE.addSubnet("ff00::", 8, "ipv6");

const ROUTE_IS_UP = 0x1;
const ROUTE_REJECTS = 0x200;

interface DefaultRoute {
  readonly name: string;
  readonly metric: number;
}

/** Iface Destination Gateway Flags RefCnt Use Metric Mask ... */
function defaults4(text: string): readonly string[] {
  return byMetric(
    rows(text).flatMap((row) => {
      const [name = "", destination, , flags = "", , , metric = "", mask] = row;
      if (destination !== "00000000" || mask !== "00000000" || !isOpen(flags)) return [];
      return [{ name, metric: Number.parseInt(metric, 10) }];
    }),
  );
}

/** Destination its-length Source its-length NextHop Metric RefCnt Use Flags Iface */
function defaults6(text: string): readonly string[] {
  return byMetric(
    rows(text).flatMap((row) => {
      const [destination = "", length, , , , metric = "", , , flags = "", name = ""] = row;
      if (!/^0+$/.test(destination) || length !== "00" || !isOpen(flags)) return [];
      return [{ name, metric: Number.parseInt(metric, 16) }];
    }),
  );
}

function rows(text: string): readonly (readonly string[])[] {
  return text.split("\n").map((line) => line.trim().split(/\s+/));
}

function isOpen(flags: string): boolean {
  const bits = Number.parseInt(flags, 16);
  return (bits & ROUTE_IS_UP) !== 0 && (bits & ROUTE_REJECTS) === 0;
}

function byMetric(routes: readonly DefaultRoute[]): readonly string[] {
  return [...routes].sort((a, b) => a.metric - b.metric).map((route) => route.name);
}
