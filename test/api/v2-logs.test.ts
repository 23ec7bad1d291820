import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { createServer } from "node:net";
import { test } from "node:test";
import { processUnitLogs } from "../../src/api/process-unit-logs.ts";
import type { ErrorBody } from "../../src/api/protocol.ts";
import type { TextProcess, UnitLogs } from "../../src/api/unit-logs.ts";
import { encodeRecord } from "../../src/registry/records.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import type { Cleanup } from "../support/cleanup.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  type ApiWorld,
  type ApiWorldOptions,
  HERE,
  openApiWorld,
  placeUnit,
  putMachine,
  reportState,
} from "./api-world.ts";

const THERE = "bbbb1111bbbb2222cccc3333dddd4444";
const CONTENT = "[Service]\nExecStart=/bin/sleep 1\n";

async function submitAndPlace(world: ApiWorld, name: string, machine: string): Promise<void> {
  await world.registry.apply([{ type: "submit", name, content: CONTENT, desired: "launched" }]);
  await placeUnit(world, name, machine);
}

function errorOf(text: string): Record<string, unknown> {
  return JSON.parse(text).error;
}

/** A free port; nobody listens on it once this has returned. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  assert(typeof address === "object" && address !== null);
  return address.port;
}

/** Two daemons of one cluster; the second listens on TCP. */
const ALIVE_MS = 2_000;

async function openPair(t: Cleanup, logs: UnitLogs, there: Partial<ApiWorldOptions> = {}) {
  const here = await openApiWorld(t);
  const { port } = await openApiWorld(t, {
    store: here.store,
    machineId: THERE,
    logs,
    listen: [{ type: "tcp", host: "127.0.0.1", port: 0, insecure: true }],
    ...there,
  });
  await putMachine(here, HERE);
  await putMachine(here, THERE, { address: "10.0.0.2", api: `127.0.0.1:${port}` });
  return { here, port };
}

/** Notes what was started and stopped. */
function watched(command: readonly string[]): { readonly logs: UnitLogs; running: number } {
  const inner = processUnitLogs({ journalctl: command, systemctl: command });
  const state = { running: 0 };
  const note = (process: TextProcess): TextProcess => {
    state.running += 1;
    void process.exitStatus.then(() => {
      state.running -= 1;
    });
    return process;
  };
  return {
    logs: {
      journal: (options) => note(inner.journal(options)),
      status: (unit) => note(inner.status(unit)),
    },
    get running() {
      return state.running;
    },
  };
}

test("the journal of a unit on this machine comes from a process here", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  await submitAndPlace(world, "a.service", HERE);
  const answer = await world.call(
    "GET",
    "/fleet/v2/units/a.service/journal?lines=all&follow=1&output=json",
  );
  assert.equal(answer.status, 200);
  assert.equal(answer.text, "--unit=a.service --no-pager --lines=all --output=json --follow\n");
});

test("the status of a unit comes with systemctl's exit status", async (t) => {
  const logs = processUnitLogs({ systemctl: ["/bin/sh", "-c", 'echo "$@"; exit 3', "x"] });
  const world = await openApiWorld(t, { logs });
  await putMachine(world, HERE);
  await submitAndPlace(world, "a.service", HERE);
  const answer = await world.call("GET", "/fleet/v2/units/a.service/status");
  assert.equal(answer.text, "status -l --no-pager -- a.service\n");
  assert.equal(answer.headers["fleet-exit-status"], "3");
});

test("a program that cannot be run is said in the text", async (t) => {
  const logs = processUnitLogs({ systemctl: ["/nonexistent/systemctl"] });
  const world = await openApiWorld(t, { logs });
  await putMachine(world, HERE);
  await submitAndPlace(world, "a.service", HERE);
  const answer = await world.call("GET", "/fleet/v2/units/a.service/status");
  assert.equal(answer.headers["fleet-exit-status"], "127");
  assert.match(answer.text, /cannot run \/nonexistent\/systemctl/);
});

test("the journal of a unit on another machine is fetched there", async (t) => {
  const { here } = await openPair(t, processUnitLogs({ journalctl: ["/bin/echo", "there:"] }));
  await submitAndPlace(here, "b.service", THERE);
  const answer = await here.call("GET", "/fleet/v2/units/b.service/journal?lines=5");
  assert.equal(answer.status, 200);
  assert.equal(answer.text, "there: --unit=b.service --no-pager --lines=5 --output=short\n");
});

test("the status of another machine keeps its exit status", async (t) => {
  const { here } = await openPair(t, processUnitLogs({ systemctl: ["/bin/false"] }));
  await submitAndPlace(here, "b.service", THERE);
  const answer = await here.call("GET", "/fleet/v2/units/b.service/status");
  assert.equal(answer.headers["fleet-exit-status"], "1");
});

for (const [what, script] of [
  ["silent", "echo first; exec sleep 1000"],
  ["that prints faster than anyone reads", "exec yes first"],
] as const)
  test(`a client that goes away ends a process on the other machine ${what}`, async (t) => {
    const endless = watched(["/bin/sh", "-c", script, "x"]);
    const { here } = await openPair(t, endless.logs);
    await submitAndPlace(here, "b.service", THERE);
    const outgoing = request({
      socketPath: here.socket,
      path: "/fleet/v2/units/b.service/journal?follow=1",
      agent: false,
    });
    outgoing.end();
    const [response]: IncomingMessage[] = await once(outgoing, "response");
    assert(response !== undefined);
    const [chunk]: unknown[] = await once(response, "data");
    assert.match(String(chunk), /^first\n/);
    assert.equal(endless.running, 1);
    response.destroy();
    await waitFor({
      what: "the process has ended",
      deadlineMs: 10_000,
      everyMs: 10,
      look: () => endless.running,
      until: (running) => running === 0,
    });
  });

test("a global unit's journal is this machine's when it holds it, and any machine's by name", async (t) => {
  const { here } = await openPair(t, processUnitLogs({ journalctl: ["/bin/echo", "there:"] }));
  const content = `${CONTENT}[X-Fleet]\nGlobal=true\n`;
  await here.registry.apply([{ type: "submit", name: "g.service", content, desired: "launched" }]);
  const path = "/fleet/v2/units/g.service/journal";
  for (const machine of [HERE, THERE]) {
    await placeUnit(here, "g.service", machine);
    await reportState(here, "g.service", machine);
  }
  assert.match((await here.call("GET", path)).text, /^--unit/);
  assert.match((await here.call("GET", `${path}?machine=${THERE}`)).text, /^there:/);
});

test("why there is no journal is said with a code", async (t) => {
  const { here, port } = await openPair(t, processUnitLogs({ journalctl: ["/bin/echo"] }));
  const get = async (name: string) => {
    const answer = await here.call("GET", `/fleet/v2/units/${name}/journal`);
    const error: ErrorBody["error"] = JSON.parse(answer.text).error;
    return { status: answer.status, ...error };
  };
  const unknown = await get("unknown.service");
  assert.deepEqual([unknown.status, unknown.code], [404, "not-found"]);

  await here.registry.apply([
    { type: "submit", name: "a.service", content: CONTENT, desired: "launched" },
  ]);
  const unplaced = await get("a.service");
  assert.deepEqual([unplaced.status, unplaced.code], [409, "not-placed"]);

  await placeUnit(here, "a.service", "gone");
  const notKnown = await get("a.service");
  assert.deepEqual([notKnown.status, notKnown.code], [404, "not-found"]);

  await putMachine(here, "quiet", { address: "10.0.0.3" });
  await submitAndPlace(here, "q.service", "quiet");
  const quiet = await get("q.service");
  assert.deepEqual(
    [quiet.status, quiet.code, quiet.machineId, quiet.address],
    [409, "no-api-address", "quiet", "10.0.0.3"],
  );

  const dead = await freePort();
  assert.notEqual(dead, port);
  await putMachine(here, "dead", { address: "10.0.0.4", api: `127.0.0.1:${dead}` });
  await submitAndPlace(here, "d.service", "dead");
  const unreachable = await get("d.service");
  assert.deepEqual(
    [unreachable.status, unreachable.code, unreachable.machineId],
    [502, "machine-unreachable", "dead"],
  );
});

test("a machine that accepts and never answers is given up", async (t) => {
  const mute = createServer().listen(0, "127.0.0.1");
  t.after(() => {
    mute.close();
  });
  await once(mute, "listening");
  const address = mute.address();
  assert(typeof address === "object" && address !== null);
  const clock = new VirtualClock();
  const world = await openApiWorld(t, { clock });
  await putMachine(world, "mute", { api: `127.0.0.1:${address.port}` });
  await submitAndPlace(world, "m.service", "mute");
  const call = world.call("GET", "/fleet/v2/units/m.service/journal");
  await once(mute, "connection");
  await clock.advance(2_500);
  const answer = await call;
  assert.equal(answer.status, 504);
  assert.equal(errorOf(answer.text)["code"], "machine-unreachable");
});

test("a forwarded request is never forwarded again", async (t) => {
  const { here } = await openPair(t, processUnitLogs({ journalctl: ["/bin/echo"] }));
  await submitAndPlace(here, "b.service", THERE);
  const answer = await here.call("GET", "/fleet/v2/units/b.service/journal", {
    headers: { "fleet-forwarded": "1" },
  });
  assert.equal(answer.status, 409);
});

test("entries of several units come as they are, with how it ended last", async (t) => {
  const logs = processUnitLogs({ journalctl: ["/bin/sh", "-c", 'echo "$@"; exit 1', "x"] });
  const world = await openApiWorld(t, { logs });
  await putMachine(world, HERE);
  const answer = await world.call(
    "GET",
    "/fleet/v2/journal?unit=a.service&unit=b%401.service&lines=all&follow=1&since=-1h&grep=a%20b&after=s%3D1&fields=MESSAGE,_PID&priority=err",
  );
  assert.equal(answer.status, 200);
  assert.equal(
    answer.text,
    "--unit=a.service --unit=b@1.service --no-pager --lines=all --output=json --output-fields=MESSAGE,_PID " +
      '--since=-1h --priority=err --grep=a b --after-cursor=s=1 --follow\n{"end":{"exitStatus":1}}\n',
  );
});

test("entries of another machine are fetched there, alive lines included", async (t) => {
  const script = 'echo "{}"; exec sleep 1000';
  const logs = processUnitLogs({ journalctl: ["/bin/sh", "-c", script, "x"] });
  const clock = new VirtualClock();
  const { here } = await openPair(t, logs, { clock });
  const outgoing = request({
    socketPath: here.socket,
    path: `/fleet/v2/journal?unit=a.service&machine=${THERE}&follow=1`,
    agent: false,
  });
  outgoing.end();
  const [response]: IncomingMessage[] = await once(outgoing, "response");
  assert(response !== undefined);
  response.setEncoding("utf8");
  let text = "";
  for await (const chunk of response) {
    text += chunk;
    if (text === "{}\n\n\n") break;
    // The first round after an entry says nothing.
    await clock.advance(text === "{}\n" ? 2 * ALIVE_MS : ALIVE_MS);
  }
  assert.equal(text, "{}\n\n\n");
});

for (const query of [
  "",
  "unit=a",
  "unit=a.service&lines=-1",
  `unit=a.service&grep=${"a".repeat(2_000)}`,
])
  test(`a journal asked for with "${query.slice(0, 30)}" is refused`, async (t) => {
    const world = await openApiWorld(t);
    await putMachine(world, HERE);
    const answer = await world.call("GET", `/fleet/v2/journal?${query}`);
    assert.equal(answer.status, 400, answer.text);
  });

test("history says where units were, also those that are gone", async (t) => {
  const world = await openApiWorld(t);
  const record = {
    entries: [
      { machine: THERE, fromMs: 1, untilMs: 2, why: "drained" },
      { machine: HERE, fromMs: 3 },
    ],
  };
  const entries = [
    { machineId: THERE, fromMs: 1, untilMs: 2, why: "drained" },
    { machineId: HERE, fromMs: 3 },
  ];
  for (const unit of ["b.service", "a.service"]) {
    const operation = {
      type: "put",
      key: world.keys.history(unit),
      value: encodeRecord(record),
    } as const;
    await world.store.transact({ comparisons: [], operations: [operation] });
  }
  const all = await world.call("GET", "/fleet/v2/history");
  assert.deepEqual(JSON.parse(all.text), {
    units: [
      { name: "a.service", entries },
      { name: "b.service", entries },
    ],
  });
  const one = await world.call("GET", "/fleet/v2/history?unit=b.service&unit=absent.service");
  assert.deepEqual(JSON.parse(one.text), { units: [{ name: "b.service", entries }] });
});

test("an action is done by the daemon that has the unit", async (t) => {
  const here = await openApiWorld(t);
  const { port, acts } = await openApiWorld(t, {
    store: here.store,
    machineId: THERE,
    listen: [{ type: "tcp", host: "127.0.0.1", port: 0, insecure: true }],
  });
  await putMachine(here, HERE);
  await putMachine(here, THERE, { address: "10.0.0.2", api: `127.0.0.1:${port}` });
  await submitAndPlace(here, "b.service", THERE);
  const kill = { action: "kill", signal: 9 };
  const answer = await here.call("POST", "/fleet/v2/units/b.service/act", { body: kill });
  assert.equal(answer.status, 204, answer.text);
  assert.deepEqual([here.acts, acts], [[], [["b.service", kill]]]);
  for (const body of ['{"action":"kill"}', '{"action":"kill","signal":0}', '{"action":"start"}']) {
    assert.equal((await here.call("POST", "/fleet/v2/units/b.service/act", { body })).status, 400);
  }
});
