import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import {
  type Config,
  fromEnvironment,
  KEYS,
  loadConfig,
  OBSOLETE,
  parseConfig,
  settingsOf,
} from "../../src/daemon/config.ts";
import { parseDuration } from "../../src/runtime/duration.ts";
import { isFleetError } from "../../src/runtime/errors.ts";

const FILE = "/etc/fleet/fleet.conf";
const parse = (text: string): Config => parseConfig(settingsOf(text, FILE));

describe("fleet.conf", () => {
  test("without anything is a single machine with the embedded registry, and that is an implication", () => {
    const config = parse("");
    assert.equal(config.registry, "embedded");
    assert.equal(config.registryIsImplied, true);
    assert.equal(config.agentTtlMs, 15_000);
  });

  test("etcd_servers mean etcd, in each of the original's notations", () => {
    for (const text of [
      "etcd_servers=http://a:2379,http://b:2379",
      'etcd_servers=["http://a:2379", "http://b:2379"]',
      'etcd_servers="http://a:2379,http://b:2379/"',
    ]) {
      const config = parse(text);
      assert.equal(config.registry, "etcd", text);
      assert.deepEqual(config.etcdServers, ["http://a:2379", "http://b:2379"], text);
    }
  });

  test("reads metadata, durations, addresses and flags", () => {
    const config = parse(
      [
        "# a comment",
        "metadata=disk=ssd, region = eu",
        "agent_ttl=1m30s",
        "listen=0.0.0.0:49153,[::1]:80",
        "insecure=yes",
      ].join("\n"),
    );
    assert.deepEqual(config.metadata, { disk: "ssd", region: "eu" });
    assert.equal(config.agentTtlMs, 90_000);
    assert.deepEqual(config.listen, [
      { host: "0.0.0.0", port: 49_153 },
      { host: "::1", port: 80 },
    ]);
    assert.equal(config.insecure, true);
  });

  test("reads how much of a machine is given away more than once", () => {
    assert.equal(parse("").overcommit, undefined);
    assert.deepEqual(parse("overcommit=1.5").overcommit, { memory: 1.5, cpu: 1.5, tasks: 1.5 });
    const some = parse("overcommit=memory=1.2 cpu=2").overcommit;
    assert.deepEqual(some, { memory: 1.2, cpu: 2, tasks: 1 });
  });

  test("says that certificates are not used where TLS is not wanted", () => {
    const { notes } = parse("insecure=true\ntls_cafile=/ca");
    assert.match(notes.join(), /the files of tls_\* are not used/);
  });

  test("accepts the original's obsolete settings with a note each", () => {
    const { notes } = parse("engine_reconcile_interval=2\nverify_units=true");
    assert.equal(notes.length, 2);
    assert.match(notes[0] ?? "", /fleet\.conf:1: engine_reconcile_interval has no meaning/);
  });

  const refused: readonly [name: string, text: string, message: RegExp][] = [
    ["no factor", "overcommit=0", /overcommit: "0" is not understood/],
    ["no resource", "overcommit=disk=2", /overcommit: "disk=2" is not understood: write a factor/],
    ["unknown setting", "\netcd_severs=http://a:1", /fleet\.conf:2: unknown setting "etcd_severs"/],
    ["section", "[fleet]\nmetadata=a=b", /fleet\.conf:1: \[fleet\]: fleet\.conf has no sections/],
    ["no assignment", "verbosity", /"verbosity" is no setting: write key=value/],
    ["duration without unit", "agent_ttl=15", /agent_ttl: "15" is no duration/],
    ["ttl too short", "agent_ttl=1s", /agent_ttl: 1s is too short/],
    [
      "bad server",
      "etcd_servers=10.0.0.1:2379",
      /etcd_servers: "10.0.0.1:2379" is not of the form/,
    ],
    [
      "certificates for etcd that is asked without TLS",
      "etcd_servers=https://a:1,http://b:1\netcd_cafile=/ca",
      /etcd_cafile: http:\/\/b:1 is asked without TLS/,
    ],
    ["a certificate without its key", "etcd_certfile=/c", /etcd_certfile and etcd_keyfile go/],
    ["a user without password", "etcd_username=root", /etcd_username and etcd_password go/],
    ["registry=etcd without servers", "registry=etcd", /registry=etcd needs etcd_servers/],
    ["unknown registry", "registry=consul", /registry: "consul" is none of embedded, etcd/],
    ["bad metadata", "metadata=disk", /metadata: "disk" is not of the form key=value/],
    ["bad flag", "insecure=maybe", /insecure: "maybe" is neither true nor false/],
    ["no pages", "token_limit=0", /token_limit: 0 is not from 1 to 65535/],
    ["pages beyond tokens", "token_limit=65536", /token_limit: 65536 is not from 1 to 65535/],
    ["bad number", "token_limit=ten", /token_limit: "ten" is not a whole number/],
    ["TCP without TLS", "listen=127.0.0.1:49153", /listen: a TCP address needs tls_cafile/],
    ["a name to answer on", "dns_listen=localhost:53", /dns_listen: "localhost:53" is neither/],
    ["bad address", "listen=49153\ninsecure=true", /listen: "49153" is not of the form HOST:PORT/],
    ["bad prefix", "etcd_key_prefix=fleet", /etcd_key_prefix: "fleet" has to begin with/],
    ["user units", "systemd_user=true", /systemd_user: units of users are not supported/],
  ];
  for (const [name, text, message] of refused) {
    test(`refuses ${name}, naming it`, () => {
      assert.throws(
        () => parse(text),
        (error) => isFleetError(error, "config-invalid") && message.test(error.message),
      );
    });
  }
});

describe("systemd/fleet.conf", () => {
  const text = readFileSync(join(import.meta.dirname, "../../systemd/fleet.conf"), "utf8");
  const shown = [...text.matchAll(/^#([a-z_]+)=(.*)$/gm)].map(
    ([, key = "", value = ""]) => [key, value] as const,
  );

  test("shows every setting once, obsolete ones too, and no other", () => {
    const known = [...KEYS, ...Object.keys(OBSOLETE)];
    assert.deepEqual(shown.map(([key]) => key).sort(), known.sort());
    assert.equal(text.match(/^[^#\n]/m), null, "all of it is commented out");
  });

  test("shows values that are taken, in the file and in the environment", () => {
    const all = parse(shown.map(([key, value]) => `${key}=${value}`).join("\n"));
    assert.equal(all.notes.length, Object.keys(OBSOLETE).length);
    const env = Object.fromEntries(
      shown.map(([key, value]) => [`FLEET_${key.toUpperCase()}`, value]),
    );
    const { notes, ...fromFile } = all;
    const { notes: others, ...fromEnv } = parseConfig(fromEnvironment(env));
    assert.deepEqual(fromEnv, fromFile);
    assert.equal(others.length, notes.length);
  });

  test("shows defaults where it does not show an example", () => {
    const examples =
      /^(etcd_(?!key_prefix|username|password)|metadata|start_parallelism|listen|tls_|skydns_prefix|sync_(source|keyring|secret))/;
    const { notes, ...defaults } = parse("");
    const settings = shown.filter(
      ([key]) =>
        !examples.test(key) && !(key in OBSOLETE) && key !== "registry" && key !== "overcommit",
    );
    const { notes: none, ...written } = parse(
      settings.map(([key, value]) => `${key}=${value}`).join("\n"),
    );
    assert.deepEqual(written, defaults);
    assert.deepEqual([notes, none], [[], []]);
  });
});

describe("loadConfig()", () => {
  const directory = mkdtempSync(join(tmpdir(), "fleet-config-"));
  after(() => rmSync(directory, { recursive: true }));

  test("lets the environment win over the file", () => {
    const file = join(directory, "fleet.conf");
    writeFileSync(file, "agent_ttl=20s\nmetadata=a=b\n");
    const config = loadConfig(file, { FLEET_AGENT_TTL: "30s", FLEET_SOMETHING: "else" });
    assert.equal(config.agentTtlMs, 30_000);
    assert.deepEqual(config.metadata, { a: "b" });
  });

  test("refuses a file that is named and missing", () => {
    assert.throws(
      () => loadConfig(join(directory, "none.conf"), {}),
      (error) =>
        isFleetError(error, "config-invalid") && /cannot read .*none\.conf/.test(error.message),
    );
  });
});

test("parseDuration() reads Go's notation and nothing else", () => {
  const table: readonly [string, number | undefined][] = [
    ["15s", 15_000],
    ["1m30s", 90_000],
    ["500ms", 500],
    ["0.5s", 500],
    ["2h", 7_200_000],
    ["15", undefined],
    ["s", undefined],
    ["-1s", undefined],
    ["1s ", undefined],
  ];
  for (const [text, ms] of table) assert.equal(parseDuration(text), ms, text);
});
