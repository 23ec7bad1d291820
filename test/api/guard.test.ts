import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { guard, hostName } from "../../src/api/guard.ts";
import { type ListenSpec, makeServer } from "../../src/api/listen.ts";
import { processUnitLogs } from "../../src/api/process-unit-logs.ts";
import { startApi } from "../../src/api/server.ts";
import { previewPlan } from "../../src/engine/preview.ts";
import { silentLogger } from "../../src/runtime/logger.ts";
import { systemClock } from "../../src/runtime/system-clock.ts";
import { openApiWorld, send } from "./api-world.ts";

const JSON_TYPE = ["application/json"];

const CASES: readonly (readonly [
  entrance: "unix" | "tcp",
  method: string,
  host: string | undefined,
  contentTypes: readonly string[],
  status: number | undefined,
])[] = [
  ["tcp", "GET", "evil.example", [], 403],
  ["tcp", "GET", "evil.example:49153", [], 403],
  ["tcp", "HEAD", "10.0.0.1.evil.example", [], 403],
  ["tcp", "GET", "localhost:49153", [], undefined],
  // Programs that speak HTTP/1.0; a browser always says it.
  ["tcp", "GET", undefined, [], undefined],
  // Another address of this machine, or one that leads to it: a browser sends it only to that address.
  ["tcp", "GET", "192.0.2.7:49153", [], undefined],
  ["tcp", "POST", "192.0.2.7:49153", JSON_TYPE, undefined],
  ["tcp", "POST", "[2001:db8::7]:49153", JSON_TYPE, undefined],
  ["tcp", "POST", "node-1.certified.example", JSON_TYPE, undefined],
  ["tcp", "POST", "10.0.0.1:49153", JSON_TYPE, undefined],
  ["tcp", "POST", "[::1]:49153", JSON_TYPE, undefined],
  ["tcp", "POST", "LOCALHOST", JSON_TYPE, undefined],
  ["tcp", "POST", "evil.example", JSON_TYPE, 403],
  ["tcp", "DELETE", "evil.example", [], 403],
  ["tcp", "PATCH", undefined, JSON_TYPE, 403],
  ["unix", "POST", "anything", JSON_TYPE, undefined],
  ["unix", "DELETE", undefined, [], undefined],
  ["unix", "DELETE", undefined, ["text/plain"], 415],
  ["unix", "POST", undefined, [], 415],
  ["unix", "POST", undefined, ["application/x-www-form-urlencoded"], 415],
  ["unix", "POST", undefined, ["text/plain"], 415],
  ["unix", "PUT", undefined, ["application/json", "application/json"], 415],
];

test("guard() refuses what a web page could make a browser send", () => {
  const hosts = new Set(["localhost", "127.0.0.1", "::1", "10.0.0.1"]);
  for (const [type, method, host, contentTypes, status] of CASES) {
    const isCertified = (name: string) => name === "node-1.certified.example";
    const request = { method, host, contentTypes, hasBody: false, isCertified };
    const refusal = guard({ type, hosts }, request);
    assert.equal(refusal?.status, status, `${type} ${method} ${host} ${contentTypes}`);
  }
});

test("hostName() takes the port off", () => {
  assert.deepEqual(["a.example:1", "[::1]:2", "[::1]", "A.", "10.0.0.1"].map(hostName), [
    "a.example",
    "::1",
    "::1",
    "a",
    "10.0.0.1",
  ]);
});

test("TCP without certificates has to be asked for", () => {
  const spec: ListenSpec = { type: "tcp", host: "127.0.0.1", port: 0 };
  assert.throws(() => makeServer(spec, () => {}), { code: "config-invalid" });
});

test("the socket has the mode asked for, replaces a dead one and not a live one", async (t) => {
  const world = await openApiWorld(t);
  assert.equal(statSync(world.socket).mode & 0o777, 0o600);
  const again = startApi({
    registry: world.registry,
    daemon: {
      machineId: "m",
      version: "1",
      singleMachine: false,
      notices: () => [],
      rejoin: async () => [],
      act: async () => {},
    },
    logs: processUnitLogs(),
    previewPlan,
    clock: systemClock,
    logger: silentLogger,
    listen: [{ type: "unix", path: world.socket, mode: 0o600 }],
  });
  await assert.rejects(again, /another process listens there/);
  assert.equal((await world.call("GET", "/fleet/v2/cluster")).status, 200);
});

test("the socket belongs to the group that may use it", async (t) => {
  const path = join(mkdtempSync(join(tmpdir(), "fleet-group-")), "fleet.sock");
  t.after(() => rmSync(dirname(path), { recursive: true }));
  const world = await openApiWorld(t);
  const listen = (group: string) =>
    startApi({ ...world.context, listen: [{ type: "unix", path, mode: 0o660, group }] });
  const api = await listen("daemon");
  t.after(() => api.close());
  const { mode, gid } = statSync(path);
  const daemon = /^daemon:[^:]*:(\d+):/m.exec(readFileSync("/etc/group", "utf8"))?.[1];
  assert.deepEqual([mode & 0o777, String(gid)], [0o660, daemon]);
  await assert.rejects(listen("no-such-group"), /another process listens|there is no group/);
});

test("on TCP a foreign Host can neither change nor read anything", async (t) => {
  const world = await openApiWorld(t);
  const api = await startApi({
    registry: world.registry,
    daemon: {
      machineId: "m",
      version: "1",
      singleMachine: false,
      notices: () => [],
      rejoin: async () => [],
      act: async () => {},
    },
    logs: processUnitLogs(),
    previewPlan,
    clock: systemClock,
    logger: silentLogger,
    hosts: ["fleet.example"],
    listen: [{ type: "tcp", host: "127.0.0.1", port: 0, insecure: true }],
  });
  t.after(() => api.close());
  const [address] = api.addresses;
  assert(address?.type === "tcp");
  const { port } = address;
  const read = async (host: string) => {
    const target = { host: "127.0.0.1", port, method: "GET", path: "/fleet/v1/units" };
    return (await send(target, { headers: { host } })).status;
  };
  assert.equal(await read("evil.example"), 403);
  assert.equal(await read("fleet.example"), 200);
  const apply = async (host: string) => {
    const target = { host: "127.0.0.1", port, method: "POST", path: "/fleet/v2/apply" };
    const headers = { host, "content-type": "application/json" };
    return (await send(target, { body: { changes: [] }, headers })).status;
  };
  assert.equal(await apply("evil.example"), 403);
  assert.equal(await apply("fleet.example:49153"), 200);
  assert.equal(await apply(`127.0.0.1:${address.port}`), 200);
});
