import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { RemoteSettings } from "../../src/cli/remote.ts";
import { openSsh2Remote } from "../../src/cli/ssh2-remote.ts";
import { isFleetError } from "../../src/runtime/errors.ts";
import type { Cleanup } from "../support/cleanup.ts";
import { run, runOk } from "../support/run.ts";
import { openSshServer, SSHD, type SshServer, sshUser } from "../support/ssh-server.ts";
import { PlayedCluster } from "./played-cluster.ts";
import { runCli } from "./run-cli.ts";
import { M1, M2 } from "./views.ts";

if (!existsSync(SSHD))
  console.log("left out: SSH against a real sshd (openssh-server is not here)");
else declareTests();

function settingsFor(server: SshServer, change: Partial<RemoteSettings> = {}): RemoteSettings {
  return {
    tunnel: undefined,
    username: sshUser(),
    timeoutMs: 20_000,
    strict: true,
    knownHostsFile: join(server.directory, "known_hosts"),
    keyFile: undefined,
    environment: { HOME: server.home },
    ask: async () => undefined,
    say: () => {},
    ...change,
  };
}

async function know(server: SshServer, line = `[127.0.0.1]:${server.port} ${server.hostKey}\n`) {
  await appendFile(join(server.directory, "known_hosts"), line);
}

/** Standard output of a command, and its exit status. */
async function runRemote(
  t: Cleanup,
  server: SshServer,
  options: { readonly command: readonly string[]; readonly change?: Partial<RemoteSettings> },
): Promise<readonly [string, number]> {
  const remote = await openSsh2Remote(settingsFor(server, options.change));
  t.after(() => remote.close());
  const machine = { address: "127.0.0.1", port: server.port };
  const process = await remote.run(machine, options.command);
  let text = "";
  for await (const chunk of process.output) text += chunk;
  return [text, await process.exitStatus];
}

const TRUE = { command: ["true"] };

function declareTests(): void {
  test("a command runs with its words as they are, and gives its exit status", async (t) => {
    const server = await openSshServer(t);
    await know(server);
    const words = ["sh", "-c", 'printf "%s|" "$@"; exit 7', "x", "$HOME `id` it's", "a  b", ""];
    const answer = await runRemote(t, server, { command: words });
    assert.deepEqual(answer, ["$HOME `id` it's|a  b||", 7]);
  });

  test("a hashed entry of known_hosts is found", async (t) => {
    const server = await openSshServer(t);
    await know(server);
    const file = join(server.directory, "known_hosts");
    await runOk(["ssh-keygen", "-q", "-H", "-f", file]);
    assert.match(await readFile(file, "utf8"), /^\|1\|/);
    assert.deepEqual(await runRemote(t, server, TRUE), ["", 0]);
  });

  test("an unknown host is refused without a terminal, asked about with one, and known from then on", async (t) => {
    const server = await openSshServer(t);
    await assert.rejects(
      runRemote(t, server, TRUE),
      (error) =>
        isFleetError(error, "host-io") &&
        /is not known, and there is no terminal/.test(error.message),
    );
    const questions: string[] = [];
    const ask = (answer: string) => async (question: string) => {
      questions.push(question);
      return answer;
    };
    await assert.rejects(
      runRemote(t, server, { ...TRUE, change: { ask: ask("no") } }),
      /host key verification failed/,
    );
    await runRemote(t, server, { ...TRUE, change: { ask: ask("yes") } });
    await runRemote(t, server, TRUE);
    assert.equal(questions.length, 2);
    assert.match(
      questions[0] ?? "",
      /^The authenticity of host '\[127.0.0.1\]:\d+' .*\nED25519 key fingerprint is SHA256:/,
    );
  });

  test("a host whose key has changed is refused, also where asking is possible", async (t) => {
    const server = await openSshServer(t);
    await know(server);
    await server.restart({ newKey: true });
    const change = { ask: async () => "yes" };
    await assert.rejects(runRemote(t, server, { ...TRUE, change }), /has changed: .*known_hosts:1/);
    const lax = await runRemote(t, server, { ...TRUE, change: { strict: false } });
    assert.deepEqual(lax, ["", 0]);
  });

  test("the keys of an agent are used; without any, the error says what was tried", async (t) => {
    const server = await openSshServer(t);
    await know(server);
    const key = join(server.home, ".ssh/id_ed25519");
    const moved = join(server.directory, "key");
    await writeFile(moved, await readFile(key), { mode: 0o600 });
    await rm(key);
    const { stdout } = await run(["ssh-agent", "-s", "-a", join(server.directory, "agent")]);
    const pid = /SSH_AGENT_PID=(\d+)/.exec(stdout)?.[1] ?? "";
    t.after(() => void process.kill(Number(pid)));
    const agent = { SSH_AUTH_SOCK: join(server.directory, "agent") };
    await runOk(["ssh-add", "-q", moved], { env: agent });
    const change = { environment: { HOME: server.home, ...agent } };
    assert.deepEqual(await runRemote(t, server, { ...TRUE, change }), ["", 0]);
    await assert.rejects(runRemote(t, server, TRUE), /there were: no ssh-agent .*no key file/);
    const named = await runRemote(t, server, { ...TRUE, change: { keyFile: moved } });
    assert.deepEqual(named, ["", 0]);
  });

  test("a key with a passphrase, and what is no key, are named with what to do", async (t) => {
    const server = await openSshServer(t);
    await know(server);
    const key = join(server.home, ".ssh/id_ed25519");
    await runOk(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key]);
    const locked = /locked by a passphrase: .*id_ed25519 \(ssh-add it\)/;
    await assert.rejects(runRemote(t, server, TRUE), locked);
    await assert.rejects(runRemote(t, server, { ...TRUE, change: { keyFile: key } }), locked);
    const other = join(server.directory, "known_hosts");
    await assert.rejects(
      runRemote(t, server, { ...TRUE, change: { keyFile: other } }),
      (error) =>
        isFleetError(error, "usage") && /known_hosts is no private key/.test(error.message),
    );
  });

  test("a socket that the tunnel's host does not have is told apart from the host", async (t) => {
    const server = await openSshServer(t);
    await know(server);
    const remote = await openSsh2Remote(
      settingsFor(server, { tunnel: `127.0.0.1:${server.port}` }),
    );
    t.after(() => remote.close());
    const path = join(server.directory, "no.sock");
    await assert.rejects(
      remote.connect({ path }),
      /127\.0\.0\.1 is reached by ssh, but not .*no\.sock from there: nobody listens/,
    );
  });

  test("~/.ssh/config holds: names, ports, users, keys, and the way by another host", async (t) => {
    const server = await openSshServer(t);
    await know(server);
    const key = join(server.directory, "key");
    await runOk(["mv", join(server.home, ".ssh/id_ed25519"), key]);
    await runOk(["cp", join(server.home, ".ssh/id_ed25519.pub"), `${key}.pub`]);
    const files = `IdentityFile ${key}\n  UserKnownHostsFile ${server.directory}/known_hosts`;
    const host = `HostName 127.0.0.1\n  Port ${server.port}\n  User ${sshUser()}\n  ${files}\n`;
    const config =
      `Host bastion\n  ${host}Host inner\n  ${host}  ProxyJump bastion\n` +
      `Host astray\n  ${host}  ProxyJump nowhere\nHost nowhere\n  HostName 127.0.0.1\n  Port 1\n`;
    await writeFile(join(server.home, ".ssh/config"), config);
    for (const address of ["bastion", "inner"]) {
      const remote = await openSsh2Remote(settingsFor(server, { username: undefined }));
      t.after(() => remote.close());
      const process = await remote.run({ address }, ["sh", "-c", "echo $SSH_CONNECTION; exit 3"]);
      let text = "";
      for await (const chunk of process.output) text += chunk;
      assert.match(text, new RegExp(` 127\\.0\\.0\\.1 ${server.port}\n$`));
      assert.equal(await process.exitStatus, 3);
    }
    const other = await openSsh2Remote(settingsFor(server));
    t.after(() => other.close());
    await assert.rejects(other.run({ address: "bastion", port: 1 }, ["true"]), /127\.0\.0\.1:1\b/);
    await assert.rejects(other.run({ address: "astray" }, ["true"]), /cannot reach 127\.0\.0\.1/);
  });

  test("a host that does not answer is an error within the time-out", async (t) => {
    const server = await openSshServer(t);
    const silent = createServer(() => {});
    silent.removeAllListeners("connection");
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    t.after(() => silent.close());
    const address = silent.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const remote = await openSsh2Remote(settingsFor(server, { timeoutMs: 300 }));
    await assert.rejects(
      remote.run({ address: "127.0.0.1", port }, ["true"]),
      /cannot reach 127.0.0.1 by ssh: .*[Tt]imed out/,
    );
  });

  test("more commands at once than sshd takes sessions all run", async (t) => {
    const server = await openSshServer(t);
    await know(server);
    const remote = await openSsh2Remote(settingsFor(server));
    t.after(() => remote.close());
    const machine = { address: "127.0.0.1", port: server.port };
    const running = await Promise.all(
      Array.from({ length: 20 }, () => remote.run(machine, ["cat", "/etc/hostname"])),
    );
    for (const one of running) one.output.resume();
    const statuses = await Promise.all(running.map(({ exitStatus }) => exitStatus));
    assert.deepEqual([...new Set(statuses)], [0]);
  });

  test("--tunnel carries every command to the socket on the other side", async (t) => {
    const server = await openSshServer(t);
    await know(server);
    const cluster = await PlayedCluster.open();
    t.after(() => cluster.close());
    await cluster.lead();
    await cluster.addMachine("1111aaaa2222bbbb3333cccc4444dddd");
    const tunnel = {
      FLEETCTL_ENDPOINT: `unix://${join(cluster.directory, "fleet.sock")}`,
      FLEETCTL_TUNNEL: `127.0.0.1:${server.port}`,
      FLEETCTL_SSH_USERNAME: sshUser(),
      FLEETCTL_KNOWN_HOSTS_FILE: join(server.directory, "known_hosts"),
      HOME: server.home,
    };
    const listed = await runCli(["list-machines", "--no-legend"], tunnel);
    assert.deepEqual([listed.exit, listed.err], [0, ""]);
    assert.match(listed.out, /^1111aaaa\.\.\.\t10\.0\.0\.1/);
    const absent = await runCli(["list-machines"], {
      ...tunnel,
      FLEETCTL_ENDPOINT: "unix:///nonexistent",
    });
    assert.equal(absent.exit, 1);
    assert.match(absent.err, /127.0.0.1 is reached by ssh, but not /);
  });

  test("journal, status and kill of a machine whose daemon does not listen go by SSH", async (t) => {
    const entry = `{"MESSAGE":"%s","_SYSTEMD_UNIT":"far.service","__REALTIME_TIMESTAMP":"1","__CURSOR":"c"}`;
    const programs = await mkdtemp(join(tmpdir(), "fleet-programs-"));
    t.after(() => rm(programs, { recursive: true }));
    await writeFile(join(programs, "journalctl"), `#!/bin/sh\nprintf '${entry}\\n' "$*"\n`, {
      mode: 0o755,
    });
    await writeFile(join(programs, "systemctl"), '#!/bin/sh\necho "$@"\nexit 3\n', { mode: 0o755 });
    const server = await openSshServer(t, [`SetEnv PATH=${programs}:/usr/bin:/bin`]);
    await know(server);
    const cluster = await PlayedCluster.open();
    t.after(() => cluster.close());
    await cluster.lead();
    await cluster.addMachine(M1);
    await cluster.addMachine(M2, { address: "127.0.0.1" });
    cluster.behaviours.set("far.service", { machines: [M2] });
    const file = join(cluster.directory, "far.service");
    await writeFile(file, "[Service]\nExecStart=/bin/sleep 1\n");
    assert.equal((await cluster.run("start", file)).exit, 0);
    const environment = {
      FLEETCTL_ENDPOINT: `unix://${join(cluster.directory, "fleet.sock")}`,
      FLEETCTL_SSH_PORT: String(server.port),
      FLEETCTL_KNOWN_HOSTS_FILE: join(server.directory, "known_hosts"),
      HOME: server.home,
    };
    const journal = await runCli(["journal", "-o", "cat", "-g", "it's", "far"], environment);
    assert.deepEqual([journal.exit, journal.err], [0, ""]);
    assert.match(
      journal.out,
      /^--unit=far\.service --no-pager --lines=10 --output=json .*--grep=it's\n$/,
    );
    const status = await runCli(["status", "far"], environment);
    assert.deepEqual(status, { exit: 3, out: "status -l --no-pager -- far.service\n", err: "" });
    const kill = await runCli(["kill", "-s", "HUP", "far"], environment);
    assert.equal(kill.exit, 1);
    assert.match(kill.err, /not signalled on 5555aaaa/);
  });

  test("ssh runs the system's ssh with the options mapped, and through a tunnel; words and exit status arrive", async (t) => {
    const server = await openSshServer(t);
    const far = await openSshServer(t);
    await know(
      server,
      `[127.0.0.1]:${server.port} ${server.hostKey}\n[127.0.0.1]:${far.port} ${far.hostKey}\n`,
    );
    await appendFile(
      join(server.home, ".ssh/id_ed25519.pub"),
      await readFile(join(far.home, ".ssh/id_ed25519.pub")),
    );
    const cluster = await PlayedCluster.open();
    t.after(() => cluster.close());
    await cluster.lead();
    await cluster.addMachine(M1);
    await cluster.addMachine(M2, { address: "127.0.0.1" });
    const main = join(import.meta.dirname, "../../src/cli/main.ts");
    const ssh = (options: Readonly<Record<string, string>>, ...args: readonly string[]) =>
      run([process.execPath, main, "ssh", ...args], {
        env: {
          FLEETCTL_ENDPOINT: `unix://${join(cluster.directory, "fleet.sock")}`,
          FLEETCTL_KNOWN_HOSTS_FILE: join(server.directory, "known_hosts"),
          FLEETCTL_SSH_USERNAME: sshUser(),
          FLEETCTL_SSH_KEY_FILE: join(far.home, ".ssh/id_ed25519"),
          FLEETCTL_SSH_PORT: String(far.port),
          ...options,
        },
      });
    const several = await ssh({}, M2.slice(0, 4), "printf", "%s|", "a  b", "$HOME");
    assert.deepEqual([several.code, several.stdout], [0, "a  b|$HOME|"], several.stderr);
    const one = await ssh({}, "--machine", M2, "echo a | tr a b; exit 7");
    assert.deepEqual([one.code, one.stdout], [7, "b\n"], one.stderr);
    const tunnelled = await ssh(
      { FLEETCTL_TUNNEL: `127.0.0.1:${server.port}` },
      M2,
      "--",
      "ls",
      "-d",
      "/",
    );
    assert.deepEqual([tunnelled.code, tunnelled.stdout], [0, "/\n"], tunnelled.stderr);
    await far.restart({ newKey: true });
    assert.equal((await ssh({}, M2, "true")).code, 255);
    const lax = await ssh({ FLEETCTL_STRICT_HOST_KEY_CHECKING: "false" }, M2, "echo", "x");
    assert.deepEqual([lax.code, lax.stdout, lax.stderr], [0, "x\n", ""]);
    assert.equal((await ssh({}, "nobody")).code, 3);
  });
}
