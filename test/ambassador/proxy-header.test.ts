import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { proxyHeader } from "../../src/ambassador/proxy-header.ts";

const SIGNATURE = "0d0a0d0a000d0a515549540a";

describe("proxyHeader()", () => {
  for (const [title, client, local, expected] of [
    ["IPv4", "192.0.2.1", "198.51.100.2", "2111000cc0000201c6336402aabb0050"],
    [
      "IPv4 on a socket of IPv6",
      "::ffff:192.0.2.1",
      "::ffff:198.51.100.2",
      "2111000cc0000201c6336402aabb0050",
    ],
    [
      "IPv6",
      "2001:db8::1",
      "::",
      `21210024${"20010db8000000000000000000000001"}${"0".repeat(32)}aabb0050`,
    ],
    [
      "IPv6 with an interface",
      "fe80::1%eth0",
      "fe80::2",
      `21210024fe80${"0".repeat(27)}1fe80${"0".repeat(27)}2aabb0050`,
    ],
    [
      "both",
      "192.0.2.1",
      "2001:db8::1",
      `21210024${"0".repeat(20)}ffffc000020120010db8000000000000000000000001aabb0050`,
    ],
  ] as const) {
    it(`names both ends of ${title}`, () => {
      const header = proxyHeader({
        remote: { address: client, port: 0xaabb },
        local: { address: local, port: 80 },
      });
      assert.equal(header.toString("hex"), SIGNATURE + expected);
    });
  }

  it("says that there are no ends for a unix socket", () => {
    assert.equal(proxyHeader(undefined).toString("hex"), `${SIGNATURE}20000000`);
  });
});
