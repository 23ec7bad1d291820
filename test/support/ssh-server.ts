import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import type { Cleanup } from "./cleanup.ts";
import { runOk } from "./run.ts";
import { waitFor } from "./wait-for.ts";

/** OpenSSH's sshd on a loopback port, with keys of its own; `home` has the user's key in .ssh. */
export interface SshServer {
  readonly directory: string;
  readonly home: string;
  readonly port: number;
  /** Type and base64, as in known_hosts. */
  readonly hostKey: string;
  /** Ends every connection, and begins anew with another host key if asked to. */
  restart(options?: { readonly newKey?: boolean }): Promise<string>;
}

export const SSHD = "/usr/sbin/sshd";

export async function openSshServer(
  t: Cleanup,
  settings: readonly string[] = [],
): Promise<SshServer> {
  const directory = await mkdtemp(join(tmpdir(), "fleet-sshd-"));
  const home = join(directory, "home");
  await mkdir(join(home, ".ssh"), { recursive: true, mode: 0o700 });
  // sshd wants it, also where no service has made it.
  await mkdir("/run/sshd", { recursive: true, mode: 0o755 });
  const keygen = (file: string) =>
    runOk(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", file]);
  await keygen(join(home, ".ssh/id_ed25519"));
  const port = await freePort();
  await writeFile(
    join(directory, "sshd_config"),
    [
      `ListenAddress 127.0.0.1:${port}`,
      `HostKey ${directory}/host_key`,
      `AuthorizedKeysFile ${home}/.ssh/id_ed25519.pub`,
      `PidFile ${directory}/pid`,
      "StrictModes no",
      "UsePAM no",
      "PasswordAuthentication no",
      "KbdInteractiveAuthentication no",
      "PermitRootLogin prohibit-password",
      ...settings,
    ].join("\n"),
  );
  let child: ChildProcess | undefined;
  const start = async () => {
    child = spawn(SSHD, ["-D", "-e", "-f", join(directory, "sshd_config")], { stdio: "ignore" });
    await waitFor({
      what: "sshd listens",
      deadlineMs: 20_000,
      everyMs: 20,
      look: () => listens(port),
      until: (yes) => yes,
    });
  };
  const stop = async () => {
    if (child === undefined) return;
    const ended = once(child, "exit");
    const { pid } = child;
    // Its sessions are processes of their own.
    await runOk(["sh", "-c", `kill $(ps -o pid= --ppid ${pid}) ${pid} 2>/dev/null; true`]);
    await ended;
  };
  t.after(async () => {
    await stop();
    await rm(directory, { recursive: true });
  });
  const newHostKey = async () => {
    await rm(join(directory, "host_key"), { force: true });
    await rm(join(directory, "host_key.pub"), { force: true });
    await keygen(join(directory, "host_key"));
    const text = await readFile(join(directory, "host_key.pub"), "utf8");
    return text.split(" ").slice(0, 2).join(" ");
  };
  const hostKey = await newHostKey();
  await start();
  return {
    directory,
    home,
    port,
    hostKey,
    restart: async ({ newKey = false } = {}) => {
      await stop();
      const key = newKey ? await newHostKey() : hostKey;
      await start();
      return key;
    },
  };
}

export function sshUser(): string {
  return userInfo().username;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (typeof address !== "object" || address === null) throw new Error("no port");
  return address.port;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
