import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_DEPLOYMENT } from "../../src/units/deployment.ts";
import { validateManifest } from "../../src/units/manifest.ts";
import { problemText } from "../../src/units/unit-problem.ts";

function read(unit: string, ...lines: readonly string[]) {
  const content = `[Service]\nExecStart=/bin/true\n[X-Fleet]\n${lines.join("\n")}\n`;
  const { errors, deployment } = validateManifest(unit, { content, dropIns: [] });
  return { errors: errors.map(problemText), deployment };
}

const GOOD = [
  ["web.service", ["State=loaded"], { state: "loaded" }],
  ["web.service", ["State=inactive", "State=launched"], {}],
  ["web@.service", ["Replicas=3"], { instances: ["1", "2", "3"] }],
  ["web@.service", ["Instances=eu us", "Instances=eu"], { instances: ["eu", "us"] }],
  ["web@2.service", ["Replicas=2"], { instances: ["1", "2"] }],
  [
    "web@.service",
    ["Replicas=1", "MaxUnavailable=2", "MinReadySec=1min 30s"],
    { instances: ["1"], maxUnavailable: 2, minReadyMs: 90_000 },
  ],
  ["web.service", ["OnUpdate=reload"], { onUpdate: "reload" }],
] as const;

for (const [unit, lines, expected] of GOOD) {
  test(`a deployment is read: ${unit} ${lines.join(", ")}`, () => {
    assert.deepEqual(read(unit, ...lines), {
      errors: [],
      deployment: { ...DEFAULT_DEPLOYMENT, ...expected },
    });
  });
}

const BAD = [
  ["web.service", "Replicas=2", /4:1: Replicas= is of no use without a template/],
  ["web.service", "Instances=a", /Instances= is of no use without a template/],
  ["web@.service", "Replicas=0", /whole number from 1/],
  ["web@.service", "Instances=a/b", /no name of an instance/],
  ["web@.service", "Replicas=2\nInstances=a", /Replicas cannot be used with Instances/],
  ["web@.service", "Replicas=2\nGlobal=yes", /Global cannot be used with Replicas/],
  ["web.service", "MaxUnavailable=2", /no use without Global=yes, or in a template/],
  ["web.service", "State=running", /inactive or loaded or launched/],
  ["web.service", "OnUpdate=never", /replace or restart or reload or none/],
] as const;

for (const [unit, line, message] of BAD) {
  test(`a deployment is refused: ${unit} ${line.replace("\n", ", ")}`, () => {
    assert.match(read(unit, line).errors.join("\n"), message);
  });
}
