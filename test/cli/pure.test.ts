import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { expandBraces } from "../../src/cli/braces.ts";
import { unitEvents } from "../../src/cli/event-text.ts";
import { formatEntry, unitOfEntry } from "../../src/cli/journal-entry.ts";
import { JOURNAL_FORMATS } from "../../src/cli/journal-formats.ts";
import { LiveMerge, mergeOrdered } from "../../src/cli/journal-merge.ts";
import { judgeHost, knownTypes, parseKnownHosts, storedName } from "../../src/cli/known-hosts.ts";
import { parseHostPort } from "../../src/cli/remote.ts";
import { unifiedDiff } from "../../src/cli/unified-diff.ts";
import { splitMachine } from "../../src/cli/unit-arguments.ts";
import { VirtualClock } from "../../src/runtime/virtual-clock.ts";
import { M1, state, unit } from "./views.ts";

for (const [word, expected] of [
  ["web@{1..3}", "web@1 web@2 web@3"],
  ["{a,b}-{1,2}", "a-1 a-2 b-1 b-2"],
  ["x{08..11}", "x08 x09 x10 x11"],
  ["{3..1}", "3 2 1"],
  ["{c..a}y", "cy by ay"],
  ["{-1..1}", "-1 0 1"],
  ["{alone} {}", "{alone} {}"],
  ["plain", "plain"],
] as const)
  test(`expandBraces() makes of ${word} what bash does`, () => {
    assert.equal(expandBraces(word).join(" "), expected);
  });

test("expandBraces() refuses more than anybody means", () => {
  assert.throws(() => expandBraces("{1..999999999}"), /too many/);
  assert.throws(() => expandBraces("{1..200}{1..200}"), /more than 10000/);
});

for (const [word, expected] of [
  ["global.service@1234", { unit: "global.service", machine: "1234" }],
  ["web@1.service@ab", { unit: "web@1.service", machine: "ab" }],
  ["web@1.service", undefined],
  ["web@1", undefined],
] as const)
  test(`splitMachine() of ${word}`, () => assert.deepEqual(splitMachine(word), expected));

for (const [text, expected] of [
  ["h", "h undefined"],
  ["h:2222", "h 2222"],
  ["[::1]:5", "::1 5"],
  ["[::1]", "::1 undefined"],
  ["fe80::1", "fe80::1 undefined"],
  ["h:port", undefined],
  ["-oProxyCommand=x", undefined],
  ["h:0", undefined],
  ["", undefined],
] as const)
  test(`parseHostPort() of "${text}"`, () => {
    const found = parseHostPort(text);
    assert.equal(found && `${found.host} ${found.port}`, expected);
  });

test("known_hosts: names, ports, patterns, negation, hashes and revoked keys", () => {
  const hash = (name: string) => {
    const salt = Buffer.from("0123456789abcdef0123");
    return `|1|${salt.toString("base64")}|${createHmac("sha1", salt).update(name).digest("base64")}`;
  };
  const lines = [
    "# a comment",
    "a.example,10.0.0.1 ssh-ed25519 KEYA",
    "[a.example]:2222 ssh-rsa KEYP",
    "*.lab,!bad.lab ssh-ed25519 KEYL",
    `${hash("hidden")} ecdsa-sha2-nistp256 KEYH`,
    "@revoked * ssh-ed25519 KEYR",
    "@cert-authority * ssh-ed25519 KEYC",
    "cut off",
  ];
  const known = parseKnownHosts(lines.join("\n"), "f");
  const judge = (host: string, key: string, port = 22) =>
    judgeHost(known, { name: storedName(host, port), key }).type;
  assert.deepEqual(
    [judge("A.example", "KEYA"), judge("10.0.0.1", "KEYA"), judge("a.example", "KEYX")],
    ["known", "known", "changed"],
  );
  assert.deepEqual(
    [judge("a.example", "KEYP", 2222), judge("a.example", "KEYP", 23), judge("x.lab", "KEYL")],
    ["known", "unknown", "known"],
  );
  assert.deepEqual(
    [
      judge("bad.lab", "KEYL"),
      judge("hidden", "KEYH"),
      judge("hidden", "KEYX"),
      judge("z", "KEYC"),
    ],
    ["unknown", "known", "changed", "unknown"],
  );
  assert.equal(judge("a.example", "KEYR"), "revoked");
  assert.deepEqual(knownTypes(known, "hidden"), ["ecdsa-sha2-nistp256"]);
});

const ENTRY = {
  __REALTIME_TIMESTAMP: "1763713167123456",
  __MONOTONIC_TIMESTAMP: "5000001",
  __CURSOR: "s=1",
  _HOSTNAME: "m1",
  SYSLOG_IDENTIFIER: "app",
  _PID: "42",
  _SYSTEMD_UNIT: "a.service",
  MESSAGE: "one\ntwo",
};

test("entries are printed as journalctl does", () => {
  const text = (format: (typeof JOURNAL_FORMATS)[number], more = {}) =>
    formatEntry({ ...ENTRY, ...more }, format, false);
  assert.match(text("short"), /^Nov 2\d \d\d:\d\d:27 m1 app\[42\]: one\n {28,}two$/);
  assert.match(text("short-iso"), /^2025-11-2\dT\d\d:\d\d:27[+-]\d{4} m1 app\[42\]: one\n/);
  assert.match(text("short-precise"), /:27\.123456 m1/);
  assert.match(text("short-unix"), /^1763713167\.123456 m1/);
  assert.match(text("short-monotonic"), /^\[ {4}5\.000001\] m1/);
  assert.match(text("with-unit"), / m1 a\.service\[42\]: one/);
  assert.equal(text("cat"), "one\ntwo");
  assert.deepEqual(JSON.parse(text("json")), ENTRY);
  assert.match(text("verbose"), /\[s=1\]\n[\s\S]* {4}_HOSTNAME=m1\n/);
  assert.equal(text("cat", { MESSAGE: [104, 255] }), "h\ufffd");
  assert.equal(text("cat", { MESSAGE: "a\u0007b" }), "[3B blob data]");
  assert.equal(text("cat", { MESSAGE: "\u001b[31mred\u001b[0m" }), "red");
});

test("any entry can be printed in any format", () => {
  const entry = fc.dictionary(
    fc.constantFrom(...Object.keys(ENTRY), "X"),
    fc.oneof(fc.string(), fc.array(fc.nat(255)), fc.constant(null), fc.array(fc.string())),
  );
  fc.assert(
    fc.property(
      entry,
      fc.constantFrom(...JOURNAL_FORMATS),
      fc.boolean(),
      (value, format, colour) => {
        assert.equal(typeof formatEntry(value, format, colour), "string");
        assert.equal(typeof unitOfEntry(value, new Set(["a"])), "string");
      },
    ),
  );
});

test("mergeOrdered() gives every item of every stream, in order, and goes on without one that fails", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.nat(50)), { maxLength: 5 }),
      fc.boolean(),
      async (lists, fails) => {
        const sorted = lists.map((list) => [...list].sort((a, b) => a - b));
        const streams = sorted.map(async function* (list) {
          yield* list;
        });
        const failing = (async function* (): AsyncGenerator<number> {
          yield 1;
          throw new Error("cut");
        })();
        const errors: number[] = [];
        const got: number[] = [];
        const all = fails ? [...streams, failing] : streams;
        const options = {
          order: (item: number) => item,
          onError: (index: number) => errors.push(index),
        };
        for await (const { item } of mergeOrdered(all, options)) got.push(item);
        const expected = [...sorted.flat(), ...(fails ? [1] : [])].sort((a, b) => a - b);
        assert.deepEqual(got, expected);
        assert.deepEqual(errors, fails ? [streams.length] : []);
      },
    ),
  );
});

test("LiveMerge puts in order what comes close together, and holds nothing back when there is one stream", async () => {
  const clock = new VirtualClock();
  const given: number[] = [];
  const merge = new LiveMerge<number>({
    clock,
    order: (item) => item,
    give: (item) => given.push(item),
  });
  merge.push(3, false);
  merge.push(1, false);
  assert.deepEqual(given, []);
  await clock.advance(25);
  assert.deepEqual(given, [1, 3]);
  merge.push(2, true);
  assert.deepEqual(given, [1, 3, 2]);
  for (let item = 0; item < 5_000; item += 1) merge.push(item, false);
  assert.equal(given.length, 5_003);
});

test("unifiedDiff() is what diff -u prints", () => {
  const before = "a\nb\nc\nd\ne\nf\ng\nh\n";
  const after = "a\nb\nc\nX\ne\nf\ng\nh\ni";
  const names = { beforeName: "old", afterName: "new" };
  assert.equal(
    unifiedDiff({ before, after, ...names }),
    "--- old\n+++ new\n@@ -1,8 +1,9 @@\n a\n b\n c\n-d\n+X\n e\n f\n g\n h\n+i\n\\ No newline at end of file\n",
  );
  assert.equal(unifiedDiff({ before, after: before, ...names }), "");
  assert.equal(
    unifiedDiff({ before: "", after: "x\n", ...names }),
    "--- old\n+++ new\n@@ -0,0 +1 @@\n+x\n",
  );
});

test("unifiedDiff() has both texts in it", () => {
  const text = fc
    .array(fc.constantFrom("a", "b", "c", ""), { maxLength: 40 })
    .map((l) => l.map((x) => `${x}\n`).join(""));
  fc.assert(
    fc.property(text, text, (before, after) => {
      const diff = unifiedDiff({ before, after, beforeName: "o", afterName: "n" });
      const lines = diff
        .split("\n")
        .slice(2, -1)
        .filter((line) => !line.startsWith("@@"));
      const removed = lines.filter((line) => line.startsWith("-")).length;
      const added = lines.filter((line) => line.startsWith("+")).length;
      const length = (value: string) => value.split("\n").length;
      assert.equal(length(after) - length(before), added - removed);
      assert.equal(diff === "", before === after);
    }),
  );
});

test("unitEvents() tells what changed from one view to the next", () => {
  const kinds = (...views: Parameters<typeof unitEvents>) =>
    unitEvents(...views).map(({ event, text }) => `${event}: ${text}`);
  const legend = (id: string) => id.slice(0, 4);
  const placed = unit({ machineId: M1, states: [state()] });
  assert.deepEqual(kinds(undefined, undefined, legend), []);
  assert.deepEqual(kinds(undefined, unit(), legend), ["submitted: submitted, desired launched"]);
  assert.deepEqual(kinds(unit(), placed, legend), [
    "placed: placed on 1111",
    "state: active (running) on 1111",
  ]);
  assert.deepEqual(kinds(placed, placed, legend), []);
  const failed = state({ active: "failed", sub: "failed", result: "exit-code" });
  assert.deepEqual(kinds(placed, { ...placed, restarts: 1, states: [failed] }, legend), [
    "restart: restart asked for",
    "state: failed (failed), result exit-code on 1111",
  ]);
  assert.deepEqual(kinds(placed, { ...placed, states: [] }, legend), ["state: gone from 1111"]);
  assert.deepEqual(kinds(placed, undefined, legend), ["destroyed: destroyed"]);
});
