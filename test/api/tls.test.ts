import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { test } from "node:test";
import { processUnitLogs } from "../../src/api/process-unit-logs.ts";
import { startApi } from "../../src/api/server.ts";
import { makeCertificates } from "../support/certificates.ts";
import { openApiWorld, placeUnit, putMachine } from "./api-world.ts";

const THERE = "bbbb1111bbbb2222cccc3333dddd4444";

test("TCP with certificates lets in who has one, and machines ask each other with theirs", async (t) => {
  const tls = makeCertificates(t);
  const here = await openApiWorld(t, { peers: { tls } });
  const { port } = await openApiWorld(t, {
    store: here.store,
    machineId: THERE,
    logs: processUnitLogs({ journalctl: ["/bin/echo", "there:"] }),
    listen: [{ type: "tcp", host: "127.0.0.1", port: 0, tls }],
  });
  const get = (certificates: object, host = "127.0.0.1") =>
    new Promise<number | undefined>((resolve, reject) => {
      const path = "/fleet/v2/cluster";
      const target = { host: "127.0.0.1", port, path, agent: false as const, headers: { host } };
      const outgoing = request({ ...target, ...certificates }, (response: IncomingMessage) => {
        response.resume();
        resolve(response.statusCode);
      });
      outgoing.once("error", reject);
      outgoing.end();
    });
  assert.equal(await get(tls), 200);
  // A name by which only the certificate calls it.
  const statuses = ["node-1.example:49153", "evil.example"].map((host) =>
    get({ ...tls, servername: "node-1.example" }, host),
  );
  assert.deepEqual(await Promise.all(statuses), [200, 403]);
  await assert.rejects(get({ ca: tls.ca }), /certificate|ECONNRESET|EPIPE/);

  await putMachine(here, THERE, { api: `127.0.0.1:${port}` });
  const content = "[Service]\nExecStart=/bin/true\n";
  await here.registry.apply([{ type: "submit", name: "a.service", content, desired: "launched" }]);
  await placeUnit(here, "a.service", THERE);
  const answer = await here.call("GET", "/fleet/v2/units/a.service/journal");
  assert.match(answer.text, /^there:/);
});

test("a key that is not the certificate's is a mistake in the configuration", async (t) => {
  const [one, other] = [makeCertificates(t), makeCertificates(t)];
  const world = await openApiWorld(t);
  const tls = { ...one, key: other.key };
  const api = startApi({
    ...world.context,
    listen: [{ type: "tcp", host: "127.0.0.1", port: 0, tls }],
  });
  await assert.rejects(api, { code: "config-invalid", message: /cannot be used together: .*mism/ });
});

test("renewed certificates count for new connections, and old ones go on", async (t) => {
  const [before, after] = [makeCertificates(t), makeCertificates(t)];
  const world = await openApiWorld(t);
  const api = await startApi({
    ...world.context,
    listen: [{ type: "tcp", host: "127.0.0.1", port: 0, tls: before }],
  });
  t.after(() => api.close());
  const [address] = api.addresses;
  assert(address?.type === "tcp");
  const { port } = address;
  const get = (agent: Agent, tls: object) =>
    new Promise<number | undefined>((resolve, reject) => {
      const target = { host: "127.0.0.1", port, path: "/fleet/v2/cluster", agent, ...tls };
      request(target, (response) => {
        response.resume().once("end", () => resolve(response.statusCode));
      })
        .once("error", reject)
        .end();
    });
  const [old, fresh] = [1, 2].map(() => new Agent({ keepAlive: true, maxSockets: 1 }));
  assert(old !== undefined && fresh !== undefined);
  t.after(() => {
    old.destroy();
    fresh.destroy();
  });
  assert.equal(await get(old, before), 200);
  assert.throws(() => api.setTls({ ...after, key: "no key" }));
  api.setTls(after);
  assert.equal(await get(old, before), 200);
  assert.equal(await get(fresh, after), 200);
  await assert.rejects(get(new Agent(), before), /certificate|ECONNRESET|EPIPE|alert/);
});
