import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import { SSH_PORT, shellQuote } from "./remote.ts";

/** What ~/.ssh/config says of a host. */
export interface SshHost {
  readonly host: string;
  readonly port: number;
  readonly username: string | undefined;
  readonly keyFiles: readonly string[];
  /** Of ProxyJump or ProxyCommand: its standard input and output are the connection. */
  readonly proxyCommand: string | undefined;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** As ssh itself reads it. Undefined where there is no such file, or no ssh to ask. */
export async function configuredHost(
  name: string,
  environment: Environment,
): Promise<SshHost | undefined> {
  const home = environment["HOME"] ?? homedir();
  const file = join(home, ".ssh/config");
  if (!existsSync(file)) return undefined;
  const text = await askSsh(["-G", "-F", file, "--", name], file);
  if (text === undefined) return undefined;
  const values = Map.groupBy(
    text.split("\n").map((line) => /^(\S+) (.*)$/.exec(line) ?? []),
    ([, key]) => key,
  );
  const all = (key: string) => (values.get(key) ?? []).map(([, , value = ""]) => value);
  const [host = name] = all("hostname");
  const port = Number(all("port")[0] ?? SSH_PORT);
  const [username] = all("user");
  const jump = all("proxyjump").find((value) => value !== "none");
  const given = all("proxycommand").find((value) => value !== "none");
  const keyFiles = all("identityfile").map((path) => path.replace(/^(~|%d)(?=\/)/, home));
  const proxyCommand = jump === undefined ? given : jumpCommand(jump, file);
  return {
    ...{ host, port, username, keyFiles },
    proxyCommand:
      proxyCommand &&
      filledIn(proxyCommand, { "%": "%", h: host, p: String(port), r: username ?? "", n: name }),
  };
}

/** `a,b`: by way of a, from b. */
function jumpCommand(jump: string, file: string): string {
  const [last = "", ...others] = jump.split(",").reverse();
  const first = others.length === 0 ? [] : ["-J", others.reverse().join(",")];
  const url = last.startsWith("ssh://") ? last : `ssh://${last}`;
  const words = ["ssh", "-F", file, ...first, "-W", "[%h]:%p", "--", url];
  return words.map((word) => (word === "[%h]:%p" ? `'${word}'` : shellQuote(word))).join(" ");
}

function filledIn(command: string, values: Readonly<Record<string, string>>): string {
  return command.replace(/%(.)/g, (all, token: string) => values[token] ?? all);
}

function askSsh(args: readonly string[], file: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    execFile("ssh", args, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (error.code === "ENOENT") resolve(undefined);
      else reject(new FleetError("host-io", `${file}: ${stderr.trim() || errorMessage(error)}`));
    });
  });
}

/** A connection by way of a command. */
export function connectBy(command: string): Duplex {
  const child = spawn("sh", ["-c", `exec ${command}`], { stdio: ["pipe", "pipe", "inherit"] });
  const { stdin, stdout } = child;
  const socket = new Duplex({
    read: () => stdout.resume(),
    write: (chunk, _encoding, done) => stdin.write(chunk, done),
    final: (done) => stdin.end(done),
    destroy: (error, done) => {
      child.kill();
      done(error);
    },
  });
  stdout.on("data", (chunk) => {
    if (!socket.push(chunk)) stdout.pause();
  });
  stdout.once("end", () => socket.push(null));
  for (const part of [child, stdin]) part.on("error", (error: Error) => socket.destroy(error));
  return socket;
}
