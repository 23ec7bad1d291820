import { readFile } from "node:fs/promises";
import { homedir, userInfo } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import ssh2, {
  type AnyAuthMethod,
  type Client,
  type ClientChannel,
  type ServerHostKeyAlgorithm,
} from "ssh2";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import {
  parseHostPort,
  type Remote,
  type RemoteMachine,
  type RemoteProcess,
  type RemoteSettings,
  SSH_PORT,
  shellQuote,
  type TunnelTarget,
} from "./remote.ts";
import { configuredHost, connectBy } from "./ssh-config.ts";
import { HostKeys } from "./ssh2-host-keys.ts";

/** sshd takes 10 (MaxSessions) on one connection. */
const SESSIONS_MAX = 8;
/** So that a follower notices that a machine is gone. */
const KEEPALIVE_MS = 5_000;
const KEEPALIVES_MISSED_MAX = 2;
const KEY_FILES = ["id_ed25519", "id_ecdsa", "id_rsa"];
const EXIT_LOST = 128;

interface Connection {
  readonly client: Promise<Client>;
  sessions: number;
}

/** Files are read now, nothing is connected yet. */
export async function openSsh2Remote(settings: RemoteSettings): Promise<Remote> {
  const tunnel = settings.tunnel === undefined ? undefined : parseHostPort(settings.tunnel);
  if (settings.tunnel !== undefined && tunnel === undefined) {
    throw new FleetError("usage", `--tunnel ${settings.tunnel}: expect host or host:port`);
  }
  const [hostKeys, auth] = await Promise.all([HostKeys.read(settings), authMethods(settings)]);
  return new Ssh2Remote({ settings, tunnel, hostKeys, auth });
}

interface Host {
  readonly host: string;
  readonly port: number | undefined;
}

class Ssh2Remote implements Remote {
  readonly #settings: RemoteSettings;
  readonly #tunnel: Host | undefined;
  readonly #hostKeys: HostKeys;
  readonly #auth: Auth;
  readonly #connections = new Map<string, Connection[]>();
  /** Of questions on the terminal and files, one host at a time. */
  #verifying: Promise<unknown> = Promise.resolve();

  constructor(parts: {
    readonly settings: RemoteSettings;
    readonly tunnel: Host | undefined;
    readonly hostKeys: HostKeys;
    readonly auth: Auth;
  }) {
    this.#settings = parts.settings;
    this.#tunnel = parts.tunnel;
    this.#hostKeys = parts.hostKeys;
    this.#auth = parts.auth;
  }

  async run(machine: RemoteMachine, command: readonly string[]): Promise<RemoteProcess> {
    const host = { host: machine.address, port: machine.port };
    const connection = this.#connection(host, this.#tunnel);
    connection.sessions += 1;
    try {
      const client = await connection.client;
      const text = command.map(shellQuote).join(" ");
      const stream = await opened<ClientChannel>(machine.address, (done) =>
        client.exec(text, done),
      );
      return this.#process(stream, connection);
    } catch (error) {
      connection.sessions -= 1;
      throw error;
    }
  }

  #process(stream: ClientChannel, connection: Connection): RemoteProcess {
    const exitStatus = new Promise<number>((resolve) => {
      let status = EXIT_LOST;
      stream.once("exit", (code: number | null) => {
        status = code ?? EXIT_LOST;
      });
      stream.once("close", () => {
        connection.sessions -= 1;
        resolve(status);
      });
    });
    stream.end();
    return { output: stream, errors: stream.stderr, exitStatus, stop: () => stream.close() };
  }

  async connect(target: TunnelTarget): Promise<Duplex> {
    const tunnel = this.#tunnel;
    if (tunnel === undefined) throw new FleetError("usage", "there is no --tunnel to go through");
    const client = await this.#connection(tunnel, undefined).client;
    try {
      return await opened(tunnel.host, (done) => {
        if ("path" in target) client.openssh_forwardOutStreamLocal(target.path, done);
        else client.forwardOut("127.0.0.1", 0, target.host, target.port, done);
      });
    } catch (error) {
      // sshd says no more than that it failed.
      const place = "path" in target ? target.path : `${target.host}:${target.port}`;
      throw new FleetError(
        "host-io",
        `${tunnel.host} is reached by ssh, but not ${place} from there: nobody listens, or its sshd forwards no connections`,
        { cause: error },
      );
    }
  }

  close(): void {
    for (const connection of [...this.#connections.values()].flat()) {
      connection.client.then(
        (client) => client.end(),
        () => {},
      );
    }
    this.#connections.clear();
  }

  /** One with room for another session. */
  #connection(host: Host, through: Host | undefined): Connection {
    const key = `${host.host} ${host.port ?? ""}`;
    const all = this.#connections.get(key) ?? [];
    const free = all.find(({ sessions }) => sessions < SESSIONS_MAX);
    if (free !== undefined) return free;
    const client = this.#open(host, through);
    const connection: Connection = { client, sessions: 0 };
    this.#connections.set(key, [...all, connection]);
    const forget = () => {
      const left = (this.#connections.get(key) ?? []).filter((one) => one !== connection);
      this.#connections.set(key, left);
    };
    client.then((open) => open.once("close", forget), forget);
    return connection;
  }

  async #open(asked: Host, through: Host | undefined): Promise<Client> {
    const { timeoutMs, keyFile, environment } = this.#settings;
    const configured = await configuredHost(asked.host, environment);
    const host = configured?.host ?? asked.host;
    const port = asked.port ?? configured?.port ?? SSH_PORT;
    const username =
      this.#settings.username ?? configured?.username ?? environment["USER"] ?? userInfo().username;
    const auth =
      keyFile === undefined && configured !== undefined
        ? await authMethods({ ...this.#settings, keyFiles: configured.keyFiles })
        : this.#auth;
    const { proxyCommand } = configured ?? {};
    const sock =
      through === undefined
        ? proxyCommand && connectBy(proxyCommand)
        : await this.connect({ host, port });
    const client = new ssh2.Client();
    let refusal: string | undefined;
    await new Promise<void>((resolve, reject) => {
      client.once("ready", resolve);
      client.on("error", (error) => {
        const why = refusal ?? (errorMessage(error) || "no connection");
        reject(unreachable(host, `${why}${auth.hint(error)}`, error));
      });
      client.once("close", () => reject(unreachable(host, refusal ?? "the connection was closed")));
      client.connect({
        ...(sock ? { sock } : { host, port }),
        username,
        readyTimeout: timeoutMs,
        keepaliveInterval: KEEPALIVE_MS,
        keepaliveCountMax: KEEPALIVES_MISSED_MAX,
        authHandler: auth.methods(username),
        algorithms: { serverHostKey: algorithmsFor(this.#hostKeys.typesOf(host, port)) },
        hostVerifier: (key: Buffer, verify: (valid: boolean) => void) => {
          this.#verifying = this.#verifying
            .then(() => this.#hostKeys.problem(host, port, key))
            .then((problem) => {
              refusal = problem;
              verify(problem === undefined);
            });
        },
      });
    });
    return client;
  }
}

const HOST_KEY_ALGORITHMS: readonly (readonly [type: string, ServerHostKeyAlgorithm])[] = [
  ["ssh-ed25519", "ssh-ed25519"],
  ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"],
  ["ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"],
  ["ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"],
  // A key of type ssh-rsa signs in two ways that count today.
  ["ssh-rsa", "rsa-sha2-512"],
  ["ssh-rsa", "rsa-sha2-256"],
];

/** Those of known keys first. */
function algorithmsFor(types: readonly string[]): ServerHostKeyAlgorithm[] {
  const rank = (type: string) => (types.includes(type) ? 0 : 1);
  return [...HOST_KEY_ALGORITHMS]
    .sort(([a], [b]) => rank(a) - rank(b))
    .map(([, algorithm]) => algorithm);
}

interface Auth {
  methods(username: string): AnyAuthMethod[];
  hint(error: Error): string;
}

/** The agent's keys, then those of files that need no passphrase. `keyFiles`: of ~/.ssh/config. */
async function authMethods(
  settings: RemoteSettings & { readonly keyFiles?: readonly string[] },
): Promise<Auth> {
  const { environment, keyFile } = settings;
  const home = environment["HOME"] ?? homedir();
  const usual = settings.keyFiles ?? KEY_FILES.map((name) => join(home, ".ssh", name));
  const files = keyFile === undefined ? usual : [keyFile];
  const locked: string[] = [];
  const named = keyFile === undefined ? `in ${join(home, ".ssh")}` : "named";
  const keys: Buffer[] = [];
  for (const file of files) {
    const text = await readFile(file).catch((error: unknown) => {
      if (keyFile === undefined) return undefined;
      throw new FleetError("usage", `cannot read the key ${file}: ${errorMessage(error)}`);
    });
    if (text === undefined) continue;
    const parsed = ssh2.utils.parseKey(text);
    if (!(parsed instanceof Error)) keys.push(text);
    else if (/passphrase/i.test(parsed.message)) locked.push(file);
    else if (keyFile !== undefined) throw new FleetError("usage", `${file} is no private key`);
  }
  const agent = environment["SSH_AUTH_SOCK"] ?? "";
  const tried = [
    agent === "" ? "no ssh-agent (SSH_AUTH_SOCK is not set)" : "the keys of ssh-agent",
    keys.length === 0 ? `no key file that needs no passphrase ${named}` : "key files",
    ...(locked.length === 0 ? [] : [`locked by a passphrase: ${locked.join(", ")} (ssh-add it)`]),
  ];
  return {
    methods: (username) => [
      ...(agent === "" ? [] : [{ type: "agent" as const, username, agent }]),
      ...keys.map((key) => ({ type: "publickey" as const, username, key })),
    ],
    hint: (error) =>
      "level" in error && error.level === "client-authentication"
        ? ` (there were: ${tried.join("; ")})`
        : "",
  };
}

function opened<T>(
  host: string,
  open: (done: (error: Error | undefined, stream: T) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    open((error, stream) => {
      if (error === undefined || error === null) resolve(stream);
      else reject(unreachable(host, errorMessage(error), error));
    });
  });
}

function unreachable(host: string, why: string, cause?: unknown): FleetError {
  return new FleetError("host-io", `cannot reach ${host} by ssh: ${why}`, { cause });
}
