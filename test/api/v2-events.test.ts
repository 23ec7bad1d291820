import assert from "node:assert/strict";
import { type IncomingMessage, request } from "node:http";
import { type TestContext, test } from "node:test";
import type { WatchEvent } from "../../src/api/protocol.ts";
import type { UnitView } from "../../src/cluster/views.ts";
import { deleteKey, putRecord } from "../support/virtual-world.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  type ApiWorld,
  checkEvent,
  HERE,
  openApiWorld,
  placeUnit,
  putMachine,
  reportState,
} from "./api-world.ts";

const CONTENT = "[Unit]\nDescription=Sleeps\n[Service]\nExecStart=/bin/sleep 1\n";
const THERE = "bbbb1111bbbb2222cccc3333dddd4444";

interface Event {
  readonly id: string | undefined;
  readonly data: WatchEvent;
}

interface Events {
  readonly response: IncomingMessage;
  /** The next event that is a step, not a notice. */
  next(): Promise<Step>;
  close(): void;
}

type Step = Exclude<WatchEvent, { type: "notices" }> & { readonly id: string | undefined };

async function watch(
  t: TestContext,
  world: ApiWorld,
  query: string,
  after?: string,
): Promise<Events> {
  const headers = after === undefined ? {} : { "last-event-id": after };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const path = `/fleet/v2/watch?${query}`;
    const target = { socketPath: world.socket, path, agent: false as const, headers };
    request(target, resolve).once("error", reject).end();
  });
  response.on("error", () => undefined);
  t.after(() => response.destroy());
  assert.equal(response.statusCode, 200);
  assert.equal(response.headers["content-type"], "text/event-stream");
  const events = eventsOf(response);
  return {
    response,
    next: async () => {
      for (;;) {
        const { value } = await events.next();
        assert(value !== undefined, "the stream ended");
        if (value.data.type !== "notices") return { ...value.data, id: value.id };
      }
    },
    close: () => response.destroy(),
  };
}

async function* eventsOf(response: IncomingMessage): AsyncGenerator<Event, undefined> {
  response.setEncoding("utf8");
  let rest = "";
  for await (const chunk of response) {
    const parts = `${rest}${chunk}`.split("\n\n");
    rest = parts.pop() ?? "";
    for (const part of parts) {
      if (part.startsWith(":")) continue;
      const fields = new Map(
        part.split("\n").map((line) => line.split(/: (.*)/s, 2) as [string, string]),
      );
      const data: WatchEvent = JSON.parse(fields.get("data") ?? "");
      assert.equal(fields.get("event"), data.type);
      checkEvent(data);
      yield { id: fields.get("id"), data };
    }
  }
  return undefined;
}

const submit = (name: string, more = "") =>
  ({
    type: "submit",
    name,
    content: `${CONTENT}${more}`,
    desired: "launched",
    replace: true,
  }) as const;

const names = (step: Step) => (step.units ?? []).map(({ name }) => name);

test("a stream of units begins with all of them, then tells of changes and states", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  await world.registry.apply([submit("a.service"), submit("b.service")]);
  const events = await watch(t, world, "unit=a.service&unit=missing.service");
  const first = await events.next();
  assert.equal(first.type, "snapshot");
  assert.equal(first.why, "start");
  assert.equal(first.id, String(first.revision));
  assert.deepEqual(names(first), ["a.service"]);

  await world.registry.apply([submit("b.service", "# not watched\n"), submit("missing.service")]);
  const made = await events.next();
  assert.deepEqual([made.type, names(made)], ["change", ["missing.service"]]);
  assert(made.revision > first.revision);

  await placeUnit(world, "a.service", HERE);
  await reportState(world, "a.service", HERE);
  let unit: UnitView | undefined;
  while (unit?.states[0]?.active !== "active") unit = (await events.next()).units?.[0];
  await world.registry.apply([{ type: "destroy", name: "missing.service" }]);
  assert.deepEqual((await events.next()).gone, ["missing.service"]);
});

test("who resumes is sent what changed meanwhile, once, and what is gone", async (t) => {
  const world = await openApiWorld(t);
  await world.registry.apply(["a", "b", "c", "d"].map((name) => submit(`${name}.service`)));
  const before = await watch(t, world, "all=1");
  const { id } = await before.next();
  before.close();
  await world.registry.apply([submit("b.service", "# 2\n")]);
  await world.registry.apply([submit("b.service", "# 3\n"), submit("e.service")]);
  await world.registry.apply([{ type: "destroy", name: "c.service" }]);
  const after = await watch(t, world, "all=1", id);
  const missed = await after.next();
  assert.deepEqual(
    [missed.type, names(missed), missed.gone],
    ["change", ["b.service", "e.service"], ["c.service"]],
  );
  after.close();
  // With nothing in between it hears that, and then of the next change.
  const again = await watch(t, world, "all=1", missed.id);
  const nothing = await again.next();
  assert.deepEqual([nothing.type, nothing.units, nothing.gone], ["change", [], []]);
  await world.registry.apply([submit("d.service", "# 2\n")]);
  assert.deepEqual(names(await again.next()), ["d.service"]);
});

test("a revision that the registry has forgotten, or never had, means a snapshot that says so", async (t) => {
  const world = await openApiWorld(t);
  await world.registry.apply([submit("a.service")]);
  const { id } = await (await watch(t, world, "all=1")).next();
  await world.registry.apply([submit("b.service")]);
  await world.compact();
  for (const after of [id, "999999999"]) {
    const first = await (await watch(t, world, "all=1", after)).next();
    assert.deepEqual(
      [first.type, first.why, names(first)],
      ["snapshot", "too-old", ["a.service", "b.service"]],
    );
  }
});

test("whatever happens while a client is cut off time and again, it has every change once", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  const known = new Map<string, string>();
  const seen = new Set<string>();
  let id: string | undefined;
  for (let round = 0; round < 30; round += 1) {
    const name = `u${round % 5}.service`;
    const done =
      round % 7 === 6
        ? world.registry.apply([{ type: "destroy", name }])
        : world.registry.apply([
            submit(name, `# ${round}\n`),
            submit("last.service", `# ${round}\n`),
          ]);
    const events = await watch(t, world, "all=1", id);
    await done;
    const [last] = (await world.registry.read.units(["last.service"])).units;
    // Cut after so many events as it takes, or as many as came.
    while (known.get("last.service") !== JSON.stringify(last)) {
      const step = await events.next();
      if (step.type === "snapshot") known.clear();
      for (const unit of step.units ?? []) {
        const text = JSON.stringify(unit);
        assert(!seen.has(text) || step.type === "snapshot", `${unit.name} twice, in ${step.id}`);
        seen.add(text);
        known.set(unit.name, text);
      }
      for (const gone of step.gone) assert(known.delete(gone), `${gone} went twice`);
      id = step.id;
    }
    events.close();
  }
  const final = await watch(t, world, "all=1");
  const { units = [] } = await final.next();
  const now = new Map(units.map((unit) => [unit.name, JSON.stringify(unit)]));
  // The last round's other changes may have come after the last event that was waited for.
  const rest = await watch(t, world, "all=1", id);
  await world.registry.apply([submit("end.service")]);
  for (let step = await rest.next(); ; step = await rest.next()) {
    for (const unit of step.units ?? []) known.set(unit.name, JSON.stringify(unit));
    for (const gone of step.gone) known.delete(gone);
    if (known.delete("end.service")) break;
  }
  assert.deepEqual(new Map([...known].sort()), new Map([...now].sort()));
});

test("a registry that is away is said, and what changed meanwhile is told once it is back", async (t) => {
  const world = await openApiWorld(t);
  await world.registry.apply([submit("a.service"), submit("b.service")]);
  const events = await watch(t, world, "all=1");
  await events.next();
  world.store.away = true;
  const refused = await world.call("GET", "/fleet/v2/watch?all=1");
  assert.equal(refused.status, 503);
  world.store.away = false;
  await world.registry.apply([submit("b.service", "# 2\n")]);
  assert.deepEqual(names(await events.next()), ["b.service"]);
});

test("machines: presence, what operators set, and what was missed", async (t) => {
  const world = await openApiWorld(t);
  await putMachine(world, HERE);
  const events = await watch(t, world, "kind=machines");
  const first = await events.next();
  assert.deepEqual(
    first.machines?.map(({ id }) => id),
    [HERE],
  );
  await putMachine(world, THERE, { address: "10.0.0.2" });
  const came = await events.next();
  assert.deepEqual(
    came.machines?.map(({ id }) => id),
    [THERE],
  );
  events.close();
  const settings = { metadata: {}, cordoned: true, draining: false };
  await putRecord(world.store, world.keys.operator(HERE), settings);
  await deleteKey(world.store, world.keys.machine(THERE));
  const missed = await (await watch(t, world, "kind=machines", came.id)).next();
  assert.deepEqual(
    missed.machines?.map(({ id, cordoned }) => [id, cordoned]),
    [[HERE, true]],
  );
  assert.deepEqual(missed.gone, [THERE]);
});

test("services: endpoints that come, change and go", async (t) => {
  const world = await openApiWorld(t);
  const put = (port: number) =>
    world.call("POST", "/fleet/v2/services/db/one/register", { body: { host: "10.0.0.9", port } });
  await put(1);
  const events = await watch(t, world, "kind=services");
  assert.deepEqual(
    (await events.next()).services?.map(({ port }) => port),
    [1],
  );
  await put(2);
  const changed = await events.next();
  assert.deepEqual(
    changed.services?.map(({ port }) => port),
    [2],
  );
  events.close();
  await world.call("POST", "/fleet/v2/services/db/one/deregister", {
    headers: { "content-type": "application/json" },
  });
  const missed = await (await watch(t, world, "kind=services", changed.id)).next();
  assert.deepEqual([missed.type, missed.gone], ["change", ["db/one"]]);
});

const REFUSED = ["", "all=1&unit=a.service", "kind=other&all=1"];

test("wrong questions are refused, and a stream that ends leaves nothing behind", async (t) => {
  const world = await openApiWorld(t);
  for (const query of REFUSED) {
    assert.equal((await world.call("GET", `/fleet/v2/watch?${query}`)).status, 400, query);
  }
  const headers = { "last-event-id": "x" };
  assert.equal((await world.call("GET", "/fleet/v2/watch?all=1", { headers })).status, 400);
  for (const query of ["all=1", "kind=machines", "kind=services"]) {
    const events = await watch(t, world, query);
    await events.next();
    events.close();
  }
  await waitFor({
    what: "nobody listens",
    deadlineMs: 10_000,
    look: () => world.registry.watch.listenerCount + world.registry.services.watch.serviceCount,
    until: (count) => count === 0,
  });
});
