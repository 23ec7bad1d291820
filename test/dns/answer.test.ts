import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { answerTo, type DnsQuestion, type NameFacts } from "../../src/dns/answer.ts";
import { parseAskedName } from "../../src/dns/names.ts";
import { type Endpoint, HEALTHS, isUsable } from "../../src/services/endpoint.ts";

const ENDPOINT: Endpoint = {
  service: "db",
  instance: "db-1",
  host: "10.0.0.1",
  port: 5432,
  protocol: "tcp",
  health: "passing",
  detail: "",
  weight: 100,
  priority: 0,
  tags: {},
  sinceMs: 0,
};

function ask(name: string, type: string, facts: NameFacts, turn = 0) {
  return answerTo({ name, type, class: "IN" }, parseAskedName(name), facts, turn);
}

function endpoints(...some: readonly Partial<Endpoint>[]): NameFacts {
  return { type: "endpoints", endpoints: some.map((one) => ({ ...ENDPOINT, ...one })) };
}

/** `CODE data ...`, an SRV as `priority weight port target`. */
function said(name: string, type: string, facts: NameFacts, turn = 0): string {
  const { code, answers } = ask(name, type, facts, turn);
  const data = answers.map((one) => {
    if (one.type === "SOA") return one.type;
    if (one.type !== "SRV") return one.data;
    const { priority, weight, port, target } = one.data;
    return `${priority} ${weight} ${port} ${target}`;
  });
  return [code, ...data].join(", ");
}

describe("parseAskedName()", () => {
  const rows: readonly (readonly [name: string, expected: object])[] = [
    ["db.service.fleet", { type: "service", service: "db" }],
    ["DB.Service.FLEET", { type: "service", service: "db" }],
    ["db-1.db.service.fleet", { type: "service", service: "db", instance: "db-1" }],
    ["m1.local.db.service.fleet", { type: "service", service: "db", instance: "m1.local" }],
    ["_db._tcp.service.fleet", { type: "service", service: "db", protocol: "tcp" }],
    ["_tcp.service.fleet", { type: "branch" }],
    ["db._tcp.service.fleet", { type: "nothing" }],
    ["-.service.fleet", { type: "nothing" }],
    ["web@1.service.unit.fleet", { type: "unit", units: ["web@1.service"] }],
    ["Web.unit.fleet", { type: "unit", units: ["Web.service", "web.service"] }],
    ["a/b.unit.fleet", { type: "unit", units: ["b.service"] }],
    ["m1.machine.fleet", { type: "machine", machine: "m1" }],
    ["fleet", { type: "apex" }],
    ["unit.fleet", { type: "branch" }],
    ["other.fleet", { type: "nothing" }],
    ["a.other.fleet", { type: "nothing" }],
    ["example.org", { type: "outside" }],
    ["notfleet", { type: "outside" }],
    ["1.0.0.10.in-addr.arpa", { type: "outside" }],
    [".", { type: "outside" }],
  ];
  for (const [name, expected] of rows)
    test(`takes ${name} as ${JSON.stringify(expected)}`, () =>
      assert.deepEqual(parseAskedName(name), expected));
});

describe("answerTo()", () => {
  const two = endpoints({}, { instance: "db-2", host: "10.0.0.2" });
  test("gives the addresses of a service, another one first in each turn", () => {
    assert.equal(said("db.service.fleet", "A", two), "NOERROR, 10.0.0.1, 10.0.0.2");
    assert.equal(said("db.service.fleet", "A", two, 1), "NOERROR, 10.0.0.2, 10.0.0.1");
    assert.equal(said("db.service.fleet", "ANY", two), "NOERROR, 10.0.0.1, 10.0.0.2");
  });
  test("gives one instance, by its label", () => {
    const odd = endpoints({}, { instance: "M2@x", host: "10.0.0.2" });
    assert.equal(said("m2-x.db.service.fleet", "A", odd), "NOERROR, 10.0.0.2");
    assert.equal(said("db-3.db.service.fleet", "A", odd), "NXDOMAIN");
  });
  test("gives ports with SRV, and the addresses of their targets", () => {
    const facts = endpoints({ priority: 1 }, { instance: "b", host: "fd00::1", weight: 5 });
    assert.equal(
      said("_db._tcp.service.fleet", "SRV", facts),
      "NOERROR, 0 5 5432 b.db.service.fleet, 1 100 5432 db-1.db.service.fleet",
    );
    const { additionals } = ask("db.service.fleet", "SRV", facts);
    const seen = additionals.map(({ name, type }) => `${type} ${name}`);
    assert.deepEqual(seen, ["AAAA b.db.service.fleet", "A db-1.db.service.fleet"]);
    assert.equal(said("_db._udp.service.fleet", "SRV", facts), "NXDOMAIN");
  });
  test("prefers by priority, and leaves out what should get nothing new", () => {
    const facts = endpoints(
      { health: "failing", host: "10.0.0.1" },
      { health: "draining", host: "10.0.0.2" },
      { weight: 0, host: "10.0.0.3" },
      { priority: 2, host: "10.0.0.4" },
      { priority: 1, host: "10.0.0.5", health: "unknown" },
    );
    assert.equal(said("db.service.fleet", "A", facts), "NOERROR, 10.0.0.5");
  });
  test("says nothing of a service without a usable endpoint, and that there is none without any", () => {
    assert.equal(said("db.service.fleet", "A", endpoints({ health: "failing" })), "NOERROR");
    assert.equal(said("db.service.fleet", "A", endpoints()), "NXDOMAIN");
    assert.equal(said("db.service.fleet", "AAAA", two), "NOERROR");
    assert.equal(said("db.service.fleet", "TXT", two), "NOERROR");
  });
  test("sends on to a host that was registered by name, for now", () => {
    const facts = endpoints({ host: "db.example.org" });
    const { answers } = ask("db.service.fleet", "A", facts);
    const cname = { type: "CNAME", name: "db.service.fleet", ttl: 0, data: "db.example.org" };
    assert.deepEqual(answers, [cname]);
    assert.equal(said("db.service.fleet", "SRV", facts), "NOERROR, 0 100 5432 db.example.org");
  });
  test("lets an endpoint say for how long it may be believed", () => {
    const ttl = (tags: Endpoint["tags"]) =>
      ask("db.service.fleet", "A", endpoints({ tags })).answers[0]?.ttl;
    assert.equal(ttl({}), 2);
    assert.equal(ttl({ "dns-ttl": "30" }), 30);
    assert.equal(ttl({ "dns-ttl": "99999" }), 300);
    assert.equal(ttl({ "dns-ttl": "-1" }), 2);
  });
  test("refuses what is not the cluster's, and fails where the registry was never heard of", () => {
    const outside = { name: "example.org", type: "A", class: "IN" };
    assert.equal(answerTo(outside, parseAskedName("example.org"), two, 0).code, "REFUSED");
    const chaos = { name: "db.service.fleet", type: "TXT", class: "CH" };
    assert.equal(answerTo(chaos, parseAskedName(chaos.name), two, 0).code, "REFUSED");
    assert.equal(said("db.service.fleet", "A", { type: "unknown" }), "SERVFAIL");
    assert.equal(said("fleet", "SOA", { type: "none" }), "NOERROR, SOA");
  });
});

const label = fc.stringMatching(/^[A-Za-z0-9_@-]{1,12}$/);
const anyName = fc
  .tuple(
    fc.array(label, { maxLength: 4 }),
    fc.constantFrom("fleet", "service.fleet", "unit.fleet", "machine.fleet", "org"),
  )
  .map(([labels, end]) => [...labels, end].join("."));
const anyEndpoint: fc.Arbitrary<Endpoint> = fc.record({
  service: fc.constant("db"),
  instance: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9@._:-]{0,80}[A-Za-z0-9]$/),
  host: fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()),
  port: fc.integer({ min: 1, max: 65_535 }),
  protocol: fc.constantFrom("tcp" as const, "udp" as const),
  health: fc.constantFrom(...HEALTHS),
  detail: fc.constant(""),
  weight: fc.integer({ min: 0, max: 3 }),
  priority: fc.integer({ min: 0, max: 3 }),
  tags: fc.constant({}),
  sinceMs: fc.constant(0),
});
const anyFacts: fc.Arbitrary<NameFacts> = fc.oneof(
  fc.record({ type: fc.constantFrom("none" as const, "unknown" as const) }),
  fc.record({
    type: fc.constant("endpoints" as const),
    endpoints: fc.array(anyEndpoint, { maxLength: 6 }),
  }),
  fc.record({
    type: fc.constant("addresses" as const),
    addresses: fc.array(fc.ipV4(), { maxLength: 3 }),
  }),
);
const anyQuestion: fc.Arbitrary<DnsQuestion> = fc.record({
  name: anyName,
  type: fc.constantFrom("A", "AAAA", "SRV", "SOA", "ANY", "PTR", "UNKNOWN_65"),
  class: fc.constantFrom("IN", "IN", "IN", "CH"),
});

test("an answer is either something or a reason to believe there is nothing, whatever is asked", () => {
  fc.assert(
    fc.property(anyQuestion, anyFacts, fc.nat(), (question, facts, turn) => {
      const asked = parseAskedName(question.name);
      const { code, answers, authorities } = answerTo(question, asked, facts, turn);
      const isOurs = code === "NOERROR" || code === "NXDOMAIN";
      if (asked.type === "outside") assert.equal(code, "REFUSED");
      assert.equal(authorities.length, isOurs && answers.length === 0 ? 1 : 0);
      if (code !== "NOERROR") assert.deepEqual(answers, []);
      for (const one of answers) {
        assert.equal(one.name, question.name);
        assert(one.type === question.type || one.type === "CNAME" || question.type === "ANY");
      }
      assert(
        new Set(answers.map((one) => JSON.stringify(one))).size === answers.length ||
          question.type === "SRV",
      );
    }),
  );
});

test("an address is told if and only if a usable endpoint of the best priority has it", () => {
  fc.assert(
    fc.property(fc.array(anyEndpoint, { maxLength: 8 }), fc.nat(), (some, turn) => {
      const name = "db.service.fleet";
      const facts: NameFacts = { type: "endpoints", endpoints: some };
      const { answers } = answerTo(
        { name, type: "ANY", class: "IN" },
        parseAskedName(name),
        facts,
        turn,
      );
      const told = answers.filter(({ type }) => type !== "CNAME").map(({ data }) => data);
      const usable = some.filter(isUsable);
      const best = Math.min(...usable.map(({ priority }) => priority));
      const expected = usable.filter(({ priority }) => priority === best).map(({ host }) => host);
      const addresses = new Set(expected.filter((host) => /^[\d.]+$|:/.test(host)));
      assert.deepEqual(told.toSorted(), [...addresses].sort());
    }),
  );
});
