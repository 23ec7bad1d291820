import assert from "node:assert/strict";
import { test } from "node:test";
import { type CreateInput, type CreateVerb, planCreate } from "../../src/cli/plan-create.ts";
import type { UnitSource } from "../../src/cli/unit-source.ts";
import type { UnitView } from "../../src/cluster/views.ts";
import { type Manifest, manifestHash } from "../../src/units/manifest.ts";
import { templateOf } from "../../src/units/unit-name.ts";
import type { DesiredState } from "../../src/units/unit-state.ts";
import { M1, M2, state, unit } from "./views.ts";

const OLD: Manifest = { content: "[Service]\nExecStart=/old\n", dropIns: [] };
const NEW: Manifest = { content: "[Service]\nExecStart=/new\n", dropIns: [] };

function source(
  name: string,
  files: { own?: Manifest; template?: Manifest; shared?: Manifest } = {},
): UnitSource {
  const { own, template, shared } = files;
  return {
    name,
    path: `units/${name}`,
    own,
    template: template && {
      name: templateOf(name) ?? "",
      path: `units/${templateOf(name)}`,
      shared: shared ?? template,
      manifest: template,
    },
  };
}

function registered(name: string, desired: DesiredState, manifest = OLD): UnitView {
  return unit({ name, desired, manifest: manifestHash(manifest) });
}

function plan(
  verb: CreateVerb,
  sources: readonly UnitSource[],
  units: readonly UnitView[] = [],
  options: Partial<CreateInput> = {},
) {
  const map = new Map(units.map((view) => [view.name, view]));
  return planCreate({ verb, replace: false, sources, registered: map, ...options });
}

test("a new unit is submitted with its file and the state the command wants", () => {
  const sources = [source("a.service", { own: OLD })];
  assert.deepEqual(plan("submit", sources).changes, [
    { type: "submit", name: "a.service", ...OLD },
  ]);
  assert.deepEqual(plan("start", sources).changes, [
    { type: "submit", name: "a.service", ...OLD, desired: "launched" },
  ]);
  assert.equal(plan("load", sources).manifests.get("a.service"), manifestHash(OLD));
});

test("an instance takes its own file, else the registry's template, else the one on disk", () => {
  const template = registered("a@.service", "inactive");
  const content = (files: { own?: Manifest; template?: Manifest }, units: readonly UnitView[]) => {
    const [change] = plan("start", [source("a@1.service", files)], units).changes;
    return change?.type === "submit" ? change.content : undefined;
  };
  assert.equal(content({ own: NEW }, [template]), NEW.content);
  assert.equal(content({ template: OLD }, [template]), undefined);
  assert.equal(content({}, [template]), undefined);
  assert.equal(content({ template: OLD }, []), OLD.content);
});

test("an instance's own drop-ins are sent, though the registry has its template", () => {
  const stored = registered("a@.service", "inactive");
  const manifest = { ...OLD, dropIns: [{ name: "own.conf", content: "[Service]\nA=1\n" }] };
  const sources = [source("a@1.service", { template: manifest, shared: OLD })];
  assert.deepEqual(plan("start", sources, [stored]).changes, [
    { type: "submit", name: "a@1.service", ...manifest, desired: "launched" },
  ]);
  const changed = plan(
    "submit",
    [source("a@1.service", { template: manifest, shared: NEW })],
    [stored],
  );
  assert.match(changed.errors[0]?.error ?? "", /^Unit a@\.service in registry differs/);
});

test("a unit that is sent leniently comes with a warning for each thing passed over", () => {
  const old = { content: "[X-Fleet]\nX-Peers=a\n[Service]\n", dropIns: [] };
  const lenient = plan("submit", [source("a.service", { own: { ...old, lenient: true } })]);
  assert.deepEqual(lenient.changes, [{ type: "submit", name: "a.service", ...old, lenient: true }]);
  assert.deepEqual(lenient.warnings, [
    'WARNING: a.service:2:1: unrecognized requirement in [X-Fleet] section: "X-Peers"',
  ]);
  assert.deepEqual(plan("submit", [source("a.service", { own: old })]).warnings, []);
});

test("what is neither on disk nor in the registry is not found, and nothing is sent", () => {
  const result = plan("start", [
    source("a.service", { own: OLD }),
    source("b.service"),
    source("c@1.service"),
  ]);
  assert.equal(result.exit, 3);
  assert.deepEqual(
    result.errors.map(({ error }) => error),
    [
      "Error creating units: unable to find Unit(b.service) in Registry or on filesystem",
      "Error creating units: failed getting Unit(c@1.service) from template: unable to find template Unit(c@.service) in Registry or on filesystem",
    ],
  );
});

test("submit of an equal file does nothing and says nothing", () => {
  const result = plan(
    "submit",
    [source("a.service", { own: OLD })],
    [registered("a.service", "launched")],
  );
  assert.deepEqual(
    [
      result.exit,
      result.errors.map(({ error }) => error),
      result.warnings,
      result.notes,
      result.changes,
    ],
    [0, [], [], [], []],
  );
});

test("submit refuses the whole command when files differ, naming all of them", () => {
  const result = plan(
    "submit",
    [
      source("new.service", { own: NEW }),
      source("a.service", { own: NEW }),
      source("b@1.service", { template: NEW }),
    ],
    [registered("a.service", "inactive"), registered("b@1.service", "inactive")],
  );
  assert.equal(result.exit, 1);
  assert.deepEqual(
    result.errors.map(({ error }) => error),
    [
      "Unit a.service in registry differs from local unit file units/a.service. Add --replace to override.",
      "Unit b@1.service in registry differs from local template unit file units/b@.service. Add --replace to override.",
    ],
  );
});

test("drop-ins count as content", () => {
  const own = { ...OLD, dropIns: [{ name: "10.conf", content: "[Service]\n" }] };
  const result = plan(
    "submit",
    [source("a.service", { own })],
    [registered("a.service", "inactive")],
  );
  assert.equal(result.exit, 1);
});

test("start and load go on with the registry's content, with a warning", () => {
  const result = plan(
    "start",
    [source("a.service", { own: NEW })],
    [registered("a.service", "inactive")],
  );
  assert.equal(result.exit, 0);
  assert.deepEqual(result.warnings, [
    "WARNING: Unit a.service in registry differs from local unit file units/a.service. Add --replace to override.",
  ]);
  assert.deepEqual(result.changes, [{ type: "desire", name: "a.service", desired: "launched" }]);
});

test("a template on disk that differs from the registry's is warned of, and refused by submit", () => {
  const given = [source("a@1.service", { template: NEW })];
  const units = [registered("a@.service", "inactive")];
  assert.match(
    plan("start", given, units).warnings[0] ?? "",
    /Unit a@.service in registry differs/,
  );
  assert.equal(plan("submit", given, units).exit, 1);
});

test("--replace is allowed by the state the unit is wanted in", () => {
  const allowed: Record<string, boolean> = {};
  for (const verb of ["submit", "load", "start"] as const) {
    for (const desired of ["inactive", "loaded", "launched"] as const) {
      const sources = [source("a.service", { own: NEW })];
      const result = plan(verb, sources, [registered("a.service", desired)], { replace: true });
      allowed[`${verb} ${desired}`] = result.exit === 0;
    }
  }
  assert.deepEqual(allowed, {
    "submit inactive": true,
    "submit loaded": false,
    "submit launched": false,
    "load inactive": true,
    "load loaded": true,
    "load launched": false,
    "start inactive": true,
    "start loaded": true,
    "start launched": true,
  });
});

test("--replace sends the new content with the state", () => {
  const sources = [source("a.service", { own: NEW })];
  const result = plan("start", sources, [registered("a.service", "launched")], { replace: true });
  assert.deepEqual(result.changes, [
    { type: "submit", name: "a.service", ...NEW, desired: "launched", replace: true },
  ]);
  assert.equal(result.manifests.get("a.service"), manifestHash(NEW));
});

test("--replace of an equal file says so and still starts", () => {
  const sources = [source("a.service", { own: OLD })];
  const result = plan("start", sources, [registered("a.service", "loaded")], { replace: true });
  assert.deepEqual(result.notes, ["Found same Unit(a.service) in Registry, nothing to do"]);
  assert.deepEqual(result.changes, [{ type: "desire", name: "a.service", desired: "launched" }]);
});

test("--replace of an instance without files takes the registry's newer template", () => {
  const units = [registered("a@.service", "inactive", NEW), registered("a@1.service", "inactive")];
  const result = plan("submit", [source("a@1.service")], units, { replace: true });
  assert.deepEqual(result.changes, [{ type: "submit", name: "a@1.service", replace: true }]);
});

test("--replace without a file is refused", () => {
  const units = [registered("a.service", "inactive")];
  const result = plan("start", [source("a.service")], units, { replace: true });
  assert.deepEqual(
    [result.exit, result.errors.map(({ error }) => error)],
    [1, ["Error creating units: units/a.service: no such file or directory"]],
  );
});

test("load leaves a launched unit launched and says what to use", () => {
  const result = plan(
    "load",
    [source("a.service", { own: OLD })],
    [registered("a.service", "launched")],
  );
  assert.deepEqual(
    [result.exit, result.errors.map(({ error }) => error)],
    [1, ["Unit a.service is launched; use stop"]],
  );
});

test("a template can be submitted but not started, a bad name not even submitted", () => {
  assert.equal(plan("submit", [source("a@.service", { own: OLD })]).exit, 0);
  assert.deepEqual(
    plan("start", [source("a@.service", { own: OLD })]).errors.map(({ error }) => error),
    ['Error starting units: cannot activate template "a@.service"'],
  );
  assert.equal(plan("submit", [source("a b.service", { own: OLD })]).exit, 2);
});

test("start of a unit that systemd has given up starts it again, and only then", () => {
  const failure = {
    active: "failed",
    result: "start-limit-hit",
    start: { restarts: 0, outcome: "done" },
  } as const;
  const changeFor = (one: Parameters<typeof state>[0], more: Partial<UnitView> = {}) => {
    const view = unit({
      manifest: manifestHash(OLD),
      machineId: M1,
      states: [state({ manifest: manifestHash(OLD), ...one })],
      ...more,
    });
    return plan("start", [source("a.service", { own: OLD })], [view]).changes;
  };
  const desire = [{ type: "desire", name: "a.service", desired: "launched" }];
  assert.deepEqual(changeFor(failure), [{ type: "restart", name: "a.service" }]);
  assert.deepEqual(changeFor({}), desire, "it runs");
  assert.deepEqual(
    changeFor({ ...failure, machineId: M2 }),
    desire,
    "it failed on another machine",
  );
  assert.deepEqual(changeFor({ ...failure, active: "activating" }), desire, "systemd still tries");
  assert.deepEqual(changeFor(failure, { restarts: 1 }), desire, "a start is on its way");
  assert.deepEqual(changeFor(failure, { desired: "loaded" }), desire, "it is started anyway");
  assert.deepEqual(changeFor(failure, { global: true }), desire, "others of it may run");
});
