import assert from "node:assert/strict";
import { hostname } from "node:os";
import { test } from "node:test";
import { isFleetError } from "../../src/runtime/errors.ts";
import { parseSidekick } from "../../src/sidekick/arguments.ts";

test("parseSidekick() fills in what is not said", () => {
  assert.deepEqual(parseSidekick(["--service", "db", "--port", "5432"]), {
    endpoints: [
      {
        service: "db",
        instance: undefined,
        port: 5432,
        protocol: "tcp",
        host: undefined,
        check: undefined,
        intervalMs: 500,
        timeoutMs: 1_000,
        rise: 2,
        fall: 2,
        weight: 100,
        priority: 0,
        tags: {},
        unit: undefined,
      },
    ],
    drainMs: 5_000,
    socket: "/run/fleet-services.sock",
  });
});

test("parseSidekick() takes several services, and what holds for all of them before the first", () => {
  const { endpoints, drainMs } = parseSidekick(
    "--check unit:app.service --tag a=1 --weight=7 --service web --port 80 --instance x-%H --service dns --port 53/udp --weight 9 --tag b=2=3 --drain 0".split(
      " ",
    ),
  );
  const [web, dns] = endpoints;
  assert.deepEqual([web?.service, web?.port, web?.protocol, web?.weight], ["web", 80, "tcp", 7]);
  assert.deepEqual([dns?.service, dns?.port, dns?.protocol, dns?.weight], ["dns", 53, "udp", 9]);
  assert.equal(web?.instance, `x-${hostname()}`);
  assert.deepEqual(dns?.tags, { a: "1", b: "2=3" });
  for (const one of endpoints) {
    assert.deepEqual(one.check, { type: "unit", unit: "app.service" });
    assert.equal(one.unit, "app.service");
    assert.equal(one.intervalMs, 2_000);
  }
  assert.equal(drainMs, 0);
});

const WRONG: readonly (readonly [string, RegExp])[] = [
  ["", /no service is given/],
  ["--service db", /--service db has no --port/],
  ["--service DB --port 1", /"DB" is no name for a service/],
  ["--service db --port 0", /--port "0" is none/],
  ["--service db --port 70000", /--port "70000" is none/],
  ["--service db --port 1/sctp", /--port "1\/sctp" is none/],
  ["--service db --port 1 --port 2", /has two ports/],
  ["--service db --port 1 --service db --port 1", /db\/:1 is given twice/],
  ["--service db --port 1 --check ping", /--check "ping" is none of/],
  ["--service db --port 1 --check http:health", /--check "http:health" is none of/],
  ["--service db --port 1/udp --check tcp", /cannot check 1\/udp/],
  ["--service db --port 1 --interval 1", /--interval "1" is no time/],
  ["--service db --port 1 --interval 1ms", /too short: at least 50ms/],
  ["--service db --port 1 --rise 0", /--rise "0" is no number from 1/],
  ["--service db --port 1 --weight 70000", /--weight "70000" is no number/],
  ["--service db --port 1 --tag x", /--tag "x" is not of the form/],
  ["--service db --port 1 --instance a/b", /--instance "a\/b" is no name/],
  ["--service db --port 1 --nonsense", /Unknown option "--nonsense"/],
  ["--service db --port 1 what", /Unexpected argument "what"/],
  ["--service", /--service/],
];
for (const [line, why] of WRONG) {
  test(`parseSidekick() refuses: ${line}`, () => {
    assert.throws(
      () => parseSidekick(line.split(" ").filter(Boolean)),
      (error) => isFleetError(error, "usage") && why.test(error.message),
    );
  });
}
