import assert from "node:assert/strict";
import { test } from "node:test";
import { envFileText, hostsText, type LinkPlace } from "../../src/ambassador/consumer-files.ts";

const DB: LinkPlace = { service: "db", address: { type: "tcp", host: "127.0.0.1", port: 5432 } };
const DNS: LinkPlace = { service: "my-dns", address: { type: "udp", host: "0.0.0.0", port: 53 } };
const SOCKET: LinkPlace = { service: "cache", address: { type: "unix", host: "/run/c", port: 0 } };

test("envFileText() has the variables that docker's links had", () => {
  assert.equal(
    envFileText("app.service", [DB, DNS, SOCKET]),
    `DB_NAME=/app.service/db
DB_PORT=tcp://127.0.0.1:5432
DB_PORT_5432_TCP=tcp://127.0.0.1:5432
DB_PORT_5432_TCP_ADDR=127.0.0.1
DB_PORT_5432_TCP_PORT=5432
DB_PORT_5432_TCP_PROTO=tcp
MY_DNS_NAME=/app.service/my-dns
MY_DNS_PORT=udp://127.0.0.1:53
MY_DNS_PORT_53_UDP=udp://127.0.0.1:53
MY_DNS_PORT_53_UDP_ADDR=127.0.0.1
MY_DNS_PORT_53_UDP_PORT=53
MY_DNS_PORT_53_UDP_PROTO=udp
CACHE_NAME=/app.service/cache
CACHE_SOCKET=/run/c
`,
  );
});

test("envFileText() lets the first link of a service name it, and writes IPv6 as URLs want it", () => {
  const v6: LinkPlace = { service: "db", address: { type: "tcp", host: "::1", port: 5433 } };
  const text = envFileText("a", [v6, DB]);
  assert.match(text, /^DB_PORT=tcp:\/\/\[::1\]:5433$/m);
  assert.match(text, /^DB_PORT_5432_TCP_ADDR=127.0.0.1$/m);
  assert.equal(text.match(/^DB_PORT=/gm)?.length, 1);
});

test("hostsText() changes its own block and nothing else, and is done after once", () => {
  const before = "127.0.0.1 localhost\n";
  const once = hostsText(before, "app", [DB, SOCKET]);
  assert.equal(
    once,
    `127.0.0.1 localhost
# begin fleet-ambassador app
127.0.0.1\tdb db.service.fleet
# end fleet-ambassador app
`,
  );
  assert.equal(hostsText(once, "app", [DB, SOCKET]), once);
  const both = hostsText(`${once}10.0.0.1 other\n`, "second", [DNS]);
  assert.match(both, /10.0.0.1 other\n# begin fleet-ambassador second\n127.0.0.1\tmy-dns /);
  assert.match(hostsText(both, "app", []), /localhost\n10.0.0.1 other\n# begin .* second\n/);
  assert.equal(
    hostsText("", "app", []),
    "# begin fleet-ambassador app\n# end fleet-ambassador app\n",
  );
});
