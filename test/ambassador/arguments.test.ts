import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAmbassador } from "../../src/ambassador/arguments.ts";
import { isFleetError } from "../../src/runtime/errors.ts";

const LOCALS: readonly (readonly [string, unknown])[] = [
  ["db", { type: "tcp", host: "127.0.0.1", port: undefined }],
  ["db:5432", { type: "tcp", host: "127.0.0.1", port: 5432 }],
  ["dns:53/udp", { type: "udp", host: "127.0.0.1", port: 53 }],
  ["web:0.0.0.0:80", { type: "tcp", host: "0.0.0.0", port: 80 }],
  ["web:[::1]:80/tcp", { type: "tcp", host: "::1", port: 80 }],
  ["db:/run/db.sock", { type: "unix", path: "/run/db.sock" }],
  ["db:fd", { type: "fd", name: "db" }],
  ["db:fd=main", { type: "fd", name: "main" }],
];
for (const [text, local] of LOCALS) {
  test(`--link ${text}`, () => {
    const [link] = parseAmbassador(["--link", text]).links;
    assert.deepEqual(link, { name: text, service: text.split(":")[0], local });
  });
}

test("parseAmbassador() reads further options from a file, which count last", () => {
  const file = "# more\nlink cache:6379\n--hold=3s\nbalance least-connections\nno-wait\n\n";
  const spec = parseAmbassador(["--link", "db:1", "--hold", "1s", "--options", "x"], file);
  assert.deepEqual(
    spec.links.map(({ name }) => name),
    ["db:1", "cache:6379"],
  );
  assert.equal(spec.tuning.holdMs, 3_000);
  assert.equal(spec.tuning.balance, "least-connections");
  assert.equal(spec.wait, false);
});

const WRONG: readonly (readonly [string, RegExp])[] = [
  ["", /no service is given/],
  ["--link DB", /--link "DB" is no name for a service/],
  ["--link db:0", /WHERE is PORT/],
  ["--link db:99999", /WHERE is PORT/],
  ["--link db:1/sctp", /WHERE is PORT/],
  ["--link db:a:b:c", /WHERE is PORT/],
  ["--link db:1 --link db:1", /--link db:1 is given twice/],
  ["--link db --balance random", /--balance "random" is none of round-robin/],
  ["--link db --data-plane iptables", /--data-plane "iptables" is none of node, nft/],
  ["--link db --hold soon", /--hold "soon" is no time/],
  ["--link db --max-connections 0", /--max-connections "0" is no number/],
  ["--link db --consumer a/b", /--consumer "a\/b" is no name/],
  ["--link db --links x", /Unknown option "--links"/],
];
for (const [line, why] of WRONG) {
  test(`parseAmbassador() refuses: ${line}`, () => {
    assert.throws(
      () => parseAmbassador(line.split(" ").filter(Boolean)),
      (error) => isFleetError(error, "usage") && why.test(error.message),
    );
  });
}
