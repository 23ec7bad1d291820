import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type UnitGraphFacts, unitGraph, unitTree } from "../../src/cli/unit-graph.ts";
import type { Endpoint, Link } from "../../src/services/endpoint.ts";
import { unitRelations } from "../../src/units/unit-relations.ts";
import { PlayedCluster } from "./played-cluster.ts";
import { M1, M2, state, unit } from "./views.ts";

const FILES: Readonly<Record<string, string>> = {
  "app.service": "[Unit]\nWants=amb.service\nAfter=amb.service\n[X-Fleet]\nMachineOf=amb.service\n",
  "amb.service": "[Service]\n",
  "db.service":
    "[Unit]\nRequires=net.service\nAfter=net.service network.target\nWants=reg.service\n[X-Fleet]\nMachineOf=pull.service\n",
  "reg.service": "[Unit]\nPartOf=db.service\nAfter=db.service\n",
  "net.service": "[Unit]\nRequires=pull.service\n[X-Fleet]\nMachineOf=pull.service\n",
  "pull.service": "[Unit]\nBefore=net.service\n",
  "other.service": "[Unit]\nAfter=another.service\n",
};
const ENDPOINT: Endpoint = {
  ...{ service: "db", instance: "one", host: "10.0.0.2", port: 5432, protocol: "tcp" },
  ...{ health: "passing", detail: "", weight: 100, priority: 0, tags: {}, sinceMs: 0 },
  ...{ unit: "db.service", machine: M2 },
};
const LINK: Link = {
  machine: M1,
  consumer: "app.service",
  services: [{ service: "db", local: "127.0.0.1:5432/tcp" }],
};

function facts(more: Readonly<Record<string, string>> = {}): UnitGraphFacts {
  const files = { ...FILES, ...more };
  return {
    units: Object.keys(files).map((name) =>
      unit({ name, states: name === "amb.service" ? [] : [state({ machineId: M2 })] }),
    ),
    relations: new Map(
      Object.entries(files).map(([name, content]) => [
        name,
        unitRelations(name, { content, dropIns: [] }),
      ]),
    ),
    links: [LINK],
    endpoints: [ENDPOINT],
  };
}

function tree(root: string, more?: Readonly<Record<string, string>>): readonly string[] {
  const known = facts(more);
  return unitTree(unitGraph(root, known), known, (id) => id.slice(0, 4))
    .trimEnd()
    .split("\n");
}

test("a consumer's tree goes over its service to all that its backend needs", () => {
  assert.deepEqual(tree("app.service"), [
    "app.service on 5555, active",
    "├─wants amb.service on no machine",
    "└─uses service db at 127.0.0.1:5432/tcp",
    "  └─db.service on 5555, active, 10.0.0.2:5432 passing",
    "    ├─requires net.service on 5555, active",
    "    │ └─requires pull.service on 5555, active",
    "    └─wants reg.service on 5555, active",
  ]);
});

test("the first step's tree shows who needs it, up to the consumer on another machine", () => {
  assert.deepEqual(tree("pull.service"), [
    "pull.service on 5555, active",
    "needed by",
    "└─is required by net.service on 5555, active",
    "  └─is required by db.service on 5555, active",
    "    ├─has the part reg.service on 5555, active",
    "    └─serves service db, 10.0.0.2:5432 passing",
    "      └─is used by app.service on 5555, active at 127.0.0.1:5432/tcp",
  ]);
});

test("a unit that stands alone is one line, and circles of units end", () => {
  assert.deepEqual(tree("other.service"), ["other.service on 5555, active"]);
  assert.deepEqual(
    tree("a.service", {
      "a.service": "[Unit]\nAfter=b.service\n",
      "b.service": "[Unit]\nAfter=a.service\n[X-Fleet]\nMachineOf=a.service\n",
    }),
    [
      "a.service on 5555, active",
      "└─is after b.service on 5555, active",
      "needed by",
      "└─is before b.service on 5555, active",
    ],
  );
  assert.deepEqual(tree("a.service", { "a.service": "[X-Fleet]\nMachineOf=amb.service\n" }), [
    "a.service on 5555, active",
    "└─is on the machine of amb.service on no machine",
  ]);
});

test("only what hangs together is in the graph, each relation once", () => {
  const { nodes, edges } = unitGraph("app.service", facts());
  assert.equal(nodes.length, 7);
  assert(!nodes.some(({ name }) => name === "other.service"));
  const one = edges.find(
    ({ from, to }) => from === "unit net.service" && to === "unit pull.service",
  );
  assert.deepEqual(one?.relations, ["requires", "with", "after"]);
});

let cluster: PlayedCluster;
before(async () => {
  cluster = await PlayedCluster.open();
  await cluster.lead();
  await cluster.addMachine(M1);
});
after(() => cluster.close());

test("graph draws from the registry, in every form", async () => {
  for (const name of ["app.service", "amb.service"]) {
    await writeFile(join(cluster.directory, name), FILES[name] ?? "");
    await cluster.run("submit", join(cluster.directory, name));
  }
  const run = async (...args: readonly string[]) => await cluster.run("graph", ...args);
  const shown = await run("app");
  assert.equal(shown.exit, 0, shown.err);
  assert.equal(shown.out, "app.service on no machine\n└─wants amb.service on no machine\n");
  assert.match(
    (await run("app", "-o", "dot")).out,
    /^digraph units {\n {2}rankdir=LR\n {2}n0 \[label="app.service" shape=box\]/,
  );
  assert.match(
    (await run("app", "-o", "mermaid")).out,
    /^ {2}n0 -->\|"wants<br>after<br>with"\| n1$/m,
  );
  assert.equal(JSON.parse((await run("app", "-o", "json")).out).edges.length, 1);
  assert.equal((await run("none")).exit, 3);
  assert.equal((await run("a", "b")).exit, 2);
});
