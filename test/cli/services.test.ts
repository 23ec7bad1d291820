import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { linkDot, linkMermaid, linkTree } from "../../src/cli/link-graph.ts";
import { encodeRecord } from "../../src/registry/records.ts";
import type { Endpoint, Link } from "../../src/services/endpoint.ts";
import { PlayedCluster } from "./played-cluster.ts";
import { M1 } from "./views.ts";

let cluster: PlayedCluster;

before(async () => {
  cluster = await PlayedCluster.open();
  await cluster.lead();
  await cluster.addMachine(M1);
});
after(() => cluster.close());

const DB: Endpoint = {
  ...{ service: "db", instance: "one", host: "10.0.0.1", port: 5432, protocol: "tcp" },
  ...{ health: "passing", detail: "", weight: 100, priority: 0, tags: { v: "15" } },
  ...{ unit: "db.service", machine: M1, sinceMs: 0 },
};
const LINK: Link = {
  machine: M1,
  consumer: "app.service",
  services: [
    { service: "db", local: "127.0.0.1:5432/tcp" },
    { service: "cache", local: "" },
  ],
};
/** Behind app.service itself, and outside of the cluster. */
const WEB: Endpoint = { ...DB, service: "web", instance: "w", port: 80, unit: "app.service" };
const { unit: _, machine: __, ...nobodys } = DB;
const MAIL: Endpoint = { ...nobodys, service: "mail", instance: "m", port: 25, health: "unknown" };

async function run(...args: readonly string[]): Promise<readonly [number, string, string]> {
  const { exit, out, err } = await cluster.run(...args);
  return [exit, out, err];
}

async function putDb(): Promise<void> {
  const { service, instance, ...record } = DB;
  const key = cluster.keys.service(service, instance);
  await cluster.write({ type: "put", key, value: encodeRecord(record) });
}

test("services, their endpoints and what is registered by hand", async () => {
  await putDb();
  assert.deepEqual(await run("register", "db/outside", "192.0.2.7:5433", "--weight", "5"), [
    0,
    "Registered db/outside\n",
    "",
  ]);
  assert.deepEqual(await run("services", "--no-legend"), [
    0,
    "db\t2\t2\t1111aaaa.../10.0.0.1,outside\n",
    "",
  ]);
  const fields = "instance,address,health,unit,machine,weight,tags";
  assert.deepEqual(await run("service", "db", "--no-legend", "--fields", fields), [
    0,
    "one\t10.0.0.1:5432/tcp\tpassing\tdb.service\t1111aaaa.../10.0.0.1\t100\tv=15\n" +
      "outside\t192.0.2.7:5433/tcp\tunknown\t-\t\toutside\t\t\t5\t-\n",
    "",
  ]);
  const [, json] = await run("service", "db", "-o", "json");
  assert.deepEqual(JSON.parse(json)[0], DB);
  assert.deepEqual(await run("deregister", "db/outside"), [0, "Deregistered db/outside\n", ""]);
  const [exit, , err] = await run("deregister", "db/one");
  assert.equal(exit, 1);
  assert.match(err, /db\/one is registered by a sidekick on machine 1111aaaa/);
  assert.equal((await run("service", "none"))[0], 3);
});

for (const [args, why] of [
  [["register", "db", "h:1"], /"db" is not of the form SERVICE\/INSTANCE/],
  [["register", "db/a/b", "h:1"], /not of the form SERVICE/],
  [["register", "db/a", "h"], /"h" is not of the form HOST:PORT/],
  [["register", "db/a", "h:70000"], /not of the form HOST:PORT/],
  [["service", "db", "--fields", "nonsense"], /Invalid key in output format: "nonsense"/],
] as const) {
  test(`${args.join(" ")} is wrong usage`, async () => {
    const [exit, , err] = await run(...args);
    assert.equal(exit, 2, err);
    assert.match(err, why);
  });
}

test("links are drawn as a tree, and as what other programs draw", async () => {
  await putDb();
  const value = encodeRecord({ services: LINK.services });
  await cluster.write({ type: "put", key: cluster.keys.link(M1, LINK.consumer), value });
  const [exit, out] = await run("links");
  assert.equal(exit, 0);
  assert.equal(
    out,
    `app.service on 1111aaaa.../10.0.0.1
├─db at 127.0.0.1:5432/tcp
│ └─db.service on 1111aaaa.../10.0.0.1, 10.0.0.1:5432 passing
└─cache
  └─no endpoint
`,
  );
  assert.match((await run("links", "-o", "dot"))[1], /^digraph links {\n/);
  assert.match((await run("links", "-o", "mermaid"))[1], /^flowchart LR\n/);
  const [, json] = await run("links", "-o", "json");
  assert.deepEqual(JSON.parse(json), { links: [LINK], endpoints: [DB] });
});

test("a unit that consumes and is consumed is one box of the picture", () => {
  const graph = { links: [LINK], endpoints: [DB, MAIL, WEB] };
  assert.equal(
    linkDot(graph, () => "m1"),
    `digraph links {
  rankdir=LR
  n0 [label="app.service\\nm1" shape=box]
  n1 [label="db" shape=ellipse]
  n2 [label="cache" shape=ellipse]
  n3 [label="db.service\\nm1" shape=box]
  n4 [label="m\\n10.0.0.1:25" shape=box]
  n5 [label="mail" shape=ellipse]
  n6 [label="web" shape=ellipse]
  n0 -> n1 [label="127.0.0.1:5432/tcp"]
  n0 -> n2 [label=""]
  n1 -> n3 [label="5432 passing"]
  n5 -> n4 [label="25 unknown"]
  n6 -> n0 [label="80 passing"]
}
`,
  );
  assert.match(
    linkMermaid(graph, () => "m1"),
    /^flowchart LR\n {2}n0\["app.service<br>m1"\]\n {2}n1\(\["db"\]\)\n.*n0 -->\|"127.0.0.1:5432\/tcp"\| n1\n {2}n0 --> n2\n/s,
  );
  const tree = linkTree(graph, () => "m1");
  assert.match(tree, /^mail \(nobody is linked to it\)\n└─m outside, 10.0.0.1:25 unknown\n/m);
});
