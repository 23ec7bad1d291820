// Runs in a network namespace of its own: see nft-proxy.real.test.ts.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { it } from "node:test";
import { openNftProxy } from "../../src/ambassador/nft-proxy.ts";
import type { Endpoint, LinkTuning } from "../../src/ambassador/proxy.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { Client, NamedServer, reached } from "../support/proxy-ends.ts";
import { run, runOk } from "../support/run.ts";
import { describeProxyContract } from "./proxy-contract.ts";

const open = (name = "test") => openNftProxy({ name, clock: systemClock });
const TCP = { type: "tcp", host: "127.0.0.1", port: 0 } as const;

describeProxyContract("in the kernel", () => open());

for (const [title, link] of [
  ["the PROXY protocol", { tuning: { proxyProtocol: true } }],
  ["least connections", { tuning: { balance: "least-connections" } }],
  ["holding connections", { tuning: { holdMs: 1 } }],
  ["limits of connections", { tuning: { connectionsMax: 10 } }],
  ["a time to connect", { tuning: { connectTimeoutMs: 10 } }],
  ["unix sockets", { endpoints: [{ type: "unix", path: "/tmp/never" }] }],
  ["sockets handed over", { endpoints: [{ type: "fd", fd: 3, protocol: "stream" }] }],
  ["the loopback of IPv6", { endpoints: [{ ...TCP, host: "::1" }] }],
] as const satisfies readonly (readonly [
  string,
  { tuning?: Partial<LinkTuning>; endpoints?: readonly Endpoint[] },
])[]) {
  it(`the kernel's plane refuses ${title} by name`, async (t) => {
    const plane = await open();
    t.after(() => plane.close());
    await assert.rejects(
      plane.open({ name: "db", endpoints: [TCP], ...link }),
      (error) => isFleetError(error, "proxy-unsupported") && error.message.includes("link db"),
    );
  });
}

it("the kernel's plane refuses backends that have names instead of addresses", async (t) => {
  const plane = await open();
  t.after(() => plane.close());
  const server = await NamedServer.start(t, "a");
  const db = await plane.open({ name: "db", endpoints: [TCP] });
  await assert.rejects(db.setBackends([server.backend({ host: "localhost" })]), (error) =>
    isFleetError(error, "proxy-unsupported"),
  );
});

it("a plane takes away what a killed process of its name left, and nothing of others", async (t) => {
  const server = await NamedServer.start(t, "a");
  const killed = await open("one");
  const other = await open("two");
  t.after(() => other.close());
  const [lost, kept] = [
    await killed.open({ name: "db", endpoints: [TCP] }),
    await other.open({ name: "db", endpoints: [TCP] }),
  ];
  for (const link of [lost, kept]) await link.setBackends([server.backend()]);
  assert.match(await runOk(["nft", "list", "table", "inet", "fleet_ambassador_one"]), /dnat/);
  const next = await open("one");
  assert.doesNotMatch(
    await runOk(["nft", "list", "table", "inet", "fleet_ambassador_one"]),
    /dnat/,
  );
  assert.equal(await reached(t, kept.addresses[0]), "a");
  await next.close();
  assert.notEqual((await run(["nft", "list", "table", "inet", "fleet_ambassador_one"])).code, 0);
  await lost.close();
  await killed.close();
});

it("an address that is not the loopback serves, and reaches, other machines", async (t) => {
  const [peer, name] = ["198.51.100.2", `fleet-nft-${process.pid}`];
  await runOk(["ip", "netns", "add", name]);
  t.after(async () => void (await run(["ip", "netns", "del", name])));
  const lines = [
    `ip link add veth0 type veth peer name veth1 netns ${name}`,
    "ip addr add 198.51.100.1/24 dev veth0 && ip link set veth0 up",
    `ip -n ${name} addr add ${peer}/24 dev veth1 && ip -n ${name} link set veth1 up`,
    `ip -n ${name} link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward`,
  ];
  await runOk(["sh", "-ec", lines.join("\n")]);
  const serve = `require("net").createServer((s) => s.end("peer")).listen(7000, "${peer}", () => console.log("up"))`;
  const child = spawn("ip", ["netns", "exec", name, process.execPath, "-e", serve], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => void child.kill());
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const plane = await open();
  t.after(() => plane.close());
  const endpoints = [TCP, { ...TCP, host: "198.51.100.1" }];
  const db = await plane.open({ name: "db", endpoints });
  await db.setBackends([
    { ...(await NamedServer.start(t, "x")).backend(), host: peer, port: 7000 },
  ]);
  // From here by the loopback, and from the other machine, whose own address the backend is.
  assert.equal(await new Client(t, db.addresses[0]).got(4), "peer");
  const ask = `require("net").connect(${db.addresses[1]?.port}, "198.51.100.1").pipe(process.stdout)`;
  assert.equal(
    await runOk(["ip", "netns", "exec", name, process.execPath, "-e", ask], { deadlineMs: 20_000 }),
    "peer",
  );
});
