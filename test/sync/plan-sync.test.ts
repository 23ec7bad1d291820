import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { UnitView } from "../../src/cluster/views.ts";
import { inOrder, type PlanSyncOptions, planSync } from "../../src/sync/plan-sync.ts";
import { readUnits, type TreeUnit } from "../../src/sync/read-units.ts";

const OPTIONS: PlanSyncOptions = { source: "main", adopt: false, prune: true, pruneLimit: 0.5 };

function tree(files: Readonly<Record<string, string>>): readonly TreeUnit[] {
  const entries = Object.entries(files).map(([path, content]) => ({ path, content }));
  return readUnits({ files: entries, problems: [] }).units;
}

function service(lines = ""): string {
  return `[Unit]\n${lines}\n[Service]\nExecStart=/bin/true\n`;
}

function view(unit: Pick<TreeUnit, "name"> & Partial<TreeUnit>, fields: Partial<UnitView> = {}) {
  const full: UnitView = {
    name: unit.name,
    identity: 1,
    desired: unit.desired ?? "launched",
    restarts: 0,
    global: false,
    manifest: unit.hash ?? "other",
    hash: "",
    description: "",
    source: { name: "main", path: unit.path ?? unit.name, version: "v", author: "" },
    states: [],
    assigned: [],
    blocked: [],
    ...fields,
  };
  return [unit.name, full] as const;
}

function plan(
  wanted: readonly TreeUnit[],
  views: readonly (readonly [string, UnitView])[],
  options: Partial<PlanSyncOptions> = {},
) {
  const { steps, refused, unchanged } = planSync(wanted, new Map(views), {
    ...OPTIONS,
    ...options,
  });
  return {
    steps: steps.map(({ type, unit }) => `${type} ${unit}`),
    refused: refused.map(({ unit, reason }) => `${unit} ${reason.type}`),
    unchanged,
  };
}

test("planSync() creates, replaces, starts and destroys what is its own", () => {
  const wanted = tree({
    "a.service": service(),
    "b.service": service(),
    "c.service": service(),
    "d.service": service(),
  });
  const [, b, c, d] = wanted;
  assert.ok(b && c && d);
  assert.deepEqual(
    plan(wanted, [
      view({ name: "b.service" }),
      view(c, { desired: "loaded" }),
      view(d),
      view({ name: "old.service" }),
    ]),
    {
      steps: ["create a.service", "replace b.service", "start c.service", "destroy old.service"],
      refused: [],
      unchanged: 1,
    },
  );
});

test("planSync() does not touch what a person or another source submitted, unless it adopts it", () => {
  const wanted = tree({ "a.service": service(), "b.service": service() });
  const [a, b] = wanted;
  assert.ok(a && b);
  const { source: _, ...byPerson } = view(a)[1];
  const other = view(b, { source: { name: "other", path: "b.service", version: "v", author: "" } });
  const views = [[a.name, byPerson] as const, other];
  assert.deepEqual(plan(wanted, views), {
    steps: [],
    refused: ["a.service owned-by-person", "b.service owned-by-source"],
    unchanged: 0,
  });
  assert.deepEqual(plan(wanted, views, { adopt: true }).steps, ["own a.service", "own b.service"]);
  const [lone] = tree({ "z.service": service() });
  assert.ok(lone);
  assert.deepEqual(
    plan([lone], [...views, view(lone)]).refused,
    [],
    "units of others are not pruned",
  );
});

const PRUNES = [
  ["not unless it is said", { prune: false }, 3, 4, ["not-pruned"]],
  ["what is gone", {}, 2, 4, []],
  ["two always", {}, 1, 3, []],
  ["no more than the limit", {}, 2, 5, ["prune-limit", "prune-limit", "prune-limit"]],
  ["more where the limit allows it", { pruneLimit: 1 }, 2, 5, []],
  ["nothing when the tree is empty", { pruneLimit: 1 }, 0, 2, ["tree-empty", "tree-empty"]],
] as const;

for (const [what, options, left, all, reasons] of PRUNES) {
  test(`planSync() prunes: ${what}`, () => {
    const files = Array.from({ length: all }, (_, index) => [`u${index}.service`, service()]);
    const units = tree(Object.fromEntries(files));
    const views = units.map((unit) => view(unit));
    const { refused, steps } = plan(units.slice(0, left), views, options);
    assert.deepEqual(
      refused.map((text) => text.split(" ")[1]),
      reasons,
    );
    assert.equal(steps.length, reasons.length > 0 ? 0 : all - left);
  });
}

test("planSync() says nothing about a tree that the cluster has", () => {
  const units = tree({
    "a@.service": `${service()}[X-Fleet]\nReplicas=3\n`,
    "b.socket": "[Socket]\nListenStream=1\n",
  });
  assert.deepEqual(
    plan(
      units,
      units.map((unit) => view(unit)),
    ),
    { steps: [], refused: [], unchanged: 5 },
  );
});

test("inOrder() puts what others come after before them, whatever the names, and survives circles", () => {
  const names = ["a", "b", "c", "d", "e", "f"];
  const edges = fc.array(fc.tuple(fc.constantFrom(...names), fc.constantFrom(...names)), {
    maxLength: 12,
  });
  fc.assert(
    fc.property(edges, fc.boolean(), (pairs, circles) => {
      const kept = pairs.filter(([from, to]) => circles || from < to);
      const files = names.map((name) => {
        const after = kept.filter(([, to]) => to === name).map(([from]) => `${from}.service`);
        return [`${name}.service`, service(after.map((one) => `After=${one}`).join("\n"))];
      });
      const order = inOrder(tree(Object.fromEntries(files))).map(({ name }) => name);
      assert.equal(new Set(order).size, names.length);
      if (circles) return;
      for (const [from, to] of kept) {
        assert.ok(
          order.indexOf(`${from}.service`) < order.indexOf(`${to}.service`),
          `${from} before ${to}`,
        );
      }
    }),
    { seed: 1, numRuns: 200 },
  );
});
