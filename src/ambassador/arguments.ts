import { FleetError } from "../runtime/errors.ts";
import { OptionReader, readOptions } from "../runtime/options.ts";
import type { Protocol } from "../services/endpoint.ts";
import { serviceNameProblem } from "../services/service-name.ts";
import { defaultTuning, type LinkTuning } from "./proxy.ts";

/** Where a consumer finds a service. */
export type LocalSpec =
  /** `port` undefined: that of the first endpoint. */
  | { readonly type: Protocol; readonly host: string; readonly port: number | undefined }
  | { readonly type: "unix"; readonly path: string }
  /** A socket that systemd hands over, by its FileDescriptorName=. */
  | { readonly type: "fd"; readonly name: string };

export interface LinkSpec {
  /** As it was given; one link per name. */
  readonly name: string;
  readonly service: string;
  readonly local: LocalSpec;
}

export interface AmbassadorSpec {
  readonly links: readonly LinkSpec[];
  readonly tuning: Partial<LinkTuning>;
  readonly wait: boolean;
  readonly dataPlane: "node" | "nft";
  /** Of the data plane in this process; undefined: as many as help. */
  readonly threads: number | undefined;
  readonly consumer: string | undefined;
  readonly envFile: string | undefined;
  readonly hostsFile: string | undefined;
  readonly stateFile: string | undefined;
  readonly statusSocket: string | undefined;
  readonly socket: string;
  /** At SIGTERM: how long established connections may go on. */
  readonly drainMs: number;
  readonly optionsFile: string | undefined;
}

export const AMBASSADOR_USAGE = `Usage: fleet-ambassador --link NAME[:WHERE] [--link ...]... [options]

Proxies to services wherever they run, so that a consumer finds each at a place on its own machine that never changes.

  --link NAME[:WHERE]  a service, and where to listen for it:
                         PORT[/udp]          on 127.0.0.1 (default: the port of the service's first endpoint)
                         HOST:PORT[/udp]     on another address; IPv6 in [ ]
                         /PATH               on a unix socket
                         fd[=NAME]           on a socket that systemd hands over (FileDescriptorName=NAME)
  --no-wait            ready as soon as it listens; otherwise (--wait) once every link has a backend
  --environment-file FILE  writes DB_PORT, DB_PORT_5432_TCP_ADDR, ... for the consumer's EnvironmentFile=
                       (as --env-file too, but Node takes that for its own and wants the file to exist, unless "--" comes first)
  --hosts FILE         keeps entries of the services in a hosts file
  --consumer NAME      unit it works for, for display (default: its own unit)
  --balance KIND       round-robin (default) or least-connections
  --any-machine        no preference for backends on the same machine
  --hold TIME          how long a new connection waits while there is no backend (${defaultTuning.holdMs / 1_000}s)
  --connect-timeout TIME   of one attempt (${defaultTuning.connectTimeoutMs / 1_000}s); then another backend is tried
  --max-connections N  per link (${defaultTuning.connectionsMax})
  --proxy-protocol     tells backends the client's address (PROXY protocol v2)
  --data-plane KIND    node (default): in this process; nft: in the kernel, TCP and UDP only
  --threads N          that carry connections, with --data-plane node (2, or 1 on a machine of one core)
  --drain TIME         how long connections may go on at SIGTERM (0s)
  --status-socket PATH HTTP on a unix socket: /status (JSON), /metrics (Prometheus)
  --state FILE         remembers backends over a restart (default: in $RUNTIME_DIRECTORY, if it is set)
  --options FILE       more options, one a line without the --; read again at SIGHUP, without cutting a connection
  --socket PATH        of fleetd-ts (/run/fleet-services.sock)
  --version, --help

Examples:
  fleet-ambassador --link db:5432 --environment-file /run/app/links.env
  fleet-ambassador --link db:/run/app/db.sock --link cache:6379 --balance least-connections
  fleet-ambassador --link web:0.0.0.0:80 --max-connections 5000 --status-socket /run/amb/status.sock
  curl --unix-socket /run/amb/status.sock http://ambassador/metrics

As a unit: Type=notify, NotifyAccess=all, Restart=always; the consumer says Wants= and After= it (docs/services.md).
Exit status: 0 ended, 1 failed, 2 wrong usage.
`;

const VALUES = [
  "link",
  "environment-file",
  "env-file",
  "hosts",
  "consumer",
  "balance",
  "hold",
  "connect-timeout",
  "max-connections",
  "data-plane",
  "threads",
  "drain",
  "status-socket",
  "state",
  "options",
  "socket",
] as const;
const FLAGS = ["wait", "no-wait", "any-machine", "proxy-protocol"] as const;

/** Throws `usage`. `optionsText`: what is in the file that --options names. */
export function parseAmbassador(args: readonly string[], optionsText = ""): AmbassadorSpec {
  const given = readOptions([...args, ...optionLines(optionsText)], {
    values: VALUES,
    flags: FLAGS,
  });
  const read = new OptionReader(given);
  const links = read.all("link").map(parseLink);
  const twice = links.find(({ name }, index) => links.findIndex((l) => l.name === name) !== index);
  if (twice !== undefined) throw new FleetError("usage", `--link ${twice.name} is given twice`);
  if (links.length === 0 && read.text("options") === undefined)
    throw new FleetError("usage", "no service is given: --link NAME");
  const consumer = read.text("consumer");
  if (consumer !== undefined && !/^[^/\s]{1,255}$/.test(consumer))
    throw new FleetError("usage", `--consumer "${consumer}" is no name of a unit`);
  const hasThreads = read.text("threads") !== undefined;
  return {
    links,
    tuning: parseTuning(read),
    wait: !read.flag("no-wait"),
    dataPlane: choice(read, "data-plane", ["node", "nft"]) ?? "node",
    threads: hasThreads ? read.count("threads", 1, { min: 1, max: 64 }) : undefined,
    consumer,
    envFile: read.text("environment-file") ?? read.text("env-file"),
    hostsFile: read.text("hosts"),
    stateFile: read.text("state"),
    statusSocket: read.text("status-socket"),
    socket: read.text("socket") ?? "/run/fleet-services.sock",
    drainMs: read.duration("drain", 0),
    optionsFile: read.text("options"),
  };
}

/** `link db:5432`, `no-wait`; `#` begins a comment line. */
function optionLines(text: string): readonly string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [name = "", value] = line.replace(/^--/, "").split(/[\s=]+(.*)/s, 2);
      return value === undefined ? `--${name}` : `--${name}=${value}`;
    });
}

/** Only what was said: a data plane refuses to be told what it cannot do. */
function parseTuning(read: OptionReader): Partial<LinkTuning> {
  const has = (name: string) => read.text(name) !== undefined;
  const balance = choice(read, "balance", ["round-robin", "least-connections"]);
  const connectionsMax = () => read.count("max-connections", 0, { min: 1, max: 1_000_000 });
  return {
    ...(balance === undefined ? {} : { balance }),
    ...(read.flag("any-machine") ? { preferSameMachine: false } : {}),
    ...(has("hold") ? { holdMs: read.duration("hold", 0) } : {}),
    ...(has("connect-timeout")
      ? { connectTimeoutMs: read.duration("connect-timeout", 0, { minMs: 1 }) }
      : {}),
    ...(has("max-connections") ? { connectionsMax: connectionsMax() } : {}),
    ...(read.flag("proxy-protocol") ? { proxyProtocol: true } : {}),
  };
}

function choice<const T extends string>(
  read: OptionReader,
  name: string,
  choices: readonly T[],
): T | undefined {
  const text = read.text(name);
  if (text === undefined) return undefined;
  const found = choices.find((one) => one === text);
  if (found === undefined)
    throw new FleetError("usage", `--${name} "${text}" is none of ${choices.join(", ")}`);
  return found;
}

const NETWORK = /^(?:(?:\[(?<v6>[0-9A-Fa-f:]+)\]|(?<host>[^:/[\]]+)):)?(?<port>\d{1,5})?$/;

function parseLink(text: string): LinkSpec {
  const [service = "", where = ""] = text.split(/:(.*)/s, 2);
  const problem = serviceNameProblem(service);
  if (problem !== undefined) throw new FleetError("usage", `--link ${problem}`);
  return { name: text, service, local: parseLocal(text, service, where) };
}

function parseLocal(text: string, service: string, where: string): LocalSpec {
  if (where.startsWith("/")) return { type: "unix", path: where };
  if (where === "fd") return { type: "fd", name: service };
  if (where.startsWith("fd=")) return { type: "fd", name: where.slice(3) };
  const [address = "", protocol = "tcp"] = where.split("/", 2);
  const groups = NETWORK.exec(address)?.groups;
  const port = groups?.["port"] === undefined ? undefined : Number(groups["port"]);
  const isWrong = groups === undefined || (port ?? 1) > 65_535 || port === 0;
  if (isWrong || (protocol !== "tcp" && protocol !== "udp")) {
    const message = `--link "${text}": WHERE is PORT[/udp], HOST:PORT[/udp], /PATH or fd[=NAME]`;
    throw new FleetError("usage", message);
  }
  return { type: protocol, host: groups["v6"] ?? groups["host"] ?? "127.0.0.1", port };
}
