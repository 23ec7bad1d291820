import { createHash } from "node:crypto";
import { appendFile, mkdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { errorMessage } from "../runtime/errors.ts";
import {
  judgeHost,
  type KnownHost,
  knownTypes,
  parseKnownHosts,
  storedName,
} from "./known-hosts.ts";
import type { RemoteSettings } from "./remote.ts";

/** Answers an unknown host until it is one of these. */
const YES = /^(y|yes)$/i;

/** Whether the key of a host is the one it is known by; a new one is asked about, once per host and process. */
export class HostKeys {
  readonly #settings: RemoteSettings;
  readonly #files: readonly string[];
  #known: readonly KnownHost[] = [];

  static async read(settings: RemoteSettings): Promise<HostKeys> {
    const keys = new HostKeys(settings);
    await keys.#read();
    return keys;
  }

  private constructor(settings: RemoteSettings) {
    const home = settings.environment["HOME"] ?? homedir();
    const file = settings.knownHostsFile;
    this.#settings = settings;
    this.#files =
      file === undefined
        ? [
            join(home, ".ssh/known_hosts"),
            join(home, ".fleetctl/known_hosts"),
            "/etc/ssh/ssh_known_hosts",
          ]
        : [file.replace(/^~(?=\/|$)/, home)];
  }

  async #read(): Promise<void> {
    const texts = await Promise.all(
      this.#files.map((file) => readFile(file, "utf8").catch(() => "")),
    );
    this.#known = texts.flatMap((text, index) => parseKnownHosts(text, this.#files[index] ?? ""));
  }

  /** What to ask the host for first, so that it does not show another of its keys than the one that is known. */
  typesOf(host: string, port: number): readonly string[] {
    return knownTypes(this.#known, storedName(host, port));
  }

  /** Undefined: the key is right. Otherwise why it is not. */
  async problem(host: string, port: number, blob: Buffer): Promise<string | undefined> {
    if (!this.#settings.strict) return undefined;
    const name = storedName(host, port);
    const key = blob.toString("base64");
    const verdict = judgeHost(this.#known, { name, key });
    switch (verdict.type) {
      case "known":
        return undefined;
      case "revoked":
        return `its key is revoked at ${verdict.place}`;
      case "changed":
        return (
          `the host key of ${name} has changed: somebody may be in between, or the machine was set up anew. ` +
          `It shows ${keyType(blob)} ${fingerprint(blob)}; another is known at ${verdict.place}: ` +
          "remove that line if the change is right"
        );
      case "unknown":
        return await this.#ask(name, blob);
    }
  }

  async #ask(name: string, blob: Buffer): Promise<string | undefined> {
    const { ask, say } = this.#settings;
    const answer = await ask(
      `The authenticity of host '${name}' can't be established.\n` +
        `${algorithmName(keyType(blob))} key fingerprint is ${fingerprint(blob)}.\n` +
        "Are you sure you want to continue connecting (yes/no)? ",
    );
    if (answer === undefined) {
      return (
        `its host key is not known, and there is no terminal to ask on: run it once on a terminal, or ssh-keyscan into ` +
        `${this.#files[0]}, or --strict-host-key-checking=false`
      );
    }
    if (!YES.test(answer.trim())) return "host key verification failed";
    const type = keyType(blob);
    const [file = ""] = this.#files;
    const line = `${name} ${type} ${blob.toString("base64")}\n`;
    this.#known = [...this.#known, ...parseKnownHosts(line, file)];
    try {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await appendFile(file, line, { mode: 0o644 });
      say(`Warning: Permanently added '${name}' (${algorithmName(type)}) to ${file}.`);
    } catch (error) {
      say(`cannot keep the key of ${name}: ${errorMessage(error)}`);
    }
    return undefined;
  }
}

/** A public key begins with the length and text of its type. */
function keyType(blob: Buffer): string {
  return blob.toString("latin1", 4, 4 + blob.readUInt32BE(0));
}

function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

function algorithmName(type: string): string {
  if (type.startsWith("ecdsa-")) return "ECDSA";
  return { "ssh-ed25519": "ED25519", "ssh-rsa": "RSA", "ssh-dss": "DSA" }[type] ?? type;
}
