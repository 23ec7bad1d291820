import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { parse } from "ini";
import type { Overcommit } from "../cluster/facts.ts";
import { DEFAULT_KEY_PREFIX } from "../registry/keys.ts";
import { parseDuration } from "../runtime/duration.ts";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import { signatureRuleOf } from "../sync/git-signature.ts";
import { isUrl } from "../sync/open-tree.ts";
import { parseGlob } from "../units/glob.ts";
import { parseOvercommit } from "./overcommit.ts";
import type { SyncSettings } from "./sync-duty.ts";

/** What fleet.conf and FLEET_* variables say, checked. Times in milliseconds. */
export interface Config {
  readonly verbose: boolean;
  readonly registry: "embedded" | "etcd";
  /** Whether `registry` was said, or follows from etcd_servers. */
  readonly registryIsImplied: boolean;
  readonly etcdServers: readonly string[];
  readonly etcdUsername: string | undefined;
  readonly etcdPassword: string | undefined;
  readonly etcdCaFile: string | undefined;
  readonly etcdCertFile: string | undefined;
  readonly etcdKeyFile: string | undefined;
  readonly keyPrefix: string;
  readonly publicIp: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly overcommit: Overcommit | undefined;
  readonly agentTtlMs: number;
  readonly bootGraceMs: number;
  readonly handbackMs: number;
  readonly startWithoutRegistry: boolean;
  readonly startParallelism: number | undefined;
  readonly unitsDirectory: string;
  readonly stateDirectory: string;
  readonly runDirectory: string;
  /** A tree of unit files that the leader makes the cluster follow. */
  readonly sync: SyncSettings | undefined;
  /** Holds what requests that tell of a new version are signed with. */
  readonly syncSecretFile: string | undefined;
  readonly disableEngine: boolean;
  readonly tokenLimit: number;
  readonly apiSocket: string;
  readonly apiGroup: string | undefined;
  /** Where sidekicks and ambassadors connect. */
  readonly servicesSocket: string;
  readonly servicesGroup: string | undefined;
  /** Patterns of the services that this machine may register. */
  readonly serviceNames: readonly string[];
  /** Endpoints are written below this prefix in SkyDNS' form too. */
  readonly skyDns: { readonly prefix: string; readonly domain: string } | undefined;
  /** Where names of services, units and machines are answered; undefined: nowhere. */
  readonly dnsListen: { readonly host: string; readonly port: number } | undefined;
  readonly listen: readonly { readonly host: string; readonly port: number }[];
  readonly insecure: boolean;
  readonly tlsCaFile: string | undefined;
  readonly tlsCertFile: string | undefined;
  readonly tlsKeyFile: string | undefined;
  /** Things an operator should read in the log: obsolete keys and the like. */
  readonly notes: readonly string[];
}

export const DEFAULT_CONFIG_FILE = "/etc/fleet/fleet.conf";

/** Keys of the original that mean nothing here. They are accepted, so that an old file still works, and named in the log. */
export const OBSOLETE: Readonly<Record<string, string>> = {
  engine_reconcile_interval: "the engine acts on changes, at once",
  etcd_request_timeout: "every request has its own deadline",
  enable_grpc: "there is one way to talk to the registry",
  disable_watches: "watches are what everything rests on",
  verify_units: "signed units are gone",
  authorized_keys_file: "signed units are gone",
};

export const KEYS = [
  "verbosity",
  "registry",
  "etcd_servers",
  "etcd_username",
  "etcd_password",
  "etcd_cafile",
  "etcd_certfile",
  "etcd_keyfile",
  "etcd_key_prefix",
  "public_ip",
  "metadata",
  "overcommit",
  "agent_ttl",
  "boot_grace",
  "handback",
  "start_without_registry",
  "sync_source",
  "sync_name",
  "sync_prune",
  "sync_keyring",
  "sync_poll",
  "sync_notify",
  "sync_secret_file",
  "start_parallelism",
  "units_directory",
  "state_directory",
  "run_directory",
  "disable_engine",
  "token_limit",
  "systemd_user",
  "api_socket",
  "api_group",
  "services_socket",
  "services_group",
  "service_names",
  "skydns_prefix",
  "skydns_domain",
  "dns_listen",
  "listen",
  "insecure",
  "tls_cafile",
  "tls_certfile",
  "tls_keyfile",
] as const;
type Key = (typeof KEYS)[number];

/** `file` undefined: the default file, which may be missing. */
export function loadConfig(file: string | undefined, env: NodeJS.ProcessEnv): Config {
  return parseConfig({ ...readConfigFile(file), ...fromEnvironment(env) });
}

/** A value with where it was said, for messages. */
interface Setting {
  readonly value: string;
  readonly where: string;
}

export type Settings = Readonly<Record<string, Setting>>;

function readConfigFile(file: string | undefined): Settings {
  const path = file ?? DEFAULT_CONFIG_FILE;
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (file === undefined && (error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new FleetError("config-invalid", `cannot read ${path}: ${errorMessage(error)}`);
  }
  return settingsOf(text, path);
}

export function settingsOf(text: string, path: string): Settings {
  const settings: Record<string, Setting> = {};
  for (const [name, value] of Object.entries(parse(text))) {
    const line =
      text.split(/\r?\n/).findIndex((one) => one.trim().replace(/^\[/, "").startsWith(name)) + 1;
    const where = line > 0 ? `${path}:${line}` : path;
    if (typeof value === "object") {
      throw new FleetError("config-invalid", `${where}: [${name}]: fleet.conf has no sections`);
    }
    if (value === true && !new RegExp(`^\\s*${escapeRegExp(name)}\\s*=`, "m").test(text)) {
      throw new FleetError("config-invalid", `${where}: "${name}" is no setting: write key=value`);
    }
    settings[name.toLowerCase()] = { value: String(value), where };
  }
  return settings;
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Only names of keys count: FLEET_ENDPOINT and the like may be somebody else's. */
export function fromEnvironment(env: NodeJS.ProcessEnv): Settings {
  const settings: Record<string, Setting> = {};
  for (const key of [...KEYS, ...Object.keys(OBSOLETE)]) {
    const name = `FLEET_${key.toUpperCase()}`;
    const value = env[name];
    if (value !== undefined) settings[key] = { value, where: name };
  }
  return settings;
}

export function parseConfig(settings: Settings): Config {
  const notes = [...checkKeys(settings)];
  const read = reader(settings);
  if (read.flag("systemd_user"))
    throw invalid(settings, "systemd_user", "units of users are not supported: leave it out");
  const etcdServers = read.list("etcd_servers").map((server) => checkServer(settings, server));
  const said = read.choice("registry", ["embedded", "etcd"]);
  const registry = said ?? (etcdServers.length > 0 ? "etcd" : "embedded");
  if (registry === "etcd" && etcdServers.length === 0) {
    throw new FleetError(
      "config-invalid",
      "registry=etcd needs etcd_servers, e.g. etcd_servers=http://10.0.0.1:2379",
    );
  }
  const listen = read.list("listen").map((address) => parseListen(settings, address));
  const tls = [
    read.text("tls_cafile"),
    read.text("tls_certfile"),
    read.text("tls_keyfile"),
  ] as const;
  checkEtcdAccess(settings, etcdServers, read);
  const insecure = read.flag("insecure");
  if (insecure && tls.some((file) => file !== undefined)) {
    notes.push("insecure=true: the API does without TLS, and the files of tls_* are not used");
  }
  if (listen.length > 0 && !insecure && tls.includes(undefined)) {
    throw invalid(
      settings,
      "listen",
      "a TCP address needs tls_cafile, tls_certfile and tls_keyfile (or insecure=true, which lets everybody who reaches it run anything)",
    );
  }
  return {
    verbose: read.count("verbosity", 0) > 0,
    registry,
    registryIsImplied: said === undefined,
    etcdServers,
    etcdUsername: read.text("etcd_username"),
    etcdPassword: read.text("etcd_password"),
    etcdCaFile: read.text("etcd_cafile"),
    etcdCertFile: read.text("etcd_certfile"),
    etcdKeyFile: read.text("etcd_keyfile"),
    keyPrefix: checkPrefix(settings, read.text("etcd_key_prefix") ?? DEFAULT_KEY_PREFIX),
    publicIp: read.text("public_ip"),
    metadata: parseMetadata(settings, read.text("metadata") ?? ""),
    overcommit: readOvercommit(settings, read.text("overcommit")),
    agentTtlMs: read.duration("agent_ttl", 15_000, { minMs: 2_000 }),
    bootGraceMs: read.duration("boot_grace", 60_000, { minMs: 0 }),
    handbackMs: read.duration("handback", 120_000, { minMs: 0 }),
    startWithoutRegistry: read.flag("start_without_registry", true),
    startParallelism:
      settings["start_parallelism"] === undefined ? undefined : read.count("start_parallelism", 1),
    unitsDirectory: read.text("units_directory") ?? "/run/fleet/units",
    stateDirectory: read.text("state_directory") ?? "/var/lib/fleet-ts",
    runDirectory: read.text("run_directory") ?? "/run/fleet",
    sync: syncSettings(settings, read),
    syncSecretFile: read.text("sync_secret_file"),
    disableEngine: read.flag("disable_engine"),
    tokenLimit: read.count("token_limit", 100, { min: 1, max: 65_535 }),
    apiSocket: read.text("api_socket") ?? "/run/fleet.sock",
    apiGroup: read.text("api_group"),
    servicesSocket: read.text("services_socket") ?? "/run/fleet-services.sock",
    servicesGroup: read.text("services_group"),
    serviceNames: serviceNames(settings, read.list("service_names")),
    skyDns: skyDns(settings, read),
    dnsListen: dnsListen(settings, read.text("dns_listen") ?? DEFAULT_DNS_LISTEN),
    listen,
    insecure,
    tlsCaFile: tls[0],
    tlsCertFile: tls[1],
    tlsKeyFile: tls[2],
    notes,
  };
}

function checkKeys(settings: Settings): readonly string[] {
  const notes: string[] = [];
  for (const [name, { where }] of Object.entries(settings)) {
    const why = OBSOLETE[name];
    if (why !== undefined) notes.push(`${where}: ${name} has no meaning any more: ${why}`);
    else if (!(KEYS as readonly string[]).includes(name)) {
      throw new FleetError(
        "config-invalid",
        `${where}: unknown setting "${name}": see docs/operating.md for those there are`,
      );
    }
  }
  return notes;
}

function invalid(settings: Settings, key: Key, message: string): FleetError {
  return new FleetError(
    "config-invalid",
    `${settings[key]?.where ?? "fleet.conf"}: ${key}: ${message}`,
  );
}

function reader(settings: Settings) {
  const text = (key: Key): string | undefined => {
    const value = settings[key]?.value.trim();
    return value === undefined || value === "" ? undefined : value;
  };
  return {
    text,
    flag(key: Key, fallback = false): boolean {
      const value = text(key)?.toLowerCase() ?? String(fallback);
      if (["1", "yes", "y", "true", "t", "on"].includes(value)) return true;
      if (["0", "no", "n", "false", "f", "off"].includes(value)) return false;
      throw invalid(settings, key, `"${value}" is neither true nor false`);
    },
    count(key: Key, fallback: number, { min, max } = { min: 0, max: 999_999_999 }): number {
      const value = text(key);
      if (value === undefined) return fallback;
      if (!/^\d{1,9}$/.test(value))
        throw invalid(settings, key, `"${value}" is not a whole number`);
      if (Number(value) < min || Number(value) > max)
        throw invalid(settings, key, `${value} is not from ${min} to ${max}`);
      return Number(value);
    },
    duration(key: Key, fallback: number, limits: { readonly minMs: number }): number {
      const value = text(key);
      if (value === undefined) return fallback;
      const durationMs = parseDuration(value);
      if (durationMs === undefined)
        throw invalid(settings, key, `"${value}" is no duration: write e.g. 15s, 1m30s or 500ms`);
      if (durationMs < limits.minMs)
        throw invalid(settings, key, `${value} is too short: at least ${limits.minMs / 1_000}s`);
      return durationMs;
    },
    choice<const T extends string>(key: Key, choices: readonly T[]): T | undefined {
      const value = text(key);
      if (value === undefined) return undefined;
      const found = choices.find((choice) => choice === value);
      if (found === undefined)
        throw invalid(settings, key, `"${value}" is none of ${choices.join(", ")}`);
      return found;
    },
    /** Comma list, with or without `[ ]` and quotes, as the original took it. */
    list(key: Key): readonly string[] {
      return (text(key) ?? "")
        .replace(/^\["?([^\]]*)\]$/, "$1")
        .split(",")
        .map((item) => item.replace(/^[\s"]+|[\s"]+$/g, ""))
        .filter((item) => item !== "");
    },
  };
}

/** What was meant to protect must not be passed over in silence. */
function checkEtcdAccess(
  settings: Settings,
  servers: readonly string[],
  read: { readonly text: (key: Key) => string | undefined },
): void {
  const files = ["etcd_cafile", "etcd_certfile", "etcd_keyfile"] as const;
  const file = files.find((key) => read.text(key) !== undefined);
  const plain = servers.find((server) => server.startsWith("http://"));
  if (file !== undefined && plain !== undefined) {
    throw invalid(settings, file, `${plain} is asked without TLS: write https://`);
  }
  const [, cert, key] = files.map((one) => read.text(one) !== undefined);
  if (cert !== key) {
    throw invalid(settings, "etcd_certfile", "etcd_certfile and etcd_keyfile go together");
  }
  if ((read.text("etcd_username") === undefined) !== (read.text("etcd_password") === undefined)) {
    throw invalid(settings, "etcd_username", "etcd_username and etcd_password go together");
  }
}

function checkServer(settings: Settings, server: string): string {
  if (!/^https?:\/\/[^/\s]+\/?$/.test(server)) {
    throw invalid(
      settings,
      "etcd_servers",
      `"${server}" is not of the form http://HOST:PORT or https://HOST:PORT`,
    );
  }
  return server.replace(/\/$/, "");
}

function checkPrefix(settings: Settings, prefix: string): string {
  if (!prefix.startsWith("/"))
    throw invalid(settings, "etcd_key_prefix", `"${prefix}" has to begin with "/"`);
  return prefix.endsWith("/") ? prefix : `${prefix}/`;
}

function serviceNames(settings: Settings, patterns: readonly string[]): readonly string[] {
  for (const pattern of patterns) {
    if (parseGlob(pattern) === undefined)
      throw invalid(settings, "service_names", `"${pattern}" is no pattern: write e.g. web,db-*`);
  }
  return patterns.length === 0 ? ["*"] : patterns;
}

function skyDns(
  settings: Settings,
  read: { readonly text: (key: Key) => string | undefined },
): Config["skyDns"] {
  const prefix = read.text("skydns_prefix");
  if (prefix === undefined) return undefined;
  if (!/^\/.+\/$/.test(prefix))
    throw invalid(settings, "skydns_prefix", `"${prefix}" has to begin and end with "/"`);
  return { prefix, domain: read.text("skydns_domain") ?? "service.fleet" };
}

/** Loopback only by default, and on a port that no other resolver has: nothing asks it before somebody says so. */
const DEFAULT_DNS_LISTEN = "127.0.0.1:5354";

function dnsListen(settings: Settings, address: string): Config["dnsListen"] {
  if (address === "none") return undefined;
  const listen = parseHostPort(address);
  if (listen !== undefined && isIP(listen.host) !== 0) return listen;
  const forms = "is neither of the form ADDRESS:PORT, e.g. 127.0.0.1:5354, nor none";
  throw invalid(settings, "dns_listen", `"${address}" ${forms}`);
}

function parseListen(settings: Settings, address: string): { host: string; port: number } {
  const listen = parseHostPort(address);
  if (listen !== undefined) return listen;
  const message = `"${address}" is not of the form HOST:PORT, e.g. 0.0.0.0:49153`;
  throw invalid(settings, "listen", message);
}

function parseHostPort(address: string): { host: string; port: number } | undefined {
  const match = /^(?:\[(?<v6>[0-9a-fA-F:]+)\]|(?<host>[^:\s]+)):(?<port>\d{1,5})$/.exec(address);
  const host = match?.groups?.["v6"] ?? match?.groups?.["host"];
  const port = Number(match?.groups?.["port"]);
  return host === undefined || port > 65_535 ? undefined : { host, port };
}

function readOvercommit(settings: Settings, text: string | undefined): Overcommit | undefined {
  if (text === undefined) return undefined;
  const overcommit = parseOvercommit(text);
  if (overcommit !== undefined) return overcommit;
  const forms = "write a factor above 0, or some of memory=1.2 cpu=2 tasks=1";
  throw invalid(settings, "overcommit", `"${text}" is not understood: ${forms}`);
}

function parseMetadata(settings: Settings, text: string): Readonly<Record<string, string>> {
  const metadata: Record<string, string> = {};
  for (const pair of text.split(",")) {
    if (pair.trim() === "") continue;
    const at = pair.indexOf("=");
    const key = pair.slice(0, Math.max(0, at)).trim();
    if (!/^[A-Za-z0-9_.-]+$/.test(key))
      throw invalid(settings, "metadata", `"${pair.trim()}" is not of the form key=value`);
    metadata[key] = pair.slice(at + 1).trim();
  }
  return metadata;
}

function syncSettings(
  settings: Settings,
  read: ReturnType<typeof reader>,
): SyncSettings | undefined {
  const location = read.text("sync_source");
  if (location === undefined) return undefined;
  if (!isUrl(location)) {
    throw invalid(
      settings,
      "sync_source",
      `${location} is no URL: a directory is on one machine and the leader may be on any; use fleetctl-ts sync there`,
    );
  }
  const keyring = read.text("sync_keyring");
  return {
    location,
    name: read.text("sync_name") ?? "main",
    prune: read.flag("sync_prune"),
    signatures: keyring === undefined ? undefined : signatureRuleOf(keyring),
    pollMs: read.duration("sync_poll", 30_000, { minMs: 1_000 }),
    notify: read.text("sync_notify"),
  };
}
