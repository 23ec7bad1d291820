import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { COMMANDS } from "../src/cli/commands.ts";
import { KEYS, OBSOLETE } from "../src/daemon/config.ts";

const PROJECT = join(import.meta.dirname, "..");
const page = (name: string) => readFile(join(PROJECT, "docs", name), "utf8");

/** All that fleet 1.0 had, by the part of its interface. */
const FLEET = {
  commands:
    "cat destroy fd-forward help journal list-machines list-unit-files list-units load restart ssh start status stop submit unload verify version",
  flags:
    "--driver --endpoint --etcd-key-prefix --request-timeout --key-file --cert-file --ca-file --known-hosts-file --strict-host-key-checking " +
    "--ssh-timeout --ssh-username --tunnel --debug --version --help --h --experimental-api --etcd-keyfile --etcd-certfile --etcd-cafile " +
    "--fields --full --l --no-legend --replace --sign --no-block --block-attempts --lines --follow --f --ssh-port --sudo --output --machine --unit --forward-agent --A",
  settings:
    "verbosity etcd_servers etcd_username etcd_password etcd_keyfile etcd_certfile etcd_cafile etcd_key_prefix etcd_request_timeout " +
    "engine_reconcile_interval public_ip metadata agent_ttl units_directory systemd_user token_limit enable_grpc disable_engine disable_watches " +
    "verify_units authorized_keys_file",
  options:
    "MachineID X-ConditionMachineID X-ConditionMachineBootID MachineOf X-ConditionMachineOf MachineMetadata X-ConditionMachineMetadata " +
    "Conflicts X-Conflicts Replaces Global",
  fields: "unit hash dstate state target tmachine global desc load active sub machine ip metadata",
  daemon: "-config -version SIGTERM SIGHUP SIGUSR1 LISTEN_FDS /metrics",
  specifiers: "%n %N %p %i",
};

for (const [part, names] of Object.entries(FLEET)) {
  test(`docs/from-fleet.md says what became of each of fleet's ${part}`, async () => {
    const words = new Set((await page("from-fleet.md")).match(/[\w%@/.-]+/g));
    const missing = names.split(" ").filter((name) => !words.has(name));
    assert.deepEqual(missing, []);
  });
}

test("each of fleet's functional scenarios is a test of that name, or has its reason in docs/from-fleet.md", async () => {
  const named = new Set<string>();
  for await (const file of glob("test/**/*.test.ts", { cwd: PROJECT })) {
    const text = await readFile(join(PROJECT, file), "utf8");
    for (const [, title = ""] of text.matchAll(/^ *(?:test|describe|it)\(\s*["`](.*)/gm)) {
      for (const name of scenarios(title)) named.add(name);
    }
  }
  const text = await page("from-fleet.md");
  const [, reasons = ""] = /^\| other on purpose \|(.*)\|$/m.exec(text) ?? [];
  const [, better = ""] = /^\| better on purpose \|(.*)\|$/m.exec(text) ?? [];
  for (const name of scenarios(reasons + better)) named.add(name);
  const all = scenarios("F1 to F42, V1 to V18");
  assert.deepEqual(
    all.filter((name) => !named.has(name)),
    [],
  );
});

/** `F1, F3 to F5` are four. */
function scenarios(text: string): readonly string[] {
  return [...text.matchAll(/\b([FV])(\d+)(?: to [FV](\d+))?\b/g)].flatMap(
    ([, letter = "", from = "", to = from]) =>
      Array.from(
        { length: Number(to) - Number(from) + 1 },
        (_, index) => letter + (Number(from) + index),
      ),
  );
}

test("the pages for users name every command and every setting", async () => {
  const client = await page("client.md");
  const commands = COMMANDS.filter(({ hidden }) => hidden !== true).map(({ name }) => name);
  assert.deepEqual(
    commands.filter((name) => !new RegExp(`\`${name}[ \`]`).test(client)),
    [],
  );
  const pages = (await Promise.all(["operating.md", "sync.md", "from-fleet.md"].map(page))).join(
    "",
  );
  const missing = [...KEYS, ...Object.keys(OBSOLETE)].filter(
    (name) => !new RegExp(`^ *${name}=|\`${name}[\`=]`, "m").test(pages),
  );
  assert.deepEqual(missing, []);
});
