import assert from "node:assert/strict";
import { request } from "node:http";
import { test } from "node:test";
import type { LinksBody, ServicesBody, ServicesLine } from "../../src/api/protocol.ts";
import { deleteKey, putRecord } from "../support/virtual-world.ts";
import { waitFor } from "../support/wait-for.ts";
import { type ApiWorld, HERE, openApiWorld } from "./api-world.ts";

const RECORD = {
  host: "10.0.0.1",
  port: 80,
  protocol: "tcp",
  health: "passing",
  detail: "",
  weight: 100,
  priority: 0,
  tags: {},
  machine: HERE,
  sinceMs: 0,
};

async function putEndpoint(world: ApiWorld, service: string, instance: string): Promise<void> {
  await putRecord(world.store, world.keys.service(service, instance), RECORD);
}

async function get<T>(world: ApiWorld, path: string): Promise<T> {
  const { status, text } = await world.call("GET", path);
  assert.equal(status, 200, text);
  const body: T = JSON.parse(text);
  return body;
}

async function post(world: ApiWorld, path: string, body: unknown = {}): Promise<string> {
  const { status, text } = await world.call("POST", path, { body });
  return `${status} ${text === "" ? "" : JSON.parse(text).error.code}`.trim();
}

test("services and links are shown as they are registered", async (t) => {
  const world = await openApiWorld(t);
  await putEndpoint(world, "web", "b");
  await putEndpoint(world, "web", "a");
  await putEndpoint(world, "db", "one");
  // Never in the way of the others.
  await putRecord(world.store, world.keys.service("web", "c"), { host: 1 });
  const all = await get<ServicesBody>(world, "/fleet/v2/services");
  const names = ({ endpoints }: ServicesBody) =>
    endpoints.map(({ service, instance }) => `${service}/${instance}`);
  assert.deepEqual(names(all), ["db/one", "web/a", "web/b"]);
  assert.deepEqual(all.endpoints[0], { ...RECORD, service: "db", instance: "one" });
  assert.deepEqual(names(await get(world, "/fleet/v2/services/db")), ["db/one"]);
  assert.deepEqual(names(await get(world, "/fleet/v2/services/none")), []);
  const services = [{ service: "db", local: "127.0.0.1:5432/tcp" }];
  await putRecord(world.store, world.keys.link(HERE, "app.service"), { services });
  const { links, endpoints } = await get<LinksBody>(world, "/fleet/v2/links");
  assert.deepEqual(links, [{ machine: HERE, consumer: "app.service", services }]);
  assert.equal(endpoints.length, 3);
});

test("what operators register hangs on no lease, and only they take it away", async (t) => {
  const world = await openApiWorld(t);
  const path = "/fleet/v2/services/mail/outside";
  assert.equal(
    await post(world, `${path}/register`, { host: "mail.example.org", port: 25 }),
    "204",
  );
  assert.equal(
    await post(world, `${path}/register`, { host: "192.0.2.7", port: 25, weight: 5 }),
    "204",
  );
  const { endpoints } = await get<ServicesBody>(world, "/fleet/v2/services/mail");
  const [endpoint] = endpoints;
  assert.deepEqual(
    [endpoint?.host, endpoint?.weight, endpoint?.machine, endpoint?.health],
    ["192.0.2.7", 5, undefined, "unknown"],
  );
  const item = (await world.store.read({ range: { key: world.keys.service("mail", "outside") } }))
    .items[0];
  assert.equal(item?.leaseId, undefined);
  assert.equal(await post(world, `${path}/deregister`), "204");
  assert.equal(await post(world, `${path}/deregister`), "404 not-found");
});

test("what a sidekick registered is not an operator's to change", async (t) => {
  const world = await openApiWorld(t);
  await putEndpoint(world, "web", "a");
  const path = "/fleet/v2/services/web/a";
  assert.equal(
    await post(world, `${path}/register`, { host: "10.0.0.9", port: 1 }),
    "409 conflict",
  );
  assert.equal(await post(world, `${path}/deregister`), "409 conflict");
});

for (const [path, body] of [
  ["Web/a", { host: "10.0.0.1", port: 1 }],
  ["web/-a", { host: "10.0.0.1", port: 1 }],
  ["web/a", { host: "10.0.0.1" }],
  ["web/a", { host: "10.0.0.1", port: 70_000 }],
  ["web/a", { host: "not a host", port: 1 }],
] as const) {
  test(`registering ${path} as ${JSON.stringify(body)} is refused`, async (t) => {
    const world = await openApiWorld(t);
    assert.equal(await post(world, `/fleet/v2/services/${path}/register`, body), "400 bad-request");
  });
}

test("a watch of services tells all that is, then every change, and ends with its client", async (t) => {
  const world = await openApiWorld(t);
  await putEndpoint(world, "web", "a");
  const told: ServicesLine[] = [];
  const watch = (services: readonly string[]) => {
    const outgoing = request({
      socketPath: world.socket,
      method: "POST",
      path: "/fleet/v2/watch-services",
      headers: { "content-type": "application/json" },
      agent: false,
    });
    outgoing.on("error", () => undefined);
    outgoing.on("response", (response) => {
      response.setEncoding("utf8").on("error", () => undefined);
      let rest = "";
      response.on("data", (chunk: string) => {
        const lines = `${rest}${chunk}`.split("\n");
        rest = lines.pop() ?? "";
        told.push(...lines.map((line) => JSON.parse(line)));
      });
    });
    outgoing.end(JSON.stringify({ services }));
    return outgoing;
  };
  const shown = () =>
    told
      .flatMap((line) => (line.type === "services" ? [line] : []))
      .map(({ service, endpoints }) => `${service ?? "all"}:${endpoints.map((e) => e.instance)}`);
  const until = (expected: readonly string[]) =>
    waitFor({
      what: `${expected} is told`,
      deadlineMs: 20_000,
      everyMs: 5,
      look: shown,
      until: (seen) => expected.every((line) => seen.includes(line)),
    });
  const streams = [watch(["web", "db"]), watch([])];
  await until(["web:a", "db:", "all:a"]);
  assert.equal(world.store.watches, 3);
  await putEndpoint(world, "db", "one");
  await until(["db:one", "all:one,a"]);
  await deleteKey(world.store, world.keys.service("web", "a"));
  await until(["web:", "all:one"]);
  for (const stream of streams) stream.destroy();
  await waitFor({
    what: "nobody watches any more",
    deadlineMs: 20_000,
    everyMs: 5,
    look: () => world.registry.services.watch.serviceCount,
    until: (count) => count === 0,
  });
  world.store.away = true;
  assert.equal(
    await post(world, "/fleet/v2/watch-services", { services: [] }),
    "503 registry-away",
  );
});
