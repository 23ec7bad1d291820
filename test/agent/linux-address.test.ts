import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { defaultAddress, isUsableAddress } from "../../src/agent/linux-address.ts";

const HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";

function info(address: string) {
  const family = address.includes(":") ? ("IPv6" as const) : ("IPv4" as const);
  const rest = { netmask: "", mac: "", internal: false, cidr: null, scopeid: 0 };
  return { address, ...rest, family } as never;
}

describe("isUsableAddress()", () => {
  for (const [address, usable] of [
    ["192.168.1.12", true],
    ["8.8.8.8", true],
    ["2001:DB8::3", true],
    ["fd00::1", true],
    ["127.0.0.12", false],
    ["::1", false],
    ["169.254.4.87", false],
    ["fe80::12", false],
    ["0.0.0.0", false],
    ["::", false],
    ["239.255.255.250", false],
    ["255.255.255.255", false],
    ["ff02::1", false],
  ] as const) {
    it(`${usable ? "takes" : "refuses"} ${address}`, () => {
      assert.equal(isUsableAddress(address), usable);
    });
  }
});

describe("defaultAddress()", () => {
  const interfaces = {
    lo: [info("127.0.0.1")],
    eth0: [info("fe80::1"), info("2001:db8::5"), info("10.0.0.5")],
    eth1: [info("10.1.0.5")],
    v6: [info("fe80::2"), info("2001:db8::6")],
  };
  const route4 = (name: string, metric: number, flags = "0003") =>
    `${name}\t00000000\t014D0A0A\t${flags}\t0\t0\t${metric}\t00000000\t0\t0\t0\n`;
  const zero = "0".repeat(32);
  const route6 = (name: string, metric: string, flags = "00000003") =>
    `${zero} 00 ${zero} 00 fe800000000000000000000000000001 ${metric} 00000001 00000000 ${flags} ${name}\n`;
  const cases = [
    [
      "IPv4 before IPv6 of the interface of the default route",
      HEADER + route4("eth0", 0),
      "",
      "10.0.0.5",
    ],
    [
      "the route with the lowest metric",
      HEADER + route4("eth0", 200) + route4("eth1", 100),
      "",
      "10.1.0.5",
    ],
    [
      "nothing without a default route",
      `${HEADER}eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n`,
      "",
      "",
    ],
    [
      "nothing over a route that rejects",
      HEADER + route4("eth0", 0, "0203"),
      route6("lo", "ffffffff", "00200200"),
      "",
    ],
    [
      "IPv6 where the default route is of IPv6 only",
      HEADER,
      route6("v6", "00000400"),
      "2001:db8::6",
    ],
    ["nothing of an interface that is gone", HEADER + route4("eth9", 0), "", ""],
  ] as const;
  for (const [what, routes, routes6, address] of cases) {
    it(`gives ${what}`, () => {
      assert.equal(defaultAddress({ routes, routes6, interfaces }), address);
    });
  }
});
