import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Cleanup } from "./cleanup.ts";
import type { TcpAddress } from "./tcp-proxy.ts";
import { waitFor } from "./wait-for.ts";

const run = promisify(execFile);

export interface EtcdOptions {
  /** Further flags: `--experimental-watch-progress-notify-interval=100ms`. */
  readonly flags?: readonly string[];
  /** Paths of PEM files: clients must show a certificate that `ca` signed. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

const ENDED = "ended";
const MISSING =
  "\nthese tests need etcd and etcdctl on the PATH: apt-get install etcd-server etcd-client";

/** A real etcd in a directory of its own on 127.0.0.1. `t` stops it and removes the directory. */
export async function startEtcd(t: Cleanup, options: EtcdOptions = {}): Promise<EtcdServer> {
  const [server] = await startMembers(t, 1, options);
  assert(server !== undefined);
  return server;
}

/** Three members of one cluster. */
export async function startEtcdCluster(
  t: Cleanup,
  options: EtcdOptions = {},
): Promise<readonly EtcdServer[]> {
  return await startMembers(t, 3, options);
}

async function startMembers(
  t: Cleanup,
  count: number,
  options: EtcdOptions,
): Promise<readonly EtcdServer[]> {
  const directory = mkdtempSync(join(tmpdir(), "fleet-ts-etcd-"));
  const ports = await freePorts(count * 2);
  const peers = ports.slice(count).map((port, index) => `m${index}=http://127.0.0.1:${port}`);
  const members = ports.slice(0, count).map(
    (port, index) =>
      new EtcdServer({
        name: `m${index}`,
        dataDirectory: join(directory, `m${index}`),
        port,
        peerUrl: `http://127.0.0.1:${ports[count + index]}`,
        initialCluster: peers.join(","),
        flags: options.flags ?? [],
        tls: options.tls,
      }),
  );
  t.after(async () => {
    await Promise.all(members.map((member) => member.kill()));
    rmSync(directory, { recursive: true, force: true });
  });
  for (const member of members) member.launch();
  await Promise.all(members.map((member) => member.ready()));
  return members;
}

interface Member {
  readonly name: string;
  readonly dataDirectory: string;
  readonly port: number;
  readonly peerUrl: string;
  readonly initialCluster: string;
  readonly flags: readonly string[];
  readonly tls: EtcdOptions["tls"];
}

export class EtcdServer {
  readonly #member: Member;
  #child: ChildProcess | undefined;
  #log = "";

  constructor(member: Member) {
    this.#member = member;
  }

  get url(): string {
    return `${this.#member.tls === undefined ? "http" : "https"}://127.0.0.1:${this.#member.port}`;
  }

  get address(): TcpAddress {
    return { host: "127.0.0.1", port: this.#member.port };
  }

  /** Starts it, as it was left. */
  async start(): Promise<void> {
    this.launch();
    await this.ready();
  }

  launch(): void {
    assert(this.#child === undefined, "etcd is running already");
    const { name, dataDirectory, peerUrl, initialCluster, flags, tls } = this.#member;
    const child = spawn(
      "setpriv",
      [
        // Not even a test process that is killed leaves one behind.
        "--pdeathsig=KILL",
        "etcd",
        `--name=${name}`,
        `--data-dir=${dataDirectory}`,
        `--listen-client-urls=${this.url}`,
        `--advertise-client-urls=${this.url}`,
        `--listen-peer-urls=${peerUrl}`,
        `--initial-advertise-peer-urls=${peerUrl}`,
        `--initial-cluster=${initialCluster}`,
        "--unsafe-no-fsync",
        "--logger=zap",
        "--log-level=warn",
        ...flags,
        ...(tls === undefined
          ? []
          : [
              "--client-cert-auth",
              `--trusted-ca-file=${tls.ca}`,
              `--cert-file=${tls.cert}`,
              `--key-file=${tls.key}`,
            ]),
      ],
      { stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env["PATH"] ?? "" } },
    );
    this.#child = child;
    const keep = (text: Buffer) => {
      this.#log = (this.#log + text.toString()).slice(-4_000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (error) => {
      this.#log = `cannot run etcd: ${error.message}`;
    });
    child.on("close", (code) => {
      if (code === 127) this.#log += MISSING;
      if (this.#child === child) this.#child = undefined;
    });
  }

  async ready(): Promise<void> {
    const health = await waitFor({
      what: `etcd at ${this.url} is healthy`,
      deadlineMs: 30_000,
      everyMs: 20,
      look: async () => (this.#child === undefined ? ENDED : await this.#health()),
      until: (seen) => seen === ENDED || /"health":"?true/.test(seen),
      explain: () => this.#log,
    });
    assert(health !== ENDED, `etcd ended while it started: ${this.#log}`);
  }

  async #health(): Promise<string> {
    const { tls } = this.#member;
    if (tls !== undefined) {
      const files = [`--cacert=${tls.ca}`, `--cert=${tls.cert}`, `--key=${tls.key}`];
      return await this.etcdctl(...files, "endpoint", "health", "-w=json");
    }
    const answer = await fetch(`${this.url}/health`, { signal: AbortSignal.timeout(2_000) });
    return await answer.text();
  }

  /** As a power cut would end it. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** It keeps its connections and says nothing. */
  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  /** Forgets everything: what starts next with the same flags has the same cluster id and other contents. */
  async wipe(): Promise<void> {
    await this.kill();
    rmSync(this.#member.dataDirectory, { recursive: true, force: true });
  }

  async snapshot(file: string): Promise<void> {
    await this.etcdctl("snapshot", "save", file);
  }

  /** Puts a snapshot in the place of its data; it does not start it. */
  async restore(file: string): Promise<void> {
    await this.wipe();
    const { name, dataDirectory, peerUrl, initialCluster } = this.#member;
    await this.etcdctl(
      "snapshot",
      "restore",
      file,
      `--name=${name}`,
      `--data-dir=${dataDirectory}`,
      `--initial-cluster=${initialCluster}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
    );
  }

  async isLeader(): Promise<boolean> {
    const status: unknown = JSON.parse(await this.etcdctl("endpoint", "status", "-w=json"));
    const text = JSON.stringify(status);
    const leader = /"leader":(\d+)/.exec(text)?.[1];
    return leader !== undefined && leader === /"member_id":(\d+)/.exec(text)?.[1];
  }

  async etcdctl(...command: readonly string[]): Promise<string> {
    const env = { PATH: process.env["PATH"] ?? "", ETCDCTL_API: "3" };
    const { stdout } = await run("etcdctl", [`--endpoints=${this.url}`, ...command], { env });
    return stdout;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const ended = once(child, "close");
    child.kill(signal);
    // A frozen process takes SIGKILL only.
    if (signal !== "SIGKILL") child.kill("SIGCONT");
    await ended;
  }
}

/** Ports that were free a moment ago. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  const ports: number[] = [];
  for (const server of servers) {
    if (!server.listening) await once(server, "listening");
    const address = server.address();
    assert(address !== null && typeof address === "object");
    ports.push(address.port);
  }
  for (const server of servers) {
    server.close();
    await once(server, "close");
  }
  return ports;
}
