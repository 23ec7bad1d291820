import { isIPv4, isIPv6 } from "node:net";
import type { SideEnds } from "./node-side.ts";

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const VERSION_2_PROXY = 0x21;
/** "The receiver must use the real endpoints": for clients that have no address. */
const VERSION_2_LOCAL = 0x20;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;

/** What goes ahead of a client's bytes: the PROXY protocol's binary header, https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt. */
export function proxyHeader(ends: SideEnds | undefined): Buffer {
  if (ends === undefined) return header(VERSION_2_LOCAL, 0, Buffer.alloc(0));
  const addresses = [ends.remote, ends.local].map(({ address }) => plainAddress(address));
  const isIPv4Only = addresses.every(isIPv4);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(ends.remote.port, 0);
  ports.writeUInt16BE(ends.local.port, 2);
  const bytes = addresses.map((address) =>
    isIPv4Only ? fourBytes(address) : sixteenBytes(address),
  );
  return header(
    VERSION_2_PROXY,
    isIPv4Only ? TCP_OVER_IPV4 : TCP_OVER_IPV6,
    Buffer.concat([...bytes, ports]),
  );
}

function header(command: number, family: number, rest: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(rest.length);
  return Buffer.concat([Buffer.from([...SIGNATURE, command, family]), length, rest]);
}

/** Sockets that listen on `::` name IPv4 clients `::ffff:192.0.2.1`. */
function plainAddress(address: string): string {
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1];
  return mapped ?? address.replace(/%.*$/, "");
}

function fourBytes(address: string): Buffer {
  return Buffer.from(address.split(".").map(Number));
}

function sixteenBytes(address: string): Buffer {
  if (isIPv4(address))
    return Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), fourBytes(address)]);
  if (!isIPv6(address)) throw new RangeError(`${address} is no address`);
  // A dotted end stands for two groups.
  const text = address.replace(/[\d.]+\.[\d.]+$/, (dotted) =>
    fourBytes(dotted)
      .toString("hex")
      .replace(/^(.{4})/, "$1:"),
  );
  const [head = "", tail] = text.split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":"));
  const [before, after] = [groups(head), groups(tail ?? "")];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  return Buffer.from(
    [...before, ...zeros, ...after].map((group) => group.padStart(4, "0")).join(""),
    "hex",
  );
}
