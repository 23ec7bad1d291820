import assert from "node:assert/strict";
import { test } from "node:test";
import { currentState } from "../../src/cluster/current-state.ts";
import { effectiveMetadata } from "../../src/cluster/machine-view.ts";
import { type UnitFacts, unitView } from "../../src/cluster/unit-view.ts";
import type { UnitStateView } from "../../src/cluster/views.ts";

const STATE: Omit<UnitStateView, "machineId"> = {
  identity: 5,
  manifest: "m",
  hash: "h",
  current: "launched",
  load: "loaded",
  active: "active",
  sub: "running",
  result: "success",
  mainPid: 1,
  sinceMs: 0,
};

const FACTS: UnitFacts = {
  name: "a.service",
  identity: 5,
  unit: { desired: "launched", manifest: "m", restarts: 0, global: false },
  placement: { machine: "m1", identity: 5 },
  assignments: new Map([["m1", { identity: 5, target: "launched" as const }]]),
  states: new Map([
    ["m2", { ...STATE, current: "loaded" as const }],
    ["m1", STATE],
  ]),
  blocked: undefined,
};

const SUMMARY = { hash: "sha1", description: "d" };

test("currentState() is fleet's STATE column", () => {
  const facts = { identity: 5, global: false, machineId: "m1", state: STATE };
  assert.equal(currentState(facts), "launched");
  assert.equal(currentState({ ...facts, global: true }), undefined);
  assert.equal(currentState({ ...facts, machineId: undefined }), "inactive");
  assert.equal(currentState({ ...facts, state: undefined }), "inactive");
  assert.equal(currentState({ ...facts, state: { ...STATE, current: "loaded" } }), "loaded");
  assert.equal(currentState({ ...facts, identity: 6 }), "inactive", "an earlier unit's state");
});

test("unitView() shows states of present machines by machine id", () => {
  const view = unitView(FACTS, SUMMARY, new Set(["m1", "m2"]));
  assert.deepEqual(
    view.states.map(({ machineId }) => machineId),
    ["m1", "m2"],
  );
  assert.equal(view.current, "launched");
  const away = unitView(FACTS, SUMMARY, new Set(["m2"]));
  assert.equal(away.current, "inactive");
  assert.deepEqual(away.assigned, [{ machineId: "m1", target: "launched", present: false }]);
});

test("unitView() leaves out what an earlier unit of the same name left behind", () => {
  const reasons = [{ reason: { type: "no-machines" } as const, machines: 0, examples: [] }];
  const now = unitView({ ...FACTS, blocked: { identity: 5, reasons } }, SUMMARY, new Set());
  assert.deepEqual(now.blocked, reasons);
  const facts = { ...FACTS, identity: 9, blocked: { identity: 5, reasons } };
  const view = unitView(facts, SUMMARY, new Set(["m1"]));
  assert.equal(view.machineId, undefined);
  assert.deepEqual([view.assigned, view.blocked, view.current], [[], [], "inactive"]);
});

test("effectiveMetadata() lets operators win over fleet.conf, and hide", () => {
  const machine = {
    address: "",
    automatic: { arch: "x86-64", disk: "auto" },
    metadata: { disk: "hdd", rack: "7" },
    version: "",
    leaving: false,
  };
  const operator = { metadata: { rack: null, zone: "b" }, cordoned: false, draining: false };
  assert.deepEqual(effectiveMetadata({ machine, operator }), {
    arch: "x86-64",
    disk: "hdd",
    zone: "b",
  });
});
