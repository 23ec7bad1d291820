import assert from "node:assert/strict";
import { test } from "node:test";
import { unitOfCgroup } from "../../src/runtime/own-unit.ts";
import {
  defaultInstance,
  instanceProblem,
  serviceNameProblem,
} from "../../src/services/service-name.ts";

for (const name of ["db", "a", "my-db-2", "0", "x".repeat(63)]) {
  test(`"${name}" is a service's name`, () => assert.equal(serviceNameProblem(name), undefined));
}
for (const name of ["", "Db", "a_b", "-a", "a-", "a.b", "a/b", "x".repeat(64)]) {
  test(`"${name}" is no service's name`, () =>
    assert.notEqual(serviceNameProblem(name), undefined));
}
for (const name of ["web@1.service", "a", "host:80", "A_b-c"]) {
  test(`"${name}" is an instance's name`, () => assert.equal(instanceProblem(name), undefined));
}
for (const name of ["", ".", "..", "a/b", "-a", "a b", "x".repeat(129)]) {
  test(`"${name}" is no instance's name`, () => assert.notEqual(instanceProblem(name), undefined));
}

test("an instance that nobody names is valid, and another one on each machine and port", () => {
  const names = ["a".repeat(32), "b".repeat(32)].flatMap((machine) =>
    [80, 81].map((port) => defaultInstance(machine, port)),
  );
  assert.equal(new Set(names).size, 4);
  for (const name of names) assert.equal(instanceProblem(name), undefined);
});

const CGROUPS: readonly (readonly [string, string | undefined])[] = [
  ["0::/system.slice/db-register.service\n", "db-register.service"],
  [
    "12:cpu:/x.service\n1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n",
    "a.service",
  ],
  ["0::/system.slice/a.service/payload/system.slice/b@1.service/sub\n", "b@1.service"],
  ["2:cpu:/\n1:name=systemd:/system.slice/a.service\n0::/\n", "a.service"],
  ["0::/user.slice/session-1.scope\n", undefined],
  ["", undefined],
];
for (const [text, unit] of CGROUPS) {
  test(`unitOfCgroup() of ${JSON.stringify(text)}`, () => assert.equal(unitOfCgroup(text), unit));
}
