import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { GitWorkTree } from "../support/git-work-tree.ts";
import { runEachOnce, unitsOn } from "../support/lab-units.ts";
import { sourceRecord, untilSource } from "../support/sync-watch.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 3, settings: { agent_ttl: "6s", boot_grace: "2s" } });
const SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n";
const EXAMPLE = join(import.meta.dirname, "../../examples/units/fleet-sync.service");

let daemon: ChildProcess | undefined;
after(() => daemon?.kill());

let tree: GitWorkTree;

/** In every fleet.conf: a repository that git serves on the host. Gives the settings. */
async function configure(): Promise<Readonly<Record<string, string>>> {
  const { lab } = fixture;
  tree = new GitWorkTree(join(lab.dir, "repositories/units"));
  tree.write("web/a.service", SLEEPER);
  tree.commit("First");
  const host = (await lab.address(1)).replace(/\d+$/, "1");
  const port = await freePort(host);
  const base = join(lab.dir, "repositories");
  const args = ["daemon", `--listen=${host}`, `--port=${port}`, `--base-path=${base}`];
  daemon = spawn("git", [...args, "--export-all", "--reuseaddr", base], { stdio: "ignore" });
  const settings = {
    agent_ttl: "6s",
    boot_grace: "2s",
    sync_source: `git://${host}:${port}/units/.git`,
    sync_name: "units",
    sync_prune: "true",
    // Only the webhook tells in time.
    sync_poll: "10m",
    sync_secret_file: "/etc/fleet/sync-secret",
  };
  for (const machine of lab.machines) {
    await lab.writeFile(machine, "/etc/fleet/sync-secret", "hush\n");
    await lab.configure(machine, settings);
  }
  return settings;
}

let settings: Readonly<Record<string, string>> = {};

async function freePort(host: string): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, "listening");
  const address = server.address();
  assert(address !== null && typeof address === "object");
  server.close();
  await once(server, "close");
  return address.port;
}

async function leader(): Promise<number> {
  const { lab } = fixture;
  const { stdout } = await lab.etcdctl("get", "--print-value-only", "/fleet-ts/engine/leader");
  const { machine } = JSON.parse(stdout) as { machine: string };
  const ids = await Promise.all(lab.machines.map((one) => lab.machineId(one)));
  return ids.indexOf(machine) + 1;
}

function until(what: string, commit: string) {
  const { lab } = fixture;
  return untilSource(lab, { name: "units", what, until: ({ running }) => running?.id === commit });
}

/** As a forge does. */
async function push(machine: number, signature: (body: string) => string): Promise<number> {
  const body = JSON.stringify({ ref: "refs/heads/main" });
  const response = await fetch(`${await fixture.lab.endpoint(machine)}/fleet/v2/sync/units`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-hub-signature-256": signature(body) },
    body,
  });
  await response.body?.cancel();
  return response.status;
}

const signed = (secret: string) => (body: string) =>
  `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;

test("the daemon that leads follows sync_source, a signed webhook makes it look at once, and the next leader takes over", async () => {
  const { lab } = fixture;
  settings = await configure();
  await until("the first commit", tree.git("rev-parse", "HEAD"));
  await runEachOnce(lab, ["a.service"]);
  const first = await leader();
  assert.equal((await sourceRecord(lab, "units"))?.runner, `m${first}`);
  tree.write("web/b.service", SLEEPER);
  const second = tree.commit("Second");
  assert.equal(await push(2, signed("guess")), 403);
  assert.equal(await push(2, () => ""), 403);
  assert.deepEqual(await unitsOn(lab, ["b.service"]), []);
  assert.equal(await push(2, signed("hush")), 204);
  await until("the second commit, after the webhook", second);
  await runEachOnce(lab, ["a.service", "b.service"]);

  tree.remove("web/a.service");
  tree.write("web/c.service", SLEEPER);
  const third = tree.commit("Third");
  await lab.daemon(first, "stop");
  await until("the third commit, by another leader", third);
  const second2 = await leader();
  assert.notEqual(second2, first);
  assert.equal((await sourceRecord(lab, "units"))?.runner, `m${second2}`);
  await lab.daemon(first, "start");
  await runEachOnce(lab, ["b.service", "c.service"]);
  await lab.waitFor({
    what: "a is gone",
    deadlineMs: 20_000,
    look: () => unitsOn(lab, ["a.service"]),
    until: (found) => found.length === 0,
  });
});

test("with sync_keyring the daemon passes over a commit that no known key has signed, and runs the next that one has", async () => {
  const { lab } = fixture;
  const { key, signers } = sshKey("daemon");
  const keyring = "/etc/fleet/allowed_signers";
  for (const machine of lab.machines) {
    await lab.writeFile(machine, keyring, signers);
    await lab.configure(machine, { ...settings, sync_keyring: keyring, sync_poll: "1s" });
  }
  tree.write("web/d.service", SLEEPER);
  tree.commit("Unsigned");
  await lab.waitFor({
    what: "sync status says that the commit is refused, and why",
    deadlineMs: 60_000,
    look: async () => (await lab.fleetctl("sync", "status", "units")).stdout,
    until: (status) => /rejected .*"Unsigned".*\n +no known key has signed it/.test(status),
  });
  assert.deepEqual(await unitsOn(lab, ["d.service"]), []);
  tree.write("web/e.service", SLEEPER);
  tree.git("add", "--all");
  tree.git(...bySsh(key), "commit", "--quiet", "-S", "-m", "Signed");
  await until("the signed commit", tree.git("rev-parse", "HEAD"));
  await runEachOnce(lab, ["b.service", "c.service", "d.service", "e.service"]);
});

/** A new key, and the file of those that are known. */
function sshKey(name: string): { readonly key: string; readonly signers: string } {
  const key = join(fixture.lab.dir, name);
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
  return { key, signers: `ada@example.com ${readFileSync(`${key}.pub`, "utf8")}` };
}

function bySsh(key: string): readonly string[] {
  return ["-c", "gpg.format=ssh", "-c", `user.signingkey=${key}.pub`];
}

test("only commits that a known key has signed are applied, by SSH and by GPG", async () => {
  const { lab } = fixture;
  const keys = join(lab.dir, "keys");
  mkdirSync(keys, { mode: 0o700 });
  const ssh = sshKey("keys/ssh");
  const signers = join(keys, "allowed_signers");
  writeFileSync(signers, ssh.signers);
  const gpg = (...args: readonly string[]) =>
    execFileSync("gpg", ["--homedir", keys, "--batch", "--quiet", ...args], { stdio: "pipe" });
  gpg("--passphrase", "", "--quick-gen-key", "Ada <ada@example.com>", "ed25519", "sign", "never");
  const ring = join(keys, "ring.gpg");
  writeFileSync(ring, gpg("--export"));
  const own = new GitWorkTree(join(lab.dir, "signed"));
  const sync = async (ring: string) => {
    const args = ["--require-signed", ring, "--name", "signed", own.directory];
    const { code, stdout, stderr } = await lab.fleetctl("sync", ...args);
    return { code, text: `${stdout}${stderr}` };
  };
  try {
    own.write("s1.service", SLEEPER);
    own.commit("Unsigned");
    for (const known of [signers, ring]) {
      const refused = await sync(known);
      assert.notEqual(refused.code, 0);
      assert.match(refused.text, /no known key has signed it/);
    }
    assert.deepEqual(await unitsOn(lab, ["s1.service"]), []);
    const amend = ["commit", "--quiet", "--amend", "--no-edit", "-S"];
    own.git(...bySsh(ssh.key), ...amend);
    assert.equal((await sync(signers)).code, 0);
    await runEachOnce(lab, ["s1.service"]);
    assert.notEqual((await sync(ring)).code, 0);
    writeFileSync(join(keys, "gpg"), `#!/bin/sh\nexec gpg --homedir ${keys} "$@"\n`, {
      mode: 0o755,
    });
    own.write("s2.service", SLEEPER);
    own.git("add", "--all");
    const program = [
      "-c",
      `gpg.program=${join(keys, "gpg")}`,
      "-c",
      "user.signingkey=ada@example.com",
    ];
    own.git(...program, "commit", "--quiet", "-S", "-m", "Signed");
    const done = await sync(ring);
    assert.equal(done.code, 0, done.text);
    await runEachOnce(lab, ["s1.service", "s2.service"]);
  } finally {
    execFileSync("gpgconf", ["--homedir", keys, "--kill", "all"]);
  }
});

test("the example runs as a unit of the cluster on the machine that has the directory", async () => {
  const { lab } = fixture;
  const shell = async (script: string) => {
    const { code, stderr } = await lab.exec(2, "sh", "-ec", script);
    assert.equal(code, 0, stderr);
  };
  const git = "git -c user.name=Ada -c user.email=ada@example.com -C /srv/units";
  await shell(
    `mkdir -p /srv/units && git init -q -b main /srv/units && printf '[Service]\\nExecStart=/bin/sleep infinity\\n' > /srv/units/inside.service && ${git} add . && ${git} commit -q -m First`,
  );
  const set = await lab.fleetctl("set-metadata", await lab.machineId(2), "units=here");
  assert.equal(set.code, 0, set.stderr);
  copyFileSync(EXAMPLE, join(lab.dir, "fleet-sync.service"));
  const start = await lab.fleetctl("start", "fleet-sync.service");
  assert.equal(start.code, 0, start.stderr);
  assert.deepEqual(await runEachOnce(lab, ["fleet-sync.service"]), { "fleet-sync.service": [2] });
  await runEachOnce(lab, ["inside.service"]);
  await shell(
    `cd /srv/units && ${git} mv inside.service other.service && ${git} commit -q -m Other`,
  );
  await runEachOnce(lab, ["other.service"]);
  await lab.waitFor({
    what: "the renamed unit's old name is gone",
    deadlineMs: 20_000,
    look: () => unitsOn(lab, ["inside.service"]),
    until: (found) => found.length === 0,
  });
});
